"""Protobuf's text format, read with positions: every error can point at its line and column.

protobuf's own reader forgets where a field stood as soon as it is read; a net of 400 layers is
only mendable when a wrong shape, found much later, still names the line. Syntax accepted: that of
`google.protobuf.TextFormat` less extensions and `Any` (Caffe's schema has neither).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from prototxt.errors import UserError, UserErrors, nearest

_BLANKS = re.compile(r"(?:\s+|#[^\n]*)*")  # a pattern of its own: in front of the tokens it would try all ways to split
_TOKEN = re.compile(
    r"""(?: (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
          | (?P<mark>[{}<>:;,\[\]])
          | (?P<word>-?\s*[^\s{}<>:;,\[\]\#"']+)
          | (?P<end>\Z) )""",
    re.VERBOSE,
)
_INTEGER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?f?|inf(?:inity)?|nan)", re.IGNORECASE)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_LETTERS = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?"))
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
}
_BOOLEANS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}

_MOST_UNKNOWN = 1000  # fields that are not known; a file with more is something else
_MOST_LINES = 10  # on which the same unknown field stands, in a message
_FIX = "take it out if the result does not depend on it; the fields of forks that are known: docs/compatibility.md"
_LONGEST_NUMBER = 100  # digits of a whole number, leading zeros included
_SHOWN = 60  # characters of a word in a message

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


class UnknownFields(UserErrors):
    """Fields that the schema has not: misspelt ones, those of forks, parameters of layer types that it does not know.

    Attributes:
        parsed: the file without them.
        fields: the path of each, and its error.
    """

    def __init__(self, parsed: Parsed, fields: dict[Path, UserError]) -> None:
        self.parsed, self.fields = parsed, fields
        super().__init__(told_once(fields.values()))


def told_once(errors: Iterable[UserError]) -> list[UserError]:
    """An error for each unknown field among `errors`, however often it stands in the file; the last says what to do."""
    alike: dict[str, list[UserError]] = {}
    for error in errors:
        alike.setdefault(error.found, []).append(error)
    told, without_hint = [], None
    for first, *others in alike.values():
        error = UserError(first.found, where=first.where, snippet=first.snippet)
        if others:
            lines = ", ".join(other.where.rsplit(":", 2)[1] for other in others[:_MOST_LINES])
            error.found += f"; nor on the lines {lines}{' …' if len(others) > _MOST_LINES else ''}"
        told.append(error)
        without_hint = error if "did you mean" not in first.found else without_hint
    if without_hint:
        without_hint.fix = _FIX
    return told


def parse(text: str, message: Message, path: str = "<text>") -> Parsed:
    """Read `text` into `message`.

    Raises:
        UserError: with `PATH:LINE:COLUMN`, the offending line and, for a misspelt field or enum
            value, the nearest known one.
        UnknownFields: all fields that are not known, and nothing else is wrong.
    """
    reader = _Reader(text.removeprefix("\ufeff"), path)
    reader.fields(message, (), closing="")
    parsed = Parsed(message, path, reader.lines)
    if reader.unknown:
        raise UnknownFields(parsed, reader.unknown)
    return parsed


class _Reader:
    """A cursor over the text. `kind`, `token` and `at` describe the token under it."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path = text, path
        self.lines: dict[Path, int] = {}
        self.unknown: dict[Path, UserError] = {}
        self.next_at, self.line, self.counted = 0, 1, 0
        self.advance()

    def advance(self) -> None:
        start = _BLANKS.match(self.text, self.next_at).end()
        match = _TOKEN.match(self.text, start)
        if match is None:
            self.fail("this string is not closed on its line", start)
        self.kind = match.lastgroup
        self.token = match[self.kind]
        self.at, self.next_at = match.start(self.kind), match.end()

    def fail(self, found: str, at: int | None = None, *, expected: str = "") -> NoReturn:
        """Raise UserError that points at the offset `at` (the current token's by default)."""
        raise self.error(found, at, expected)

    def error(self, found: str, at: int | None = None, expected: str = "") -> UserError:
        """What `fail` raises."""
        at = self.at if at is None else at
        start = self.text.rfind("\n", 0, at) + 1
        number, column = self.text.count("\n", 0, at) + 1, at - start + 1
        first = max(0, column - 160)  # a binary file has lines of megabytes
        shown = self.text[start + first : start + first + 200].split("\n", 1)[0].rstrip("\r").replace("\t", " ")
        snippet = f"    {shown}\n    {' ' * (column - 1 - first)}^"
        return UserError(found, where=f"{self.path}:{number}:{column}", expected=expected, snippet=snippet)

    def unexpected(self) -> str:
        return "unexpected end of file" if self.kind == "end" else f"unexpected {_short(self.token)!r}"

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
                self.fail(self.unexpected(), expected=f"a field of {message.DESCRIPTOR.name}")
            spec = known.get(self.token) or _extension(message, self.token)
            if spec is None:
                self.unknown_field(message, path)
            else:
                self.one_field(message, spec, path)
            if not self.accept(","):
                self.accept(";")

    def unknown_field(self, message: Message, path: Path) -> None:
        """Note a field that is not known and read over its value."""
        name, known = self.token, message.DESCRIPTOR.fields_by_name.keys()
        error = self.error(f'{message.DESCRIPTOR.name} has no field "{_short(name)}"{nearest(name, known)}')
        if len(self.unknown) == _MOST_UNKNOWN:
            raise error
        self.unknown.setdefault((*path, name), error)
        self.advance()
        has_colon = self.accept(":")
        if self.kind == "mark" and self.token in ("{<[" if has_colon else "{<"):
            self.skip_brackets(name)
        elif has_colon and self.kind == "string":
            while self.kind == "string":
                self.advance()
        elif has_colon and self.kind == "word":
            self.advance()
        else:  # no value at all: this is no field, but something else than a prototxt
            raise error

    def skip_brackets(self, name: str) -> None:
        depth = 0
        while True:
            if self.kind == "end":
                self.fail(f"the file ends inside {_short(name)}", expected='"}"')
            if self.kind == "mark":
                depth += (self.token in "{<[") - (self.token in "}>]")
            self.advance()
            if not depth:
                return

    def one_field(self, message: Message, spec: FieldDescriptor, path: Path) -> None:
        name, line, repeated = spec.name, self.line_here(), _is_repeated(message, spec)
        if not repeated and _is_given(message, spec):
            self.fail(f'"{name}" is given twice, first on line {self.lines[(*path, name)]}; it can have one value')
        self.advance()
        colon = self.accept(":")
        if not colon and spec.message_type is None:
            self.fail(f'"{name}" needs a value', expected=f'"{name}: VALUE"')
        if repeated and self.accept("["):
            while not self.accept("]"):
                self.value(message, spec, path, self.line_here())
                if not self.accept(",") and not (self.kind == "mark" and self.token == "]"):
                    self.fail(f"{self.unexpected()} in the list of {name}", expected='"," or "]"')
            return
        self.value(message, spec, path, line)

    def value(self, message: Message, spec: FieldDescriptor, path: Path, line: int) -> None:
        name, repeated = spec.name, _is_repeated(message, spec)
        path = (*path, name, len(getattr(message, name))) if repeated else (*path, name)
        self.lines[path] = line
        if spec.message_type is not None:
            opening = self.token if self.kind == "mark" else ""
            if opening not in ("{", "<"):
                self.fail(f'"{name}" is a message', expected='"{" after its name')
            self.advance()
            inner = message.Extensions[spec] if spec.is_extension else getattr(message, name)
            if repeated:
                inner = inner.add()
            else:
                inner.SetInParent()
            self.fields(inner, path, "}" if opening == "{" else ">")
        elif repeated:
            getattr(message, name).append(self.scalar(spec))
        else:
            setattr(message, name, self.scalar(spec))

    def scalar(self, spec: FieldDescriptor) -> Any:
        if spec.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self.string(spec)
        if self.kind != "word":
            self.fail(self.unexpected(), expected=f'a value of "{spec.name}"')
        word, at = "".join(self.token.split()), self.at
        self.advance()
        if spec.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return self.enum(spec, word, at)
        if spec.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            if word not in _BOOLEANS:
                self.fail(f'"{spec.name}" cannot be "{_short(word)}"', at, expected="true or false")
            return _BOOLEANS[word]
        if spec.cpp_type in _INTEGERS:
            return self.integer(spec, word, at)
        if not _FLOAT.fullmatch(word):
            self.fail(f'"{spec.name}" cannot be "{_short(word)}"', at, expected="a number")
        return float(word if word[-3:].lower() == "inf" else word.rstrip("fF"))

    def integer(self, spec: FieldDescriptor, word: str, at: int) -> int:
        low, high = _INTEGERS[spec.cpp_type]
        if len(word) > _LONGEST_NUMBER or not _INTEGER.fullmatch(word):
            self.fail(f'"{spec.name}" cannot be "{_short(word)}"', at, expected="a whole number")
        octal = word.lstrip("-").startswith("0") and "x" not in word.lower()
        number = int(word, 8 if octal else 0)
        if not low <= number <= high:
            self.fail(f'"{spec.name}" cannot be {number}', at, expected=f"a number from {low} to {high}")
        return number

    def enum(self, spec: FieldDescriptor, word: str, at: int) -> int:
        values = spec.enum_type.values_by_name
        if word in values:
            return values[word].number
        number = int(word) if len(word) < _LONGEST_NUMBER and word.isdecimal() else -1
        if number < 2**31 and number in spec.enum_type.values_by_number:  # which looks at 32 bits alone
            return number
        self.fail(
            f'"{spec.name}" cannot be "{_short(word)}"{nearest(word, values.keys())}',
            at,
            expected="one of " + ", ".join(values.keys()),
        )

    def string(self, spec: FieldDescriptor) -> str | bytes:
        if self.kind != "string":
            self.fail(f'"{spec.name}" cannot be {_short(self.token) or "empty"}', expected="a string in quotes")
        raw, at = bytearray(), self.at
        while self.kind == "string":  # neighbours join, as in C
            try:
                raw += _ESCAPE.sub(_unescape, self.token[1:-1].encode())
            except ValueError as error:
                self.fail(f"{error} is not an escape of strings")
            self.advance()
        if spec.type == FieldDescriptor.TYPE_BYTES:
            return bytes(raw)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.fail(f'"{spec.name}" is not UTF-8 text', at)


def _short(word: str) -> str:
    return word if len(word) <= _SHOWN else f"{word[:_SHOWN]}…"


def _unescape(match: re.Match[bytes]) -> bytes:
    """The bytes of one escape of C++. Raises ValueError with the escape when there is no such one."""
    octal, hexadecimal, short, long, letter = match.groups()
    try:
        if letter:
            return bytes([_LETTERS[letter[0]]])
        if short or long:
            return chr(int(short or long, 16)).encode()
        return bytes([int(octal, 8) if octal else int(hexadecimal, 16)])
    except (KeyError, ValueError, OverflowError) as error:
        raise ValueError(match[0].decode(errors="replace")) from error


def _extension(message: Message, name: str) -> FieldDescriptor | None:
    """The extension of `message` called `name`: a message, to be written like the fields that it has of its own."""
    descriptor = message.DESCRIPTOR
    added = descriptor.file.pool.FindAllExtensions(descriptor) if descriptor.is_extendable else []
    return next((spec for spec in added if spec.name == name), None)


def _is_given(message: Message, spec: FieldDescriptor) -> bool:
    return message.HasExtension(spec) if spec.is_extension else message.HasField(spec.name)


def _is_repeated(message: Message, spec: FieldDescriptor) -> bool:
    if spec.is_extension:
        return False
    return hasattr(getattr(message, spec.name), "append")  # protobuf 6.31 renamed the descriptor's own answer
