"""Greedy non-maximum suppression, on the CPU."""

from __future__ import annotations

import numpy as np

from converters.pytorch.boxes import areas


class Suppression:
    """Decides, box by box in descending score, which of them stay: a kept box drops later ones that overlap it.

    Args:
        boxes: [K, 4] corners, by descending score.
        threshold: a box is dropped when its overlap with a kept one is above it.
        eta: factor on the threshold after each kept box while it is above 0.5 (1: a fixed threshold).

    Source: Caffe's DetectionOutput. Each box is held against all kept ones with the threshold of its turn, hence the
    running maximum of overlaps.
    """

    def __init__(self, boxes: np.ndarray, threshold: float, eta: float = 1.0) -> None:
        self._low, self._high = np.ascontiguousarray(boxes[:, :2].T), np.ascontiguousarray(boxes[:, 2:].T)
        self._area = areas(boxes)
        self._worst = np.zeros(len(boxes), np.float32)
        self._bound, self._eta = np.float32(threshold), np.float32(eta)

    def keeps(self, i: int) -> bool:
        """Whether box `i` stays. To be asked once a box, in order."""
        if self._worst[i] > self._bound:
            return False
        later = slice(i + 1, None)
        sides = np.minimum(self._high[:, i, None], self._high[:, later])
        sides -= np.maximum(self._low[:, i, None], self._low[:, later])
        inside = np.multiply(*np.maximum(sides, 0, out=sides))
        union = self._area[i] + self._area[later] - inside
        shared = np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)
        np.maximum(self._worst[later], shared, out=self._worst[later])
        if self._eta < 1 and self._bound > 0.5:
            self._bound *= self._eta
        return True


def greedy_nms(boxes: np.ndarray, threshold: float, limit: int) -> list[int]:
    """The first `limit` of `boxes` [K, 4], given by descending score, that stay; indices, ascending."""
    suppression = Suppression(boxes, threshold)
    kept: list[int] = []
    for i in range(len(boxes)):
        if len(kept) == limit:
            break
        if suppression.keeps(i):
            kept.append(i)
    return kept
