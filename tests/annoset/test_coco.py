"""COCO's JSONs, and that their records are SSD-Caffe's."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from annoset.classes import Classes
from annoset.database import Database
from annoset.formats.coco import Choice, CocoFile, read_coco
from netgen.commands.lmdb import app
from prototxt.errors import UserError
from prototxt.labelmap import read_labelmap

CATEGORIES = [{"id": 13, "name": "stop sign"}, {"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
OBJECTS = [
    {"id": 70, "image_id": 42, "category_id": 13, "bbox": [1.21, 2.37, 30.13, 10.5], "iscrowd": 0, "area": 3.0},
    {"id": 71, "image_id": 9, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 0},
    {"id": 72, "image_id": 42, "category_id": 1, "bbox": [10.07, 5.55, 20.2, 30.3], "iscrowd": 1},
    {"id": 73, "image_id": 42, "category_id": 13, "bbox": [59.99, 0.1, 0.02, 39.9]},
]


def write(path: Path, **changes: Any) -> Path:
    images = [
        {"id": number, "file_name": f"{number:012d}.jpg", "height": 40, "width": 60, "license": 1}
        for number in (42, 9, 7)
    ]
    data = {"info": {"year": 2014}, "images": images, "annotations": OBJECTS, "categories": CATEGORIES} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    return path


@pytest.fixture
def coco(tmp_path) -> Path:
    root = tmp_path / "coco"
    (root / "images/val2014").mkdir(parents=True)
    for number in (42, 9, 7):
        cv2.imwrite(str(root / f"images/val2014/{number:012d}.jpg"), np.full((40, 60, 3), number, np.uint8))
    write(root / "annotations/instances_val2014.json")
    return root


def choice(coco: Path, **options: Any) -> Choice:
    return Choice(coco / "images/val2014", coco, **options)


def read(coco: Path, given: Classes | None = None, **options: Any) -> tuple[CocoFile, Classes]:
    file = CocoFile(coco / "annotations/instances_val2014.json", choice(coco, **options))
    return file, read_coco([file], given)


def message(coco: Path, **changes: Any) -> str:
    write(coco / "annotations/instances_val2014.json", **changes)
    with pytest.raises(UserError) as error:
        for entry in read(coco)[0]:
            entry.annotation()
    return str(error.value).replace(f"{coco}/", "")


def test_images_and_their_objects(coco):
    file, classes = read(coco)
    annotations = [entry.annotation() for entry in file]
    assert [one.name for one in annotations] == [f"images/val2014/{number:012d}.jpg" for number in (42, 9, 7)]
    assert [one.called for one in annotations] == ["42", "9", "7"]
    assert [[(o.name, o.difficult) for o in one.objects] for one in annotations] == [
        [("13", False), ("1", True), ("13", False)],
        [("1", False)],
        [],
    ]
    f = np.float32
    assert annotations[0].objects[0].corners == (f(1.21), f(2.37), f(1.21) + f(30.13), f(2.37) + f(10.5))
    assert annotations[1].objects[0].corners == (0, 0, 60, 40)
    assert annotations[0].mistakes(classes.labels) == []  # 59.99 + 0.02 is past the border by a rounding


def test_the_label_map_is_ssd_caffes(coco):
    """Named by the categories' numbers, in whose order the labels are."""
    classes = read(coco)[1]
    assert classes.labels == {"1": 1, "2": 2, "13": 3}
    assert classes.display == {"1": "person", "2": "bicycle", "13": "stop sign"}


@pytest.mark.parametrize(
    "labels",
    [
        Classes({"person": 5, "stop sign": 2, "bicycle": 9}),
        Classes({"1": 5, "13": 2, "2": 9}),
        Classes({"a": 5, "b": 2, "c": 9}, {"a": "person", "b": "stop sign", "c": "bicycle"}),
    ],
)
def test_a_label_map_that_is_given_names_categories_by_name_or_number(coco, labels):
    file, classes = read(coco, labels)
    found = [[classes.labels[one.name] for one in entry.annotation().objects] for entry in file]
    assert found == [[2, 5, 2], [5], []]


def test_a_category_that_the_label_map_lacks(coco):
    file, classes = read(coco, Classes({"person": 1, "stop signs": 2}))
    (error, _) = file[0].annotation().mistakes(classes.labels)
    assert 'object 1 has the unknown class "stop sign" (did you mean "stop signs"?)' in str(error)
    assert error.where.startswith(f"{coco}/annotations/instances_val2014.json:1:")


