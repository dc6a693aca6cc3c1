"""Annotated images as AnnotatedDatum, pinned against what SSD-Caffe's tool writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from annoset.annotation import Annotation, Object
from annoset.writing.picture import load_picture
from annoset.writing.record import boxes_part, join_record, make_record
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum

OBJECTS = (
    Object("dog", 1, 2, 30, 40),
    Object("cat", 0, 0, 60, 40, difficult=True),
    Object("dog", 7, 7, 7, 7),
)


def annotate(path: Path, image: np.ndarray, height: int = 40, width: int = 60) -> Annotation:
    cv2.imwrite(str(path), image)
    return Annotation("VOC/JPEGImages/a.jpg", path, path.with_suffix(".xml"), height, width, OBJECTS)


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_groups_ids_and_normalised_boxes(tmp_path, colour):
    record = make_record(annotate(tmp_path / "a.jpg", colour), {"cat": 5, "dog": 3})
    assert record.type == record.BBOX and record.HasField("type")
    assert [group.group_label for group in record.annotation_group] == [3, 5]
    assert [[one.instance_id for one in group.annotation] for group in record.annotation_group] == [[0, 1], [0]]
    dogs, cats = ([one.bbox for one in group.annotation] for group in record.annotation_group)
    f = np.float32
    assert [(b.xmin, b.ymin, b.xmax, b.ymax) for b in dogs] == [
        (f(1) / f(60), f(2) / f(40), f(30) / f(60), 1.0),
        (f(7) / f(60), f(7) / f(40), f(7) / f(60), f(7) / f(40)),
    ]
    assert [(b.xmin, b.ymin, b.xmax, b.ymax, b.difficult) for b in cats] == [(0.0, 0.0, 1.0, 1.0, True)]
    assert all(b.HasField("difficult") and not b.difficult and not b.HasField("label") for b in dogs)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_image_is_stored_as_it_is(tmp_path, colour, suffix):
    path = tmp_path / f"a{suffix}"
    datum = make_record(annotate(path, colour), {"cat": 1, "dog": 2}).datum
    assert datum.data == path.read_bytes() and datum.encoded
    assert (datum.channels, datum.height, datum.width, datum.label) == (3, 40, 60, -1)


def test_a_grey_image_counts_as_three_channels_as_in_caffe(tmp_path, colour):
    assert make_record(annotate(tmp_path / "a.jpg", colour[..., 0]), {"cat": 1, "dog": 2}).datum.channels == 3


def test_no_objects(tmp_path, colour):
    annotation = annotate(tmp_path / "a.jpg", colour)
    record = make_record(Annotation("a", annotation.image, annotation.path, 40, 60), {"cat": 1})
    assert record.type == record.BBOX and not record.annotation_group


@pytest.mark.parametrize("cut", ["empty", "half", "page"])
def test_image_that_cannot_be_decoded(tmp_path, colour, cut):
    annotation = annotate(tmp_path / "a.jpg", colour)
    raw = annotation.image.read_bytes()
    raw = {"empty": b"", "half": raw[:100], "page": b"<!DOCTYPE html><html></html>"}[cut]
    annotation.image.write_bytes(raw)
    with pytest.raises(UserError) as error:
        make_record(annotation, {"cat": 1, "dog": 2})
    assert str(error.value) == (
        f"{tmp_path}/a.jpg: the image cannot be decoded ({len(raw)} bytes); expected a whole JPEG or PNG\n"
        "  fix: replace the image, or leave such images out with --skip-bad"
    )


def test_image_of_another_size(tmp_path, colour):
    with pytest.raises(UserError) as error:
        make_record(annotate(tmp_path / "a.jpg", colour, 41, 60), {})
    assert str(error.value) == (
        f"{tmp_path}/a.jpg: the image has 60 x 40 pixels (width x height), its annotation says 60 x 41;"
        f" expected the size in {tmp_path}/a.xml\n  fix: correct the size, or leave such images out with --skip-bad"
    )


def test_image_stored_on_its_side(tmp_path, colour):
    with pytest.raises(UserError, match="fix: the image is stored on its side: turn it, so that its boxes fit"):
        make_record(annotate(tmp_path / "a.jpg", colour, 60, 40), {})


def test_the_bytes_are_those_of_the_whole_message(tmp_path, colour):
    """They are put together from the image's part and the boxes' part."""
    annotation = annotate(tmp_path / "a.jpg", colour)
    raw = join_record(load_picture(annotation), boxes_part(annotation, {"cat": 5, "dog": 3}))
    record = make_record(annotation, {"cat": 5, "dog": 3})
    assert raw == record.SerializeToString() and AnnotatedDatum.FromString(raw) == record


@pytest.mark.parametrize("corner", [1, 2, 3, 7, 333, 640.5, 45.7, float(np.float32(45.7))])
def test_boxes_are_divided_as_in_float32(tmp_path, colour, corner):
    image = tmp_path / "a.jpg"
    annotation = replace(annotate(image, colour), objects=(Object("cat", corner, 0, 60, 40),), width=641)
    box = AnnotatedDatum.FromString(boxes_part(annotation, {"cat": 1})).annotation_group[0].annotation[0].bbox
    ulp = 0 if corner == np.float32(corner) else np.spacing(np.float32(box.xmin))
    assert abs(np.float32(box.xmin) - np.float32(corner) / np.float32(641)) <= ulp
