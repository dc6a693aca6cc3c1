"""`netgen lmdb info`: counts and statistics, held against figures computed otherwise."""

from __future__ import annotations

import json
from math import inf, nan
from xml.etree import ElementTree

import numpy as np
import pytest

from annoset.database import printable
from annoset.reading.info import Tally, info
from annoset.reading.records import image_kind, image_name
from prototxt.schema import AnnotatedDatum, Datum


@pytest.mark.parametrize("values", [[7], [3, 1], [5, 1, 1, 9, 2, 2, 2], list(range(1000))])
def test_quantiles_are_numpy_s(values):
    tally = Tally()
    for value in values:
        tally.add(value)
    expected = {
        name: np.quantile(values, part, method="inverted_cdf")
        for name, part in (("min", 0), ("p5", 0.05), ("median", 0.5), ("p95", 0.95), ("max", 1))
    }
    assert tally.as_dict() == expected | {"mean": pytest.approx(np.mean(values), abs=0.005)}
    assert Tally().as_dict() == {}


def test_the_real_data_set(shared, tmp_path, netgen_lmdb):
    """Against its XMLs, read by the standard library."""
    bccd = shared / "data" / "bccd"
    netgen_lmdb("voc", bccd, "--split", "test", "-o", tmp_path / "lmdb")
    found = json.loads(netgen_lmdb("info", tmp_path / "lmdb", "--format", "json"))
    boxes = []
    stems = (bccd / "ImageSets/Main/test.txt").read_text().split()
    for stem in stems:
        for one in ElementTree.parse(bccd / "Annotations" / f"{stem}.xml").getroot().iter("object"):
            corners = [int(one.findtext(f"bndbox/{corner}")) for corner in ("xmin", "ymin", "xmax", "ymax")]
            boxes.append((stem, one.findtext("name"), corners[2] - corners[0], corners[3] - corners[1]))
    assert found["records"] == len(stems) == 72
    assert found["images"]["kinds"] == {"JPEG": 72}
    assert found["images"]["sizes"] == [{"height": 480, "width": 640, "images": 72}]
    per_image = [sum(stem == box[0] for box in boxes) for stem in stems]
    assert found["images"]["boxes"]["max"] == max(per_image)
    assert found["images"]["boxes"]["mean"] == round(np.mean(per_image), 2)
    assert [one["name"] for one in found["classes"]] == ["Platelets", "RBC", "WBC"]
    for one in (*found["classes"], found["boxes"]):
        own = [box for box in boxes if one.get("name") in (None, box[1])]
        assert one["boxes"] == len(own) and one["images"] == len({box[0] for box in own})
        wide, high = np.array([box[2:] for box in own if box[2] and box[3]]).T
        sides = np.rint(np.sqrt(wide * high)).astype(int)
        assert one["side_pixels"]["median"] == np.quantile(sides, 0.5, method="inverted_cdf")
        assert one["side_pixels"]["p95"] == np.quantile(sides, 0.95, method="inverted_cdf")
        assert one["side_pixels"]["mean"] == round(sides.mean(), 2)
        percents = np.rint(100 * np.sqrt(wide * high / (640 * 480)))
        assert one["side_percent"]["median"] == np.quantile(percents, 0.5, method="inverted_cdf")
        areas = wide * high
        assert one["areas"]["small"] == (areas <= 32**2).sum() and one["areas"]["large"] == (areas > 96**2).sum()
        nearest = np.abs(np.log(wide / high)[:, None] - np.log([1 / 3, 1 / 2, 1, 2, 3])).argmin(axis=1)
        assert list(one["ratios"].values()) == np.bincount(nearest, minlength=5).tolist()


