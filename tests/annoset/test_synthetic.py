"""The data set that the demo makes."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from annoset import synthetic
from annoset.formats.voc import read_split
from prototxt.errors import UserError
from prototxt.labelmap import class_labels


@pytest.fixture(scope="module")
def voc(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "VOC"
    synthetic.make(root, train=60, test=20, seed=3)
    return root


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def annotations(root: Path, split: str):
    return [entry.annotation() for entry in read_split(root, split)]


def test_it_is_a_voc_data_set(voc):
    assert len(annotations(voc, "train")) == 60 and len(annotations(voc, "test")) == 20
    labels = class_labels(voc / "labelmap.prototxt")
    assert labels == {"disc": 1, "square": 2, "triangle": 3}
    for annotation in annotations(voc, "train") + annotations(voc, "test"):
        assert annotation.mistakes(labels) == []
        assert cv2.imread(str(annotation.image)).shape == (annotation.height, annotation.width, 3)
        assert 160 <= annotation.height <= 208 and 160 <= annotation.width <= 208


def test_objects_are_of_all_classes_and_sizes(voc):
    images = annotations(voc, "train")
    assert {len(image.objects) for image in images} == {1, 2, 3}
    counts = Counter(one.name for image in images for one in image.objects)
    assert set(counts) == set(synthetic.SHAPES) and min(counts.values()) > sum(counts.values()) / 5
    sides = [max(o.xmax - o.xmin, o.ymax - o.ymin) / min(i.height, i.width) for i in images for o in i.objects]
    assert min(sides) > 0.14 and max(sides) < 0.64
    assert min(sides) < 0.25 and max(sides) > 0.5


def test_boxes_are_tight(monkeypatch):
    """Around a shape drawn in white on black, the box is that of the bright pixels, counted from 1."""
    monkeypatch.setattr(synthetic, "_background", lambda rng, size_hw: np.zeros((*size_hw, 3)))
    monkeypatch.setattr(synthetic, "_photograph", lambda rng, image: image)
    monkeypatch.setattr(synthetic, "_paint", lambda rng, image, mask, *_: np.maximum(image, mask[..., None]))
    monkeypatch.setattr(synthetic, "_MOST_OBJECTS", 1)
    for seed in range(10):
        image, (one,) = synthetic.draw(np.random.default_rng(seed))
        rows, columns = np.nonzero(image[..., 0] > 0.5)
        assert one.corners == (columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1)


def test_a_disc_is_round_and_centred():
    matrix = np.array([[20.0, 0, 50], [0, 20.0, 40]])
    mask, box = synthetic._mask(synthetic.SHAPES["disc"].outline, matrix, (80, 100))
    assert box == [31, 21, 71, 61]
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.03)


def test_the_seed_decides_and_a_larger_set_begins_as_a_smaller_one(voc, tmp_path):
    for name, train, test, seed in (("same", 60, 20, 3), ("smaller", 2, 1, 3), ("other", 2, 1, 4)):
        synthetic.make(tmp_path / name, train, test, seed)
    reference = digest(voc)
    assert digest(tmp_path / "same") == reference
    smaller, other = digest(tmp_path / "smaller"), digest(tmp_path / "other")
    pictures = [name for name in smaller if name.endswith(".jpg")]
    assert pictures == ["JPEGImages/test_00000.jpg", "JPEGImages/train_00000.jpg", "JPEGImages/train_00001.jpg"]
    assert all(smaller[name] == reference[name] != other[name] for name in pictures)


def test_train_and_test_differ(voc):
    hashes = [value for name, value in digest(voc).items() if name.endswith(".jpg")]
    assert len(set(hashes)) == 80


def test_progress_is_told(tmp_path):
    told = []

    def watch(items, what):
        told.append((what, len(items)))
        return items

    synthetic.make(tmp_path / "VOC", 2, 1, watch=watch)
    assert told == [("drawing train images", 2), ("drawing test images", 1)]


def test_a_folder_that_exists_is_not_touched(tmp_path):
    with pytest.raises(UserError, match="this exists already\n  fix: remove it, or choose another path"):
        synthetic.make(tmp_path, 1, 1)


def test_nothing_is_left_when_it_fails(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic, "_write_image", full)
    with pytest.raises(UserError, match="VOC: cannot be written: No space left on device"):
        synthetic.make(tmp_path / "VOC", 1, 1)
    assert list(tmp_path.iterdir()) == []
