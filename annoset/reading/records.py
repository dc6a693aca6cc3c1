"""Records of LMDBs that anyone made: reading them by several threads, what their images are, which are alike."""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from annoset.database import Database, printable
from annoset.decode import decode_image
from annoset.imagefile import ImageFile, read_image_file
from annoset.parallel import in_order
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, Datum

T = TypeVar("T")
Watch = Callable[[Any, str], Iterable[Any]]
_THREADS = min(8, os.cpu_count() or 1)
_NUMBER = re.compile(r"\d{8,}_")  # what convert_annoset puts before an image's path
_OTHER_KINDS = {b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}


def open_annotated(path: Path) -> Database:
    """The LMDB at `path`, open for reading.

    Raises:
        UserError: no LMDB, a damaged one, or one whose first record is an image with a single label (Datum).
    """
    database = Database(path)
    key = next(database.keys())
    try:
        record = database[key]
    except UserError:  # said by whoever reads that record
        return database
    if not record.HasField("datum"):
        raise not_annotated(path, key)
    return database


def annotated(database: Database, key: str) -> AnnotatedDatum:
    """The record at `key`. Raises UserError when it is no AnnotatedDatum."""
    record = database[key]
    if not record.HasField("datum"):
        raise not_annotated(database.path, key)
    return record


def not_annotated(path: Path, key: str) -> UserError:
    """The mistake of a record that lacks the `datum` of an AnnotatedDatum: a plain Datum looks so, too."""
    return UserError(
        "the record is no image with boxes, but one with a single label (Datum), or something else",
        where=f"{path}, record {printable(key)}",
        expected="an AnnotatedDatum, as `netgen lmdb` and SSD-Caffe's convert_annoset write them",
        fix="databases to classify by hold no boxes; make one of images and their boxes with `netgen lmdb`",
    )


class Each(Generic[T]):
    """`work(key)` for every record, in the order of the keys, done by several threads a few records ahead.

    Its length is the number of records. Memory is that of a few results, whatever the LMDB's size.
    """

    def __init__(self, database: Database, work: Callable[[str], T]) -> None:
        self._database, self._work = database, work

    def __len__(self) -> int:
        return len(self._database)

    def __iter__(self) -> Iterator[T]:
        return in_order(self._work, self._database.keys(), _THREADS)


def image_file(datum: Datum) -> ImageFile | None:
    """What the encoded image says of itself; None for one of raw bytes, and for other kinds than JPEG and PNG."""
    return read_image_file(datum.data) if datum.encoded else None


def image_hw(datum: Datum, file: ImageFile | None) -> tuple[int, int]:
    """Height and width of the image itself, which `datum.height` and `datum.width` may leave out or belie.

    Args:
        file: what `image_file` gives.

    Raises:
        UserError: there is no image in the datum.
    """
    return (file.height, file.width) if file else decode_image(datum, False, False).shape[:2]


def image_kind(datum: Datum) -> str:
    """ "JPEG", "PNG", another format's name, "raw" for an image that is not encoded, or "unknown"."""
    if not datum.encoded:
        return "raw"
    if datum.data.startswith(b"\xff\xd8"):
        return "JPEG"
    kinds = {b"\x89PNG": "PNG", **_OTHER_KINDS}
    return next((kind for start, kind in kinds.items() if datum.data.startswith(start)), "unknown")


def image_name(key: str) -> str:
    """The key without its number: `00000012_VOC2007/JPEGImages/000001.jpg` names `VOC2007/JPEGImages/000001.jpg`."""
    number = _NUMBER.match(key)
    return key[number.end() :] if number else key


def fingerprint(value: bytes) -> int:
    """64 bits that differ where values differ: of a million values, two are taken for one in one of 10^7 cases."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "little")


class Duplicates:
    """Which of a great many values occur more than once, in eight bytes of memory each; takes their fingerprints."""

    def __init__(self) -> None:
        self._fingerprints = array("Q")

    def add(self, fingerprint: int) -> None:
        self._fingerprints.append(fingerprint)

    def pairs(self) -> list[tuple[int, int]]:
        """For each value that came before: its position, and that of its first occurrence. Positions rise."""
        values = np.frombuffer(self._fingerprints, np.uint64) if self._fingerprints else np.empty(0, np.uint64)
        _, first, which = np.unique(values, return_index=True, return_inverse=True)
        firsts = first[which.reshape(-1)]
        repeated = np.flatnonzero(firsts != np.arange(len(values)))
        return list(zip(repeated.tolist(), firsts[repeated].tolist()))
