"""`netgen lmdb export`: what goes out comes in again as the same records, and nothing is written elsewhere."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoset.database import Database
from annoset.formats.coco_writer import are_ids
from annoset.formats.filenames import NewFiles, file_stem
from annoset.reading import export as exporting
from annoset.reading.export import Target, default_split, export
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, Datum

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def objects(xml: Path) -> list[tuple]:
    """The objects of an XML, read by the standard library; corners must be whole numbers."""
    return [
        (
            one.findtext("name"),
            one.findtext("difficult"),
            *(int(one.findtext(f"bndbox/{corner}")) for corner in CORNERS),
        )
        for one in ElementTree.parse(xml).getroot().iter("object")
    ]


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def records(path: Path) -> list[bytes]:
    with Database(path) as database:
        return [record.SerializeToString(deterministic=True) for _, record in database]


# The real data set ----------------------------------------------------------------------------------------


@pytest.fixture
def bccd(shared, tmp_path, netgen_lmdb):
    """All of it as an LMDB, and where it comes from."""
    root = shared / "data" / "bccd"
    netgen_lmdb("voc", root, root, "--split", "trainval", "--split", "test", "-o", tmp_path / "bccd_lmdb")
    return tmp_path / "bccd_lmdb", root


def test_voc_and_back(bccd, tmp_path, netgen_lmdb):
    path, root = bccd
    out = netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc")
    assert out == f"{tmp_path / 'voc'}: 364 images, 4888 boxes\n"
    boxes = 0
    assert sorted(os.listdir(tmp_path / "voc")) == ["Annotations", "ImageSets", "JPEGImages", "labelmap.prototxt"]
    for original in (root / "Annotations").glob("*.xml"):
        written = objects(tmp_path / "voc" / "Annotations" / original.name)
        assert Counter(written) == Counter(objects(original))
        boxes += len(written)
        image = f"JPEGImages/{original.stem}.jpg"
        assert (tmp_path / "voc" / image).read_bytes() == (root / image).read_bytes()
    assert boxes == 4888
    lists = [(root / "ImageSets/Main" / f"{name}.txt").read_text() for name in ("trainval", "test")]
    assert (tmp_path / "voc/ImageSets/Main/bccd.txt").read_text() == "".join(lists)
    labelmap = tmp_path / "voc" / "labelmap.prototxt"
    assert labelmap.read_bytes() == (tmp_path / "labelmap.prototxt").read_bytes()
    netgen_lmdb("voc", tmp_path / "voc", "--split", "bccd", "-o", tmp_path / "again", "--labelmap", labelmap)
    assert records(tmp_path / "again") == records(path)


def test_coco_and_back(bccd, tmp_path, netgen_lmdb):
    path, _ = bccd
    netgen_lmdb("export", path, "--to", "coco", "-o", tmp_path / "coco", "--split", "all")
    annotations = tmp_path / "coco" / "annotations" / "instances_all.json"
    check_coco(json.loads(annotations.read_text("utf-8")), tmp_path / "coco" / "images")
    labelmap = tmp_path / "coco" / "labelmap.prototxt"
    options = ("-o", tmp_path / "again", "--labelmap", labelmap)
    netgen_lmdb("coco", annotations, "--images", tmp_path / "coco" / "images", *options)
    assert records(tmp_path / "again") == records(path)


def check_coco(coco: dict, images: Path) -> None:
    """What readers of COCO's format rely on."""
    assert set(coco) == {"info", "licenses", "images", "annotations", "categories"}
    ids = {name: [one["id"] for one in coco[name]] for name in ("images", "annotations", "categories")}
    for each in ids.values():
        assert len(set(each)) == len(each) and all(isinstance(one, int) for one in each)
    assert ids["annotations"] == list(range(1, len(ids["annotations"]) + 1))
    sizes = {}
    for one in coco["images"]:
        image = cv2.imread(str(images / one["file_name"]), cv2.IMREAD_UNCHANGED)
        assert image.shape[:2] == (one["height"], one["width"])
        sizes[one["id"]] = image.shape[:2]
    assert sorted(os.listdir(images)) == sorted(one["file_name"] for one in coco["images"])
    for one in coco["annotations"]:
        assert set(one) == {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"}
        assert one["category_id"] in ids["categories"] and one["iscrowd"] in (0, 1)
        x, y, width, height = one["bbox"]
        assert width >= 0 and height >= 0 and one["area"] == pytest.approx(width * height, abs=1e-3)
        assert x + width <= sizes[one["image_id"]][1] + 0.02 and y + height <= sizes[one["image_id"]][0] + 0.02
    for one in coco["categories"]:
        assert one["name"] and "supercategory" in one


# Boxes ----------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 20000).flatmap(lambda side: st.tuples(st.just(side), st.integers(0, side))),
)
def test_whole_pixels_survive_float32(pair):
    side, corner = pair
    kept = AnnotatedDatum()
    box = kept.annotation_group.add().annotation.add().bbox
    box.xmin = corner / side
    product = box.xmin * side
    assert round(product) == corner and abs(product - corner) < 0.01


