"""Boxes of the net's input (0–1) as boxes of the image that it was resized from, in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.pytorch.boxes import areas
from prototxt import schema
from prototxt.errors import UserError
from prototxt.io import read_bytes
from prototxt.params import Pair

_Resize = schema.ResizeParameter


@dataclass(frozen=True)
class NamedSize:
    """One line of a name_size file: the image's stem and its size in pixels."""

    name: str
    size_hw: Pair


def read_name_sizes(path: str | Path) -> list[NamedSize]:
    """The lines `NAME HEIGHT WIDTH` of a name_size file, in the order of the database.

    Raises:
        UserError: the file is missing or empty, or a line is something else.
    """
    sizes = []
    for number, line in enumerate(read_bytes(path).decode("utf-8-sig", "replace").splitlines(), start=1):
        words = line.rsplit(None, 2)  # a name may have spaces in it
        if not words:
            continue
        if len(words) != 3 or not all(word.isdecimal() and int(word) > 0 for word in words[1:]):
            raise UserError(
                f'"{line.strip()}" is not a line of a name_size file',
                where=f"{path}:{number}",
                expected="NAME HEIGHT WIDTH, the sizes in pixels",
            )
        sizes.append(NamedSize(words[0], (int(words[1]), int(words[2]))))
    if not sizes:
        raise UserError("the name_size file is empty", where=str(path), expected="a line NAME HEIGHT WIDTH an image")
    return sizes


def to_pixels(boxes: np.ndarray, size_hw: Pair, resize: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in pixels of the original image, and their areas as DetectionEvaluate counts them.

    Args:
        boxes: corners [K, 4] in 0–1 of the net's input.
        size_hw: size of the original image in pixels.
        resize: the ResizeParameter that the image went through; None when it was warped.

    Returns:
        Boxes [K, 4], cut to the image, and areas [K], which count the border pixel as Caffe does: (w + 1) * (h + 1).

    Source: Caffe's bbox_util, OutputBBox.
    """
    height, width = size_hw
    mode = resize.resize_mode if resize is not None else _Resize.WARP
    if mode == _Resize.FIT_SMALL_SIZE and resize.height_scale and resize.width_scale:
        scaled = boxes * _corners((resize.height_scale, resize.width_scale))
        cut = np.minimum(np.maximum(scaled, 0), _corners(size_hw))
        return cut, areas(cut)  # Caffe counts no border pixel after this cut
    if mode == _Resize.FIT_LARGE_SIZE_AND_PAD:
        boxes = _without_padding(boxes, size_hw, (resize.height, resize.width))
    scaled = boxes.clip(0, 1) * _corners(size_hw)
    border = np.float32(height > 1 or width > 1)
    sides = scaled[:, 2:] - scaled[:, :2]
    return scaled, np.where((sides < 0).any(axis=1), np.float32(0), (sides + border).prod(axis=1))


def _corners(size_hw: Pair) -> np.ndarray:
    return np.array((*size_hw[::-1], *size_hw[::-1]), np.float32)


def _without_padding(boxes: np.ndarray, size_hw: Pair, input_hw: Pair) -> np.ndarray:
    """Boxes of the padded input as boxes of the part that holds the image."""
    (height, width), (input_height, input_width) = size_hw, input_hw
    aspect = width / height
    image = np.array([0, 0, 1, 1], np.float32)
    if aspect > input_width / input_height:
        image[1] = (input_height - input_width / aspect) / 2 / input_height
    else:
        image[0] = (input_width - input_height * aspect) / 2 / input_width
    image[2:] -= image[:2]
    corner, size = image[:2], image[2:] - image[:2]
    moved = ((boxes.reshape(-1, 2, 2) - corner) / size).reshape(-1, 4).astype(np.float32)
    apart = (boxes[:, :2] >= image[2:]).any(axis=1) | (boxes[:, 2:] <= corner).any(axis=1)
    return np.where(apart[:, None], boxes, moved)  # Caffe leaves a box that lies in the padding where it is
