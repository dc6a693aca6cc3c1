"""JSON an element at a time, against the standard library's reading of the whole."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from annoset.formats import jsonstream
from annoset.formats.jsonstream import read_elements
from prototxt.errors import UserError

DATA = {
    "info": {"year": 2014, "parts": [1, 2.5, None]},
    "number": -12.5e3,
    "empty": [],
    "text": 'ä "quoted" \\ \u2028 ☃',
    "images": [{"id": number, "name": f"ä{number}"} for number in range(30)],
    "mixed": [1, "two", [3, [4]], {"five": 6}, True, None, 7e-7],
    "last": False,
}


def gather(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in read_elements(path):
        if isinstance(DATA.get(element.key), list):
            found.setdefault(element.key, []).append(element.value)
        else:
            found[element.key] = element.value
    return found


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_elements_however_the_text_is_cut(tmp_path, monkeypatch, chunk, indent, ascii_only):
    monkeypatch.setattr(jsonstream, "_CHUNK", chunk)
    (tmp_path / "a.json").write_text(json.dumps(DATA, indent=indent, ensure_ascii=ascii_only), "utf-8")
    assert gather(tmp_path / "a.json") == {key: value for key, value in DATA.items() if value != []}


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
def test_where_elements_begin(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(jsonstream, "_CHUNK", chunk)
    (tmp_path / "a.json").write_text('{"a": [1,  {"b": 2},\n\n  3],\n "c": [[\n]], "d":4}')
    places = [(one.key, one.value, one.line, one.column) for one in read_elements(tmp_path / "a.json")]
    assert places == [("a", 1, 1, 8), ("a", {"b": 2}, 1, 12), ("a", 3, 3, 3), ("c", [], 4, 8), ("d", 4, 5, 9)]


def test_a_byte_order_mark_and_an_empty_object(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf{ }\n")
    assert list(read_elements(tmp_path / "a.json")) == []


BROKEN = [
    ("[1, 2]", 'a.json:1:1: broken JSON: found "["; expected an object, as COCO\'s annotations are'),
    ("", "a.json:1:1: broken JSON: the file ends too early; expected an object"),
    ('{"a": [1,\n 2', 'a.json:2:3: broken JSON: the file ends too early; expected "," or "]"'),
    ('{"a": [1,\n {"b" 2}]}', "a.json:2:7: broken JSON: Expecting ':' delimiter"),
    ('{"a": tru}', "a.json:1:7: broken JSON: Expecting value"),
    ('{"a": "never ends}', "a.json:1:7: broken JSON: Unterminated string starting at"),
    ('{"a": 1 "b": 2}', 'a.json:1:9: broken JSON: found """; expected "," or "}"'),
    ("{1: 2}", 'a.json:1:3: broken JSON: the key is no string; expected "key"'),
    ('{"a" 2}', 'a.json:1:6: broken JSON: found "2"; expected ":"'),
]


@pytest.mark.parametrize("chunk", [3, 1 << 20])
@pytest.mark.parametrize(("text", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken_files(tmp_path, monkeypatch, chunk, text, message):
    monkeypatch.setattr(jsonstream, "_CHUNK", chunk)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError) as error:
        list(read_elements(tmp_path / "a.json"))
    assert message in str(error.value).replace(f"{tmp_path}/", "")


def test_brackets_nested_too_deep(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [' + "[" * 100_000 + "]" * 100_000 + "]}")
    with pytest.raises(UserError, match=r"a\.json:1:8: broken JSON: brackets are nested too deep"):
        list(read_elements(tmp_path / "a.json"))


def test_the_mistake_is_shown(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1,\n {"b" 2}]\n}')
    with pytest.raises(UserError) as error:
        list(read_elements(tmp_path / "a.json"))
    assert str(error.value).endswith("a.json:2:7: broken JSON: Expecting ':' delimiter\n2}]")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"a\.json: there is no such file"):
        list(read_elements(tmp_path / "a.json"))
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        list(read_elements(tmp_path))
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UserError, match=r"a\.json: this is not UTF-8 text"):
        list(read_elements(tmp_path / "a.json"))


def test_a_mistake_in_the_midst_is_found_without_reading_on(tmp_path):
    """The rest of the file is not gathered in memory to see whether it mends the mistake."""
    with (tmp_path / "a.json").open("w") as file:
        file.write('{"a": [1, oops, ')
        for _ in range(40):
            file.write("1, " * (1 << 18))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"a\.json:1:11: broken JSON: Expecting value"):
        list(read_elements(tmp_path / "a.json"))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(tmp_path):
    with (tmp_path / "a.json").open("w") as file:
        file.write('{"a": [0')
        for number in range(4_000):
            file.write(f', {{"id": {number}, "counts": "{"x" * 4_000}", "bbox": [1.5, 2]}}')
        file.write("]}")
    assert (tmp_path / "a.json").stat().st_size > 15 << 20
    tracemalloc.start()
    assert sum(1 for _ in read_elements(tmp_path / "a.json")) == 4_001
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()


def test_progress_is_shown_in_megabytes(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [' + f'"{"x" * 50_000}", ' * 63 + "2]}")
    seen = []

    def watch(items, what):
        for item in items:
            seen.append((item, len(items), what))
            yield item

    list(read_elements(tmp_path / "a.json", watch))
    assert seen == [(number, 4, "reading a.json") for number in range(4)]
