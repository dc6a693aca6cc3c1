"""Noise effects against OpenCV calls written out by hand, in SSD-Caffe's order."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from annoset.augment.noise import add_noise, check_noise, draw_specks
from prototxt.errors import UserError
from prototxt.schema import NoiseParameter, SaltPepperParameter

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
GREY = IMAGE[:, :, 0].copy()
NONE = np.empty((0, 2), int)


def noise(image: np.ndarray, **fields) -> np.ndarray:
    untouched, param = image.copy(), NoiseParameter(**fields)
    check_noise(param, 1 if image.ndim == 2 else 3, "layer")
    result = add_noise(image, param, NONE)
    np.testing.assert_array_equal(image, untouched)
    assert result.dtype == np.uint8 and result.shape == image.shape
    return result


def on_y(image: np.ndarray, change) -> np.ndarray:
    y, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb))
    return cv2.cvtColor(cv2.merge((change(y), cr, cb)), cv2.COLOR_YCrCb2BGR)


CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
COLOUR = {
    "decolorize": lambda im: np.repeat(cv2.cvtColor(im, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2),
    "gauss_blur": lambda im: cv2.GaussianBlur(im, (7, 7), 1.5),
    "hist_eq": lambda im: on_y(im, cv2.equalizeHist),
    "clahe": lambda im: on_y(im, cv2.createCLAHE(4.0, (8, 8)).apply),
    "erode": lambda im: cv2.erode(im, CROSS),
    "posterize": lambda im: im // 64 * 64 + 32,
    "inverse": lambda im: 255 - im,
    "convert_to_hsv": lambda im: cv2.cvtColor(im, cv2.COLOR_BGR2HSV),
}


@pytest.mark.parametrize("name", COLOUR)
def test_each_effect(name):
    np.testing.assert_array_equal(noise(IMAGE, **{name: True}), COLOUR[name](IMAGE))
    np.testing.assert_array_equal(noise(IMAGE, **{name: False}), IMAGE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hist_eq", cv2.equalizeHist(GREY)),
        ("clahe", cv2.createCLAHE(4.0, (8, 8)).apply(GREY)),
        ("posterize", GREY // 64 * 64 + 32),
        ("inverse", 255 - GREY),
    ],
)
def test_effects_on_grey_images(name, expected):
    np.testing.assert_array_equal(noise(GREY, **{name: True}), expected)


def test_jpeg():
    for image, flag in ((IMAGE, cv2.IMREAD_COLOR), (GREY, cv2.IMREAD_GRAYSCALE)):
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
        np.testing.assert_array_equal(noise(image, jpeg=15.7), cv2.imdecode(data, flag))
    assert noise(IMAGE, jpeg=0) is IMAGE


def test_the_order_is_ssd_caffes():
    fields = ("decolorize", "gauss_blur", "hist_eq", "clahe", "erode", "posterize", "inverse")
    expected = IMAGE
    for name in fields:
        expected = COLOUR[name](expected)
    np.testing.assert_array_equal(noise(IMAGE, **dict.fromkeys(fields, True)), expected)
    late = cv2.imdecode(cv2.imencode(".jpg", COLOUR["clahe"](IMAGE), [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1)
    np.testing.assert_array_equal(noise(IMAGE, clahe=True, jpeg=30, erode=True), COLOUR["erode"](late))


@pytest.mark.parametrize(
    ("image", "value", "colour"), [(IMAGE, [1, 2.9, 3], [1, 2, 3]), (IMAGE, [9], 9), (GREY, [9], 9)]
)
def test_salt_and_pepper(image, value, colour):
    salt = SaltPepperParameter(fraction=0.1, value=value)
    param = NoiseParameter(saltpepper=True, saltpepper_param=salt)
    specks = draw_specks(param, (60, 100), np.random.default_rng(0))
    assert specks.shape == (600, 2)
    result, hit = add_noise(image, param, specks), np.zeros((60, 100), bool)
    hit[specks[:, 0], specks[:, 1]] = True
    assert (result[hit] == colour).all() and (result[~hit] == image[~hit]).all() and 500 < hit.sum() < 600
    assert len(draw_specks(NoiseParameter(saltpepper_param=salt), (60, 100), np.random.default_rng(0))) == 0


def salted(**fields) -> NoiseParameter:
    return NoiseParameter(saltpepper=True, saltpepper_param=SaltPepperParameter(**fields))


@pytest.mark.parametrize(
    ("param", "channels", "message"),
    [
        (NoiseParameter(prob=0), 3, "noise_param.prob is 0; expected 1\n  fix: remove it, or set it to 1: SSD-Caffe"),
        (
            NoiseParameter(convert_to_lab=True),
            3,
            "convert_to_lab is set, which no net can be fed with\n  fix: remove it",
        ),
        (
            NoiseParameter(decolorize=True),
            1,
            "decolorize changes colours, but the images have 1 channel(s)\n  fix: set",
        ),
        (NoiseParameter(convert_to_hsv=True), 1, "convert_to_hsv changes colours"),
        (salted(fraction=0.1), 3, "saltpepper_param.value is []; expected one grey level of 0 to 255, or one for each"),
        (salted(value=[1, 2]), 3, "saltpepper_param.value is [1.0, 2.0]; expected one"),
        (salted(value=[256]), 3, "saltpepper_param.value is [256.0]"),
        (salted(value=[3], fraction=-0.5), 3, "saltpepper_param.fraction is -0.5; expected 0 to 1"),
        (salted(value=[3], fraction=1e9), 3, "saltpepper_param.fraction is 1e+09; expected 0 to 1"),
    ],
)
def test_mistakes(param, channels, message):
    with pytest.raises(UserError) as error:
        check_noise(param, channels, 'layer "data"')
    assert str(error.value).startswith('layer "data": transform_param.noise_param.') and message in str(error.value)


def test_a_probability_of_one_is_what_ssd_caffe_does():
    check_noise(NoiseParameter(prob=1, clahe=True), 3, "layer")
