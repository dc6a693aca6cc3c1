"""`netgen lmdb voc`: from a data set's files to an LMDB, its label map and its list of sizes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from annoset.database import Database
from netgen.commands.lmdb import app
from prototxt.errors import UserError
from prototxt.labelmap import class_labels

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def run(*arguments: object) -> str:
    """What the command prints. Raises what it raises."""
    return CliRunner().invoke(app, ["voc", *map(str, arguments)], catch_exceptions=False).stdout


def fails(*arguments: object) -> str:
    with pytest.raises(UserError) as error:
        run(*arguments)
    return str(error.value)


def boxes(database: Path, labelmap: Path) -> dict[str, Counter]:
    """Stem -> its boxes in pixels, (class, xmin, ymin, xmax, ymax, difficult), counted."""
    names = {label: name for name, label in class_labels(labelmap).items()}
    found = {}
    with Database(database) as db:
        for key, record in db:
            w, h = record.datum.width, record.datum.height
            found[Path(key).stem] = Counter(
                (
                    names[group.group_label],
                    *(round(v, 3) for v in (b.xmin * w, b.ymin * h, b.xmax * w, b.ymax * h)),
                    b.difficult,
                )
                for group in record.annotation_group
                for b in (one.bbox for one in group.annotation)
            )
    return found


# The real data set ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bccd(shared) -> Path:
    return shared / "data" / "bccd"


def expected_boxes(path: Path) -> Counter:
    """The boxes of an XML, read by the standard library."""
    return Counter(
        (
            one.findtext("name"),
            *(float(one.findtext(f"bndbox/{corner}")) for corner in CORNERS),
            one.findtext("difficult") == "1",
        )
        for one in ElementTree.parse(path).getroot().iter("object")
    )


def test_all_annotations_of_bccd_survive(bccd, tmp_path):
    out = run(bccd, bccd, "--split", "trainval", "--split", "test", "-o", tmp_path / "lmdb")
    assert out == (
        f"{tmp_path}/lmdb: 364 images, 4888 boxes\n"
        "    Platelets      361\n    RBC           4155\n    WBC            372\n"
        "    2 boxes without area (xmin = xmax or ymin = ymax), kept\n"
        f"{tmp_path}/trainval_test_name_size.txt: a line for each image: name, height, width\n"
        f"{tmp_path}/trainval_test_list.txt: a line for each image: image, annotation\n"
        f"{tmp_path}/labelmap.prototxt: the label map\n"
    )
    assert class_labels(tmp_path / "labelmap.prototxt") == {"Platelets": 1, "RBC": 2, "WBC": 3}
    found = boxes(tmp_path / "lmdb", tmp_path / "labelmap.prototxt")
    assert found == {path.stem: expected_boxes(path) for path in (bccd / "Annotations").glob("*.xml")}
    assert len(found) == 364


def test_keys_images_and_sizes_of_bccd(bccd, tmp_path):
    run(bccd, "--split", "test", "-o", tmp_path / "lmdb")
    stems = (bccd / "ImageSets/Main/test.txt").read_text().split()
    assert (tmp_path / "test_name_size.txt").read_text() == "".join(f"{stem} 480 640\n" for stem in stems)
    lines = [f"bccd/JPEGImages/{stem}.jpg bccd/Annotations/{stem}.xml\n" for stem in stems]
    assert (tmp_path / "test_list.txt").read_text() == "".join(lines)
    with Database(tmp_path / "lmdb") as db:
        assert list(db.keys()) == [f"{i:08d}_bccd/JPEGImages/{stem}.jpg" for i, stem in enumerate(stems)]
        for (_, record), stem in zip(db, stems, strict=True):
            assert record.datum.data == (bccd / "JPEGImages" / f"{stem}.jpg").read_bytes()


# A small one ----------------------------------------------------------------------------------------------


def write_image(
    root: Path, stem: str, objects: dict[str, tuple], size: str = "<size><width>60</width><height>40</height></size>"
):
    image = np.full((40, 60, 3), 128, np.uint8)
    cv2.imwrite(str(root / "JPEGImages" / f"{stem}.jpg"), image)
    corners = {name: "".join(f"<{c}>{v}</{c}>" for c, v in zip(CORNERS, box)) for name, box in objects.items()}
    parts = "\n".join(f"<object><name>{name}</name><bndbox>{box}</bndbox></object>" for name, box in corners.items())
    (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}\n{parts}\n</annotation>")


@pytest.fixture
def voc(tmp_path) -> Path:
    root = tmp_path / "VOC"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    write_image(root, "a", {"cat": (1, 1, 20, 20)})
    write_image(root, "b", {"dog": (1, 1, 60, 40), "cat": (5, 5, 9, 9)})
    write_image(root, "c", {})
    (root / "ImageSets/Main/train.txt").write_text("a\nb\nc\n")
    (root / "ImageSets/Main/test.txt").write_text("b\n")
    return root


def left(tmp_path: Path) -> list[str]:
    return sorted(set(os.listdir(tmp_path)) - {"VOC"})


def test_paths_can_be_chosen(voc, tmp_path):
    out = tmp_path / "out"
    files = ("--labelmap-out", out / "map", "--name-size", out / "sizes", "--list", out / "list")
    run(voc, "--split", "train", "-o", out / "db", *files)
    assert sorted(os.listdir(out)) == ["db", "list", "map", "sizes"]
    assert (out / "sizes").read_text() == "a 40 60\nb 40 60\nc 40 60\n"


def test_a_label_map_that_is_given_decides(voc, tmp_path):
    (tmp_path / "map").write_text(
        'item { name: "dog" label: 4 } item { name: "cow" label: 3 } item { name: "cat" label: 9 }'
    )
    out = run(voc, "--split", "train", "-o", tmp_path / "db", "--labelmap", tmp_path / "map")
    assert out.splitlines()[1:4] == ["    cat        2", "    cow        0", "    dog        1"]
    assert out.endswith("map: the label map, read\n")
    with Database(tmp_path / "db") as db:
        assert [[group.group_label for group in record.annotation_group] for _, record in db] == [[9], [4, 9], []]


def test_a_second_split_keeps_the_label_map_of_the_first(voc, tmp_path):
    run(voc, "--split", "train", "-o", tmp_path / "train_lmdb")
    run(voc, "--split", "test", "-o", tmp_path / "test_lmdb")
    write_image(voc, "b", {"cat": (1, 1, 2, 2)})
    message = fails(voc, "--split", "test", "-o", tmp_path / "again_lmdb")
    assert message == (
        f"{tmp_path}/labelmap.prototxt: this exists already and says something else\n"
        "  fix: give it with --labelmap, or write another with --labelmap-out"
    )
    assert "again_lmdb" not in left(tmp_path)


def test_sizes_that_say_something_else_are_kept(voc, tmp_path):
    (tmp_path / "train_name_size.txt").write_text("mine")
    message = fails(voc, "--split", "train", "-o", tmp_path / "db")
    assert "this exists already and says something else\n  fix: remove it, or write another with --name-size" in message
    assert (tmp_path / "train_name_size.txt").read_text() == "mine" and "db" not in left(tmp_path)


def test_shuffling_is_seeded(voc, tmp_path):
    (voc / "ImageSets/Main/long.txt").write_text("a\nb\nc\n" * 10)
    orders = []
    for number, options in enumerate((["--shuffle"], ["--shuffle", "--seed", 0], ["--shuffle", "--seed", 1], [])):
        run(voc, "--split", "long", "-o", tmp_path / str(number) / "db", *options)
        with Database(tmp_path / str(number) / "db") as db:
            orders.append([key[9:] for key in db.keys()])  # noqa: SIM118
        names = [line.split()[0] for line in (tmp_path / str(number) / "long_name_size.txt").read_text().splitlines()]
        assert [Path(key).stem for key in orders[-1]] == names
    assert orders[0] == orders[1] != orders[2] and orders[0] != orders[3] and sorted(orders[0]) == sorted(orders[3])


def test_an_lmdb_that_exists_is_refused_before_anything_is_read(voc, tmp_path):
    (tmp_path / "db").mkdir()
    (voc / "Annotations" / "a.xml").write_text("<")
    message = fails(voc, "--split", "train", "-o", tmp_path / "db")
    assert message == f"{tmp_path}/db: this exists already\n  fix: remove it, or choose another path"
    assert left(tmp_path) == ["db"]


def spoil(voc: Path) -> None:
    """Give each of the three images a mistake of its own, and list a fourth that is not there."""
    write_image(voc, "a", {"cat": (1, 1, 61, 20)})
    write_image(voc, "b", {"dgo": (1, 1, 20, 20)})
    (voc / "Annotations" / "c.xml").write_text("<annotation>\n<size>")
    (voc / "ImageSets/Main/train.txt").write_text("a\nb\nc\nd\n")


def test_the_mistakes_of_all_annotations_are_told(voc, tmp_path):
    run(voc, "--split", "train", "-o", tmp_path / "db")
    shutil.rmtree(tmp_path / "db")
    spoil(voc)
    message = fails(voc, "--split", "train", "-o", tmp_path / "db", "--labelmap", tmp_path / "labelmap.prototxt")
    a, b, c = (voc / "Annotations" / f"{stem}.xml" for stem in "abc")
    assert message == (
        f'{a}:2: object 1, "cat": the box (1, 1, 61, 20) reaches outside the image of 60 x 40 pixels (width x height);'
        " expected 0 <= xmin <= xmax <= 60 and 0 <= ymin <= ymax <= 40\n"
        "  fix: correct the box, or cut all boxes at the border with --clip-boxes\n"
        f'{b}:2: object 1 has the unknown class "dgo" (did you mean "dog"?); expected one of cat, dog\n'
        "  fix: correct the name, or give a label map that lists it\n"
        f"{c}:2:7: broken XML: no element found\n<size>\n"
        f'{voc}/ImageSets/Main/train.txt:4: "d" has no image; expected {voc}/JPEGImages/d.jpg (or .jpeg, .png)\n'
        "nothing was written\n  fix: or leave such images out with --skip-bad"
    )
    assert "db" not in left(tmp_path)


def test_twenty_mistakes_are_shown_and_the_others_counted(voc, tmp_path):
    (voc / "ImageSets/Main/train.txt").write_text("".join(f"missing{number}\n" for number in range(25)))
    message = fails(voc, "--split", "train", "-o", tmp_path / "db")
    assert message.count("has no image") == 20 and "and 5 more images have mistakes" in message


def test_images_are_looked_at_even_when_an_annotation_is_broken(voc, tmp_path):
    """Though the label map, of all annotations, is what is made first."""
    spoil(voc)
    write_image(voc, "e", {"cow": (1, 1, 2, 2)})
    (voc / "JPEGImages/e.jpg").write_bytes(b"no image")
    (voc / "ImageSets/Main/train.txt").write_text("b\nc\ne\n")
    message = fails(voc, "--split", "train", "-o", tmp_path / "db")
    assert "c.xml:2:7: broken XML" in message and "e.jpg: the image cannot be decoded (8 bytes)" in message
    assert left(tmp_path) == []


def test_bad_images_can_be_left_out(voc, tmp_path):
    spoil(voc)
    write_image(voc, "e", {"cow": (1, 1, 2, 2)})
    write_image(voc, "f", {"cow": (1, 1, 2, 2)})
    (voc / "JPEGImages" / "e.jpg").write_bytes(b"no image")
    (voc / "ImageSets/Main/train.txt").write_text("a\nc\nd\ne\nf\n")
    out = run(voc, "--split", "train", "-o", tmp_path / "db", "--skip-bad")
    assert "db: 1 image, 1 box\n" in out and "left out: 4 images with mistakes\n" in out
    for told in ("reaches outside the image", "broken XML", '"d" has no image', "e.jpg: the image cannot be decoded"):
        assert told in out
    assert (tmp_path / "train_name_size.txt").read_text() == "f 40 60\n"
    with Database(tmp_path / "db") as db:
        assert list(db.keys()) == ["00000000_VOC/JPEGImages/f.jpg"]


def test_no_image_is_left(voc, tmp_path):
    for stem in "abc":
        (voc / "JPEGImages" / f"{stem}.jpg").write_bytes(b"no image")
    message = fails(voc, "--split", "train", "-o", tmp_path / "db", "--skip-bad")
    assert message.count("cannot be decoded") == 3 and message.endswith("no image is left to write")
    assert left(tmp_path) == []


def test_an_image_that_cannot_be_decoded_leaves_nothing(voc, tmp_path):
    (voc / "JPEGImages" / "b.jpg").write_bytes(b"<html>")
    message = fails(voc, "--split", "train", "-o", tmp_path / "db")
    assert message.startswith(f"{voc}/JPEGImages/b.jpg: the image cannot be decoded (6 bytes)")
    assert left(tmp_path) == []


def test_boxes_can_be_cut_at_the_border(voc, tmp_path):
    write_image(voc, "a", {"cat": (-3, 1, 61, 20)})
    run(voc, "--split", "train", "-o", tmp_path / "db", "--clip-boxes")
    found = boxes(tmp_path / "db", tmp_path / "labelmap.prototxt")
    assert found["a"] == {("cat", 0.0, 1.0, 60.0, 20.0, False): 1}


def test_a_data_set_without_objects_needs_a_label_map(voc, tmp_path):
    (voc / "ImageSets/Main/none.txt").write_text("c\n")
    message = fails(voc, "--split", "none", "-o", tmp_path / "db")
    assert message == "no image has an object, so no label map can be made\n  fix: give one with --labelmap"


def test_options_that_contradict_each_other(voc, tmp_path):
    arguments = (voc, "--split", "train", "-o", tmp_path / "db")
    message = fails(*arguments, "--labelmap", "a", "--labelmap-out", "b")
    assert message == "--labelmap is read and --labelmap-out is written\n  fix: give one of the two"
    message = fails(voc, *arguments, "--split", "a", "--split", "b")
    assert message == "--split is given 3 times for 2 root(s); expected one for all, or 2, one for each root"
    assert fails(*arguments, "--workers", -1) == "--workers is -1; expected 1 or more, or 0 for one a core"


@pytest.mark.parametrize(
    "options", [("--name-size", "x", "--list", "./x"), ("--labelmap-out", "db"), ("--shards", 2, "--list", "db_1")]
)
def test_two_outputs_of_one_path(voc, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    message = fails(voc, "--split", "train", "-o", "db", *options)
    path = options[-1].removeprefix("./")
    assert message == f"{tmp_path}/{path}: two of the outputs would be written here\n  fix: give each a path of its own"
    assert left(tmp_path) == []


def test_a_full_disk_leaves_no_lmdb(voc, tmp_path, monkeypatch):
    from annoset.database import Writer

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "put", full)
    assert "db: cannot be written: No space left on device\n  fix: free some disk" in fails(
        voc, "--split", "train", "-o", tmp_path / "db"
    )
    assert left(tmp_path) == []
