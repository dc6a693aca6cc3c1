"""How far two implementations lie apart: values one by one, detections paired by class and overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MIN_OVERLAP = 0.5  # of two detections taken for the same
_NEAR = 1e-4  # how far the corners of two lie apart that are the same without any overlap
Pairs = Sequence["tuple[np.ndarray, np.ndarray]"]


@dataclass(frozen=True)
class Difference:
    """How far a backend lies from the reference in one blob; the largest over all inputs.

    Attributes:
        compared: how many values, or detections of the reference.
        values: of detections the corners, else every value; as part of the box's or the blob's largest where that is
            above 1, as float32 noise grows with it.
        scores: of detections: of those that both have, and of one that the other lacks how far it lies above the
            lowest that the other would have kept. Otherwise None.
        unpaired: detections that one has and the other lacks.
    """

    blob: str
    backend: str
    compared: int
    values: float
    scores: float | None = None
    unpaired: int = 0

    @property
    def largest(self) -> float:
        return max(self.values, self.scores or 0.0)


def compare_values(blob: str, backend: str, pairs: Pairs) -> Difference:
    """The largest difference of arrays of one size; infinite when they differ in size or one alone has a NaN."""
    worst = 0.0
    for one, other in pairs:
        if one.size != other.size:
            worst = float("inf")
            continue
        one, other = one.reshape(-1), other.reshape(-1)
        worst = max(worst, float(_apart(one, other).max(initial=0) / _largest(one)))
    return Difference(blob, backend, sum(one.size for one, _ in pairs), worst)


def _largest(values: np.ndarray) -> float:
    """The largest finite number without its sign, but at least 1: float32 noise grows with it."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=1))


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Absolute differences; 0 between equal infinities or NaNs, infinite between a NaN and a number."""
    with np.errstate(invalid="ignore"):
        apart = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0, np.abs(one - other))
    return np.where(np.isnan(apart), np.inf, apart)


def compare_detections(blob: str, backend: str, pairs: Pairs, p: Any) -> Difference:
    """The largest differences of detections [1, 1, D, 7], paired by image, class and overlap.

    Args:
        p: the DetectionOutputParameter, which says below what score a detection is not kept.
    """
    corners = scores = 0.0
    compared = unpaired = 0
    for arrays in pairs:
        rows = [_kept(array) for array in arrays]
        matches = _matches(*rows)
        for i, j in matches:
            apart = _apart(rows[0][i], rows[1][j])
            corners = max(corners, float(apart[3:].max() / _largest(rows[0][i, 3:])))
            scores = max(scores, float(apart[2]))
        for side in (0, 1):
            alone = np.setdiff1d(np.arange(len(rows[side])), [match[side] for match in matches])
            lowest = _lowest_kept(rows[1 - side], p)
            scores = max([scores, *(rows[side][alone, 2] - lowest).tolist()])
            unpaired += len(alone)
        compared += len(rows[0])
    return Difference(blob, backend, compared, corners, scores, unpaired)


def _kept(array: np.ndarray) -> np.ndarray:
    """The rows that are detections: not Caffe's row of -1, nor the zeros with which OpenCV fills up."""
    rows = array.reshape(-1, 7)
    return rows[(rows[:, 1] >= 0) & rows[:, 1:].any(axis=1)]


def _lowest_kept(rows: np.ndarray, p: Any) -> float:
    """The score that a further detection beside `rows` would have needed."""
    if 0 <= p.keep_top_k <= len(rows):
        return float(rows[:, 2].min(initial=np.inf))
    return p.confidence_threshold


def _matches(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows of one image and class, those that overlap most first."""
    low = np.maximum(first[:, None, 3:5], second[None, :, 3:5])
    high = np.minimum(first[:, None, 5:], second[None, :, 5:])
    inside = np.maximum(high - low, 0).prod(axis=2)
    areas = [np.maximum(rows[:, 5:] - rows[:, 3:5], 0).prod(axis=1) for rows in (first, second)]
    union = areas[0][:, None] + areas[1] - inside
    overlap = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    near = np.isclose(first[:, None, 3:], second[None, :, 3:], rtol=_NEAR, atol=_NEAR)
    overlap[near.all(axis=2)] = 1  # also without any area, as of a box whose corners are swapped
    overlap[(first[:, None, :2] != second[None, :, :2]).any(axis=2)] = 0
    found: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(second))
        if overlap[i, j] < _MIN_OVERLAP:
            break
        if i not in taken[0] and j not in taken[1]:
            found.append((i, j))
            taken[0].add(i)
            taken[1].add(j)
    return found
