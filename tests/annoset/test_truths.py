"""The ground truths of data sets as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annoset.database import create
from annoset.truths import read_truths
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, Datum, TransformationParameter
from prototxt.text import parse

OBJECT = """<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""


def write_xml(root: Path, stem: str, size_wh: tuple[int, int], *objects: tuple) -> None:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "JPEGImages" / f"{stem}.jpg").touch()
    text = "".join(OBJECT.format(*each) for each in objects)
    size = "<size><width>{}</width><height>{}</height></size>".format(*size_wh)
    (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{text}</annotation>")


@pytest.fixture
def voc(tmp_path) -> Path:
    root = tmp_path / "VOC2007"
    write_xml(root, "1", (200, 100), ("dog", 0, 20, 10, 120, 60), ("cat", 1, 0, 0, 200, 100))
    write_xml(root, "2", (50, 80))
    write_xml(root, "3", (40, 40), ("cat", 0, 10, 10, 10, 30))
    (root / "ImageSets/Main/train.txt").write_text("1\n2\n")
    return root


def write_lmdb(path: Path, *boxes: tuple, hw: tuple[int, int] = (100, 200)) -> Path:
    record = AnnotatedDatum(type=AnnotatedDatum.BBOX, datum=Datum(height=hw[0], width=hw[1]))
    for label, difficult, *corners in boxes:
        box = record.annotation_group.add(group_label=label).annotation.add().bbox
        box.xmin, box.ymin, box.xmax, box.ymax = corners
        box.difficult = difficult
    with create(path) as writer:
        writer.put("0", record)
    return path


def message(path: Path, root: Path, **options) -> str:
    with pytest.raises(UserError) as error:
        read_truths(path, **options)
    return str(error.value).replace(f"{root}/", "")


def test_voc(voc):
    truths = read_truths(voc)
    assert (len(truths), truths.images, truths.names) == (3, 3, ("cat", "dog"))
    np.testing.assert_allclose(truths.boxes, [[0.1, 0.1, 0.6, 0.6], [0, 0, 1, 1], [0.25, 0.25, 0.25, 0.75]])
    assert truths.boxes.dtype == np.float32
    assert truths.label.tolist() == [1, 0, 0]
    assert truths.difficult.tolist() == [False, True, False]
    assert truths.has_area.tolist() == [True, True, False]
    assert truths.image_hw.tolist() == [[100, 200], [100, 200], [40, 40]]
    few = truths.only(truths.has_area & ~truths.difficult)
    assert (len(few), few.images, few.label.tolist()) == (1, 3, [1])


def test_voc_split_and_labelmap(voc, tmp_path):
    labelmap = tmp_path / "labelmap.prototxt"
    names = enumerate(("background", "dog", "emu", "cat"))
    labelmap.write_text("".join(f'item {{ name: "{name}" label: {label} }}\n' for label, name in names))
    truths = read_truths(voc, split="train", labelmap=labelmap)
    assert (len(truths), truths.images, truths.names) == (2, 2, ("dog", "emu", "cat"))
    assert truths.label.tolist() == [0, 2]


def test_a_folder_of_folders(voc, tmp_path):
    write_xml(tmp_path / "VOC2012", "1", (10, 10), ("emu", 0, 1, 1, 2, 2))
    truths = read_truths(tmp_path)
    assert (len(truths), truths.images, truths.names) == (4, 4, ("cat", "dog", "emu"))


def test_images_are_not_needed(voc):
    for image in (voc / "JPEGImages").iterdir():
        image.unlink()
    assert len(read_truths(voc)) == 3
    assert len(read_truths(voc, split="train")) == 2


def test_lmdb(tmp_path):
    path = write_lmdb(tmp_path / "lmdb", (3, True, 0, 0, 0.5, 0.25), (1, False, 0.1, 0.2, 0.3, 0.4))
    truths = read_truths(path)
    assert (len(truths), truths.images, truths.names) == (2, 1, ("class 1", "class 3"))
    np.testing.assert_allclose(truths.boxes, [[0, 0, 0.5, 0.25], [0.1, 0.2, 0.3, 0.4]])
    assert (truths.label.tolist(), truths.difficult.tolist()) == ([1, 0], [True, False])
    assert truths.image_hw.tolist() == [[100, 200]] * 2
    labelmap = tmp_path / "map.prototxt"
    names = enumerate(("background", "dog", "emu", "cat"))
    labelmap.write_text("".join(f'item {{ name: "{name}" label: {label} }}\n' for label, name in names))
    named = read_truths(path, labelmap=labelmap)
    assert (named.names, named.label.tolist()) == (("dog", "emu", "cat"), [2, 0])


def test_an_lmdb_says_what_the_files_say(shared, tmp_path):
    """The real data set: from XMLs and through `netgen lmdb`."""
    from typer.testing import CliRunner

    from netgen.commands.lmdb import app

    bccd = shared / "data" / "bccd"
    arguments = ["voc", str(bccd), "--split", "test", "-o", str(tmp_path / "lmdb")]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    read = read_truths(tmp_path / "lmdb", labelmap=tmp_path / "labelmap.prototxt")
    direct = read_truths(bccd, split="test")
    assert read.names == direct.names == ("Platelets", "RBC", "WBC")
    assert read.images == direct.images == 72
    # Records group boxes by class: the same boxes in another order.
    tables = [np.column_stack([each.label, each.boxes.round(6), each.image_hw]) for each in (read, direct)]
    np.testing.assert_array_equal(*(table[np.lexsort(table.T)] for table in tables))
    assert len(read_truths(bccd)) == 4888 and (~read_truths(bccd).has_area).sum() == 2


# How images become the net's input ---------------------------------------------------------------------------


def transform(text: str) -> TransformationParameter:
    return parse(text, TransformationParameter()).message


def test_warped_boxes_stay_but_for_what_is_outside(tmp_path):
    path = write_lmdb(tmp_path / "lmdb", (1, False, -0.1, 0.2, 0.5, 1.25))
    boxes = read_truths(path).resized(transform("resize_param { height: 30 width: 30 resize_mode: WARP }"), "x").boxes
    np.testing.assert_allclose(boxes, [[0, 0.2, 0.5, 1]])
    np.testing.assert_array_equal(read_truths(path).resized(TransformationParameter(), "x").boxes, boxes)


def test_padded_boxes(voc):
    """200 x 100 pixels in 300 x 300: the image fills the rows 75 to 225; 40 x 40 pixels fill all of it."""
    policy = transform("resize_param { height: 300 width: 300 resize_mode: FIT_LARGE_SIZE_AND_PAD }")
    boxes = read_truths(voc).resized(policy, "x").boxes
    np.testing.assert_allclose(boxes, [[0.1, 0.3, 0.6, 0.55], [0, 0.25, 1, 0.75], [0.25, 0.25, 0.25, 0.75]], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "resize_param { height: 30 width: 30 resize_mode: FIT_SMALL_SIZE }",
            "net:7: resize_mode FIT_SMALL_SIZE gives each image a size of its own, and with it other prior boxes; "
            "expected WARP or FIT_LARGE_SIZE_AND_PAD",
        ),
        (
            "resize_param { height: 30 width: 30 resize_mode: FIT_LARGE_SIZE_AND_PAD }",
            "net:7: resize_mode FIT_LARGE_SIZE_AND_PAD needs the sizes of the images, which the records do not give\n"
            "  fix: make the LMDB again with `netgen lmdb`",
        ),
        (
            "crop_size: 30",
            "net:7: transform_param.crop_size 30 cuts the images; expected images that are resized\n"
            "  fix: give the net's deploy prototxt",
        ),
    ],
)
def test_policies_that_cannot_be_followed(tmp_path, text, expected):
    path = write_lmdb(tmp_path / "lmdb", (1, False, 0, 0, 0.5, 0.5), hw=(0, 0))
    with pytest.raises(UserError) as error:
        read_truths(path).resized(transform(text), "net:7")
    assert str(error.value) == expected


