"""Arrays in HDF5 files of strangers: numbers that lie in the file itself, and not many more of them than it is long.

HDF5 has links into other files, arrays put together of other files, and filters whose output is a thousand times their
input. Caffe writes none of these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

_MOST_PACKED = 1100  # gzip's best ratio: an array that would have to be packed better is not there
_SPARE, _TIMES = 64 << 20, 32  # bytes that all arrays may unpack to: so many, and so many times the file's size
_MOST_AXES, _LONGEST_TEXT = 32, 4096
# What h5py raises for damaged files, besides its own messages for what is absent.
_BROKEN = (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)


class HDF5Error(ValueError):
    """A file that is no HDF5, is damaged, or holds something else than what was asked for."""


class Numbers:
    """An open file.

    Args:
        file: an h5py.File.
        size: of the file in bytes.
    """

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left = file, _SPARE + _TIMES * size

    def arrays(self, group: str) -> dict[str, np.ndarray]:
        """All arrays of numbers in and below a group, by their path from there."""
        import h5py

        found: dict[str, np.ndarray] = {}

        def visit(name: str, item: Any) -> None:  # links of any kind but the plain one are not followed
            if isinstance(item, h5py.Dataset):
                found[name] = self._read(item)

        item = self._item(group)
        if not isinstance(item, h5py.Group):
            raise HDF5Error(f'"{group}" is no group')
        item.visititems(visit)
        return found

    def array(self, name: str) -> np.ndarray:
        """The array of numbers called `name`."""
        return self._read(self._item(name))

    def text(self, name: str) -> str:
        """The single text called `name`, up to its first NUL; bytes that are no UTF-8 are kept as surrogates."""
        import h5py

        item = self._item(name)
        if (
            not isinstance(item, h5py.Dataset)
            or item.shape not in ((), (1,))
            or item.dtype.kind not in "SO"
            or item.dtype.itemsize > _LONGEST_TEXT
        ):
            raise HDF5Error(f'"{name}" is no text')
        self._check_place(item)
        value = item[()] if item.shape == () else item[0]
        if not isinstance(value, bytes):
            raise HDF5Error(f'"{name}" is no text')
        return value.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def _item(self, name: str) -> Any:
        import h5py

        if not isinstance(self._file.get(name, getlink=True), h5py.HardLink):
            raise HDF5Error(f'"{name}" is absent, or a link to somewhere else')
        return self._file[name]

    def _read(self, item: Any) -> np.ndarray:
        import h5py

        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise HDF5Error(f"{item.name} is no array of numbers")
        kind, count = item.dtype, prod(item.shape)
        if kind.kind not in "fiu" or len(item.shape) > _MOST_AXES:
            raise HDF5Error(f"{item.name} is no array of numbers")
        self._check_place(item)
        if count * kind.itemsize > _MOST_PACKED * item.id.get_storage_size():
            raise HDF5Error(f"{item.name} announces {count:,} values that are not there")
        chunk = prod(item.chunks or ()) * kind.itemsize  # unpacked as a whole, however little of it is wanted
        if max(chunk, count * kind.itemsize) > self._left:
            raise HDF5Error(f"{item.name} unpacks to {count:,} values, far more than a file of this size holds")
        self._left -= count * kind.itemsize
        return item[()]

    @staticmethod
    def _check_place(item: Any) -> None:
        if item.is_virtual or item.external:
            raise HDF5Error(f"the values of {item.name} are in another file")


@contextmanager
def open_numbers(path: str | Path) -> Iterator[Numbers]:
    """Open the HDF5 file at `path`.

    Raises:
        HDF5Error: the file is damaged, or what the block asks for is not in it.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield Numbers(file, os.path.getsize(path))
    except HDF5Error:
        raise
    except _BROKEN as error:
        raise HDF5Error(str(error)) from error
