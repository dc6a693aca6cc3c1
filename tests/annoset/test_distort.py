"""Colour distortions against OpenCV's own arithmetic, and how often and in which order they happen."""

from __future__ import annotations

from itertools import permutations

import cv2
import numpy as np
import pytest

from annoset.augment.distort import change_hsv, check_distortion, draw_changes, needs_colour, tone_table
from annoset.augment.distort import distort as apply
from prototxt.errors import UserError
from prototxt.schema import DistortionParameter

IMAGE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def adjust_brightness(image: np.ndarray, delta: float) -> np.ndarray:
    return apply(image, (("brightness", delta),))


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    return apply(image, (("contrast", factor),))


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    return apply(image, (("saturation", factor),))


def adjust_hue(image: np.ndarray, delta: float) -> np.ndarray:
    return apply(image, (("hue", delta),))


def distort(image: np.ndarray, param: DistortionParameter, generator: np.random.Generator) -> np.ndarray:
    return apply(image, draw_changes(param, generator))


def saturated(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("delta", [-40.0, -0.5, 0.0, 0.3, 31.7, 300.0])
def test_brightness(delta):
    np.testing.assert_array_equal(adjust_brightness(IMAGE, delta), saturated(IMAGE.astype(float) + delta))


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.75, 1.49, 3.0])
def test_contrast(factor):
    np.testing.assert_array_equal(adjust_contrast(IMAGE, factor), cv2.convertScaleAbs(IMAGE, alpha=factor))


def test_a_contrast_of_almost_one_changes_nothing():
    np.testing.assert_array_equal(adjust_contrast(IMAGE, 1.0009), IMAGE)
    assert (adjust_contrast(IMAGE, 1.003) != IMAGE).any()


def test_changes_of_tone_that_follow_each_other_are_rounded_one_by_one():
    both = apply(IMAGE, (("brightness", 20.6), ("contrast", 0.51)))
    np.testing.assert_array_equal(both, adjust_contrast(adjust_brightness(IMAGE, 20.6), 0.51))
    np.testing.assert_array_equal(tone_table("brightness", -300), np.zeros(256))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.37])
def test_saturation(factor):
    hue, saturation, value = cv2.split(cv2.cvtColor(IMAGE, cv2.COLOR_BGR2HSV))
    saturation = cv2.convertScaleAbs(saturation, alpha=factor)
    expected = cv2.cvtColor(cv2.merge((hue, saturation, value)), cv2.COLOR_HSV2BGR)
    np.testing.assert_array_equal(adjust_saturation(IMAGE, factor), expected)


def test_no_saturation_is_grey():
    grey = adjust_saturation(IMAGE, 0)
    np.testing.assert_array_equal(grey, np.repeat(IMAGE.max(axis=2, keepdims=True), 3, axis=2))


@pytest.mark.parametrize("delta", [-17.6, 17.6])
def test_hue(delta):
    hue, saturation, value = cv2.split(cv2.cvtColor(IMAGE, cv2.COLOR_BGR2HSV))
    hue = saturated(hue.astype(float) + delta)
    expected = cv2.cvtColor(cv2.merge((hue, saturation, value)), cv2.COLOR_HSV2BGR)
    np.testing.assert_array_equal(adjust_hue(IMAGE, delta), expected)


def test_hue_goes_round_upwards_only():
    pink, orange = (np.array([[colour]], np.uint8) for colour in ((128, 0, 255), (0, 64, 255)))
    blue_to_red = np.array([[[255, 0, 0]]], np.uint8)  # hue 120
    assert adjust_hue(blue_to_red, 60).tolist() == [[[0, 0, 255]]]  # 180 is red again
    assert adjust_hue(pink, 30).tolist() == [[[0, 128, 255]]]  # 165 + 30 = 195, shown as 15
    assert adjust_hue(orange, -20).tolist() == [[[0, 0, 255]]]  # 8 - 20 stays at 0
    assert change_hsv(pink, "hue", 0) is pink


def test_nothing_happens_at_probability_zero():
    generator = np.random.default_rng(1)
    assert all(distort(IMAGE, DistortionParameter(), generator) is IMAGE for _ in range(100))


