"""Resize policies for images and their boxes (SSD-Caffe's im_transforms.cpp: ApplyResize, UpdateBBoxByResizePolicy).

Sizes are computed in float32, as Caffe does: 299.99998 pixels are cut to 299 there and here.
"""

from __future__ import annotations

import cv2
import numpy as np

from prototxt.errors import UserError
from prototxt.schema import ResizeParameter

_LONGEST_SIDE = 1 << 14  # pixels of what is resized; a batch of such images would take gigabytes
_INTERPOLATION = {
    ResizeParameter.LINEAR: cv2.INTER_LINEAR,
    ResizeParameter.AREA: cv2.INTER_AREA,
    ResizeParameter.NEAREST: cv2.INTER_NEAREST,
    ResizeParameter.CUBIC: cv2.INTER_CUBIC,
    ResizeParameter.LANCZOS4: cv2.INTER_LANCZOS4,
}
_BORDER = {
    ResizeParameter.CONSTANT: cv2.BORDER_CONSTANT,
    ResizeParameter.MIRRORED: cv2.BORDER_REFLECT_101,
    ResizeParameter.REPEAT_NEAREST: cv2.BORDER_REPLICATE,
}


def check_resize(param: ResizeParameter, channels: int, where: str) -> None:
    """Raises UserError for sizes and pad values that no image can be given; `where` names the layer."""
    if not (0 < param.height <= _LONGEST_SIDE and 0 < param.width <= _LONGEST_SIDE):
        raise UserError(
            f"transform_param.resize_param has height {param.height} and width {param.width}",
            where=where,
            expected=f"both above 0, and at most {_LONGEST_SIDE}",
        )
    if len(param.pad_value) not in (0, 1, channels):
        raise UserError(
            f"transform_param.resize_param has {len(param.pad_value)} pad_values",
            where=where,
            expected=f"one, or one for each of the {channels} channels",
        )


def draw_interpolation(param: ResizeParameter, rng: np.random.Generator) -> int:
    """One of the policy's interpolations, each as likely as another, as OpenCV counts them; LINEAR if it names none."""
    modes = param.interp_mode
    return _INTERPOLATION[modes[rng.integers(len(modes))]] if modes else cv2.INTER_LINEAR


def resize(image: np.ndarray, param: ResizeParameter, interpolation: int) -> np.ndarray:
    """The image, uint8 [H, W(, C)], resized and, where the policy says so, padded."""
    height, width = _content_hw(param, image.shape[:2])
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    if param.resize_mode != ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        return resized
    rows, columns = param.height - height, param.width - width
    borders = rows // 2, rows - rows // 2, columns // 2, columns - columns // 2
    pad = list(param.pad_value) or [0]
    value = pad * 3 if len(pad) == 1 else pad
    return cv2.copyMakeBorder(resized, *borders, _BORDER[param.pad_mode], value=value)


def resized_hw(param: ResizeParameter, image_hw: tuple[int, int]) -> tuple[int, int]:
    """The size of an image after `resize`: fixed, except that FIT_SMALL_SIZE fits the smaller side only."""
    if param.resize_mode == ResizeParameter.FIT_SMALL_SIZE:
        return _content_hw(param, image_hw)
    return param.height, param.width


def _content_hw(param: ResizeParameter, image_hw: tuple[int, int]) -> tuple[int, int]:
    """The whole pixels that the image itself fills after `resize`, padding left out."""
    height, width = _exact_hw(param, image_hw)
    return max(int(height), 1), max(int(width), 1)


def _exact_hw(param: ResizeParameter, image_hw: tuple[int, int]) -> tuple[np.float32, np.float32]:
    """The size that keeps the policy's promise about the aspect ratio, before it is cut to whole pixels."""
    height, width = np.float32(param.height), np.float32(param.width)
    aspect = np.float32(image_hw[1]) / np.float32(image_hw[0])
    if param.resize_mode == ResizeParameter.WARP:
        return height, width
    small = param.resize_mode == ResizeParameter.FIT_SMALL_SIZE
    keep_width = aspect < width / height if small else aspect > width / height
    return (width / aspect, width) if keep_width else (height, aspect * height)


def resize_boxes(boxes: np.ndarray, param: ResizeParameter, image_hw: tuple[int, int]) -> np.ndarray:
    """Corner boxes [N, 4] in 0–1 of an image, as corners in 0–1 of the resized image, padding included.

    They are held to the image on the side towards which they reach out of it (xmin, ymin at 0, xmax, ymax at 1).
    Multiplied, padded and divided in Caffe's order, so that the last bit is Caffe's, too.
    """
    image_size = np.array(image_hw[::-1], np.float32)
    content, size, padding = _content_in(param, image_hw)
    pixels = boxes * np.tile(image_size, 2) * np.tile(content, 2) / np.tile(image_size, 2)
    low = padding + np.maximum(pixels[:, :2], 0)
    high = padding + np.minimum(pixels[:, 2:], size)
    return np.concatenate((low, high), axis=1) / np.tile(size, 2)


def _content_in(param: ResizeParameter, image_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(width, height) of the image and of the whole after `resize`, and the padding left and above, all unrounded."""
    content = np.array(_exact_hw(param, image_hw)[::-1], np.float32)
    if param.resize_mode != ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        return content, content, np.zeros(2, np.float32)
    size = np.array((param.width, param.height), np.float32)
    padding = (size - content) / 2
    return size - 2 * padding, size, padding


def extrapolate_boxes(
    boxes: np.ndarray, param: ResizeParameter, image_hw: tuple[int, int], crop_box: np.ndarray
) -> np.ndarray:
    """Boxes in 0–1 of a crop of the image resized by FIT_SMALL_SIZE, in units of `width_scale` × `height_scale` pixels.

    Every other policy, and FIT_SMALL_SIZE without the two scales, leaves them as they are.
    """
    if param.resize_mode != ResizeParameter.FIT_SMALL_SIZE or not (param.height_scale and param.width_scale):
        return boxes
    height, width = _exact_hw(param, image_hw)
    crop_size = np.array((width, height), np.float32) * (crop_box[2:] - crop_box[:2])
    scale = np.array((param.width_scale, param.height_scale), np.float32)
    if (crop_size < scale).any():
        raise UserError(
            f"transform_param.resize_param has width_scale {param.width_scale} and height_scale {param.height_scale},"
            f" more than the {crop_size[0]:g}x{crop_size[1]:g} pixels of the crop",
            expected="scales no larger than the resized and cropped image",
        )
    return boxes * np.tile(crop_size, 2) / np.tile(scale, 2)
