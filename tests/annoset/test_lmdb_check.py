"""`netgen lmdb check`: everything that can be wrong with a record is found, counted and told with its key."""

from __future__ import annotations

import json
from math import inf, nan

import cv2
import numpy as np
import pytest

from annoset.database import Database
from annoset.reading.check import KINDS, check, keys_at
from annoset.reading.records import Duplicates, fingerprint
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, Datum

LABELS = {"cat": 1, "dog": 2}


@pytest.fixture
def findings(lmdb_of):
    """What `check` finds in an LMDB of the given records: kind -> (key, text) of each finding."""

    def run(records, labels=LABELS, **options):
        report = check(lmdb_of(records, labels=labels), **options)
        for kind, number in report.counts.items():
            assert number == len(report.shown.get(kind, ()))
        return {kind: [(one.key, one.text) for one in found] for kind, found in report.shown.items()}

    return run


def test_a_sound_lmdb(lmdb_of, image_of, record_of, netgen_lmdb):
    path = lmdb_of(
        {
            "00000000_a.jpg": record_of(image_of(level=1), (1, 0, 0, 60, 40), (2, 5, 5, 9, 9)),
            "00000001_b.png": record_of(image_of(level=2, suffix=".png"), (2, 1, 1, 60.015, 40.015)),
            "00000002_c.jpg": record_of(image_of(level=3, channels=1)),
        },
        labels=LABELS,
    )
    out = netgen_lmdb("check", path)
    assert out == (f"{path}: 3 records, 3 boxes; label map {path.parent / 'labelmap.prototxt'}\nnothing is wrong\n")


BOXES = {
    (1, 0, 0, 60.03, 40): {"outside": '"cat" (0, 0, 60.03, 40) in an image of 60 x 40'},
    (1, -0.03, 0, 9, 9): {"outside": '"cat" (-0.03, 0, 9, 9) in an image of 60 x 40'},
    (1, 9, 5, 3, 20): {"reversed": '"cat" (9, 5, 3, 20) in an image of 60 x 40'},
    (1, 5, 9, 20, 3): {"reversed": '"cat" (5, 9, 20, 3) in an image of 60 x 40'},
    (1, 90, 5, 3, 20): dict.fromkeys(("reversed", "outside"), '"cat" (90, 5, 3, 20) in an image of 60 x 40'),
    (2, 5, 5, 5, 20): {"zero-area": '"dog" (5, 5, 5, 20) in an image of 60 x 40'},
    (2, 5, 5, 20, 5): {"zero-area": '"dog" (5, 5, 20, 5) in an image of 60 x 40'},
    (1, nan, 5, 20, 5): {"number": '"cat" (nan, 5, 20, 5) in an image of 60 x 40'},
    (1, 1, 5, inf, 9): {"number": '"cat" (1, 5, inf, 9) in an image of 60 x 40'},
    (0, 1, 5, 8, 9): {"label": "class 0, which is the background"},
    (3, 1, 5, 8, 9): {"label": "class 3, which MAP does not list"},
}


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_each_mistake_of_a_box(findings, image_of, record_of, tmp_path, box):
    found = findings({"00000007_x.jpg": record_of(image_of(), box)})
    texts = {kind: text.replace("MAP", str(tmp_path / "labelmap.prototxt")) for kind, text in BOXES[box].items()}
    assert found == {kind: [("00000007_x.jpg", text)] for kind, text in texts.items()}


def test_an_unknown_class_counts_for_each_of_its_boxes(findings, image_of, record_of):
    found = findings({"k": record_of(image_of(), (9, 1, 1, 5, 5), (9, 1, 1, 6, 6), (1, 2, 2, 3, 3))})
    assert [len(each) for each in found.values()] == [2] and "label" in found


def test_without_a_label_map_only_the_background_is_no_class(findings, image_of, record_of):
    record = record_of(image_of(), (77, 1, 1, 5, 5), (0, 1, 1, 6, 6), (-2, 1, 1, 7, 7))
    assert findings({"k": record}, labels=None) == {
        "label": [("k", "class 0, which is the background"), ("k", "class -2, which no class can be")]
    }


def test_empty_groups_and_repeated_boxes(findings, image_of, record_of):
    record = record_of(image_of(), (1, 1, 1, 5, 5), (1, 1, 1, 5, 5), (2, 1, 1, 5, 5))
    record.annotation_group.add(group_label=2)
    assert findings({"k": record}) == {
        "duplicate-box": [("k", '"cat" (1, 1, 5, 5) in an image of 60 x 40')],
        "empty-group": [("k", '"dog"')],
    }