def test_corners_between_pixels(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    path = lmdb_of({"00000000_7.jpg": record_of(image_of(), (1, 1.25, 2.75, 30.4, 39), (1, 3, 4, 5, 6))})
    out = netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc")
    assert out.splitlines()[1:] == [
        "    1 box with corners between two pixels, brought to the nearest: VOC's are whole numbers"
    ]
    assert objects(tmp_path / "voc/Annotations/7.xml") == [("1", "0", 1, 3, 30, 39), ("1", "0", 3, 4, 5, 6)]
    netgen_lmdb("export", path, "--to", "coco", "-o", tmp_path / "coco")
    coco = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    assert [one["bbox"] for one in coco["annotations"]] == [[1.25, 2.75, 29.15, 36.25], [3.0, 4.0, 2.0, 2.0]]
    assert coco["annotations"][0]["area"] == 1056.688  # 29.15 · 36.25


def test_difficult_objects(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    path = lmdb_of({"00000000_7.jpg": record_of(image_of(), (1, 1, 2, 30, 39), difficult=True)})
    assert netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc").endswith("    1 box marked difficult\n")
    assert objects(tmp_path / "voc/Annotations/7.xml") == [("1", "1", 1, 2, 30, 39)]
    out = netgen_lmdb("export", path, "--to", "coco", "-o", tmp_path / "coco")
    assert out.endswith("    1 box marked difficult, written as iscrowd\n")
    coco = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    assert coco["annotations"][0]["iscrowd"] == 1


def test_boxes_are_of_the_image_s_own_size(lmdb_of, image_of, record_of, tmp_path):
    """What the record says of the size may be missing."""
    record = record_of(image_of(), (1, 6, 4, 30, 20))
    record.datum.height = record.datum.width = 0
    export(lmdb_of({"00000000_7.jpg": record}), Target(tmp_path / "voc", "voc"))
    assert objects(tmp_path / "voc/Annotations/7.xml") == [("1", "0", 6, 4, 30, 20)]
    assert ElementTree.parse(tmp_path / "voc/Annotations/7.xml").findtext("size/width") == "60"


# Classes and ids ------------------------------------------------------------------------------------------


def test_names_of_classes(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    name = "a <b> & “ü”"
    path = lmdb_of({"00000000_x.jpg": record_of(image_of(), (2, 1, 1, 5, 5))}, labels={"cat": 1, name: 2})
    netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc")
    assert objects(tmp_path / "voc/Annotations/x.xml")[0][0] == name
    netgen_lmdb("export", path, "--to", "coco", "-o", tmp_path / "coco")
    coco = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text("utf-8"))
    assert [(one["id"], one["name"]) for one in coco["categories"]] == [(1, "cat"), (2, name)]
    for folder in ("voc", "coco"):
        made = (tmp_path / folder / "labelmap.prototxt").read_bytes()
        assert made == (tmp_path / "labelmap.prototxt").read_bytes()


COCO_MAP = """
item { name: "none_of_the_above" label: 0 display_name: "background" }
item { name: "1" label: 1 display_name: "person" }
item { name: "13" label: 12 display_name: "stop sign" }
"""


def test_the_label_map_of_coco(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    """Names are category ids there: COCO gets its ids back, VOC the names."""
    path = lmdb_of({"00000000_images/COCO_val2014_000000000042.jpg": record_of(image_of(), (12, 1, 1, 5, 5))})
    (tmp_path / "map").write_text(COCO_MAP)
    netgen_lmdb("export", path, "--to", "coco", "-o", tmp_path / "coco", "--labelmap", tmp_path / "map")
    coco = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    assert [(one["id"], one["name"]) for one in coco["categories"]] == [(1, "person"), (13, "stop sign")]
    assert coco["annotations"][0]["category_id"] == 13 and coco["annotations"][0]["image_id"] == 42
    netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc", "--labelmap", tmp_path / "map")
    assert objects(tmp_path / "voc/Annotations/COCO_val2014_000000000042.xml")[0][0] == "stop sign"
    again = ("--labelmap", tmp_path / "coco/labelmap.prototxt", "-o", tmp_path / "coco_again")
    netgen_lmdb(
        "coco", tmp_path / "coco/annotations/instances_train.json", "--images", tmp_path / "coco/images", *again
    )
    again = ("--labelmap", tmp_path / "voc/labelmap.prototxt", "-o", tmp_path / "voc_again")
    netgen_lmdb("voc", tmp_path / "voc", "--split", "train", *again)
    assert records(path) == records(tmp_path / "coco_again") == records(tmp_path / "voc_again")


def test_without_a_label_map_classes_have_their_numbers(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    path = lmdb_of({"00000000_x.jpg": record_of(image_of(), (9, 1, 1, 5, 5), (7, 1, 1, 5, 6))})
    netgen_lmdb("export", path, "--to", "coco", "-o", tmp_path / "coco")
    coco = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    assert [(one["id"], one["name"]) for one in coco["categories"]] == [(7, "7"), (9, "9")]
    netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc")
    options = ("--labelmap", tmp_path / "voc/labelmap.prototxt", "-o", tmp_path / "again")
    netgen_lmdb("voc", tmp_path / "voc", "--split", "train", *options)
    assert records(tmp_path / "again") == records(path)


def test_nothing_but_images(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    path = lmdb_of({"00000000_x.jpg": record_of(image_of())})
    netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc")
    assert files(tmp_path / "voc") == ["Annotations/x.xml", "ImageSets/Main/train.txt", "JPEGImages/x.jpg"]


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["000001", "42"], True),
        (["COCO_val2014_000000000042", "COCO_train2014_000000000043"], True),
        (["COCO_val2014_000000000042", "COCO_train2014_000000000042"], False),
        (["000001", "1"], False),
        (["2008_000001"], False),
        (["1", "a"], False),
        (["9" * 16], False),
        ([], True),
    ],
)
def test_which_names_are_ids(stems, expected):
    assert are_ids(stems) is expected


# Files ----------------------------------------------------------------------------------------------------


def test_images_of_all_kinds(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    """Bytes are kept, whatever the name says; raw images become PNGs of the same pixels."""
    colour = np.random.default_rng(1).integers(0, 256, (3, 40, 60), np.uint8)
    raw = record_of(colour.tobytes(), (1, 6, 4, 54, 36))
    raw.datum.encoded = False
    grey = AnnotatedDatum(datum=Datum(channels=1, height=2, width=3, data=bytes(6)), type=AnnotatedDatum.BBOX)
    images = {suffix: image_of(suffix=suffix) for suffix in (".jpg", ".png", ".bmp", ".webp", ".tiff")}
    path = lmdb_of(
        {
            "00000000_a.JPEG": record_of(images[".jpg"]),
            "00000001_b.png": record_of(images[".jpg"]),
            "00000002_c.jpg": record_of(images[".png"]),
            "00000003_d": record_of(images[".bmp"]),
            "00000004_e": record_of(images[".webp"]),
            "00000005_f.tiff": record_of(images[".tiff"]),
            "00000006_g.jpg": raw,
            "00000007_h.jpg": grey,
        }
    )
    out = netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc")
    assert "    2 images that were not encoded, written as PNG\n" in out
    folder = tmp_path / "voc" / "JPEGImages"
    kept = {"a.JPEG": ".jpg", "b.jpg": ".jpg", "c.png": ".png", "d.bmp": ".bmp", "e.webp": ".webp", "f.tiff": ".tiff"}
    assert sorted(os.listdir(folder)) == sorted([*kept, "g.png", "h.png"])
    assert all((folder / name).read_bytes() == images[suffix] for name, suffix in kept.items())
    np.testing.assert_array_equal(cv2.imread(str(folder / "g.png")), colour.transpose(1, 2, 0))
    depths = [ElementTree.parse(tmp_path / f"voc/Annotations/{stem}.xml").findtext("size/depth") for stem in "agh"]
    assert depths == ["3", "3", "1"]


KEYS = {
    "00000000_../../../evil.jpg": "evil",
    "00000001_/etc/passwd": "passwd",
    "00000002_..": "image",
    "00000003_a\\..\\b.jpg": "b",
    "00000004_a/ünï cödé 1.jpg": "ünï cödé 1",
    "00000005_ spaced .jpg": "spaced",
    "00000006_a\nb\0c.jpg": "a_b_c",
    b"00000007_\xff\xfe.jpg": "__",
    "00000008_" + 200 * "ü" + ".jpg": 100 * "ü",
    "00000009_": "image_2",
    "00000010_con:*?.jpg": "con___",
    "no number.jpg": "no number",
    "00000011_.hidden.jpg": "hidden",
    "00000012_noend": "noend",
    "00000013_v1.2.jpg": "v1.2",
}


def test_names_of_files_come_from_keys_and_never_lead_out(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = lmdb_of({key: record_of(image_of(), (1, 1, 1, 5, 5)) for key in KEYS})
    before = files(tmp_path)
    for to in ("voc", "coco"):
        netgen_lmdb("export", path, "--to", to, "-o", inner / to, "--split", "s")
    new = [name for name in files(tmp_path) if name not in before]
    assert all(name.startswith(("inner/voc/", "inner/coco/")) for name in new)
    assert sorted(os.listdir(inner / "coco/images")) == sorted(f"{stem}.jpg" for stem in KEYS.values())
    stems = (inner / "voc/ImageSets/Main/s.txt").read_text("utf-8").splitlines()
    assert sorted(stems) == sorted(KEYS.values())
    netgen_lmdb("voc", inner / "voc", "--split", "s", "-o", inner / "again")
    assert len(records(inner / "again")) == len(KEYS)
    check_coco(json.loads((inner / "coco/annotations/instances_s.json").read_text("utf-8")), inner / "coco/images")


@given(st.text(max_size=300))
def test_a_stem_is_always_the_name_of_a_file(name):
    stem = file_stem(name)
    assert stem and "/" not in stem and stem not in (".", "..") and len(stem.encode()) <= 200
    assert stem == stem.strip() and stem.isprintable() and file_stem(f"{stem}.jpg") == stem


def test_names_that_are_taken(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    names = ("a/x.jpg", "b/x.jpg", "c/x.png", "x_2.jpg", "d/x.jpg")
    images = [image_of(level=20 * number, suffix=Path(name).suffix) for number, name in enumerate(names)]
    path = lmdb_of({f"{number:08d}_{name}": record_of(images[number]) for number, name in enumerate(names)})
    out = netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "voc")
    assert "    4 images whose file got a number, because another image has its name\n" in out
    stems = (tmp_path / "voc/ImageSets/Main/train.txt").read_text().split()
    assert stems == ["x", "x_2", "x_3", "x_2_2", "x_4"]
    suffixes = [".jpg", ".jpg", ".png", ".jpg", ".jpg"]
    for stem, suffix, image in zip(stems, suffixes, images):
        assert (tmp_path / "voc/JPEGImages" / f"{stem}{suffix}").read_bytes() == image


def test_ten_thousand_names_that_are_taken(tmp_path):
    new = NewFiles()
    assert [new.claim(tmp_path, "x", ".a").name for _ in range(3)] == ["x.a", "x_2.a", "x_3.a"]
    for _ in range(10_000):
        last = new.claim(tmp_path, "x", ".a")
    assert last.name == "x_10003.a" and new.renamed == 10_002


def test_names_of_lists():
    assert default_split(Path("a/VOC0712_trainval_lmdb")) == "VOC0712_trainval"
    assert default_split(Path("a/_lmdb")) == "all" and default_split(Path("plain")) == "plain"


# What is refused ------------------------------------------------------------------------------------------


BAD = {
    "reversed": ((1, 9, 1, 5, 5), "a box of cat has the corners (9, 1, 5, 5); expected numbers with xmin <= xmax and"),
    "number": ((1, float("nan"), 1, 5, 5), "a box of cat has the corners (nan, 1, 5, 5); expected numbers with"),
    "unknown": ((4, 1, 1, 5, 5), "a box has the class 4, which LABELMAP does not list\n  fix: give the label map that"),
    "background": ((0, 1, 1, 5, 5), "a box has the class 0, which LABELMAP does not list\n  fix: give the label map"),
}


@pytest.mark.parametrize("kind", BAD)
def test_boxes_that_formats_cannot_say(lmdb_of, image_of, record_of, refused, netgen_lmdb, tmp_path, kind):
    box, message = BAD[kind]
    good = record_of(image_of(), (1, 1, 1, 5, 5))
    path = lmdb_of({"00000000_a": good, "00000001_b": record_of(image_of(), box)}, labels={"cat": 1})
    message = message.replace("LABELMAP", str(tmp_path / "labelmap.prototxt"))
    out = tmp_path / "out"
    assert f"{path}, record 00000001_b: {message}" in refused("export", path, "--to", "coco", "-o", out)
    assert sorted(os.listdir(tmp_path)) == ["labelmap.prototxt", "train_lmdb"]
    text = netgen_lmdb("export", path, "--to", "coco", "-o", out, "--skip-bad")
    told = message.replace("\n", "\n    ")
    assert f"out: 1 image, 1 box\nleft out: 1 record with mistakes\n    {path}, record 00000001_b: {told}" in text
    check_coco(json.loads((out / "annotations/instances_train.json").read_text()), out / "images")


def test_images_that_are_none(lmdb_of, image_of, record_of, refused, tmp_path):
    path = lmdb_of({"00000000_a": record_of(b"nothing")})
    assert refused("export", path, "--to", "voc", "-o", tmp_path / "out") == (
        f"{path}, record 00000000_a: the image is of no known kind (7 bytes); expected JPEG, PNG, GIF, BMP, WebP,"
        " TIFF\n  fix: leave such records out with --skip-bad; `netgen lmdb check` lists them all"
    )
    assert "no image is left to write" in refused("export", path, "--to", "voc", "-o", tmp_path / "out", "--skip-bad")
    broken = lmdb_of({"a": record_of(b"\xff\xd8broken")}, name="broken")
    assert "record a: the image cannot be decoded (8 bytes)" in refused("export", broken, "--to", "voc", "-o", "out")
    raw = AnnotatedDatum(datum=Datum(channels=3, height=2, width=3, data=bytes(6)), type=AnnotatedDatum.BBOX)
    short = lmdb_of({"a": raw}, name="short")
    assert "record a: the record holds 6 bytes and 0 floats" in refused("export", short, "--to", "voc", "-o", "out")
    background = lmdb_of({"a": record_of(image_of(), (0, 1, 1, 5, 5))}, name="background")
    message = "a box has the class 0; expected 1 or more; 0 is the background"
    assert message in refused("export", background, "--to", "voc", "-o", "out")


def test_many_records_left_out_are_counted(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    path = lmdb_of({f"{number:08d}_a": record_of(b"" if number else image_of()) for number in range(31)})
    lines = netgen_lmdb("export", path, "--to", "voc", "-o", tmp_path / "out", "--skip-bad").splitlines()
    assert lines[1] == "left out: 30 records with mistakes" and lines[-1] == "    and 10 more"
    assert sum(line.startswith(f"    {path}, record") for line in lines) == 20


def test_a_target_that_exists(lmdb_of, image_of, record_of, refused, tmp_path):
    path = lmdb_of({"00000000_a": record_of(image_of())})
    (tmp_path / "out").mkdir()
    assert refused("export", path, "--to", "voc", "-o", tmp_path / "out") == (
        f"{tmp_path / 'out'}: this exists already\n  fix: remove it, or choose another path"
    )
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("split", ["a/b", "..", "a\nb", "/"])
def test_names_that_no_list_can_have(lmdb_of, image_of, record_of, refused, tmp_path, split):
    path = lmdb_of({"00000000_a": record_of(image_of())})
    message = refused("export", path, "--to", "voc", "-o", tmp_path / "out", "--split", split)
    assert message.endswith("cannot be the name of a list of images; expected a file name without its suffix")
    assert os.listdir(tmp_path) == ["train_lmdb"]


@pytest.mark.parametrize("to", exporting.FORMATS)
def test_a_full_disk_and_an_interruption_leave_nothing(lmdb_of, image_of, record_of, tmp_path, to, monkeypatch):
    path = lmdb_of({f"{number:08d}_a": record_of(image_of()) for number in range(5)})
    for error, raised in (
        (OSError(28, "No space left on device"), UserError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):

        def fail(self, data, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", fail)
            with pytest.raises(raised):
                export(path, Target(tmp_path / "out", to))
        assert os.listdir(tmp_path) == ["train_lmdb"]