@pytest.mark.parametrize("listed", ["42\n7\n", "000000000042\n000000000007\n", "000000000042.jpg\n7\n", "json"])
def test_lists_of_images_to_take_or_to_leave(coco, listed):
    path = coco / "list.txt"
    path.write_text(listed)
    if listed == "json":
        path = write(coco / "some.json", images=[{"id": 42}, {"id": 7}], annotations=None)
    assert [entry.annotation().called for entry in read(coco, only=path)[0]] == ["42", "7"]
    assert [entry.annotation().called for entry in read(coco, without=path)[0]] == ["9"]
    with pytest.raises(UserError, match="--only and --without leave none of its images"):
        read(coco, only=path, without=path)


def test_several_files_must_agree_on_categories(coco):
    other = write(coco / "annotations/other.json", categories=[{"id": 13, "name": "bus"}])
    files = [CocoFile(coco / "annotations/instances_val2014.json", choice(coco)), CocoFile(other, choice(coco))]
    with pytest.raises(UserError) as error:
        read_coco(files, None)
    assert str(error.value).replace(f"{coco}/annotations/", "") == (
        'other.json: category 13 is "bus", in instances_val2014.json "stop sign"; expected the same categories in all'
        " files"
    )


def test_a_test_set_without_annotations(coco):
    path = coco / "annotations/instances_val2014.json"
    assert "fix: if this is a test set without annotations, give --unlabelled" in message(coco, annotations=None)
    assert [len(entry.annotation().objects) for entry in read(coco, unlabelled=True)[0]] == [0, 0, 0]
    write(path, annotations=None, categories=None)
    with pytest.raises(UserError, match="there are no categories\n  fix: give a label map with --labelmap"):
        read(coco, unlabelled=True)


ONE = {"id": 5, "image_id": 42, "category_id": 1, "bbox": [1, 2, 3, 4]}
IMAGE = {"id": 42, "file_name": "a.jpg", "height": 40, "width": 60}
MISTAKES = [
    ({"images": None}, 'there are no "images"; expected a JSON object with "images", "annotations" and "categories"'),
    ({"categories": []}, 'there are no "categories"'),
    ({"images": [IMAGE, IMAGE]}, '"images" has an id that is given twice, or is out of range'),
    ({"images": [IMAGE | {"id": 1 << 70}]}, '"images" has an id that is given twice, or is out of range'),
    ({"images": ["a.jpg"]}, "the image has no id"),
    ({"images": [IMAGE | {"file_name": 3}]}, "image 42 has no file_name"),
    ({"images": [IMAGE | {"file_name": "/a.jpg"}]}, 'the file_name "/a.jpg" leads out of the folder of images'),
    ({"images": [IMAGE | {"file_name": "../a.jpg"}]}, 'the file_name "../a.jpg" leads out of the folder of images'),
    ({"images": [IMAGE | {"height": 0}]}, "image 42 has no height or width above 0"),
    ({"images": [IMAGE]}, 'the image "a.jpg" is not there; expected images/val2014/a.jpg'),
    ({"categories": [{"id": 1}]}, "the category has no id or no name"),
    ({"categories": CATEGORIES[:1] * 2}, "two categories have the id 13"),
    (
        {"annotations": [ONE | {"bbox": [1, 2, 3]}]},
        "annotation 5: the bbox is no list of 4 numbers: x, y, width, height",
    ),
    ({"annotations": [ONE | {"bbox": [1, 2, -3, 4]}]}, "annotation 5: the bbox [1, 2, -3, 4] has a negative size"),
    (
        {"annotations": [ONE | {"bbox": [1, 2, float("nan"), 4]}]},
        "annotation 5: the bbox [1, 2, nan, 4] has a",
    ),
    ({"annotations": [ONE | {"iscrowd": 2}]}, "annotation 5: iscrowd is 2, not 0 or 1"),
    ({"annotations": [ONE | {"category_id": None}]}, "annotation 5 has no category_id"),
    (
        {"annotations": [ONE, ONE | {"image_id": 3}]},
        "1 annotation(s) are of images that the file does not list",
    ),
    ({"annotations": ["box"]}, "annotation has no category_id"),
]


