"""Label maps."""

from __future__ import annotations

import pytest

from prototxt.errors import UserError
from prototxt.labelmap import class_labels, display_names, labelmap_text

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
    assert labelmap_text(LABELS) == TEXT


def test_reading_leaves_the_background_out(tmp_path):
    path = tmp_path / "map.prototxt"
    path.write_text(TEXT, "utf-8")
    assert class_labels(path) == LABELS
    path.write_text('item { name: "dog" label: 7 }\nitem { label: 0 name: "background" }')
    assert class_labels(path) == {"dog": 7}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('item { name: "a" }', 'map:1: the class "a" has no label; expected one of 0 or more'),
        ("item { label: 1 }", 'map:1: the item has no name; expected name: "CLASS"'),
        ('item { name: "a" label: -1 }', 'map:1: the class "a" has label -1; expected one of 0 or more'),
        ('item { name: "a" label: 1 }\nitem { name: "a" label: 2 }', 'map:2: the class "a" is listed twice'),
        (
            'item { name: "a" label: 1 }\nitem { name: "b" label: 1 }',
            'map:2: label 1 is given to "a" and to "b"; expected a label for each class',
        ),
        (
            'item { name: "a" label: 0 }',
            'map:1: label 0 is the class "a"; expected the background there, called "background"',
        ),
        ('item { name: "background" label: 0 }', "map: there is no class besides the background"),
        ("", "map: there is no class besides the background"),
        ('item { nam: "a" }', "map:1:8: "),
    ],
)
def test_mistakes(tmp_path, monkeypatch, text, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map").write_text(text)
    with pytest.raises(UserError) as error:
        class_labels("map")
    assert str(error.value).startswith(expected)


def test_names_to_show(tmp_path):
    (tmp_path / "map").write_text(TEXT, "utf-8")
    assert display_names(tmp_path / "map") == {0: "background", 1: "cat", 2: "Kätzchen"}
