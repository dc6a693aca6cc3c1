"""Arithmetic of boxes in NumPy: areas, overlaps, and the codes in which nets predict them.

A box is xmin, ymin, xmax, ymax (corners) in 0–1 of the image. Everything is float32, as in Caffe. No gradient
runs through any of it: losses differentiate the prediction, never the box.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prototxt import schema
from prototxt.graph import Layer

_Code = schema.PriorBoxParameter


def split_priors(blob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [P, 4] and variances [P, 4] of a prior blob [1, 2, 4P]."""
    boxes, variances = blob.reshape(2, -1, 4)
    return boxes, variances


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas [...] of boxes [..., 4]; 0 for a box whose corners are swapped."""
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return np.where((width < 0) | (height < 0), np.float32(0), width * height)


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union [A, B] of boxes [A, 4] and [B, 4]; 0 where they do not cross."""
    a, b = (np.ascontiguousarray(boxes.T, np.float32) for boxes in (first, second))
    sides = np.minimum(a[2:, :, None], b[2:, None]) - np.maximum(a[:2, :, None], b[:2, None])
    inside = np.multiply(*np.maximum(sides, 0, out=sides))
    union = areas(first)[:, None] + areas(second) - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)


def crosses_boundary(boxes: np.ndarray) -> np.ndarray:
    """Which boxes [..., 4] have a corner outside the image."""
    return ((boxes < 0) | (boxes > 1)).any(axis=-1)


def _centre_size(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def _twice(size: np.ndarray) -> np.ndarray:
    return np.concatenate([size, size], axis=-1)


def _encode_centre_size(priors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    (prior_centre, prior_size), (centre, size) = _centre_size(priors), _centre_size(boxes)
    return np.concatenate([(centre - prior_centre) / prior_size, np.log(size / prior_size)], axis=-1)


def _decode_centre_size(priors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    prior_centre, prior_size = _centre_size(priors)
    centre = offsets[..., :2] * prior_size + prior_centre
    with np.errstate(over="ignore"):  # an infinite box is the net's answer, as in Caffe
        half = np.exp(offsets[..., 2:]) * prior_size / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


_Arithmetic = Callable[[np.ndarray, np.ndarray], np.ndarray]

_ENCODE: dict[int, _Arithmetic] = {
    _Code.CORNER: lambda priors, boxes: boxes - priors,
    _Code.CORNER_SIZE: lambda priors, boxes: (boxes - priors) / _twice(_centre_size(priors)[1]),
    _Code.CENTER_SIZE: _encode_centre_size,
}
_DECODE: dict[int, _Arithmetic] = {
    _Code.CORNER: lambda priors, offsets: priors + offsets,
    _Code.CORNER_SIZE: lambda priors, offsets: priors + offsets * _twice(_centre_size(priors)[1]),
    _Code.CENTER_SIZE: _decode_centre_size,
}


def encode(code_type: int, priors: np.ndarray, boxes: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """What a net should predict for `boxes` [..., 4] at `priors` [..., 4]: their code, divided by `variances`.

    Args:
        code_type: CORNER (corner differences), CORNER_SIZE (those, divided by the prior's size) or CENTER_SIZE
            (centre difference divided by the prior's size, logarithm of the ratio of sizes).
    """
    return _ENCODE[code_type](priors, boxes) / variances


def decode(code_type: int, priors: np.ndarray, offsets: np.ndarray, variances: np.ndarray | None) -> np.ndarray:
    """The boxes [..., 4] that a net means by `offsets`; without `variances` they are in the offsets already."""
    return _DECODE[code_type](priors, offsets if variances is None else offsets * variances)


def check_sizes(layer: Layer, code_type: int, boxes: np.ndarray) -> None:
    """Raise UserError when a code relative to the prior's size meets a prior [..., 4] without width or height."""
    if code_type == _Code.CORNER:
        return
    empty = ~((boxes[..., 2:] - boxes[..., :2]) > 0).all(axis=-1)
    if empty.any():
        index = tuple(int(i) for i in np.argwhere(empty)[0])
        raise layer.error(
            f"prior {index[-1]} is {boxes[index].tolist()}, which has no width or no height",
            expected=f"xmin < xmax and ymin < ymax, as {_Code.CodeType.Name(code_type)} divides by the prior's size",
        )