@pytest.mark.parametrize(("changes", "expected"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes(coco, changes, expected):
    if "annotations" in changes and "box" in changes["annotations"]:
        expected = "1 annotation(s) are of images that the file does not list, the first of image None"
    assert expected in message(coco, **changes)


def test_mistakes_are_told_with_line_and_column(coco):
    path = coco / "annotations/instances_val2014.json"
    text = json.dumps({"images": [IMAGE], "annotations": [ONE | {"bbox": 3}], "categories": CATEGORIES}, indent=1)
    path.write_text(text)
    cv2.imwrite(str(coco / "images/val2014/a.jpg"), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(UserError) as error:
        read(coco)[0][0].annotation()
    line = text[: text.index('"image_id"')].count("\n") - 1 + 1 - 1
    assert str(error.value).startswith(f"{path}:{line}:3: annotation 5: the bbox is no list of 4 numbers")


def test_entries_travel_between_processes(coco):
    file, _ = read(coco)
    assert pickle.loads(pickle.dumps(file[0])).annotation() == file[0].annotation()


def run(*arguments: object) -> str:
    return CliRunner().invoke(app, ["coco", *map(str, arguments)], catch_exceptions=False).stdout


def test_the_database(coco, tmp_path):
    arguments = ("--images", coco / "images/val2014", "--root", coco, "-o", tmp_path / "out" / "db")
    out = run(coco / "annotations/instances_val2014.json", *arguments)
    assert out.startswith(
        f"{tmp_path}/out/db: 3 images, 4 boxes\n"
        "    bicycle          0\n    person           2\n    stop sign        2\n"
        "    1 box marked difficult\n"
    )
    items = read_labelmap(tmp_path / "out/labelmap.prototxt")
    assert [(label, item.name, item.display_name) for label, item in items.items()] == [
        (0, "none_of_the_above", "background"),
        (1, "1", "person"),
        (2, "2", "bicycle"),
        (3, "13", "stop sign"),
    ]
    sizes = (tmp_path / "out/instances_val2014_name_size.txt").read_text()
    assert sizes == "42 40 60\n9 40 60\n7 40 60\n"
    with Database(tmp_path / "out/db") as db:
        records = dict(db)
    assert list(records) == [f"{i:08d}_images/val2014/{n:012d}.jpg" for i, n in enumerate((42, 9, 7))]
    record = next(iter(records.values()))
    assert [(group.group_label, len(group.annotation)) for group in record.annotation_group] == [(3, 2), (1, 1)]
    box, f = record.annotation_group[1].annotation[0].bbox, np.float32
    assert (box.xmin, box.ymax, box.difficult) == (f(10.07) / f(60), (f(5.55) + f(30.3)) / f(40), True)


def test_crowds_can_be_left_out(coco, tmp_path):
    arguments = ("--images", coco / "images/val2014", "-o", tmp_path / "db", "--drop-difficult")
    out = run(coco / "annotations/instances_val2014.json", *arguments)
    assert "3 images, 3 boxes" in out and "difficult" not in out
    with Database(tmp_path / "db") as db:
        assert next(iter(db.keys())) == "00000000_val2014/000000000042.jpg"


def test_what_is_bad_can_be_left_out(coco, tmp_path):
    stray = {"id": 1, "image_id": 77, "category_id": 1, "bbox": [1, 2, 3, 4]}
    bad = {"id": 2, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, -4]}
    path = write(coco / "annotations/instances_val2014.json", annotations=[*OBJECTS, stray, bad])
    out = run(path, "--images", coco / "images/val2014", "-o", tmp_path / "db", "--skip-bad")
    assert "2 images, 3 boxes" in out and "left out: 2 images with mistakes" in out and "of image 77" in out


def test_worker_processes_change_nothing(coco, tmp_path):
    images = [{"id": n, "file_name": "000000000042.jpg", "height": 40, "width": 60} for n in range(1_200)]
    boxes = [{"id": n, "image_id": n * 7 % 1_200, "category_id": 13, "bbox": [1, 2, 3, 4]} for n in range(2_400)]
    path = write(coco / "annotations/many.json", images=images, annotations=boxes)
    written = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        arguments = ("--images", coco / "images/val2014", "-o", out / "db", "--workers", workers, "--shuffle")
        assert "1200 images, 2400 boxes" in run(path, *arguments)
        written.append([file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()])
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--images", "{coco}/nothing"), "nothing: there is no such folder of images"),
        (("--images", "{coco}/images", "--root", "{coco}/images/val2014"), "the folder of images is not below --root"),
        (("--images", "a", "--images", "b"), "--images is given 2 times for 1 JSON(s)"),
    ],
)
def test_arguments_that_contradict_each_other(coco, tmp_path, arguments, expected):
    given = [text.format(coco=coco) for text in arguments]
    with pytest.raises(UserError) as error:
        run(coco / "annotations/instances_val2014.json", *given, "-o", tmp_path / "db")
    assert expected in str(error.value)


def test_what_cannot_be_is_refused_before_the_annotations_are_read(coco, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "db").mkdir()
    arguments = (tmp_path / "broken.json", "--images", coco / "images/val2014", "-o")
    with pytest.raises(UserError, match="db: this exists already"):
        run(*arguments, tmp_path / "db")
    with pytest.raises(UserError, match="expected jpg or png"):
        run(*arguments, tmp_path / "new", "--encode", "gif")
