"""Resize policies against OpenCV calls written out by hand, and boxes that follow their pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from annoset.augment.resize import (
    check_resize,
    draw_interpolation,
    extrapolate_boxes,
    resize_boxes,
    resized_hw,
)
from annoset.augment.resize import resize as resize_by
from prototxt.errors import UserError
from prototxt.schema import ResizeParameter as R

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
TALL = np.ascontiguousarray(IMAGE.transpose(1, 0, 2))
BOXES = np.array([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [-0.1, -0.2, 1.1, 1.3]], np.float32)
WHOLE = np.array([0, 0, 1, 1], np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def resize(image: np.ndarray, param: R, generator: np.random.Generator) -> np.ndarray:
    return resize_by(image, param, draw_interpolation(param, generator))


@pytest.mark.parametrize("name", ["LINEAR", "AREA", "NEAREST", "CUBIC", "LANCZOS4"])
def test_warp_with_each_interpolation(name):
    param = R(height=40, width=50, interp_mode=[getattr(R, name)])
    expected = cv2.resize(IMAGE, (50, 40), interpolation=getattr(cv2, f"INTER_{name}"))
    np.testing.assert_array_equal(resize(IMAGE, param, rng()), expected)
    assert resized_hw(param, (60, 100)) == (40, 50)


def test_interpolation_is_linear_by_default_and_else_drawn_evenly():
    np.testing.assert_array_equal(resize(IMAGE, R(height=40, width=50), rng()), cv2.resize(IMAGE, (50, 40)))
    modes = [R.NEAREST, R.AREA, R.CUBIC]
    param, generator = R(height=40, width=50, interp_mode=modes), rng()
    results = [resize(IMAGE, param, generator).tobytes() for _ in range(900)]
    for mode in modes:
        alone = resize(IMAGE, R(height=40, width=50, interp_mode=[mode]), rng()).tobytes()
        assert abs(results.count(alone) - 300) < 4 * (900 * 2 / 9) ** 0.5


@pytest.mark.parametrize(
    ("image", "size"),
    [(IMAGE, (30, 50)), (TALL, (83, 50))],  # 100x60 (width x height) into 50x30; 60x100 into 50x83.3
)
def test_fit_small_size(image, size):
    param = R(resize_mode=R.FIT_SMALL_SIZE, height=30, width=50)
    np.testing.assert_array_equal(resize(image, param, rng()), cv2.resize(image, size[::-1]))
    assert resized_hw(param, image.shape[:2]) == size
    np.testing.assert_allclose(resize_boxes(BOXES, param, image.shape[:2]), BOXES.clip(0, 1), atol=1e-7)


def test_sizes_are_cut_as_float32_gives_them():
    # 500 x 375 (width x height): 300 / float32(4/3) is 225 in float32.
    assert resized_hw(R(resize_mode=R.FIT_SMALL_SIZE, height=10, width=300), (375, 500)) == (225, 300)


@pytest.mark.parametrize(
    ("pad_mode", "border", "values"),
    [
        (R.CONSTANT, cv2.BORDER_CONSTANT, [104.0, 117.0, 123.0]),
        (R.CONSTANT, cv2.BORDER_CONSTANT, [77.0]),
        (R.CONSTANT, cv2.BORDER_CONSTANT, []),
        (R.MIRRORED, cv2.BORDER_REFLECT_101, []),
        (R.REPEAT_NEAREST, cv2.BORDER_REPLICATE, []),
    ],
)
def test_fit_large_size_and_pad(pad_mode, border, values):
    param = R(resize_mode=R.FIT_LARGE_SIZE_AND_PAD, height=45, width=50, pad_mode=pad_mode, pad_value=values)
    colour = (values * 3)[:3] if values else [0, 0, 0]
    wide = cv2.copyMakeBorder(cv2.resize(IMAGE, (50, 30)), 7, 8, 0, 0, border, value=colour)
    np.testing.assert_array_equal(resize(IMAGE, param, rng()), wide)
    tall = cv2.copyMakeBorder(cv2.resize(TALL, (27, 45)), 0, 0, 11, 12, border, value=colour)
    np.testing.assert_array_equal(resize(TALL, param, rng()), tall)
    assert resized_hw(param, (60, 100)) == (45, 50)


def test_boxes_of_fit_large_size_and_pad():
    param = R(resize_mode=R.FIT_LARGE_SIZE_AND_PAD, height=45, width=50)
    wide = resize_boxes(BOXES[:2], param, (60, 100))  # 30 of 45 rows, 7.5 above
    np.testing.assert_allclose(wide, [[0.1, 13.5 / 45, 0.5, 25.5 / 45], [0, 7.5 / 45, 1, 37.5 / 45]], atol=1e-6)
    tall = resize_boxes(BOXES[:2], param, (100, 60))  # 27 of 50 columns, 11.5 to the left
    np.testing.assert_allclose(tall, [[14.2 / 50, 0.2, 25 / 50, 0.6], [0.23, 0, 0.77, 1]], atol=1e-6)


def test_boxes_of_warp_are_held_to_the_image():
    boxes = resize_boxes(BOXES, R(height=4, width=5), (60, 100))
    np.testing.assert_allclose(boxes, BOXES.clip(0, 1), atol=1e-7)


@pytest.mark.parametrize("mode", [R.WARP, R.FIT_SMALL_SIZE, R.FIT_LARGE_SIZE_AND_PAD])
@pytest.mark.parametrize("image_hw", [(240, 400), (400, 240), (300, 300)])
def test_boxes_follow_their_pixels(mode, image_hw):
    image, (height, width) = np.zeros((*image_hw, 3), np.uint8), image_hw
    image[height // 4 : height // 2, width // 5 : width // 2] = 255
    box = np.array([[width // 5 / width, 0.25, 0.5, 0.5]], np.float32)
    param = R(resize_mode=mode, height=210, width=170, interp_mode=[R.NEAREST])
    resized = resize(image, param, rng())
    rows, columns = np.nonzero(resized[:, :, 0])
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    size = np.array(resized.shape[1::-1] * 2)
    np.testing.assert_allclose(resize_boxes(box, param, image_hw)[0] * size, seen, atol=1.5)


def test_boxes_in_units_of_a_scale():
    param = R(resize_mode=R.FIT_SMALL_SIZE, height=30, width=50, height_scale=15, width_scale=25)
    np.testing.assert_allclose(extrapolate_boxes(BOXES, param, (60, 100), WHOLE), BOXES * 2, rtol=1e-6)
    crop = np.array([0, 0, 0.5, 1], np.float32)
    wider = BOXES * np.float32([1, 2, 1, 2])
    np.testing.assert_allclose(extrapolate_boxes(BOXES, param, (60, 100), crop), wider, rtol=1e-6)
    without = R(resize_mode=R.FIT_SMALL_SIZE, height=30, width=50)
    assert extrapolate_boxes(BOXES, without, (60, 100), WHOLE) is BOXES


def test_a_scale_larger_than_the_crop_is_refused():
    param = R(resize_mode=R.FIT_SMALL_SIZE, height=30, width=50, height_scale=31, width_scale=25)
    with pytest.raises(UserError, match="width_scale 25 and height_scale 31, more than the 50x30 pixels of the crop"):
        extrapolate_boxes(BOXES, param, (60, 100), WHOLE)


def test_grey_images_keep_two_axes():
    param = R(resize_mode=R.FIT_LARGE_SIZE_AND_PAD, height=45, width=50, pad_value=[9])
    grey = resize(IMAGE[:, :, 1], param, rng())
    assert grey.shape == (45, 50) and grey[0, 0] == 9


@pytest.mark.parametrize(
    ("param", "message"),
    [
        (R(height=300), "resize_param has height 300 and width 0; expected both above 0"),
        (R(height=3, width=3, pad_value=[1, 2]), "has 2 pad_values; expected one, or one for each of the 3 channels"),
    ],
)
def test_impossible_parameters(param, message):
    with pytest.raises(UserError) as error:
        check_resize(param, 3, 'layer "data"')
    assert str(error.value).startswith('layer "data": transform_param.resize_param') and message in str(error.value)
