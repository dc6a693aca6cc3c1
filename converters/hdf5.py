"""Arrays in HDF5 files of strangers, read in a process of their own.

The HDF5 library trusts its files: damaged ones make it read beyond its memory or ask for all that there is.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import IO, Any

import numpy as np

from converters.worker import calling

_SECONDS, _SLOWEST = 60, 1 << 20  # where its process does not end itself: so many, and one for each of so many bytes
_LONGEST_LINE = 1 << 20


class HDF5Error(ValueError):
    """A file that is no HDF5, is damaged, or holds something else than what was asked for."""


def read_hdf5(path: str | Path, arrays: Sequence[str], texts: Sequence[str] = ()) -> dict[str, Any]:
    """Arrays of numbers and texts by their paths in the file, `data/conv1/0`.

    Args:
        arrays: what to read; of a group, which has a slash at its end, all that are in and below it.
        texts: single texts; read up to their first NUL, bytes that are no UTF-8 kept as surrogates.

    Raises:
        HDF5Error: the file is damaged, or what is asked for is not in it.
    """
    if find_spec("h5py") is None:
        raise ModuleNotFoundError("No module named 'h5py'", name="h5py")
    worker = calling("converters.hdf5_worker", [path, json.dumps([[*arrays], [*texts]])])
    process = subprocess.Popen(**worker, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    timer = Timer(_SECONDS + os.path.getsize(path) / _SLOWEST, process.kill)
    timer.start()
    try:
        return dict(_items(process.stdout))
    except (ValueError, LookupError, TypeError, MemoryError) as error:
        if isinstance(error, HDF5Error):
            raise
        raise HDF5Error("the HDF5 library comes to no end with it, or fails") from error
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


def _items(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """What the process writes: a line of JSON about each item, followed by the values of an array."""
    while line := json.loads(stream.readline(_LONGEST_LINE)):
        if "error" in line:
            raise HDF5Error(line["error"])
        if "text" in line:
            yield line["name"], line["text"]
            continue
        array = np.empty(line["shape"], line["dtype"])
        if array.dtype.kind not in "fiu" or stream.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
            raise ValueError("the array ends too early")
        yield line["name"], array
