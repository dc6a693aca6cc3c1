"""The scripts that make the published databases, on small data in the published layouts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from annoset.database import Database
from prototxt.labelmap import read_labelmap

ROOT = Path(__file__).resolve().parents[2]
XML = """<annotation><size><width>60</width><height>40</height></size>
<object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts need bash")


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script with this Python's `netgen`."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", ROOT / "scripts" / script, *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)


def keys(path: Path) -> list[str]:
    with Database(path) as db:
        return sorted(key[9:] for key in db.keys())  # noqa: SIM118


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((40, 60, 3), np.uint8))


def write_split(root: Path, split: str, stems: str, unlabelled: bool = False) -> None:
    (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems.split()))
    for stem in stems.split():
        write_image(root / "JPEGImages" / f"{stem}.jpg")
        if not unlabelled:
            (root / "Annotations" / f"{stem}.xml").write_text(XML.format("cat" if "7" in stem else "dog"))


@pytest.fixture
def devkit(tmp_path) -> Path:
    path = tmp_path / "VOC devkit"
    write_split(path / "VOC2007", "trainval", "7a 7b")
    write_split(path / "VOC2007", "test", "7t")
    write_split(path / "VOC2012", "trainval", "2a 2b 2c")
    return path


def test_voc0712(devkit, tmp_path):
    out = tmp_path / "out"
    done = run("create_voc0712_lmdb.sh", devkit, out)
    assert done.returncode == 0, done.stderr
    assert "trainval.txt lists 3 images; the published list has 11540" in done.stderr
    trainval = [f"VOC2007/JPEGImages/7{x}.jpg" for x in "ab"] + [f"VOC2012/JPEGImages/2{x}.jpg" for x in "abc"]
    assert keys(out / "examples/VOC0712/VOC0712_trainval_lmdb") == trainval
    assert keys(out / "examples/VOC0712/VOC0712_test_lmdb") == ["VOC2007/JPEGImages/7t.jpg"]
    data = out / "data/VOC0712"
    assert [item.name for item in read_labelmap(data / "labelmap_voc.prototxt").values()] == [
        "none_of_the_above",
        "cat",
        "dog",
    ]
    assert (data / "test_name_size.txt").read_text() == "7t 40 60\n"
    assert (data / "test.txt").read_text() == "VOC2007/JPEGImages/7t.jpg VOC2007/Annotations/7t.xml\n"
    assert run("create_voc0712_lmdb.sh", devkit, out).stdout.count("there already, kept") == 2


def test_voc0712_says_what_is_missing(devkit, tmp_path):
    shutil.rmtree(devkit / "VOC2012")
    (devkit / "VOC2007/ImageSets/Main/test.txt").unlink()
    done = run("create_voc0712_lmdb.sh", devkit, tmp_path / "out")
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert done.stderr == (
        f"these are missing:\n  {devkit}/VOC2007/ImageSets/Main/test.txt\n"
        "    get it from http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar\n"
        f"  {devkit}/VOC2012/ImageSets/Main/trainval.txt\n"
        "    get it from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar\n"
    )
    assert "give the folder VOCdevkit" in run("create_voc0712_lmdb.sh").stderr


def test_voc0712pp(devkit, tmp_path):
    out = tmp_path / "out"
    assert "VOC2012test.tar (log in first)" in run("create_voc0712pp_lmdb.sh", devkit, out).stderr
    write_split(devkit / "VOC2012", "test", "2t", unlabelled=True)
    done = run("create_voc0712pp_lmdb.sh", devkit, out)
    assert done.returncode == 0, done.stderr
    assert len(keys(out / "examples/VOC0712Plus/VOC0712Plus_trainval_lmdb")) == 6
    assert keys(out / "examples/VOC0712Plus/VOC0712Plus_test_lmdb") == ["VOC2012/JPEGImages/2t.jpg"]
    assert (out / "data/VOC0712Plus/test_name_size.txt").read_text() == "2t 40 60\n"


