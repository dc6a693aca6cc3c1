"""LMDBs of AnnotatedDatum, as SSD-Caffe's convert_annoset writes them and its AnnotatedData layer reads them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
from google.protobuf.message import DecodeError, Message

from annoset.folder import new_folder
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum

_FIRST_MAP_SIZE = 64 << 20  # doubled whenever it is used up
_BATCH_BYTES = 8 << 20  # what is held in memory between two transactions
_SOME_MIB = 256  # with as much left, the disk is not full
_LONGEST_KEY = 511  # LMDB's limit
_OPEN: WeakValueDictionary[tuple[int, int], lmdb.Environment] = WeakValueDictionary()
_OPENING = threading.Lock()


class Database:
    """An LMDB of AnnotatedDatum, open for reading. Safe to read from several threads; a context manager.

    Args:
        message: what its records are, if they are something else (Datum).

    Attributes:
        path: the LMDB's folder.

    Raises:
        UserError: no LMDB at `path`, one that is damaged, or one without records.
    """

    def __init__(self, path: str | Path, message: type[Message] = AnnotatedDatum) -> None:
        self.path, self._message = Path(path), message
        if not (self.path / "data.mdb").is_file():
            raise UserError(_what_is_there(self.path), where=str(path), fix="make it with `netgen lmdb`")
        try:
            self._environment = _open(self.path)
        except lmdb.Error as error:
            raise self._damaged(error) from error
        if not len(self):
            raise UserError("the LMDB holds no records", where=str(path), expected="at least one")

    def __len__(self) -> int:
        return self._environment.stat()["entries"]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Each key and its record, in the order of the keys, which is that of Caffe's reader."""
        with self._reading() as transaction:
            for key, value in transaction.cursor():
                name = _name(key)
                yield name, self._record(name, value)

    def __getitem__(self, key: str) -> Any:
        """The record at `key`. Raises UserError when there is none, or bytes that are no such record."""
        with self._reading() as transaction:
            value = transaction.get(key.encode("utf-8", "surrogateescape"))
        if value is None:
            found = f'there is no record "{printable(key)}"'
            raise UserError(found, where=str(self.path), fix="if its keys are listed so, the LMDB is damaged")
        return self._record(key, value)

    def keys(self) -> Iterator[str]:
        """The keys in order: `00000000_VOC2007/JPEGImages/000001.jpg` where convert_annoset or netgen made them."""
        with self._reading() as transaction:
            yield from map(_name, transaction.cursor().iternext(values=False))

    def close(self) -> None:
        """Let go of the LMDB, which is closed when its last reader has done so."""
        self._environment = None

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction]:
        try:
            with self._environment.begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise self._damaged(error) from error

    def _damaged(self, error: lmdb.Error) -> UserError:
        fix = "make it again with `netgen lmdb`"
        return UserError(f"cannot be read as an LMDB: {_reason(error)}", where=str(self.path), fix=fix)

    def _record(self, key: str, value: bytes) -> Any:
        try:
            return self._message.FromString(value)
        except DecodeError as error:
            found = f'the {len(value)} bytes of record "{printable(key)}" are no {self._message.DESCRIPTOR.name}'
            raise UserError(found, where=str(self.path), fix="make the LMDB again with `netgen lmdb`") from error


def _open(path: Path) -> lmdb.Environment:
    """The LMDB at `path`; the same object for all of its readers, as LMDB must not be opened twice in a process."""
    file = (path / "data.mdb").stat()
    with _OPENING:
        environment = _OPEN.get((file.st_dev, file.st_ino))
        if environment is None:
            environment = lmdb.open(str(path), readonly=True, lock=False, create=False)
            size = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
            if file.st_size < size:  # reading beyond the end would kill the process
                found = f"the LMDB is cut short: its data.mdb has {file.st_size} of {size} bytes"
                raise UserError(found, where=str(path), fix="copy it again, or make it again with `netgen lmdb`")
            _OPEN[file.st_dev, file.st_ino] = environment
    return environment


class Writer:
    """Puts records into an LMDB that `create` opened."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0

    def put(self, key: str, record: AnnotatedDatum | bytes) -> None:
        """Add a record, or the bytes of one; keys must come in ascending order.

        Raises:
            UserError: the key is longer than the 511 bytes that LMDB allows.
        """
        raw = key.encode("utf-8", "surrogateescape")
        if len(raw) > _LONGEST_KEY:
            found = f"the key has {len(raw)} bytes: {printable(key)}"
            raise UserError(found, expected=f"at most {_LONGEST_KEY}, LMDB's limit", fix="shorten the image's path")
        self._pending.append((raw, record if isinstance(record, bytes) else record.SerializeToString()))
        self._pending_bytes += len(self._pending[-1][1])
        if self._pending_bytes > _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Commit what was put, doubling the map as often as it takes."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    transaction.cursor().putmulti(self._pending, append=True)
                break
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        self._pending, self._pending_bytes = [], 0


@contextmanager
def create(path: str | Path) -> Iterator[Writer]:
    """Write a new LMDB, which appears at `path` when the block ends well, and not at all otherwise.

    Raises:
        UserError: something is at `path` already, its parent folder cannot be made, the disk is full.
    """
    with new_folder(path) as folder:
        try:
            yield from _write(folder)
        except lmdb.Error as error:
            # LMDB calls a write that a full disk cut short an "Input/output error": the space says more.
            free = shutil.disk_usage(folder).free >> 20
            full = free < _SOME_MIB or "No space" in str(error)
            found = f"the LMDB cannot be written: {_reason(error)} ({free} MiB of disk space left)"
            fix = "free some disk space" if full else "look for a quota, or a limit of files' sizes (ulimit -f)"
            fix += " and run the command again; nothing was left at that path"
            raise UserError(found, where=str(path), fix=fix) from error


def _write(folder: Path) -> Iterator[Writer]:
    # Syncing once at the end is enough: until the folder is renamed nobody can mistake it for a whole LMDB.
    environment = lmdb.open(str(folder), map_size=_FIRST_MAP_SIZE, lock=False, sync=False, mode=0o666)
    try:
        writer = Writer(environment)
        yield writer
        writer.flush()
        environment.sync(True)
    finally:
        environment.close()


def printable(key: str) -> str:
    """The key with what no terminal shows, and bytes that are no UTF-8, as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in key)


def _what_is_there(path: Path) -> str:
    if not path.exists():
        return "there is no LMDB here"
    if (path / "CURRENT").exists():
        return "this is a LevelDB, not an LMDB"
    return "this folder holds no LMDB (no data.mdb)" if path.is_dir() else "this is a file, not an LMDB's folder"


def _name(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def _reason(error: lmdb.Error) -> str:
    """LMDB's message without the path and the names of its C functions."""
    return str(error).rpartition(": ")[2]