def test_broken_images(findings, image_of, record_of):
    noise = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))[1].tobytes()
    found = findings(
        {
            "0": record_of(b""),
            "1": record_of(b"no image"),
            "2": record_of(noise[: len(noise) // 2]),
            "3": record_of(cv2.imencode(".png", np.zeros((40, 60), np.uint16))[1].tobytes()),
            "4": record_of(noise[:-2]),
            "5": record_of(noise),
        }
    )
    assert list(found) == ["image"]
    assert found["image"] == [
        ("0", "the image cannot be decoded (0 bytes)"),
        ("1", "the image cannot be decoded (8 bytes)"),
        ("2", f"the JPEG is cut short or damaged ({len(noise) // 2} bytes)"),
        ("3", "the image is 40 x 60 pixels and 1 channel(s) of uint16"),
        ("4", f"the JPEG is cut short or damaged ({len(noise) - 2} bytes)"),
    ]


def test_sizes_that_are_not_the_image(findings, image_of, record_of):
    turned = record_of(image_of(level=1))
    turned.datum.height, turned.datum.width = 60, 40
    silent = record_of(image_of(level=2))
    silent.datum.ClearField("height")
    silent.datum.ClearField("width")
    assert findings({"a": turned, "b": silent}) == {
        "size": [("a", "the record says 40 x 60, the image has 60 x 40 pixels (width x height)")]
    }


def test_raw_images(findings):
    size = {"channels": 3, "height": 4, "width": 5}
    right = AnnotatedDatum(datum=Datum(data=bytes(60), **size), type=AnnotatedDatum.BBOX)
    short = AnnotatedDatum(datum=Datum(data=bytes(59), **size), type=AnnotatedDatum.BBOX)
    found = findings({"a": right, "b": short})
    assert found == {
        "image": [("b", "the record holds 59 bytes and 0 floats for an image of 3 x 4 x 5 (channels, height, width)")]
    }


def test_boxes_of_an_image_of_no_known_size(findings, record_of):
    record = record_of(b"none", (1, 6, 4, 3, 8))
    assert findings({"b": record})["reversed"] == [("b", '"cat" (6, 4, 3, 8) in an image of 60 x 40')]
    record.datum.height = record.datum.width = 0
    assert findings({"b": record})["reversed"] == [("b", '"cat" (0.1, 0.1, 0.05, 0.2) in 0–1')]


def test_records_that_are_none(findings, image_of, record_of):
    untyped = record_of(image_of(level=3))
    untyped.ClearField("type")
    found = findings(
        {
            "0": record_of(image_of(level=1)),
            "1": b"\xff\xff\xff",
            "2": Datum(data=image_of(level=2), encoded=True, label=3),
            "3": untyped,
        }
    )
    assert found == {
        "record": [
            ("1", 'the 3 bytes of record "1" are no AnnotatedDatum'),
            ("2", "the record is no image with boxes, but one with a single label (Datum), or something else"),
            ("3", "it does not say that its annotations are boxes"),
        ]
    }


def test_duplicates(findings, image_of, record_of):
    one, other = image_of(level=1), image_of(level=2)
    found = findings(
        {
            "00000000_a.jpg": record_of(one),
            "00000001_b.jpg": record_of(other),
            "00000002_a.jpg": record_of(image_of(level=3)),
            "00000003_c.jpg": record_of(one),
            "00000004_a.jpg": record_of(one),
            "other key": record_of(image_of(level=4)),
        }
    )
    assert found == {
        "duplicate-name": [("00000002_a.jpg", "as 00000000_a.jpg"), ("00000004_a.jpg", "as 00000000_a.jpg")],
        "duplicate-image": [("00000003_c.jpg", "as 00000000_a.jpg"), ("00000004_a.jpg", "as 00000000_a.jpg")],
    }


def test_duplicates_keep_the_first():
    duplicates = Duplicates()
    assert duplicates.pairs() == []
    for value in (b"x", b"y", b"x", b"z", b"y", b"x"):
        duplicates.add(fingerprint(value))
    assert duplicates.pairs() == [(2, 0), (4, 1), (5, 0)]


def test_keys_at_positions(lmdb_of, image_of, record_of):
    path = lmdb_of({f"{number:02d}": record_of(image_of()) for number in range(30)})
    with Database(path) as database:
        assert keys_at(database, {3, 17}) == {3: "03", 17: "17"} and keys_at(database, ()) == {}


def test_all_is_counted_and_the_first_are_shown_in_order(lmdb_of, record_of, netgen_lmdb):
    """Also with more records than threads are ahead."""
    path = lmdb_of({f"{number:08d}_x": record_of(b"bad %d" % number, (1, 0, 0, 90, 9)) for number in range(100)})
    out = netgen_lmdb("check", path, "--show", 2, "--ignore", "duplicate-name", status=1)
    assert out == (
        f"{path}: 100 records, 100 boxes; no label map, so any class above 0 is right\n"
        "image: 100 (images that cannot be decoded, or are cut short)\n"
        "    00000000_x: the image cannot be decoded (5 bytes)\n"
        "    00000001_x: the image cannot be decoded (5 bytes)\n"
        "    and 98 more\n"
        "outside: 100 (boxes that reach outside their image)\n"
        '    00000000_x: "1" (0, 0, 90, 9) in an image of 60 x 40\n'
        '    00000001_x: "1" (0, 0, 90, 9) in an image of 60 x 40\n'
        "    and 98 more\n"
        "200 findings\n"
    )
    assert netgen_lmdb("check", path, "--show", 0, status=1).splitlines()[1:3] == [
        "image: 100 (images that cannot be decoded, or are cut short)",
        "    100 more",
    ]


def test_what_is_ignored_is_no_finding(lmdb_of, image_of, record_of, netgen_lmdb):
    path = lmdb_of({"a": record_of(image_of(), (1, 5, 5, 5, 5))})
    assert "1 finding\n" in netgen_lmdb("check", path, status=1)
    assert netgen_lmdb("check", path, "--ignore", "zero-area").endswith("nothing is wrong\n")


def test_json(lmdb_of, image_of, record_of, netgen_lmdb):
    path = lmdb_of({b"00000000_\xff\n": record_of(image_of(), (1, 5, 5, 5, 8))}, labels=LABELS)
    found = json.loads(netgen_lmdb("check", path, "--format", "json", status=1))
    assert found == {
        "path": str(path),
        "labelmap": str(path.parent / "labelmap.prototxt"),
        "records": 1,
        "boxes": 1,
        "findings": 1,
        "counts": dict.fromkeys(KINDS, 0) | {"zero-area": 1},
        "shown": [
            {"kind": "zero-area", "key": "00000000_\udcff\n", "text": '"cat" (5, 5, 5, 8) in an image of 60 x 40'}
        ],
    }
    assert "    00000000_\\udcff\\n: " in netgen_lmdb("check", path, status=1)


def test_a_label_map_that_is_given(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path):
    path = lmdb_of({"a": record_of(image_of(), (3, 5, 5, 8, 8))}, labels=LABELS)
    (tmp_path / "other").write_text('item { name: "cow" label: 3 }')
    assert netgen_lmdb("check", path, "--labelmap", tmp_path / "other").endswith("nothing is wrong\n")
    assert "label: 1 " in netgen_lmdb("check", path, status=1)


def test_the_help_names_every_kind(netgen_lmdb):
    out = netgen_lmdb("check", "--help")
    assert all(kind in " ".join(out.split()) for kind in KINDS)


def test_what_is_refused(lmdb_of, image_of, refused, tmp_path):
    path = lmdb_of({"a": Datum(data=image_of(), encoded=True, label=3)})
    for verb in (("check",), ("info",), ("show", "-o", tmp_path / "x.png"), ("export", "--to", "voc", "-o", "out")):
        assert refused(verb[0], path, *verb[1:]) == (
            f"{path}, record a: the record is no image with boxes, but one with a single label (Datum), or something"
            " else; expected an AnnotatedDatum, as `netgen lmdb` and SSD-Caffe's convert_annoset write them\n"
            "  fix: databases to classify by hold no boxes; make one of images and their boxes with `netgen lmdb`"
        )
        (tmp_path / "leveldb").mkdir(exist_ok=True)
        (tmp_path / "leveldb" / "CURRENT").write_text("")
        assert "this is a LevelDB, not an LMDB" in refused(verb[0], tmp_path / "leveldb", *verb[1:])
        assert "there is no LMDB here" in refused(verb[0], tmp_path / "none", *verb[1:])
        missing = tmp_path / "none.prototxt"
        assert f"{missing}: " in refused(verb[0], path, *verb[1:], "--labelmap", missing)
    with pytest.raises(UserError, match=r'"zero_area" is nothing that is looked for \(did you mean "zero-area"\?\)'):
        check(path, ignore=["zero_area"])
