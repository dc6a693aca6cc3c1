"""Protobuf's wire format, walked field by field without building messages.

A caffemodel is a few hundred small fields around a few hundred megabytes of packed floats. protobuf would copy
the floats into its own message and hand them out one Python object at a time; a walk finds where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


class WireError(ValueError):
    """Bytes that are no message, or a message cut short."""


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(value, offset after it) of the varint at `at`."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise WireError("a number is cut short" if at >= end else "a number has more than ten bytes")


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, first, last + 1) of each field of the message in data[start:end].

    For LENGTH and fixed fields the span is that of the value's bytes; a varint's value stands in `first`.

    Raises:
        WireError: a field reaches beyond the message, or is of no known wire type.
    """
    at = start
    while at < end:
        key, at = read_varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = read_varint(data, at, end)
            yield number, wire, value, at
            continue
        if wire == LENGTH:
            size, at = read_varint(data, at, end)
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise WireError(f"byte {at - 1} begins no field")
        if number == 0:
            raise WireError(f"byte {at - 1} begins no field")
        if at + size > end:
            raise WireError(f"it is cut short: {size:,} bytes are announced where {end - at:,} are left")
        yield number, wire, at, at + size
        at += size


def varint(value: int) -> bytes:
    """`value` (not negative) as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(number: int, size: int) -> bytes:
    """What stands before `size` bytes of a message, string or packed field."""
    return varint(number << 3 | LENGTH) + varint(size)
