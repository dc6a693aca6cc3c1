"""`netgen lmdb show`: which images are shown, and what is drawn."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from annoset.sheet import Mark, sheet, tile, write_sheet
from prototxt.errors import UserError

BLUE, RED = (219, 152, 52), (60, 76, 231)  # BGR, of the labels 2 and 0


def test_a_box_is_drawn_where_it_is():
    picture = tile(np.zeros((100, 200, 3), np.uint8), [Mark((0.25, 0.5, 0.75, 0.9), 2)], side=400)
    assert picture.shape == (200, 400, 3)
    for point in ((100, 200), (180, 200), (150, 100), (150, 300)):
        assert tuple(picture[point]) == BLUE
    assert not picture[:90].any() and not picture[110:170, 110:290].any()


def test_difficult_boxes_have_thin_lines():
    thick, thin = (
        tile(np.zeros((100, 100, 3), np.uint8), [Mark((0.2, 0.2, 0.8, 0.8), 0, thin=thin)], side=100)
        for thin in (False, True)
    )
    assert 0 < (thin > 40).any(axis=2).sum() < (thick > 40).any(axis=2).sum()
    np.testing.assert_allclose(thin[50, 20], RED, atol=30)


@pytest.mark.parametrize("corners", [(-9, -9, 9, 9), (1e30, 0, -1e30, 1), (5, 5, 6, 6), (float("nan"), 0, 1, 1)])
def test_boxes_outside_and_boxes_of_no_numbers(corners):
    picture = tile(np.zeros((50, 50), np.uint8), [Mark(corners, 0, "name")], side=50)
    assert picture.shape == (50, 50, 3)


def test_texts_of_any_letters():
    """Class names are not ASCII everywhere; those that the font lacks are boxes, and no warning is given."""
    plain = tile(np.zeros((60, 300, 3), np.uint8), [Mark((0.1, 0.5, 0.9, 0.9), 2)], side=300)
    pictures = [
        tile(np.zeros((60, 300, 3), np.uint8), [Mark((0.1, 0.5, 0.9, 0.9), 2, text)], side=300)
        for text in ("Bücher", "Bucher", "собака", "狗", "a\udcff", "x" * 500, "a\nb")
    ]
    assert all((picture != plain).any() for picture in pictures)
    assert (pictures[0] != pictures[1]).any()
    assert all((picture == 255).all(axis=2).any() for picture in pictures[:3])  # the letters are white


def test_a_text_at_the_border_is_moved_to_where_it_is_seen():
    picture = tile(np.zeros((100, 100, 3), np.uint8), [Mark((0.95, 0.0, 1.0, 0.1), 2, "platelets")], side=100)
    column = np.flatnonzero((picture[8] == BLUE).all(axis=1))
    assert column.min() > 20 and column.max() == 99
    assert (picture == 255).all(axis=2).any()


def test_captions_and_sheets():
    tiles = [tile(np.full((40, 60, 3), 7, np.uint8), [], caption, side=60) for caption in ("", "one", "one\ntwo")]
    assert [one.shape[:2] for one in tiles] == [(40, 60), (56, 60), (72, 60)]
    assert (tiles[1][40:] < 200).any() and (tiles[1][40:] == 255).any()
    whole = sheet([*tiles, tiles[0]], columns=3)
    assert whole.shape == (2 * (72 + 8), 3 * (60 + 8), 3)
    np.testing.assert_array_equal(whole[4:60, 72:132], tiles[1])
    np.testing.assert_array_equal(whole[84:124, 4:64], tiles[0])
    assert (whole[124:, :] == 255).all()


def test_sheets_that_cannot_be_written(tmp_path):
    tall = np.zeros((70000, 1, 3), np.uint8)
    with pytest.raises(
        UserError, match=r"\.gif: cannot write a picture with the ending '\.gif'; expected \.png or \.jpg"
    ):
        write_sheet([tall], tmp_path / "a.gif")
    with pytest.raises(UserError, match=r"9 x 70008 pixels.*\n  fix: write a \.png, or show fewer or smaller images"):
        write_sheet([tall], tmp_path / "a.jpg")
    write_sheet([tall], tmp_path / "a.PNG")
    assert os.listdir(tmp_path) == ["a.PNG"]


@pytest.fixture
def twenty(lmdb_of, image_of, record_of):
    """Of twenty images the last five have a dog."""
    return lmdb_of(
        {
            f"{number:08d}_d/i{number}.jpg": record_of(
                image_of(level=10 * number), (1 if number < 15 else 2, 6, 4, 54, 36)
            )
            for number in range(20)
        },
        labels={"cat": 1, "dog": 2},
    )


def keys(out: str) -> list[int]:
    return [int(line.partition("_")[0]) for line in out.splitlines()[:-1]]


def test_images_are_spread_over_the_lmdb(twenty, netgen_lmdb, tmp_path):
    out = netgen_lmdb("show", twenty, "-o", tmp_path / "a.png", "--count", 4, "--side", 60, "--columns", 2)
    assert keys(out) == [0, 5, 10, 15]
    assert out.splitlines()[-1] == f"wrote {tmp_path / 'a.png'}: 4 images"
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape == (2 * (40 + 32 + 8), 2 * (60 + 8), 3)
    assert [picture[28, 34, 0], picture[28, 102, 0]] == [0, 50]  # grey levels 0 and 5 · 10
    assert [picture[108, 34, 0], picture[108, 102, 0]] == [100, 150]
    np.testing.assert_allclose(picture[24, 4 + 6], (113, 204, 46), atol=1)  # class 1, at x = 6
    assert len(keys(netgen_lmdb("show", twenty, "-o", tmp_path / "a.png"))) == 12
    assert len(keys(netgen_lmdb("show", twenty, "-o", tmp_path / "a.png", "--count", 50))) == 20


def test_a_seed_draws_them(twenty, netgen_lmdb, tmp_path):
    drawn = [
        keys(netgen_lmdb("show", twenty, "-o", tmp_path / "a.jpg", "--count", 5, "--seed", seed)) for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(one)) == 5 and one == sorted(one) for one in drawn)


def test_a_class_and_a_key(twenty, netgen_lmdb, tmp_path, refused):
    show = ("show", twenty, "-o", tmp_path / "a.png")
    assert keys(netgen_lmdb(*show, "--class", "dog")) == [15, 16, 17, 18, 19]
    assert keys(netgen_lmdb(*show, "--class", "2", "--count", 2)) == [15, 17]
    assert keys(netgen_lmdb(*show, "--key", "i1")) == [1, *range(10, 20)]
    assert keys(netgen_lmdb(*show, "--key", "i1", "--class", "cat")) == [1, 10, 11, 12, 13, 14]
    os.remove(tmp_path / "a.png")
    assert refused(*show, "--class", "dgo") == 'there is no class "dgo" (did you mean "dog"?); expected one of cat, dog'
    assert refused(*show, "--class", "3") == f"{twenty}: no record has a box of 3"
    assert (
        refused(*show, "--key", "zz", "--class", "dog") == f'{twenty}: no record has a box of dog and "zz" in its key'
    )
    assert refused("show", twenty, "-o", tmp_path / "a.txt").endswith("expected .png or .jpg")
    assert "cannot be written" in refused("show", twenty, "-o", tmp_path / "none" / "a.png")
    assert sorted(os.listdir(tmp_path)) == ["labelmap.prototxt", "train_lmdb"]


def test_a_class_without_a_label_map(lmdb_of, image_of, record_of, netgen_lmdb, tmp_path, refused):
    path = lmdb_of({"00000000_x": record_of(image_of(), (7, 1, 1, 9, 9))})
    assert keys(netgen_lmdb("show", path, "-o", tmp_path / "a.png", "--class", "7")) == [0]
    message = 'there is no class "cat"; expected a label, because there is no label map'
    assert refused("show", path, "-o", tmp_path / "a.png", "--class", "cat") == message


def test_a_broken_image_is_a_grey_tile(lmdb_of, record_of, netgen_lmdb, tmp_path):
    path = lmdb_of({"00000000_x": record_of(b"broken", (1, 6, 4, 54, 36))})
    assert "1 image\n" in netgen_lmdb("show", path, "-o", tmp_path / "a.png", "--side", 100)
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape == (100 + 32 + 8, 108, 3) and tuple(picture[50, 50]) == (128, 128, 128)
