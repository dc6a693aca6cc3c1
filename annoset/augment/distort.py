"""Random changes of an image's colours (Howard 2013, as in SSD-Caffe's im_transforms.cpp, ApplyDistort).

Every change works pixel by pixel, so distorting a part of an image equals the same part of the distorted image.
"""

from __future__ import annotations

import cv2
import numpy as np

from prototxt.errors import UserError
from prototxt.schema import DistortionParameter

# What is done to one image, in order: ("brightness", grey levels), ("contrast", factor), ("saturation", factor),
# ("hue", OpenCV's half degrees), ("order", which channel comes first, second, third).
Changes = tuple[tuple[str, float | tuple[int, ...]], ...]

_ORDERS = (("brightness", "contrast", "saturation", "hue"), ("brightness", "saturation", "hue", "contrast"))
_HSV_CHANNEL = {"hue": 0, "saturation": 1}
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
    """Whether a change may be drawn that makes sense for three channels only."""
    return max(param.saturation_prob, param.hue_prob, param.random_order_prob) > 0


def draw_changes(param: DistortionParameter, rng: np.random.Generator) -> Changes:
    """Each change with its probability, its amount even between its bounds.

    Contrast comes second or, as often, last but one; the channels are shuffled last, each order as likely as another.
    """
    changes = []
    for name in _ORDERS[rng.integers(2)]:
        if rng.random() < getattr(param, f"{name}_prob"):
            changes.append((name, rng.uniform(*_bounds(param, name))))
    if rng.random() < param.random_order_prob:
        changes.append(("order", tuple(rng.permutation(3).tolist())))
    return tuple(changes)


def distort(image: np.ndarray, changes: Changes) -> np.ndarray:
    """The changed image, uint8 [H, W, 3] BGR (or [H, W]); the argument itself stays as it is."""
    table = None  # of the changes of tone that wait to be looked up together
    for name, amount in changes:
        if name in ("brightness", "contrast"):
            tone = tone_table(name, amount)
            table = tone if table is None else tone[table]
            continue
        image, table = _look_up(image, table), None
        image = _reorder(image, amount) if name == "order" else change_hsv(image, name, amount)
    return _look_up(image, table)


def tone_table(name: str, amount: float) -> np.ndarray:
    """Grey level -> grey level, uint8 [256], of a "brightness" (added) or "contrast" (factor, within 0.001 of 1 none).

    What OpenCV's convertTo does in 8 bits: computed in float32, rounded half to even, held to 0–255.
    """
    if name == "contrast" and abs(amount - 1) <= 1e-3:
        return _LEVELS.astype(np.uint8)
    return _linear(1, amount) if name == "brightness" else _linear(amount, 0)


def change_hsv(image: np.ndarray, name: str, amount: float) -> np.ndarray:
    """Adds to the "hue" or multiplies the "saturation" of OpenCV's 8-bit HSV (hue 0–179 around the circle).

    As in SSD-Caffe a hue below 0 becomes 0 (red), while one above 179 goes round the circle.
    """
    if name == "hue" and not amount:
        return image
    channel = _HSV_CHANNEL[name]
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    table = _linear(1, amount) if name == "hue" else _linear(amount, 0)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), table), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def _bounds(param: DistortionParameter, name: str) -> tuple[float, float]:
    if name in ("brightness", "hue"):
        delta = getattr(param, f"{name}_delta")
        return -delta, delta
    return getattr(param, f"{name}_lower"), getattr(param, f"{name}_upper")


def _linear(factor: float, shift: float) -> np.ndarray:
    return np.clip(np.rint(_LEVELS * np.float32(factor) + np.float32(shift)), 0, 255).astype(np.uint8)


def _look_up(image: np.ndarray, table: np.ndarray | None) -> np.ndarray:
    return image if table is None else cv2.LUT(image, table)


def _reorder(image: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    result = np.empty_like(image, order="C")
    cv2.mixChannels([image], [result], [end for pair in enumerate(order) for end in pair[::-1]])
    return result
