"""YOLO's layouts: Ultralytics' and Darknet's."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from annoset.database import Database
from annoset.formats.yolo import label_path, read_data_yaml, read_images
from netgen.commands.lmdb import app
from prototxt.errors import UserError
from prototxt.labelmap import class_labels

YAML = """path: .
train: images/train  # relative to path
val:
  - images/val
  - more.txt
test: ./more.txt
nc: 2
names:
  0: person
  1: traffic light
"""


def write_image(path: Path, height: int = 40, width: int = 80) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    return path


@pytest.fixture
def yolo(tmp_path) -> Path:
    root = tmp_path / "data set"
    for image in (
        "images/train/b.jpg",
        "images/train/a.jpg",
        "images/train/deep/c.png",
        "images/val/d.jpg",
        "more/e.jpg",
    ):
        write_image(root / image)
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/a.txt").write_text("1 0.5 0.5 0.25 0.5\n\n0 0.1 0.2 0.2 0.4\n")
    (root / "more/e.txt").write_text("0 0.5 0.5 1 1\n")
    (root / "more.txt").write_text("more/e.jpg\n./more/e.jpg\n")
    (root / "data.yaml").write_text(YAML)
    return root


def test_boxes_in_pixels(yolo):
    entries = read_data_yaml(yolo / "data.yaml").entries("train")
    annotations = [entry.annotation() for entry in entries]
    assert [one.name for one in annotations] == [
        f"data set/images/train/{name}" for name in ("a.jpg", "b.jpg", "deep/c.png")
    ]
    assert [(one.height, one.width) for one in annotations] == [(40, 80)] * 3
    light, person = annotations[0].objects
    assert (light.name, light.corners, light.line) == ("traffic light", (30, 10, 50, 30), 1)
    assert (person.name, person.line) == ("person", 3)
    np.testing.assert_allclose(person.corners, (0, 0, 16, 16), atol=1e-12)
    assert [len(one.objects) for one in annotations] == [2, 0, 0] and pickle.loads(pickle.dumps(entries[0])) == entries[
        0
    ]


def test_lists_of_images_and_texts_beside_them(yolo):
    annotations = [entry.annotation() for entry in read_data_yaml(yolo / "data.yaml").entries("val")]
    assert [one.name for one in annotations] == ["data set/images/val/d.jpg"] + ["data set/more/e.jpg"] * 2
    assert annotations[1].objects[0].corners == (0, 0, 80, 40)
    assert annotations[1].path == yolo / "more/e.txt"


def test_where_the_text_of_an_image_is(tmp_path):
    image = tmp_path / "images/images/train/images.jpg"
    assert label_path(image) == tmp_path / "images/labels/train/images.txt"
    assert label_path(Path("a/b.jpg")) == Path("a/b.txt")
    beside = write_image(image).with_suffix(".txt")
    beside.write_text("")
    assert label_path(image) == beside


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", "a.txt:1: there are 4 numbers: 0 0.5 0.5 0.5; expected class x y width height"),
        ("0 .1 .1 .2 .1 .2 .2", "a.txt:1: there are 7 numbers (a polygon?)"),
        ("2 0.5 0.5 0.5 0.5", "a.txt:1: there is no class 2 among 2, which are counted from 0"),
        ("person 0.5 0.5 0.5 0.5", "a.txt:1: there is no class person among 2"),
        ("0 0.5 0.5 0.5 x", "a.txt:1: this is not five numbers"),
        ("0 30 20 10 10", "a.txt:1: a number is not in 0 to 1 (are these pixels?)"),
        ("0 nan 0.5 0.5 0.5", "a.txt:1: a number is not in 0 to 1"),
        ("0 0.5 0.5 -0.1 0.5", "a.txt:1: a number is not in 0 to 1"),
    ],
)
def test_mistakes_in_a_text(yolo, line, message):
    (yolo / "labels/train/a.txt").write_text(f"{line}\n0 0.5 0.5 0.5\n")
    with pytest.raises(UserError) as error:
        read_data_yaml(yolo / "data.yaml").entries("train")[0].annotation()
    first, second = str(error.value).replace(f"{yolo}/labels/train/", "").splitlines()
    assert first.startswith(message) and second.startswith("a.txt:2: there are 4 numbers")


def test_boxes_that_pass_the_border_by_a_rounding(yolo):
    (yolo / "labels/train/a.txt").write_text("0 0.062499 0.5 0.125 1.0\n0 0.04 0.5 0.125 0.5\n")
    mistakes = read_data_yaml(yolo / "data.yaml").entries("train")[0].annotation().mistakes()
    assert [str(error).split(" reaches")[0] for error in mistakes] == [
        f'{yolo}/labels/train/a.txt:2: object 2, "person": the box (-1.8, 10, 8.2, 30)'
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a\ntrain: x", "data.yaml:2:6: broken YAML: expected ',' or ']'"),
        ("just words", "data.yaml: this is no YAML of a data set"),
        ("path: nowhere\nnames: [a]\ntrain: x", "data.yaml: there is no folder"),
        ("names: [a, a]\ntrain: x", 'data.yaml: two classes are called "a"'),
        ("names: {0: a, 2: b}\ntrain: x", "data.yaml: a class has no name, or there are no classes"),
        ("train: x", "data.yaml: a class has no name, or there are no classes"),
        ("names: [a]\ntrain: images/val", 'there is no split "trian" (did you mean "train"?); expected one of train'),
        ("names: [a]\ntrian: nothing", "nothing: there is no such file"),
        ("names: [a]\ntrian: labels", "labels: there is no image in this folder"),
    ],
)
def test_mistakes_in_a_yaml(yolo, text, message):
    (yolo / "data.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_data_yaml(yolo / "data.yaml").entries("trian")
    assert message in str(error.value)


def test_a_listed_image_that_is_missing(yolo):
    (yolo / "more.txt").write_text("more/e.jpg\nmore/f.jpg\n")
    with pytest.raises(UserError) as error:
        read_data_yaml(yolo / "data.yaml").entries("test")[1].annotation()
    assert str(error.value) == f"{yolo}/more.txt:2: there is no such image; expected {yolo}/more/f.jpg"


def test_images_that_no_yaml_describes(yolo):
    names = yolo / "obj.names"
    names.write_text("person\ntraffic light\n\n")
    folder = read_images(yolo / "images/train", names, None)
    assert folder.names == ("person", "traffic light")
    assert folder.entries("images")[0].annotation().name == "train/a.jpg"
    listed = read_images(yolo / "more.txt", names, None)
    assert [entry.annotation().name for entry in listed.entries("images")] == ["data set/more/e.jpg"] * 2
    elsewhere = read_images(yolo / "more.txt", names, yolo / "more").entries("images")[1]
    assert elsewhere.annotation().name == "more/e.jpg"
    with pytest.raises(UserError, match="nothing says what the classes are called"):
        read_images(yolo / "more.txt", None, None)
    with pytest.raises(UserError, match="there is no such file or folder"):
        read_images(yolo / "nothing", names, None)
    names.write_text("person\n\ntraffic light\n")
    with pytest.raises(UserError, match="a class has no name"):
        read_images(yolo / "more.txt", names, None)


def run(*arguments: object) -> str:
    return CliRunner().invoke(app, ["yolo", *map(str, arguments)], catch_exceptions=False).stdout


def test_the_database(yolo, tmp_path):
    out = run(yolo / "data.yaml", "--split", "train", "--split", "val", "-o", tmp_path / "db")
    assert out.startswith(f"{tmp_path}/db: 6 images, 4 boxes\n    person               3\n    traffic light        1\n")
    assert class_labels(tmp_path / "labelmap.prototxt") == {"person": 1, "traffic light": 2}
    assert (tmp_path / "train_val_name_size.txt").read_text().startswith("a 40 80\nb 40 80\nc 40 80\n")
    with Database(tmp_path / "db") as db:
        box = db["00000000_data set/images/train/a.jpg"].annotation_group[0].annotation[0].bbox
    assert (box.xmin, box.ymin, box.xmax, box.ymax) == (0.375, 0.25, 0.625, 0.75)


@pytest.mark.parametrize("arguments", [(), ("--split", "train", "--names", "a")])
def test_arguments_that_contradict_each_other(yolo, tmp_path, arguments):
    with pytest.raises(UserError, match="needs --split and tells the names itself; images need --names"):
        run(yolo / "data.yaml", *arguments, "-o", tmp_path / "db")
    with pytest.raises(UserError, match="images need --names, and have no splits"):
        run(yolo / "images", "--split", "train", "-o", tmp_path / "db")
