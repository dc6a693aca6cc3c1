"""The walk over protobuf's wire format, against protobuf itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.wire import FIXED32, FIXED64, LENGTH, VARINT, WireError, fields, header, read_varint, varint
from prototxt import schema


def walk(data: bytes) -> list[tuple]:
    return list(fields(data, 0, len(data)))


@pytest.mark.parametrize(
    "value, data",
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (2**63, b"\x80" * 9 + b"\x01"),
    ],
)
def test_varint(value, data):
    assert varint(value) == data
    assert read_varint(b"!" + data + b"!", 1, len(data) + 1) == (value, len(data) + 1)


@given(st.integers(0, 2**64 - 1))
def test_varint_comes_back(value):
    assert read_varint(varint(value), 0, 10) == (value, len(varint(value)))


def test_header_is_the_one_protobuf_writes():
    for size in (0, 1, 127, 128, 70_000):
        layer = schema.LayerParameter(name="x" * size)
        assert layer.SerializeToString() == header(1, size) + b"x" * size
        net = schema.NetParameter(layer=[layer])
        body = layer.SerializeToString()
        assert net.SerializeToString() == header(100, len(body)) + body


def test_every_wire_type():
    data = b"\x08\x96\x01" + b"\x11" + bytes(range(8)) + b"\x1a\x03abc" + b"\x25" + bytes(range(4))
    assert walk(data) == [(1, VARINT, 150, 3), (2, FIXED64, 4, 12), (3, LENGTH, 14, 17), (4, FIXED32, 18, 22)]


def test_span_within_other_bytes():
    assert list(fields(b"??\x1a\x03abc??", 2, 7)) == [(3, LENGTH, 4, 7)]
    assert list(fields(b"??", 1, 1)) == []


@pytest.mark.parametrize(
    "data, message",
    [
        (b"\x80", "a number is cut short"),
        (b"\x08", "a number is cut short"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "a number has more than ten bytes"),
        (b"\x1a\x03ab", "it is cut short: 3 bytes are announced where 2 are left"),
        (b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "9,223,372,036,854,775,807 bytes are announced where 0 are left"),
        (b"\x11abc", "it is cut short: 8 bytes are announced where 3 are left"),
        (b"\x25abc", "it is cut short: 4 bytes are announced where 3 are left"),
        (b"\x0b", "byte 0 begins no field"),
        (b"\x08\x01\x0c", "byte 2 begins no field"),
        (b"\x02\x00", "begins no field"),
    ],
)
def test_bytes_that_are_no_message(data, message):
    with pytest.raises(WireError, match=message):
        walk(data)


@given(st.binary(max_size=64))
def test_any_bytes_give_fields_or_a_wire_error(data):
    try:
        found = walk(data)
    except WireError:
        return
    ends = [end for *_, end in found]
    assert ends == sorted(set(ends)) and (not data or ends[-1] == len(data))