def test_text(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    path = lmdb_of(
        {
            "00000000_a/x.jpg": record_of(image_of(level=1), (1, 0, 0, 30, 30), (1, 5, 5, 5, 9)),
            "00000001_b/x.jpg": record_of(image_of(level=2, channels=1), (4, 0, 0, 40, 10), difficult=True),
            "00000002_b/x.jpg": record_of(image_of(height=20, width=30, suffix=".png")),
            "key": record_of(image_of(level=1)),
        },
        labels={"cat": 1, "dög": 2},
    )
    lines = netgen_lmdb("info", path).splitlines()
    assert lines[:10] == [
        f"{path}: 4 records, 0.0 MiB",
        "    images: 3 JPEG, 1 PNG",
        "    width x height: 60 x 40 (3), 30 x 20 (1)",
        "    boxes of an image: 0.75 on average, at most 2; 2 of 4 have none",
        "    1 image in grey",
        "    boxes by area: 100 % small, 0 % medium, 0 % large (COCO's: below 32², below 96², above)",
        "    boxes by width : height: 1:3 0 %, 1:2 0 %, 1:1 50 %, 2:1 0 %, 3:1 50 % (the nearest)",
        "    duplicates: 1 name, 1 image",
        "    1 key without the number that convert_annoset begins keys with",
        f"    label map: {tmp_path / 'labelmap.prototxt'}",
    ]
    assert [" ".join(line.split()) for line in lines[11:] if line.strip()] == [
        "label class boxes images difficult no area side in pixels in % of the image",
        "─" * len(lines[12].strip()),
        "1 cat 2 1 0 1 30 (30 … 30) 61 (61 … 61)",
        "2 dög 0 0 0 0",
        "4 4 (not in the label map) 1 1 1 0 20 (20 … 20) 41 (41 … 41)",
        "all 3 2 1 1 20 (20 … 30) 41 (41 … 61)",
        "side: median (5 % … 95 %)",
    ]


def test_an_lmdb_without_boxes_or_label_map(lmdb_of, image_of, record_of, netgen_lmdb):
    out = netgen_lmdb("info", lmdb_of({"00000000_x": record_of(image_of())}))
    assert "no label map: classes have their numbers" in out
    assert "boxes of an image: 0 on average, at most 0; 1 of 1 have none" in out
    assert out.rstrip().endswith("numbers")


def test_many_sizes(lmdb_of, image_of, record_of, netgen_lmdb):
    path = lmdb_of({f"{n:08d}_x": record_of(image_of(height=10 + n // 2, width=20)) for n in range(14)})
    out = netgen_lmdb("info", path)
    assert "20 x 10 (2), 20 x 11 (2), 20 x 12 (2), 20 x 13 (2), 20 x 14 (2) and 2 more sizes" in out


def test_sizes_are_the_images_own(lmdb_of, image_of, record_of):
    """Also where the record is silent or wrong about them; raw images have no other."""
    wrong = record_of(image_of(height=40, width=60), (1, 0, 0, 60, 40))
    wrong.datum.height, wrong.datum.width = 7, 0
    raw = AnnotatedDatum(datum=Datum(channels=1, height=5, width=4, data=bytes(20)), type=AnnotatedDatum.BBOX)
    found = info(lmdb_of({"a": wrong, "b": raw, "c": record_of(image_of(height=30, suffix=".bmp"))}))
    assert found.sizes == {(40, 60): 1, (5, 4): 1, (30, 60): 1}
    assert found.kinds == {"JPEG": 1, "raw": 1, "BMP": 1}
    assert found.gray == 1 and found.boxes.sides.as_dict()["max"] == 49  # √(60 · 40)


def test_boxes_that_are_none_have_no_side(lmdb_of, image_of, record_of):
    corners = ((5, 5, 5, 9), (9, 5, 5, 9), (nan, 5, 9, 9), (5, 5, inf, 9), (-inf, 5, inf, 9))
    found = info(lmdb_of({"a": record_of(image_of(), *((1, *each) for each in corners))}))
    boxes = found.boxes.as_dict()
    assert (boxes["boxes"], boxes["without_area"], boxes["side_pixels"]) == (5, 5, {})
    assert set(boxes["areas"].values()) == set(boxes["ratios"].values()) == {0}


def test_a_camera_s_note(lmdb_of, image_of, record_of, netgen_lmdb):
    jpeg = image_of()
    tiff = b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\0\0\0\0"
    note = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + (len(note) + 2).to_bytes(2, "big") + note + jpeg[2:]
    out = netgen_lmdb("info", lmdb_of({"a": record_of(turned)}))
    assert "    1 image with a camera's note to turn them, which Caffe ignores\n" in out
    assert "60 x 40 (1)" in out


def test_an_image_without_a_size(lmdb_of, image_of, record_of, refused):
    path = lmdb_of({"a": record_of(image_of()), "b\x1b": record_of(b"nothing")})
    assert refused("info", path) == (
        f"{path}, record b\\x1b: the image cannot be decoded (7 bytes); expected a whole JPEG, PNG or other image that"
        " OpenCV reads\n  fix: list everything of this sort with `netgen lmdb check`"
    )
    path = lmdb_of({"a": record_of(image_of()), "b": b"\xff"}, name="other")
    assert 'the 1 bytes of record "b" are no AnnotatedDatum' in refused("info", path)


def test_kinds_and_names():
    starts = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r": "PNG", b"GIF89a": "GIF", b"BM6": "BMP", b"II*\0": "TIFF"}
    for start, kind in (*starts.items(), (b"", "unknown"), (b"hello", "unknown")):
        assert image_kind(Datum(data=start, encoded=True)) == kind
    assert image_kind(Datum(data=b"\xff\xd8")) == "raw"
    assert image_name("00000012_VOC/1.jpg") == "VOC/1.jpg" and image_name("123456789_a_b") == "a_b"
    assert image_name("1234_a") == "1234_a"
    assert printable("a é\n\udcff\x1b") == "a é\\n\\udcff\\x1b"
