"""Long lists that stay on disk."""

from __future__ import annotations

import tracemalloc

import pytest

from annoset.lines import Joined, Lines
from prototxt.errors import UserError


def lines(path):
    return Lines(path, lambda text, where: (text, where), "list of images")


def test_lines_and_their_numbers(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffä b\r\n\r\n \t\n c ☃ \nlast".encode())
    found = lines(path)
    assert list(found) == [("ä b", f"{path}:1"), ("c ☃", f"{path}:4"), ("last", f"{path}:5")]
    assert len(found) == 3 and found[-1] == found[2] and found[1:] == [found[1], found[2]]
    with pytest.raises(IndexError):
        found[3]


def test_a_million_lines_take_little_memory(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("VOC2007/JPEGImages/000001.jpg\n" * 200_000)
    tracemalloc.start()
    found = lines(path)
    assert found[199_999][1] == f"{path}:200000"
    assert tracemalloc.get_traced_memory()[0] < 200_000 * 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("raw", "message"), [(b"\n \n", "the list of images is empty"), (b"\xff", "the list of images is not UTF-8 text")]
)
def test_bad_lists(tmp_path, raw, message):
    (tmp_path / "a.txt").write_bytes(raw)
    with pytest.raises(UserError, match=message):
        lines(tmp_path / "a.txt")


def test_lists_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"a\.txt: there is no such file"):
        lines(tmp_path / "a.txt")
    with pytest.raises(UserError, match="cannot be read: "):
        lines(tmp_path)


def test_joined():
    joined = Joined([[1, 2], [], (3,), range(4, 7)])
    assert list(joined) == [1, 2, 3, 4, 5, 6] and len(joined) == 6
    assert [joined[index] for index in (0, 2, 5, -1, -6)] == [1, 3, 6, 6, 1] and joined[1:4] == [2, 3, 4]
    with pytest.raises(IndexError):
        joined[6]
    assert list(Joined([])) == []
