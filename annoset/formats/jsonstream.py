"""JSON files of any size, an element at a time, each with the line and column at which it begins."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prototxt.errors import UserError

_CHUNK = 1 << 20  # characters read at once
# A value that the chunk's end cuts shows as an error just before it: at "tru", "-Infinit", "1e+" or "\u12". Only in a
# string that is cut the error is where the string begins.
_CUT = 16
_UNFINISHED_STRING = "Unterminated string"
_SHOWN = 60
Watch = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Element:
    """A value of a JSON file.

    Attributes:
        key: of the top-level object's member that the value is, or is an element of.
        value: as `json` reads it.
        line, column: where it begins, from 1.
    """

    key: str
    value: Any
    line: int
    column: int


def read_elements(path: Path, watch: Watch = lambda items, _: items) -> Iterator[Element]:
    """The members of a file's top-level object; of a member that is an array, its elements.

    What is held in memory is one element and a megabyte of text.

    Args:
        watch: passes items on, here the megabytes of the file, and shows how far they are.

    Raises:
        UserError: the file cannot be read, is no JSON, or its top-level value is no object; with the line and column.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            chunks = iter(watch(range(path.stat().st_size // _CHUNK + 1), f"reading {path.name}"))
            yield from _Stream(path, lambda size: (next(chunks, None), file.read(size))[1]).members()
            deque(chunks, 0)
    except UnicodeDecodeError as error:
        raise UserError(f"this is not UTF-8 text: {error.reason}", where=str(path), expected="JSON") from error
    except OSError as error:
        found = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise UserError(found, where=str(path)) from error


class _Stream:
    """A window on a file's text; `at` is a place in it."""

    def __init__(self, path: Path, read: Callable[[int], str]) -> None:
        self._path, self._read_text = path, read
        self._text, self.at = "", 0
        self._lines, self._columns = 0, 0  # before the window
        self._counted = 0  # of the window's text, up to which lines were counted
        self._decode = json.JSONDecoder().raw_decode

    def members(self) -> Iterator[Element]:
        self._take("{", "an object, as COCO's annotations are")
        if self._next() == "}":
            return
        while True:
            key = self._value()
            if not isinstance(key, str):
                raise self._error("the key is no string", '"key"')
            self._take(":", '":"')
            if self._next() == "[":
                yield from self._elements(key)
            else:
                yield self._element(key)
            if self._take(",}", '"," or "}"') == "}":
                return

    def _elements(self, key: str) -> Iterator[Element]:
        self.at += 1
        if self._next() == "]":
            self.at += 1
            return
        while True:
            yield self._element(key)
            if self._take(",]", '"," or "]"') == "]":
                return

    def _element(self, key: str) -> Element:
        self._next()
        line, column = self._place()
        return Element(key, self._value(), line, column)

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decode(self._text, self.at)
                # A number may go on beyond the window.
                if end < len(self._text) or not self._read():
                    self.at = end
                    return value
            except RecursionError as error:
                raise self._error("brackets are nested too deep", "") from error
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _CUT or error.msg.startswith(_UNFINISHED_STRING)
                if not (cut and self._read()):
                    self.at = min(error.pos, len(self._text))
                    raise self._error(error.msg, "") from error
            except ValueError as error:  # Python's limit
                raise self._error("a number has thousands of digits", "") from error

    def _next(self) -> str:
        """The next character that is not space; "" at the end."""
        while True:
            while self.at < len(self._text):
                if not self._text[self.at].isspace():
                    return self._text[self.at]
                self.at += 1
            if not self._read():
                return ""

    def _take(self, known: str, expected: str) -> str:
        character = self._next()
        if not character or character not in known:
            raise self._error(f'found "{character}"' if character else "the file ends too early", expected)
        self.at += 1
        return character

    def _read(self) -> bool:
        """Move the window on by a chunk, or by as much as it is long; whether there was more text."""
        more = self._read_text(max(_CHUNK, len(self._text)))
        if more:
            self._place()
            self._text = self._text[self.at :] + more
            self.at = self._counted = 0
        return bool(more)

    def _place(self) -> tuple[int, int]:
        """Line and column of `at`."""
        newlines = self._text.count("\n", self._counted, self.at)
        if newlines:
            self._lines += newlines
            self._columns = self.at - self._text.rfind("\n", self._counted, self.at) - 1
        else:
            self._columns += self.at - self._counted
        self._counted = self.at
        return self._lines + 1, self._columns + 1

    def _error(self, found: str, expected: str) -> UserError:
        line, column = self._place()
        snippet = self._text[self.at : self.at + _SHOWN].partition("\n")[0]
        where = f"{self._path}:{line}:{column}"
        return UserError(f"broken JSON: {found}", where=where, expected=expected, snippet=snippet)