@pytest.mark.parametrize(
    "bounds",
    [
        {"brightness_prob": 0.3, "brightness_delta": 32},
        {"contrast_prob": 0.3, "contrast_lower": 1.2, "contrast_upper": 1.5},
        {"saturation_prob": 0.3, "saturation_lower": 1.2, "saturation_upper": 1.5},
        {"hue_prob": 0.3, "hue_delta": 18},
        {"random_order_prob": 0.3},
    ],
    ids=lambda bounds: next(iter(bounds)),
)
def test_each_step_happens_as_often_as_its_probability(bounds):
    generator, draws, param = np.random.default_rng(5), 3000, DistortionParameter(**bounds)
    part = IMAGE[:2, :2]
    changed = sum(distort(part, param, generator) is not part for _ in range(draws))
    assert abs(changed - 0.3 * draws) < 4 * (draws * 0.3 * 0.7) ** 0.5


def test_brightness_is_even_between_its_bounds():
    param = DistortionParameter(brightness_prob=1, brightness_delta=32)
    generator, grey = np.random.default_rng(5), np.full((1, 1, 3), 100, np.uint8)
    deltas = [int(distort(grey, param, generator)[0, 0, 0]) - 100 for _ in range(4000)]
    assert (min(deltas), max(deltas)) == (-32, 32)
    assert np.mean(deltas) == pytest.approx(0, abs=1)
    assert np.std(deltas) == pytest.approx(64 / 12**0.5, rel=0.03)


def test_contrast_comes_before_or_after_the_colours_equally_often():
    half = {"contrast_prob": 1, "contrast_lower": 0.5, "contrast_upper": 0.5}
    more = {"saturation_prob": 1, "saturation_lower": 1.4, "saturation_upper": 1.4}
    before = adjust_saturation(adjust_contrast(IMAGE, 0.5), 1.4)
    after = adjust_contrast(adjust_saturation(IMAGE, 1.4), 0.5)
    assert (before != after).any()
    generator, draws = np.random.default_rng(2), 1000
    results = [distort(IMAGE, DistortionParameter(**half, **more), generator) for _ in range(draws)]
    first = sum(np.array_equal(result, before) for result in results)
    assert first + sum(np.array_equal(result, after) for result in results) == draws
    assert abs(first - draws / 2) < 4 * (draws / 4) ** 0.5


def test_channels_are_shuffled_into_every_order():
    pixel, generator = np.array([[[10, 20, 30]]], np.uint8), np.random.default_rng(2)
    seen = {tuple(distort(pixel, DistortionParameter(random_order_prob=1), generator)[0, 0]) for _ in range(200)}
    assert seen == set(permutations((10, 20, 30)))


SSD = DistortionParameter(
    brightness_prob=0.5,
    brightness_delta=32,
    contrast_prob=0.5,
    contrast_lower=0.5,
    contrast_upper=1.5,
    hue_prob=0.5,
    hue_delta=18,
    saturation_prob=0.5,
    saturation_lower=0.5,
    saturation_upper=1.5,
    random_order_prob=0.5,
)


def test_distorting_a_part_is_the_part_of_the_distorted_image():
    untouched = IMAGE.copy()
    for seed in range(50):
        whole = distort(IMAGE, SSD, np.random.default_rng(seed))
        part = distort(IMAGE[5:20, 11:], SSD, np.random.default_rng(seed))
        np.testing.assert_array_equal(part, whole[5:20, 11:])
    np.testing.assert_array_equal(IMAGE, untouched)


def test_brightness_and_contrast_work_on_grey_images():
    grey = IMAGE[:, :, 0]
    assert not needs_colour(DistortionParameter(brightness_prob=1, contrast_prob=1))
    assert needs_colour(SSD)
    np.testing.assert_array_equal(adjust_brightness(grey, 9), saturated(grey + 9.0))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"brightness_prob": 0.5, "brightness_delta": -1}, "distort_param.brightness_delta is -1; expected >= 0"),
        ({"hue_prob": 0.5, "hue_delta": -2}, "distort_param.hue_delta is -2; expected >= 0"),
        (
            {"contrast_prob": 0.5, "contrast_lower": 1.5, "contrast_upper": 0.5},
            "distort_param has contrast_lower 1.5 and contrast_upper 0.5; expected 0 <= contrast_lower",
        ),
        ({"saturation_prob": 0.5, "saturation_lower": -1}, "has saturation_lower -1 and saturation_upper 0"),
    ],
)
def test_bounds_that_leave_nothing_to_draw(bounds, message):
    with pytest.raises(UserError) as error:
        check_distortion(DistortionParameter(**bounds), 'layer "data"')
    assert str(error.value).startswith('layer "data": transform_param.')
    assert message in str(error.value)
    bounds = {name: 0 if name.endswith("prob") else value for name, value in bounds.items()}
    check_distortion(DistortionParameter(**bounds), 'layer "data"')