# Mistakes ----------------------------------------------------------------------------------------------------

EXPECTED = "expected an LMDB (data.mdb), a folder in VOC's layout (Annotations/*.xml), or a folder of such folders"
FIX = "\n  fix: make an LMDB of the annotations with `netgen lmdb`"


def test_what_is_no_annotations(voc, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.json").write_text("{}")
    assert message(tmp_path / "nowhere", tmp_path) == f"nowhere: there is no such folder; {EXPECTED}"
    assert message(tmp_path / "empty", tmp_path) == f"empty: this folder is empty; {EXPECTED}{FIX}"
    assert message(tmp_path / "a.json", tmp_path) == f"a.json: this is a file; {EXPECTED}{FIX}"
    found = "VOC2007/JPEGImages: this folder holds no annotations, but 1.jpg, 2.jpg, 3.jpg"
    assert message(voc / "JPEGImages", tmp_path) == f"{found}; {EXPECTED}{FIX}"
    found = "VOC2007/Annotations: this folder holds the XMLs themselves"
    assert message(voc / "Annotations", voc.parent) == (
        f"{found}; {EXPECTED}\n  fix: give the folder above it: {voc}".replace(f"{tmp_path}/", "")
    )


def test_voc_without_anything(tmp_path):
    (tmp_path / "Annotations").mkdir()
    assert message(tmp_path, tmp_path.parent).endswith(": there is no XML in Annotations; expected one for each image")
    write_xml(tmp_path, "1", (10, 10))
    assert message(tmp_path, tmp_path.parent).endswith(": none of the 1 images has a box")


def test_every_mistake_of_the_files(voc, tmp_path):
    write_xml(voc, "4", (40, 40), ("cat", 0, 10, 10, 41, 30))
    (voc / "Annotations/5.xml").write_text("<annotation>")
    found = message(voc, tmp_path).splitlines()
    assert found[0].startswith('VOC2007/Annotations/4.xml:1: object 1, "cat": the box (10, 10, 41, 30) reaches outside')
    assert found[1].strip() == "fix: correct the box, or cut all boxes at the border with --clip-boxes"
    assert found[2].startswith("VOC2007/Annotations/5.xml:1:13: broken XML")
    (voc / "Annotations/5.xml").unlink()
    assert read_truths(voc, clip_boxes=True).boxes[-1].tolist() == [0.25, 0.25, 1, 0.75]
    write_xml(voc, "4", (40, 40), *[("cat", 0, 10, 10, 41, 30)] * 23)
    assert message(voc, tmp_path).splitlines()[-1] == "and 3 more mistakes"


def test_unknown_classes(voc, tmp_path):
    labelmap = tmp_path / "map.prototxt"
    labelmap.write_text('item { name: "background" label: 0 } item { name: "cat" label: 1 }')
    assert 'object 1 has the unknown class "dog"; expected one of cat' in message(voc, tmp_path, labelmap=labelmap)
    path = write_lmdb(tmp_path / "lmdb", (2, False, 0, 0, 0.5, 0.5))
    assert message(path, tmp_path, labelmap=labelmap) == (
        "lmdb: a box has the class 2, which map.prototxt does not list; expected one of 1\n"
        "  fix: give the label map that the LMDB was made with: --labelmap"
    )


def test_lmdbs_of_other_kinds(tmp_path):
    path = write_lmdb(tmp_path / "none")
    assert message(path, tmp_path) == "none: none of the 1 images has a box"
    assert message(path, tmp_path, split="train") == (
        "none: --split train is given for an LMDB, which has no lists of images"
    )
    with create(tmp_path / "other") as writer:
        writer.put("7", AnnotatedDatum())
    assert message(tmp_path / "other", tmp_path) == (
        "other, record 7: the record is no image with boxes, but one with a single label (Datum), or something else;"
        " expected an AnnotatedDatum, as `netgen lmdb` and SSD-Caffe's convert_annoset write them\n"
        "  fix: databases to classify by hold no boxes; make one of images and their boxes with `netgen lmdb`"
    )
