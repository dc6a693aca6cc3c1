"""The process in which HDF5 files are read: called with the file and, in JSON, the arrays and the texts to find.

HDF5 has links into other files, arrays put together of other files, and filters whose output is a thousand times their
input. Caffe writes none of these, and none is followed here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_MOST_PACKED = 1100  # gzip's best ratio: an array that would have to be packed better is not there
_SPARE, _TIMES = 64 << 20, 32  # bytes that all arrays may unpack to: so many, and so many times the file's size
_SECONDS, _SLOWEST = 5, 2 << 20  # of computing: so many, and one for each of so many bytes
_MOST_AXES, _LONGEST_TEXT = 32, 4096
# What h5py raises for damaged files, besides its own messages for what is absent.
_BROKEN = (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)


class Damaged(ValueError):
    """What the file holds is not what was asked for."""


class Numbers:
    """An open file.

    Args:
        size: of the file in bytes.
    """

    def __init__(self, file: h5py.File, size: int) -> None:
        self._file, self._left = file, _SPARE + _TIMES * size

    def arrays(self, name: str) -> Iterator[tuple[str, np.ndarray]]:
        """The array called `name` or, where that ends in a slash, all in and below the group; by their paths."""
        item = self._item(name.rstrip("/"))
        if not name.endswith("/"):
            yield name, self._read(item)
            return
        if not isinstance(item, h5py.Group):
            raise Damaged(f'"{name[:-1]}" is no group')
        found: list[str | bytes] = []

        def visit(path: str | bytes, item: Any) -> None:  # links of any kind but the plain one are not followed
            if isinstance(item, h5py.Dataset):
                found.append(path)

        item.visititems(visit)
        for path in found:  # bytes where it is no UTF-8
            text = path if isinstance(path, str) else path.decode("utf-8", "surrogateescape")
            yield f"{name}{text}", self._read(item[path])

    def text(self, name: str) -> str:
        """The single text called `name`, up to its first NUL; bytes that are no UTF-8 are kept as surrogates."""
        item = self._item(name)
        if (
            not isinstance(item, h5py.Dataset)
            or item.shape not in ((), (1,))
            or item.dtype.kind not in "SO"
            or item.dtype.itemsize > _LONGEST_TEXT
        ):
            raise Damaged(f'"{name}" is no text')
        _check_place(item)
        value = item[()] if item.shape == () else item[0]
        if not isinstance(value, bytes):
            raise Damaged(f'"{name}" is no text')
        return value.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def _item(self, name: str) -> Any:
        if not isinstance(self._file.get(name, getlink=True), h5py.HardLink):
            raise Damaged(f'"{name}" is absent, or a link to somewhere else')
        return self._file[name]

    def _read(self, item: Any) -> np.ndarray:
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise Damaged(f"{item.name} is no array of numbers")
        kind, count = item.dtype, prod(item.shape)
        if kind.kind not in "fiu" or len(item.shape) > _MOST_AXES:
            raise Damaged(f"{item.name} is no array of numbers")
        _check_place(item)
        if count * kind.itemsize > _MOST_PACKED * item.id.get_storage_size():
            raise Damaged(f"{item.name} announces {count:,} values that are not there")
        chunk = prod(item.chunks or ()) * kind.itemsize  # unpacked as a whole, however little of it is wanted
        if max(chunk, count * kind.itemsize) > self._left:
            raise Damaged(f"{item.name} unpacks to {count:,} values, far more than a file of this size holds")
        self._left -= count * kind.itemsize
        return item[()]


def _check_place(item: h5py.Dataset) -> None:
    if item.is_virtual or item.external:
        raise Damaged(f"the values of {item.name} are in another file")


def _limit(more: int, seconds: int) -> None:
    """Let this process take so many more bytes, and so long, and end it otherwise, where the system sees to that."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):
        pass


def main(path: str, wanted: str) -> None:
    """Write to standard output, for each item, a line of JSON and an array's bytes; at the end, null or an error."""
    arrays, texts = json.loads(wanted)
    size, out = os.path.getsize(path), sys.stdout.buffer
    _limit(2 * (_SPARE + _TIMES * size), _SECONDS + size // _SLOWEST)

    def say(line: Any) -> None:
        out.write(json.dumps(line).encode() + b"\n")

    try:
        with h5py.File(path, "r") as file:
            numbers = Numbers(file, size)
            for name in arrays:
                for key, array in numbers.arrays(name):
                    say({"name": key, "shape": array.shape, "dtype": array.dtype.str})
                    out.write(np.ascontiguousarray(array).data)
            for name in texts:
                say({"name": name, "text": numbers.text(name)})
        say(None)
    except _BROKEN as error:
        say({"error": str(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