def write_coco(root: Path, name: str, folder: str, numbers: range) -> None:
    """Annotations `name` of images in `folder`, which is called as COCO calls it."""
    prefix = f"COCO_{folder}_" if folder.endswith("2014") else ""
    images = [{"id": n, "file_name": f"{prefix}{n:012d}.jpg", "height": 40, "width": 60} for n in numbers]
    boxes = [{"id": n, "image_id": n, "category_id": 13, "bbox": [1, 2, 3, 4], "iscrowd": 0} for n in numbers]
    categories = [{"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    data = {"images": images, "annotations": boxes, "categories": categories}
    (root / "annotations" / name).write_text(json.dumps(data))
    for image in images:
        write_image(root / folder / image["file_name"])


def write_2014(root: Path, lists: str) -> None:
    write_coco(root, "instances_train2014.json", "train2014", range(1, 4))
    write_coco(root, "instances_val2014.json", "val2014", range(10, 16))
    if lists == "2014":
        write_coco(root, "instances_minival2014.json", "val2014", range(10, 12))
        write_coco(root, "instances_valminusminival2014.json", "val2014", range(12, 16))
    else:
        write_coco(root, "instances_val2017.json", "val2017", range(10, 12))
        shutil.rmtree(root / "val2017")


@pytest.mark.parametrize("lists", ["2014", "2017"])
def test_coco_2014(tmp_path, lists):
    coco, out = tmp_path / "coco", tmp_path / "out"
    write_2014(coco, lists)
    done = run("create_coco_lmdb.sh", coco, out)
    assert done.returncode == 0, done.stderr
    train = [f"train2014/COCO_train2014_{n:012d}.jpg" for n in range(1, 4)]
    val = [f"val2014/COCO_val2014_{n:012d}.jpg" for n in range(10, 16)]
    assert keys(out / "examples/coco/coco_train_lmdb") == train + val[2:]
    assert keys(out / "examples/coco/coco_minival_lmdb") == val[:2]
    assert (out / "data/coco/minival2014_name_size.txt").read_text() == "10 40 60\n11 40 60\n"
    items = read_labelmap(out / "data/coco/labelmap_coco.prototxt")
    assert {label: (item.name, item.display_name) for label, item in items.items() if label} == {
        1: ("1", "person"),
        2: ("13", "stop sign"),
    }


def test_coco_2017_in_a_folder_of_images_and_test_dev(tmp_path):
    coco, out = tmp_path / "coco", tmp_path / "out"
    write_coco(coco, "instances_train2017.json", "train2017", range(1, 4))
    write_coco(coco, "instances_val2017.json", "val2017", range(10, 12))
    write_coco(coco, "image_info_test-dev2015.json", "test2015", range(20, 22))
    info = json.loads((coco / "annotations/image_info_test-dev2015.json").read_text())
    del info["annotations"]
    (coco / "annotations/image_info_test-dev2015.json").write_text(json.dumps(info))
    (coco / "images").mkdir()
    for folder in ("train2017", "val2017", "test2015"):
        (coco / folder).rename(coco / "images" / folder)
    done = run("create_coco_lmdb.sh", coco, out)
    assert done.returncode == 0, done.stderr
    examples = out / "examples/coco"
    assert keys(examples / "coco_train_lmdb") == [f"images/train2017/{n:012d}.jpg" for n in range(1, 4)]
    assert keys(examples / "coco_minival_lmdb") == [f"images/val2017/{n:012d}.jpg" for n in (10, 11)]
    assert keys(examples / "coco_testdev_lmdb") == [f"images/test2015/{n:012d}.jpg" for n in (20, 21)]


def test_coco_says_what_is_missing(tmp_path):
    done = run("create_coco_lmdb.sh", tmp_path / "coco", tmp_path / "out")
    assert done.returncode == 2 and "zips/train2017.zip" in done.stderr and not (tmp_path / "out").exists()
    write_coco(tmp_path / "coco", "instances_train2014.json", "train2014", range(1, 2))
    done = run("create_coco_lmdb.sh", tmp_path / "coco", tmp_path / "out")
    assert "coco_annotations_minival.tgz" in done.stderr and "zips/val2014.zip" in done.stderr
    assert "train2017" not in done.stderr
