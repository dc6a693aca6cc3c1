"""Windows onto an image: the larger canvas of SSD's expansion ("zoom out", SSD, section 3.6) and crops of it.

A canvas is never filled as a whole: it may have sixteen times the image's pixels, most of which the
crop drops again. Expansion and crop choose a window; only that window is filled.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from prototxt.errors import UserError
from prototxt.schema import ExpansionParameter

_MOST_PIXELS = 1 << 28  # of a window


class Window(NamedTuple):
    """A rectangle in pixels of an image; it may reach beyond the image on every side."""

    top: int
    left: int
    height: int
    width: int

    def box(self, image_hw: tuple[int, int]) -> np.ndarray:
        """Its corners [4] in 0–1 of the image, hence below 0 or above 1 where it reaches beyond it."""
        height, width = image_hw
        corners = (self.left, self.top, self.left + self.width, self.top + self.height)
        return (np.array(corners, np.float32) / np.array((width, height, width, height), np.float32)).astype(np.float32)


def check_expansion(param: ExpansionParameter, where: str) -> None:
    """Raises UserError for a canvas that would not be larger; `where` names the layer."""
    if param.max_expand_ratio <= 1:
        raise UserError(
            f"transform_param.expand_param.max_expand_ratio is {param.max_expand_ratio:g}",
            where=where,
            expected="a ratio above 1",
            fix="leave expand_param out to train without expansion",
        )


def expand(image_hw: tuple[int, int], param: ExpansionParameter, rng: np.random.Generator) -> Window:
    """With probability `prob` a canvas of 1 to `max_expand_ratio` times the image's sides, else the image itself.

    The image lies evenly anywhere on its canvas. Both sides grow by the same ratio.
    """
    height, width = image_hw
    if rng.random() > param.prob or param.max_expand_ratio - 1 < 1e-2:
        return Window(0, 0, height, width)
    ratio = rng.uniform(1, param.max_expand_ratio)
    canvas_h, canvas_w = int(height * ratio), int(width * ratio)
    top, left = int(rng.uniform(0, canvas_h - height)), int(rng.uniform(0, canvas_w - width))
    return Window(-top, -left, canvas_h, canvas_w)


def crop(window: Window, box: np.ndarray) -> Window:
    """The part of `window` inside `box` ([4], 0–1 of it), corner and sides cut to whole pixels, at least one."""
    left, top, right, bottom = np.float32(box) * np.array((window.width, window.height) * 2, np.float32)
    return Window(
        top=window.top + min(int(top), window.height - 1),
        left=window.left + min(int(left), window.width - 1),
        height=max(int(bottom - top), 1),
        width=max(int(right - left), 1),
    )


def visible(image: np.ndarray, window: Window) -> np.ndarray:
    """The part of the image that lies in the window, as a view; empty where they do not meet."""
    top, left = max(window.top, 0), max(window.left, 0)
    bottom, right = max(window.top + window.height, 0), max(window.left + window.width, 0)
    return image[top:bottom, left:right]


def fill_window(part: np.ndarray, window: Window, fill: np.ndarray) -> np.ndarray:
    """The window's pixels, uint8 [height, width(, C)]: `part`, `visible` in it, with `fill` [C] around.

    Raises:
        UserError: a window too large to be filled.
    """
    height, width = part.shape[:2]
    if (height, width) == (window.height, window.width):
        return part
    if window.height * window.width > _MOST_PIXELS:
        found = f"the image would be shown on {window.height} x {window.width} pixels (height x width)"
        fix = "lower transform_param.expand_param.max_expand_ratio"
        raise UserError(found, expected=f"at most {_MOST_PIXELS} in all", fix=fix)
    if not part.size:
        row = np.tile(fill, window.width).reshape(1, window.width, *part.shape[2:])
        return np.repeat(row, window.height, axis=0)
    top, left = max(-window.top, 0), max(-window.left, 0)
    bottom, right = window.height - height - top, window.width - width - left
    return cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT, value=fill.tolist())
