"""Random changes of an image's colours (Howard 2013, as in SSD-Caffe's im_transforms.cpp, ApplyDistort).

Every step works pixel by pixel, so distorting a part of an image equals the same part of the distorted image.
"""

from __future__ import annotations

import cv2
import numpy as np

from prototxt.errors import UserError
from prototxt.schema import DistortionParameter

_LEVELS = np.arange(256, dtype=np.float32)


def check_distortion(param: DistortionParameter, where: str) -> None:
    """Raises UserError for bounds from which nothing can be drawn; `where` names the layer."""
    for name in ("brightness", "hue"):
        delta = getattr(param, f"{name}_delta")
        if getattr(param, f"{name}_prob") > 0 and delta < 0:
            raise UserError(f"transform_param.distort_param.{name}_delta is {delta:g}", where=where, expected=">= 0")
    for name in ("contrast", "saturation"):
        lower, upper = getattr(param, f"{name}_lower"), getattr(param, f"{name}_upper")
        if getattr(param, f"{name}_prob") > 0 and not 0 <= lower <= upper:
            raise UserError(
                f"transform_param.distort_param has {name}_lower {lower:g} and {name}_upper {upper:g}",
                where=where,
                expected=f"0 <= {name}_lower <= {name}_upper",
            )


def needs_colour(param: DistortionParameter) -> bool:
    """Whether a step may run that makes sense for three channels only."""
    return max(param.saturation_prob, param.hue_prob, param.random_order_prob) > 0


def distort(image: np.ndarray, param: DistortionParameter, rng: np.random.Generator) -> np.ndarray:
    """The distorted image, uint8 [H, W, 3] BGR (or [H, W]); the argument itself is not changed.

    Contrast comes second or, as often, last but one; the channels are shuffled last.
    """
    for step in _ORDERS[rng.integers(2)]:
        image = step(image, param, rng)
    return image


def _brightness(image: np.ndarray, param: DistortionParameter, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= param.brightness_prob:
        return image
    delta = rng.uniform(-param.brightness_delta, param.brightness_delta)
    return adjust_brightness(image, delta)


def _contrast(image: np.ndarray, param: DistortionParameter, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= param.contrast_prob:
        return image
    return adjust_contrast(image, rng.uniform(param.contrast_lower, param.contrast_upper))


def _saturation(image: np.ndarray, param: DistortionParameter, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= param.saturation_prob:
        return image
    return adjust_saturation(image, rng.uniform(param.saturation_lower, param.saturation_upper))


def _hue(image: np.ndarray, param: DistortionParameter, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= param.hue_prob:
        return image
    return adjust_hue(image, rng.uniform(-param.hue_delta, param.hue_delta))


def _random_order(image: np.ndarray, param: DistortionParameter, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= param.random_order_prob:
        return image
    return np.ascontiguousarray(image[:, :, rng.permutation(3)])


_ORDERS = (
    (_brightness, _contrast, _saturation, _hue, _random_order),
    (_brightness, _saturation, _hue, _contrast, _random_order),
)


def adjust_brightness(image: np.ndarray, delta: float) -> np.ndarray:
    """Adds `delta` to every value, rounded and held to 0–255."""
    return cv2.LUT(image, _table(1, delta))


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies every value, rounded and held to 0–255; a factor within 0.001 of 1 changes nothing."""
    return cv2.LUT(image, _table(factor, 0)) if abs(factor - 1) > 1e-3 else image


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the saturation in OpenCV's 8-bit HSV."""
    return _through_hsv(image, 1, _table(factor, 0))


def adjust_hue(image: np.ndarray, delta: float) -> np.ndarray:
    """Adds `delta` to the hue in OpenCV's 8-bit HSV (0–179 around the circle).

    As in SSD-Caffe a hue below 0 becomes 0 (red), while one above 179 goes round the circle.
    """
    return _through_hsv(image, 0, _table(1, delta)) if delta else image


def _table(factor: float, shift: float) -> np.ndarray:
    """value -> factor * value + shift as OpenCV's convertTo does it in 8 bits: float32, half to even, saturated."""
    return np.clip(np.rint(_LEVELS * np.float32(factor) + np.float32(shift)), 0, 255).astype(np.uint8)


def _through_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    tables = np.stack((np.arange(256, dtype=np.uint8),) * 3, axis=1)[None]  # [1, 256, 3], each the identity
    tables[0, :, channel] = table
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), tables)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
