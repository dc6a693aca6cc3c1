"""Windows onto an image: the law of expansion, crops to the pixel, and filling against a whole canvas."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from annoset.augment.expand import Window, check_expansion, crop, expand, fill_window, visible
from prototxt.errors import UserError
from prototxt.schema import ExpansionParameter


def test_expansion_follows_its_probability_and_ratio():
    param, generator, draws = ExpansionParameter(prob=0.5, max_expand_ratio=4), np.random.default_rng(4), 4000
    windows = [expand((60, 100), param, generator) for _ in range(draws)]
    expanded = [window for window in windows if window != (0, 0, 60, 100)]
    assert abs(len(expanded) - draws / 2) < 4 * (draws / 4) ** 0.5 + draws / 300  # a ratio below 1.01 shows no change

    ratios = np.array([window.width / 100 for window in expanded])
    assert ratios.min() >= 1 and ratios.max() <= 4
    assert ratios.mean() == pytest.approx(2.5, abs=0.1)
    assert ratios.std() == pytest.approx(3 / 12**0.5, rel=0.05)
    places = []
    for window in expanded:
        assert abs(window.height / 60 - window.width / 100) < 1 / 60 + 1 / 100
        assert -window.top in range(max(1, window.height - 60 + 1))
        assert -window.left in range(max(1, window.width - 100 + 1))
        if window.width > 200:
            places.append((-window.left / (window.width - 100), -window.top / (window.height - 60)))
    np.testing.assert_allclose(np.mean(places, axis=0), 0.5, atol=0.03)


@pytest.mark.parametrize("param", [{"prob": 0, "max_expand_ratio": 4}, {"max_expand_ratio": 1.005}])
def test_no_expansion(param):
    generator = np.random.default_rng(4)
    assert all(expand((60, 100), ExpansionParameter(**param), generator) == (0, 0, 60, 100) for _ in range(200))


def test_a_ratio_of_one_is_refused():
    with pytest.raises(UserError) as error:
        check_expansion(ExpansionParameter(), 'layer "data"')
    assert str(error.value) == (
        'layer "data": transform_param.expand_param.max_expand_ratio is 1; expected a ratio above 1\n'
        "  fix: leave expand_param out to train without expansion"
    )


def test_the_box_of_a_window():
    np.testing.assert_array_equal(Window(-30, -50, 120, 200).box((60, 100)), np.float32([-0.5, -0.5, 1.5, 1.5]))
    np.testing.assert_array_equal(Window(15, 25, 30, 50).box((60, 100)), np.float32([0.25, 0.25, 0.75, 0.75]))


def test_crops_are_cut_to_whole_pixels():
    window = Window(-10, 0, 100, 200)
    assert crop(window, np.float32([0, 0, 1, 1])) == window
    assert crop(window, np.float32([0.25, 0.5, 0.75, 1])) == (40, 50, 50, 100)
    # 10.9 to 90.2 columns of 200: column 10 and 79 columns; 33.3 to 66.6 rows: row 33 and 33 rows.
    assert crop(window, np.float32([0.0545, 0.333, 0.451, 0.666])) == (23, 10, 33, 79)


def test_a_crop_keeps_one_pixel():
    assert crop(Window(0, 0, 3, 3), np.float32([0.1, 0.1, 0.2, 0.2])) == (0, 0, 1, 1)
    assert crop(Window(0, 0, 3, 3), np.float32([1, 1, 1, 1])) == (2, 2, 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_filled_windows_equal_those_of_a_filled_canvas(channels):
    generator = np.random.default_rng(9)
    shape = (20, 30, 3) if channels == 3 else (20, 30)
    image = generator.integers(0, 256, shape, dtype=np.uint8)
    fill = np.array([104, 117, 123][:channels], np.uint8)
    border = 50
    canvas = cv2.copyMakeBorder(image, *[border] * 4, cv2.BORDER_CONSTANT, value=fill.tolist())
    without_image = 0
    for _ in range(500):
        top, left = (int(v) for v in generator.integers(-border, 40, 2))
        height, width = (int(v) for v in generator.integers(1, 30, 2))
        window = Window(top, left, height, width)
        part = visible(image, window)
        without_image += part.size == 0
        expected = canvas[top + border : top + border + height, left + border : left + border + width]
        np.testing.assert_array_equal(fill_window(part, window, fill), expected)
    assert without_image > 50


def test_a_window_inside_the_image_is_not_copied():
    image = np.zeros((20, 30, 3), np.uint8)
    window = Window(2, 3, 10, 10)
    assert fill_window(visible(image, window), window, np.zeros(3, np.uint8)).base is image
