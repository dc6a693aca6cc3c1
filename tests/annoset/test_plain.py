"""SSD-Caffe's list files with each kind of annotation that its convert_annoset reads."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from annoset.classes import Classes
from annoset.database import Database
from annoset.formats.plain import read_list
from netgen.commands.lmdb import app
from prototxt.errors import UserError

XML = """<annotation><size><width>60</width><height>40</height></size>
<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
</annotation>"""
JSON = {
    "image": {"height": 40, "width": 60},
    "annotation": [
        {"category_id": 13, "bbox": [1.5, 2, 10, 20], "iscrowd": 1},
        {"category_id": 1, "bbox": [0, 0, 1, 1]},
    ],
}
CLASSES = {"xml": None, "json": Classes({"1": 1, "13": 12}), "txt": Classes({"dog": 3, "cat": 7})}


@pytest.fixture
def root(tmp_path) -> Path:
    for folder in ("images", "labels"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "root/images/a.jpg"), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "root/labels/a.xml").write_text(XML)
    (tmp_path / "root/labels/a.json").write_text(json.dumps(JSON, indent=1))
    (tmp_path / "root/labels/a.txt").write_text("7 1.7 2 30 40\n3 0 0 60 40\n\n")
    return tmp_path / "root"


def entries(root: Path, kind: str, line: str = "", **options):
    (root / "list.txt").write_text(line or f"images/a.jpg labels/a.{kind}\n")
    return read_list(root / "list.txt", root, kind, CLASSES[kind], **options)


def message(root: Path, kind: str, line: str = "") -> str:
    with pytest.raises(UserError) as error:
        entries(root, kind, line)[0].annotation()
    return str(error.value).replace(f"{root}/", "")


F = np.float32
OBJECTS = {
    "xml": [("cat", (1, 2, 30, 40), False)],
    "json": [("13", (1.5, 2, 11.5, 22), True), ("1", (0, 0, 1, 1), False)],
    "txt": [("cat", (F(1.7), 2, 30, 40), False), ("dog", (0, 0, 60, 40), False)],
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_kinds_of_annotations(root, kind):
    (entry,) = entries(root, kind)
    annotation = pickle.loads(pickle.dumps(entry)).annotation()
    assert [(one.name, one.corners, one.difficult) for one in annotation.objects] == OBJECTS[kind]
    assert (annotation.name, annotation.listed) == ("images/a.jpg", f"labels/a.{kind}")
    assert (annotation.height, annotation.width) == (40, 60)


def test_paths_with_spaces_are_parted_by_a_tab(root):
    (root / "images/a.jpg").rename(root / "images/a ☃.jpg")
    annotation = entries(root, "xml", "images/a ☃.jpg\tlabels/a.xml\n")[0].annotation()
    assert annotation.name == "images/a ☃.jpg"
    assert 'the line has 3 word(s): "images/a ☃.jpg labels/a.xml"' in message(
        root, "xml", "images/a ☃.jpg labels/a.xml"
    )


def test_images_without_annotations(root):
    found = entries(
        root, "xml", "images/a.jpg labels/none.xml\nimages/a.jpg\nimages/a.jpg labels/a.xml\n", unlabelled=True
    )
    assert [len(entry.annotation().objects) for entry in found] == [0, 0, 1]


MISTAKES = [
    ("xml", "images/a.jpg", 'list.txt:1: the line has 1 word(s): "images/a.jpg"; expected an image and its annotation'),
    ("xml", "images/a.jpg 7", 'the annotation is the number "7": this is a list for classification'),
    ("xml", "images/b.jpg labels/a.xml", 'list.txt:1: "images/b.jpg" is not there; expected images/b.jpg'),
    ("xml", "images/a.jpg labels/b.xml", "fix: give the folder that paths start from with --root"),
    ("xml", "images/a.jpg labels/a.json", "labels/a.json:1:1: broken XML"),
    ("json", "images/a.jpg labels/a.xml", "labels/a.xml:1:1: broken JSON"),
    ("txt", "images/a.jpg labels/a.xml", 'labels/a.xml:1: "<annotation>'),
]


@pytest.mark.parametrize(("kind", "line", "expected"), MISTAKES)
def test_mistakes_in_a_list(root, kind, line, expected):
    assert expected in message(root, kind, line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 1 2 3", 'labels/a.txt:1: "7 1 2 3" is no box; expected label xmin ymin xmax ymax, five numbers'),
        ("cat 1 2 3 4", '"cat 1 2 3 4" is no box'),
        ("7 1 2 3 nan", '"7 1 2 3 nan" is no box'),
        ("7 1 2 3 4\n7 1 2 3 4 5", 'labels/a.txt:2: "7 1 2 3 4 5" is no box'),
    ],
)
def test_mistakes_in_a_text(root, text, expected):
    (root / "labels/a.txt").write_text(text)
    assert expected in message(root, "txt")


def test_a_label_that_the_label_map_lacks(root):
    (root / "labels/a.txt").write_text("8 1 2 3 4")
    (error,) = entries(root, "txt")[0].annotation().mistakes(CLASSES["txt"].labels)
    assert 'a.txt:1: object 1 has the unknown class "8"; expected one of cat, dog' in str(error)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image": {"height": 40}}, 'labels/a.json: the image\'s size is not told; expected "image"'),
        ({"annotation": [{"category_id": 1, "bbox": [1]}]}, "a.json:7:3: annotation: the bbox is no list of 4 numbers"),
    ],
)
def test_mistakes_in_a_json(root, change, expected):
    (root / "labels/a.json").write_text(json.dumps(JSON | change, indent=1))
    assert expected in message(root, "json")


@pytest.mark.parametrize("kind", ["json", "txt"])
def test_numbered_classes_need_a_label_map(root, kind):
    (root / "list.txt").write_text("a b\n")
    with pytest.raises(UserError, match=f"annotations of the kind {kind} number their classes.*\n.*--labelmap"):
        read_list(root / "list.txt", root, kind, None)


def run(*arguments: object) -> str:
    return CliRunner().invoke(app, ["list", *map(str, arguments)], catch_exceptions=False).stdout


def test_the_database(root, tmp_path):
    (root / "trainval.txt").write_text("images/a.jpg labels/a.xml\n" * 2)
    out = run(root / "trainval.txt", "--root", root, "-o", tmp_path / "db")
    assert f"{tmp_path}/db: 2 images, 2 boxes\n    cat        2\n" in out
    assert (tmp_path / "trainval_list.txt").read_text() == "images/a.jpg labels/a.xml\n" * 2
    with Database(tmp_path / "db") as db:
        assert list(db.keys()) == ["00000000_images/a.jpg", "00000001_images/a.jpg"]


def test_a_list_that_was_written_is_read_again(root, tmp_path):
    (root / "images/a.jpg").rename(root / "images/a b.jpg")
    (root / "trainval.txt").write_text("images/a b.jpg\tlabels/a.xml\n")
    run(root / "trainval.txt", "--root", root, "-o", tmp_path / "one/db")
    run(tmp_path / "one/trainval_list.txt", "--root", root, "-o", tmp_path / "two/db")
    assert (tmp_path / "one/db/data.mdb").read_bytes() == (tmp_path / "two/db/data.mdb").read_bytes()
