"""Protobuf's text format, read with positions: every error can point at its line and column.

protobuf's own reader forgets where a field stood as soon as it is read; a net of 400 layers is
only mendable when a wrong shape, found much later, still names the line. Syntax accepted: that of
`google.protobuf.TextFormat` less extensions and `Any` (Caffe's schema has neither).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.text_encoding import CUnescape

from prototxt.errors import UserError, nearest

_TOKEN = re.compile(
    r"""(?:[\s]+|\#[^\n]*)*                      # blanks and comments, skipped
        (?: (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
          | (?P<mark>[{}<>:;,\[\]])
          | (?P<word>-?\s*[^\s{}<>:;,\[\]\#"']+)
          | (?P<end>\Z) )""",
    re.VERBOSE,
)
_MAX_DEPTH = 64  # Caffe's deepest message is 6; a file that goes on is an attack or an accident
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
}
_BOOLEANS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}

Path = tuple[str | int, ...]


@dataclass
class Parsed:
    """A message and where its parts stood.

    Attributes:
        message: the message read.
        path: the file's name, for error messages.
        lines: line (from 1) of each field, by its path: `("layer", 3, "name")`. Repeated fields
            have their index in the path, others not.
    """

    message: Any
    path: str
    lines: dict[Path, int] = field(default_factory=dict)

    def where(self, *path: str | int) -> str:
        """`FILE:LINE` of the field at `path`, or of the nearest enclosing one that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.path}:{self.lines[path]}" if path else self.path


def parse(text: str, message: Message, path: str = "<text>") -> Parsed:
    """Read `text` into `message`.

    Raises:
        UserError: with `PATH:LINE:COLUMN`, the offending line and, for a misspelt field or enum
            value, the nearest known one.
    """
    reader = _Reader(text.removeprefix("\ufeff"), path)
    reader.fields(message, (), closing="")
    return Parsed(message, path, reader.lines)


class _Reader:
    """A cursor over the text. `kind`, `token` and `at` describe the token under it."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path = text, path
        self.lines: dict[Path, int] = {}
        self.next_at, self.line, self.counted = 0, 1, 0
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.next_at)
        if match is None:
            at = _skip_blanks(self.text, self.next_at)
            self.fail("this string is not closed on its line" if self.text[at] in "\"'" else "cannot be read", at)
        self.kind = match.lastgroup
        self.token = match[self.kind]
        self.at, self.next_at = match.start(self.kind), match.end()

    def fail(self, found: str, at: int | None = None, *, expected: str = "") -> NoReturn:
        """Raise UserError that points at the offset `at` (the current token's by default)."""
        at = self.at if at is None else at
        start = self.text.rfind("\n", 0, at) + 1
        line = self.text[start:].split("\n", 1)[0].rstrip("\r")
        number, column = self.text.count("\n", 0, at) + 1, at - start + 1
        shown = line[:200].replace("\t", " ")
        snippet = f"    {shown}\n    {' ' * min(column - 1, 200)}^"
        raise UserError(found, where=f"{self.path}:{number}:{column}", expected=expected, snippet=snippet)

    def line_here(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def accept(self, mark: str) -> bool:
        if self.kind == "mark" and self.token == mark:
            self.advance()
            return True
        return False

    def fields(self, message: Message, path: Path, closing: str) -> None:
        """Read `field: value` and `field { … }` until `closing` (`}`, `>`, or the file's end)."""
        known = message.DESCRIPTOR.fields_by_name
        opened = self.line
        while True:
            if self.kind == "end":
                if closing:
                    self.fail(
                        f"the file ends inside {path[-1] if isinstance(path[-1], str) else path[-2]} "
                        f"opened on line {opened}",
                        expected=f'"{closing}"',
                    )
                return
            if closing and self.accept(closing):
                return
            if self.kind != "word":
                self.fail(f"unexpected {self.token!r}", expected=f"a field of {message.DESCRIPTOR.name}")
            spec = known.get(self.token)
            if spec is None:
                self.fail(f'{message.DESCRIPTOR.name} has no field "{self.token}"{nearest(self.token, known.keys())}')
            self.one_field(message, spec, path)
            if not self.accept(","):
                self.accept(";")

    def one_field(self, message: Message, spec: FieldDescriptor, path: Path) -> None:
        name, name_at, line = spec.name, self.at, self.line_here()
        if not spec.is_repeated and message.HasField(name):
            self.fail(f'"{name}" is given twice, first on line {self.lines[(*path, name)]}; it can have one value')
        self.advance()
        colon = self.accept(":")
        if not colon and spec.message_type is None:
            self.fail(f'"{name}" needs a value', expected=f'"{name}: VALUE"')
        if spec.is_repeated and self.accept("["):
            while not self.accept("]"):
                self.value(message, spec, path, line)
                if not self.accept(",") and not (self.kind == "mark" and self.token == "]"):
                    self.fail(f"unexpected {self.token!r} in the list of {name}", expected='"," or "]"')
            return
        self.value(message, spec, path, line, name_at)

    def value(self, message: Message, spec: FieldDescriptor, path: Path, line: int, name_at: int | None = None) -> None:
        name = spec.name
        path = (*path, name, len(getattr(message, name))) if spec.is_repeated else (*path, name)
        self.lines[path] = line
        if spec.message_type is not None:
            if len(path) > _MAX_DEPTH:
                self.fail(f"nested more than {_MAX_DEPTH} deep")
            opening = self.token if self.kind == "mark" else ""
            if opening not in ("{", "<"):
                self.fail(f'"{name}" is a message', expected='"{" after its name')
            self.advance()
            inner = getattr(message, name)
            if spec.is_repeated:
                inner = inner.add()
            else:
                inner.SetInParent()
            self.fields(inner, path, "}" if opening == "{" else ">")
        elif spec.is_repeated:
            getattr(message, name).append(self.scalar(spec))
        else:
            setattr(message, name, self.scalar(spec))

    def scalar(self, spec: FieldDescriptor) -> Any:
        if spec.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self.string(spec)
        if self.kind != "word":
            self.fail(f"unexpected {self.token or 'end of file'!r}", expected=f'a value of "{spec.name}"')
        word, at = self.token.replace(" ", ""), self.at
        self.advance()
        if spec.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return self.enum(spec, word, at)
        if spec.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            if word not in _BOOLEANS:
                self.fail(f'"{spec.name}" cannot be "{word}"', at, expected="true or false")
            return _BOOLEANS[word]
        if spec.cpp_type in _INTEGERS:
            return self.integer(spec, word, at)
        try:
            return float(word.rstrip("fF") if "inf" not in word.lower() else word)
        except ValueError:
            self.fail(f'"{spec.name}" cannot be "{word}"', at, expected="a number")

    def integer(self, spec: FieldDescriptor, word: str, at: int) -> int:
        low, high = _INTEGERS[spec.cpp_type]
        digits = word.lstrip("-")
        octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
        try:
            number = int(word, 8 if octal else 0)
        except ValueError:
            self.fail(f'"{spec.name}" cannot be "{word}"', at, expected="a whole number")
        if not low <= number <= high:
            self.fail(f'"{spec.name}" cannot be {number}', at, expected=f"a number from {low} to {high}")
        return number

    def enum(self, spec: FieldDescriptor, word: str, at: int) -> int:
        values = spec.enum_type.values_by_name
        if word in values:
            return values[word].number
        if word.isdigit() and int(word) in spec.enum_type.values_by_number:
            return int(word)
        self.fail(
            f'"{spec.name}" cannot be "{word}"{nearest(word, values.keys())}',
            at,
            expected="one of " + ", ".join(values.keys()),
        )

    def string(self, spec: FieldDescriptor) -> str | bytes:
        if self.kind != "string":
            self.fail(f'"{spec.name}" cannot be {self.token or "empty"}', expected="a string in quotes")
        raw = b""
        while self.kind == "string":  # neighbours join, as in C
            raw += CUnescape(self.token[1:-1])
            self.advance()
        return raw if spec.type == FieldDescriptor.TYPE_BYTES else raw.decode("utf-8", "surrogateescape")


def _skip_blanks(text: str, at: int) -> int:
    return re.compile(r"(?:\s+|#[^\n]*)*").match(text, at).end()
