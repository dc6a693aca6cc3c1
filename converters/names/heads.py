"""What a predictor's channels stand for: boxes and classes in another order, offsets from other prior boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from converters.names.arithmetic import Mismatch
from converters.names.table import INSIDE, MAX, MIN, WHOLE, Head
from prototxt.graph import Layer
from prototxt.params import PriorBox

# (array of [outputs, …], its name in their keys, whether ours become theirs) -> the array of the other side
Turn = Callable[[np.ndarray, str, bool], np.ndarray]


def head_turn(head: Head, layers: Mapping[str, Layer], encoded: bool) -> Turn:
    """What reorders the outputs of a predictor, and moves offsets from their prior boxes to ours.

    Args:
        layers: those of our net, by name.
        encoded: whether our offsets have the variances in them already.

    Raises:
        UserError: our prior boxes cannot be put into their order.
    """
    priors = layers[head.priors]
    boxes = _box_order(priors, head)
    factors, shifts = _moves(priors, head, encoded) if head.variances else (None, None)

    def turn(array: np.ndarray, name: str, back: bool) -> np.ndarray:
        if len(array) % len(boxes):
            raise Mismatch(f"{len(array)} outputs are not as many for each of {len(boxes)} prior boxes")
        if factors is not None and len(array) != len(factors):
            raise Mismatch(f"{len(array)} outputs are not four offsets for each of {len(boxes)} prior boxes")
        order = _channels(boxes, len(array) // len(boxes), head.background)
        # A norm in front of the boxes keeps its statistics: only its factor and shift make the offsets.
        moved = factors is not None and name in ("weight", "bias")
        factor = factors.reshape(-1, *[1] * (array.ndim - 1)) if moved else 1
        shift = shifts if moved and name == "bias" else 0
        if not back:
            return (array[order] * factor + shift).astype(np.float32)
        out = np.empty_like(array)
        out[order] = (array - shift) / factor
        return out

    return turn


def _channels(boxes: Sequence[int], values: int, background: str) -> np.ndarray:
    """For each of our outputs, which of theirs it is."""
    within = np.arange(values)
    if background == "last":
        within = np.roll(within, 1)  # ours begin with it
    return (np.array(boxes)[:, None] * values + within).reshape(-1)


def _moves(priors: Layer, head: Head, encoded: bool) -> tuple[np.ndarray, np.ndarray]:
    """Factors and shifts [4B] that make our offsets of their offsets, both in our order.

    Their prior box of size t stands c cells' pixels beside ours of size p: x · t + c = x' · p for the centres, and
    t · exp(s) = p · exp(s') for the sides.
    """
    p: PriorBox = priors.p
    image = np.array((p.image_hw or priors.bottom_shapes[1][2:])[::-1], np.float64)
    step = np.array(p.step_hw[::-1]) if p.step_hw else image / priors.bottom_shapes[0][:1:-1]
    sizes = _sizes(p, p.min_sizes[0], p.max_sizes)
    ours = np.minimum(sizes, image) if p.clip else sizes  # of the one box in the middle that a map of one cell has
    if head.sizes:
        sizes = _sizes(p, head.sizes[0], head.sizes[1:])
    theirs, beside = _framed(head.frame, sizes, step, image)
    beside = beside - (p.offset - 0.5) * step
    spread = np.ones(4) if encoded else np.array(p.variances, np.float64)
    factors = np.hstack([theirs / ours, np.ones_like(ours)]) * head.variances / spread
    shifts = np.hstack([beside / ours, np.log(theirs / ours)]) / spread
    return factors.reshape(-1), shifts.reshape(-1)


def _sizes(p: PriorBox, low: float, highs: Sequence[float]) -> np.ndarray:
    """Width and height [B, 2] of the boxes of a cell, in pixels and in our order."""
    squares = [low, *(np.sqrt(low * high) for high in highs)]
    return np.array([*((side, side) for side in squares), *((low * r**0.5, low / r**0.5) for r in p.ratios)])


def _framed(frame: str, sizes: np.ndarray, step: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sizes [B, 2] of their boxes, and how far their centres are from the middle of the cell."""
    if frame == INSIDE:
        return np.minimum(sizes, image), np.zeros_like(sizes)
    if frame == WHOLE:
        half = (sizes.astype(np.float32) - 1) / 2
        low, high = np.round((step - 1) / 2 - half), np.round((step - 1) / 2 + half)
        return high - low + 1, (low + high + 1 - step) / 2
    return sizes, np.zeros_like(sizes)


def _box_order(priors: Layer, head: Head) -> list[int]:
    """For each box of a cell of ours, which of theirs it is."""
    p: PriorBox = priors.p
    if len(p.min_sizes) != 1:
        raise priors.error(f"{len(p.min_sizes)} min_size have no order in their model", expected="one")
    ours = [MIN, *([MAX] if p.max_sizes else []), *p.ratios]
    order = [_place(box, head.boxes) for box in ours]
    if sorted(order) != list(range(len(head.boxes))):
        raise priors.error(f"its boxes {_show(ours)} are not theirs", expected=_show(head.boxes))
    return order


def _place(box: str | float, boxes: Sequence[str | float]) -> int:
    """Where a box stands among theirs; -1 when it does not."""
    for i, other in enumerate(boxes):
        if box == other or (not isinstance(box, str) and not isinstance(other, str) and abs(box - other) < 1e-4):
            return i
    return -1


def _show(boxes: Sequence[str | float]) -> str:
    return ", ".join(box if isinstance(box, str) else f"{box:.3g}" for box in boxes)
