"""Label maps."""

from __future__ import annotations

import pytest

from annoset.labelmap import label_map_text, read_labels
from prototxt.errors import UserError

# As SSD-Caffe's scripts write it.
TEXT = """item {
  name: "none_of_the_above"
  label: 0
  display_name: "background"
}
item {
  name: "cat"
  label: 1
  display_name: "cat"
}
item {
  name: "Kätzchen"
  label: 2
  display_name: "Kätzchen"
}
"""
LABELS = {"cat": 1, "Kätzchen": 2}


def test_text_of_a_label_map():
    assert label_map_text(LABELS) == TEXT


def test_reading_leaves_the_background_out(tmp_path):
    path = tmp_path / "map.prototxt"
    path.write_text(TEXT, "utf-8")
    assert read_labels(path) == LABELS
    path.write_text('item { name: "dog" label: 7 }\nitem { label: 0 name: "background" }')
    assert read_labels(path) == {"dog": 7}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('item { name: "a" }', "map:1: the item lacks a name, or a label of 0 or more"),
        ("item { label: 1 }", "map:1: the item lacks a name, or a label of 0 or more"),
        ('item { name: "a" label: -1 }', "map:1: the item lacks a name, or a label of 0 or more"),
        ('item { name: "a" label: 1 }\nitem { name: "a" label: 2 }', 'map:2: the class "a" is listed twice'),
        (
            'item { name: "a" label: 1 }\nitem { name: "b" label: 1 }',
            'map:2: the class "b" has the label 1, which another has already; expected a label for each class',
        ),
        ('item { name: "a" label: 0 }', 'map:1: the class "a" has the label 0; expected the background there'),
        ('item { name: "background" label: 0 }', "map: the label map lists no class"),
        ("", "map: the label map lists no class"),
        ('item { nam: "a" }', "map:1:8: "),
    ],
)
def test_mistakes(tmp_path, monkeypatch, text, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map").write_text(text)
    with pytest.raises(UserError) as error:
        read_labels("map")
    assert str(error.value).startswith(expected)
