"""How far two implementations lie apart: values one by one, detections paired by class and overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_MIN_OVERLAP = 0.5  # of two detections taken for the same
_NEAR = 1e-4  # how far the corners of two lie apart that are the same without any overlap


@dataclass(frozen=True)
class Difference:
    """How far a backend lies from the reference in one blob.

    Attributes:
        input: the name of what the net was run on; of several, where they lie apart most.
        compared: how many values, or detections of the reference.
        values: of detections the corners, as part of the box's largest where that is above 1; else every value, as
            part of the blob's largest, as float32 noise goes with it.
        scores: of detections: of those that both have, and of one that the other lacks how far it lies above the
            lowest that the other would have kept. Otherwise None.
        unpaired: detections that one has and the other lacks.
    """

    blob: str
    backend: str
    input: str = ""
    compared: int = 0
    values: float = 0.0
    scores: float | None = None
    unpaired: int = 0

    @property
    def largest(self) -> float:
        return max(self.values, self.scores or 0.0)


def worst(differences: Sequence[Difference]) -> Difference:
    """Those of one blob and backend on several inputs as one: counts added, the largest of the others."""
    scores = [d.scores for d in differences if d.scores is not None]
    return replace(
        max(differences, key=lambda d: d.largest),
        compared=sum(d.compared for d in differences),
        values=max(d.values for d in differences),
        scores=max(scores) if scores else None,
        unpaired=sum(d.unpaired for d in differences),
    )


def compare_values(case: Difference, one: np.ndarray, other: np.ndarray, least: float) -> Difference:
    """`case` with the largest difference of two arrays, as part of the largest value or of `least` if that is more.

    It is infinite when they differ in size or one alone has a NaN.
    """
    if one.size != other.size:
        return replace(case, compared=one.size, values=float("inf"))
    one, other = one.reshape(-1).astype(np.float32), other.reshape(-1).astype(np.float32)
    apart = float(_apart(one, other).max(initial=0))
    return replace(case, compared=one.size, values=apart / _largest(one, least))


def _largest(values: np.ndarray, least: float) -> float:
    """The largest finite number without its sign, but at least `least`."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=least))


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Absolute differences; 0 between equal infinities or NaNs, infinite between a NaN and a number."""
    with np.errstate(invalid="ignore"):
        apart = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0, np.abs(one - other))
    return np.where(np.isnan(apart), np.inf, apart)


def compare_detections(case: Difference, one: np.ndarray, other: np.ndarray, p: Any) -> Difference:
    """`case` with the largest differences of detections [1, 1, D, 7], paired by image, class and overlap.

    Args:
        p: the DetectionOutputParameter, which says below what score a detection is not kept.
    """
    corners = scores = 0.0
    unpaired = 0
    rows = [_kept(one), _kept(other)]
    matches = _matches(*rows)
    for i, j in matches:
        apart = _apart(rows[0][i], rows[1][j])
        corners = max(corners, float(apart[3:].max() / _largest(rows[0][i, 3:], 1)))
        scores = max(scores, float(apart[2]))
    for side in (0, 1):
        alone = np.setdiff1d(np.arange(len(rows[side])), [match[side] for match in matches])
        lowest = _lowest_kept(rows[1 - side], p)
        scores = max([scores, *(rows[side][alone, 2] - lowest).tolist()])
        unpaired += len(alone)
    return replace(case, compared=len(rows[0]), values=corners, scores=scores, unpaired=unpaired)


def _kept(array: np.ndarray) -> np.ndarray:
    """The rows that are detections: not Caffe's row of -1, nor the zeros with which OpenCV fills up."""
    rows = array.reshape(-1, 7)
    return rows[(rows[:, 1] >= 0) & rows[:, 1:].any(axis=1)]


def _lowest_kept(rows: np.ndarray, p: Any) -> float:
    """The score that a further detection beside `rows` would have needed."""
    if 0 <= p.keep_top_k <= len(rows):
        return float(rows[:, 2].min(initial=np.inf))
    return p.confidence_threshold


@np.errstate(over="ignore", invalid="ignore")  # an untrained net's boxes may be infinite
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
