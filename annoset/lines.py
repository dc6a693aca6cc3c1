"""Long lists that stay on disk: of a million images, 12 bytes each are held in memory."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Generic, TypeVar

from prototxt.errors import UserError

T = TypeVar("T")
MOST_MISTAKES = 100  # of a text that are told: one with more is something else, and has perhaps a million


class Lines(Sequence[T]):
    """The lines of a text file that are not blank, each made into an item when it is asked for.

    Args:
        make: (the line without the space around it, `FILE:LINE`) -> item.
        what: what the file is, for messages ("list of images").

    Raises:
        UserError: the file cannot be read, is not UTF-8, or has no such line.
    """

    def __init__(self, path: Path, make: Callable[[str, str], T], what: str) -> None:
        self._path, self._make = path, make
        self._offsets, self._numbers = array("Q"), array("L")
        try:
            self._file = path.open("rb")
            offset = 0
            for number, line in enumerate(self._file, 1):
                if _text(line).strip():
                    self._offsets.append(offset)
                    self._numbers.append(number)
                offset += len(line)
        except UnicodeDecodeError as error:
            raise UserError(f"the {what} is not UTF-8 text", where=str(path), fix="save it as UTF-8") from error
        except OSError as error:
            found = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            raise UserError(found, where=str(path)) from error
        if not self._offsets:
            raise UserError(f"the {what} is empty", where=str(path), expected="an image's name on each line")

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        self._file.seek(self._offsets[index])
        return self._make(_text(self._file.readline()).strip(), f"{self._path}:{self._numbers[index]}")


def _text(line: bytes) -> str:
    return line.decode("utf-8-sig")


class Joined(Sequence[T], Generic[T]):
    """Several sequences as one."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        index = range(len(self))[index]
        part = bisect_right(self._ends, index)
        return self._parts[part][index - self._ends[part]]  # counted from that part's end
