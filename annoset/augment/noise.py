"""What spoils an image on purpose (SSD-Caffe's im_transforms.cpp, ApplyNoise): every effect that is on, on every image.

`NoiseParameter.prob` is heeded by no SSD-Caffe, so only 1 is accepted.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from prototxt.errors import UserError
from prototxt.schema import NoiseParameter

_COLOUR_ONLY = ("decolorize", "convert_to_hsv")
_POSTERIZED = (np.arange(256) // 64 * 64 + 32).astype(np.uint8)


def check_noise(param: NoiseParameter, channels: int, where: str) -> None:
    """Raises UserError for what cannot be done to images of `channels` channels; `where` names the layer."""
    field = "transform_param.noise_param"
    if param.HasField("prob") and param.prob != 1:
        fix = "remove it, or set it to 1: SSD-Caffe spoils every image whatever it says"
        raise UserError(f"{field}.prob is {param.prob:g}", where=where, expected="1", fix=fix)
    if param.convert_to_lab:
        fix = "remove it: SSD-Caffe then reads the bytes of floating-point numbers as grey levels"
        raise UserError(f"{field}.convert_to_lab is set, which no net can be fed with", where=where, fix=fix)
    for name in _COLOUR_ONLY:
        if getattr(param, name) and channels != 3:
            fix = "set transform_param.force_color: true, or remove it"
            found = f"{field}.{name} changes colours, but the images have {channels} channel(s)"
            raise UserError(found, where=where, fix=fix)
    if param.saltpepper:
        _check_saltpepper(param, channels, where)


def _check_saltpepper(param: NoiseParameter, channels: int, where: str) -> None:
    salt, field = param.saltpepper_param, "transform_param.noise_param.saltpepper_param"
    if len(salt.value) not in (1, channels) or not all(0 <= value < 256 for value in salt.value):
        raise UserError(
            f"{field}.value is {[round(v, 3) for v in salt.value]}",
            where=where,
            expected=f"one grey level of 0 to 255, or one for each of the {channels} channels",
        )
    if not 0 <= salt.fraction <= 1:
        raise UserError(f"{field}.fraction is {salt.fraction:g}", where=where, expected="0 to 1")


def draw_specks(param: NoiseParameter, image_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The pixels that salt and pepper fall on, [S, 2] (row, column); evenly, and some may be hit twice."""
    count = int(np.float32(param.saltpepper_param.fraction) * image_hw[1] * image_hw[0]) if param.saltpepper else 0
    return np.stack([rng.integers(side, size=count) for side in image_hw], axis=1)


def add_noise(image: np.ndarray, param: NoiseParameter, specks: np.ndarray) -> np.ndarray:
    """The spoilt image, uint8 [H, W, 3] BGR (or [H, W]); the argument itself stays as it is."""
    for name, effect in _EFFECTS.items():
        if getattr(param, name):
            image = effect(image)
    if param.jpeg > 0:
        flag = cv2.IMREAD_GRAYSCALE if image.ndim == 2 else cv2.IMREAD_COLOR
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(param.jpeg)])[1], flag)
    for name, effect in _LATE_EFFECTS.items():
        if getattr(param, name):
            image = effect(image)
    if len(specks):
        image = image.copy()
        values = np.array(param.saltpepper_param.value).astype(np.uint8)
        image[specks[:, 0], specks[:, 1]] = values if image.ndim == 3 else values[0]
    return cv2.cvtColor(image, cv2.COLOR_BGR2HSV) if param.convert_to_hsv else image


def _on_luma(image: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`change` of the brightness alone: of Y in YCrCb, or of a grey image itself."""
    if image.ndim == 2:
        return change(image)
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    cv2.insertChannel(change(cv2.extractChannel(planes, 0)), planes, 0)
    return cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR)


_ELLIPSE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
_EFFECTS = {
    "decolorize": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    "gauss_blur": lambda image: cv2.GaussianBlur(image, (7, 7), 1.5),
    "hist_eq": lambda image: _on_luma(image, cv2.equalizeHist),
    "clahe": lambda image: _on_luma(image, cv2.createCLAHE(clipLimit=4).apply),
}
_LATE_EFFECTS = {
    "erode": lambda image: cv2.erode(image, _ELLIPSE),
    "posterize": lambda image: cv2.LUT(image, _POSTERIZED),
    "inverse": cv2.bitwise_not,
}
