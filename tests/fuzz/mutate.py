"""Damage that a file can have: cut, doubled, swapped, overwritten; numbers that lie; words of other files."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from random import Random

from prototxt import schema
from prototxt.shapes import SHAPES

_LONGEST = 1 << 20  # bytes of a damaged file
_NUMBERS = [0, 1, -1, 2, 7, 127, 128, 255, 256, 65_535, 65_536, 10**9]
_NUMBERS += [sign * 2**bits + less for bits in (31, 32, 63) for sign, less in ((1, 0), (1, -1), (-1, 0))]
_SIZES = [*_NUMBERS, 3, 4, 5, 8, 16, 0.5, -0.5, 1e-9, 1e38]
_SIGNS = "{ } [ ] < > : ; , # - & * ! | % @ \" ' ²"
_WORDS = [*_SIGNS.split(), *"true false null nan inf -inf 1e38 1e-45 0x7fffffff 017 2001-99-99 .inf".split()]  # noqa: SIM905
_WORDS += ["9" * 30, "9" * 5000, "1." + "3" * 400, "- 1", "\x00", "\ufeff", "layer {", "layers {", 'input: "x"']
_WORDS += ['""', '"../../x"', '"/etc/x"', '"[/b]"', '"\\n"', '"\\377"', '"a.b"', "'\\x00'", '"é"', '"data"', '"²"']
_TOKEN = re.compile(rb"\"[^\"\n]*\"|'[^'\n]*'|[A-Za-z_]\w*|-?[0-9][\w.+-]*|\s+|.", re.DOTALL)
_FIELD = re.compile(rb"(?:(?<=[\s{])|^)([a-z_]\w*)\s*:\s*(-?[0-9.]+[\w.+-]*|\"[^\"]*\"|[A-Z_]+)")

Way = Callable[[bytes, Random, Sequence[bytes]], bytes]


def mutated(data: bytes, random: Random, others: Sequence[bytes], *, text: bool) -> bytes:
    """`data` with up to eight pieces of damage, of one megabyte at most.

    Args:
        others: whole files to take pieces from.
        text: whether words and numbers are damaged besides bytes.
    """
    ways = _TEXT_WAYS if text else _BINARY_WAYS
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        data = random.choice(ways)(data, random, others)[:_LONGEST]
    return data


def _flip(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _remove(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, random)
    return data[:end] + data[start:end] * random.choice((1, 2, 30, 1000)) + data[end:]


def _overwrite(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    piece = random.choice((_varint, _fixed32, _fixed64, _byte))(random.choice(_NUMBERS), random)
    at = random.randrange(len(data) + 1)
    return data[:at] + piece + data[at + (len(piece) if random.random() < 0.8 else 0) :]


def _splice(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    other = random.choice(others)
    start, end = _span(other, random)
    at = random.randrange(len(data) + 1)
    return data[:at] + other[start:end] + data[at + random.randrange(2) * (end - start) :]


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 50, 1000)))


def _varint(value: int, _: Random) -> bytes:
    value, out = value % 2**64, bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _fixed32(value: int, random: Random) -> bytes:
    return struct.pack(random.choice("<>") + "I", value % 2**32)


def _fixed64(value: int, random: Random) -> bytes:
    return struct.pack(random.choice("<>") + "Q", value % 2**64)


def _byte(value: int, _: Random) -> bytes:
    return bytes([value % 256])


def _token(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Another word or number for one of the text's."""
    spans = [match.span() for match in _TOKEN.finditer(data)]
    if not spans:
        return data
    start, end = random.choice(spans)
    return data[:start] + _word(random) + data[end:]


def _word(random: Random) -> bytes:
    kind = random.randrange(4)
    if kind == 0:
        return str(random.choice(_NUMBERS)).encode()
    if kind == 1:
        return _type(random)
    if kind == 2:
        return _new_field(random)
    return random.choice(_WORDS).encode()


def _type(random: Random) -> bytes:
    return f'"{random.choice(list(SHAPES))}"'.encode()


def _new_field(random: Random) -> bytes:
    """A field of some layer parameter, which may or may not fit there."""
    field = random.choice(schema.LayerParameter.DESCRIPTOR.fields)
    while field.message_type and random.random() < 0.6:
        field = random.choice(field.message_type.fields)
    return f"{field.name}: {random.choice(_NUMBERS)} ".encode()


def _value(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Another value of the same kind for one of the text's fields."""
    found = list(_FIELD.finditer(data))
    if not found:
        return data
    match = random.choice(found)
    if match[2].startswith(b'"'):
        names = [other[2] for other in found if other[2].startswith(b'"')]
        new = random.choice(names) if random.random() < 0.7 else _type(random)
    else:
        new = str(random.choice(_SIZES)).encode()
    return data[: match.start(2)] + new + data[match.end(2) :]


def _nest(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """A piece within thousands of brackets."""
    start, end = _span(data, random)
    opening, closing = random.choice((b"[]", b"{}", b"<>")).decode()
    depth = random.choice((3, 100, 5000))
    piece = (opening * depth).encode() + data[start:end] + (closing * depth).encode()
    return data[:start] + piece + data[end:]


def _move_line(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    source = random.choice(others).split(b"\n") if random.random() < 0.3 else lines
    line = random.choice(source)
    if source is lines and random.random() < 0.5:
        lines.remove(line)
    lines.insert(random.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


_BINARY_WAYS: list[Way] = [_flip, _flip, _cut, _remove, _repeat, _overwrite, _overwrite, _splice]
_TEXT_WAYS: list[Way] = [_flip, _cut, _remove, _repeat, _splice, _nest, *(_token,) * 3, *(_value,) * 8]
_TEXT_WAYS += (_move_line,) * 3
