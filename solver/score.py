"""Average precision of detections, as SSD-Caffe computes it from the rows of DetectionEvaluate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prototxt.errors import UserError
from prototxt.graph import show
from prototxt.registry import Registry

_EPSILON = 1e-6  # recalls closer than this are one point of the curve (ComputeAP of bbox_util)

Curve = np.ndarray
AP_VERSIONS: Registry[Callable[[Curve, Curve], float]] = Registry("average precision", "for ap_version")


def precision_recall(hits: np.ndarray, scores: np.ndarray, positives: int) -> tuple[Curve, Curve]:
    """Precision and recall after each detection, best score first.

    Args:
        hits: [D] true for a true positive, false for a false one.
        scores: [D]; equal scores keep their order.
        positives: how many ground truths there are to be found.

    Returns:
        Two float32 arrays [D].
    """
    hits = hits[np.argsort(-scores, kind="stable")].astype(np.int64)
    found = np.cumsum(hits)
    return (
        (found / np.arange(1, len(hits) + 1)).astype(np.float32),
        (found / max(positives, 1)).astype(np.float32),
    )


@AP_VERSIONS.register("11point")
def eleven_point(precision: Curve, recall: Curve) -> float:
    """Mean of the best precisions at recalls of at least 0, 0.1 … 1 (VOC 2007)."""
    # Caffe holds the float32 recall against a double: seven of ten is 0.69999999 and misses 0.7.
    reached = recall.astype(np.float64)
    return sum(float(precision[reached >= j / 10].max(initial=0)) for j in range(11)) / 11


@AP_VERSIONS.register("MaxIntegral")
def max_integral(precision: Curve, recall: Curve) -> float:
    """Area under the curve of the best precision at each recall or beyond (VOC 2012, ILSVRC)."""
    return integral(np.maximum.accumulate(precision[::-1])[::-1], recall)


@AP_VERSIONS.register("Integral")
def integral(precision: Curve, recall: Curve) -> float:
    """Area under the curve as it is."""
    steps = np.diff(recall.astype(np.float64), prepend=0.0)
    return float(np.sum(precision.astype(np.float64) * np.where(steps > _EPSILON, steps, 0)))


class DetectionScore:
    """Collects the rows of DetectionEvaluate over the batches of a test.

    The first rows of a batch are `[-1, class, number of ground truths, -1, -1]`, one for each class but the
    background; then comes a row `[image, class, score, true positive, false positive]` for each detection.
    A detection of a difficult ground truth that is not evaluated has 0 for both and does not count.

    Args:
        name: the net's output, for the error message.
    """

    def __init__(self, name: str = "detection_eval") -> None:
        self.name = name
        self._batches: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Take the rows of one batch, [1, 1, E, 5]. Raises UserError when they are of another width."""
        if rows.shape[-1:] != (5,):
            raise UserError(
                f'output "{self.name}" of the test net is {show(rows.shape)}',
                expected="rows of 5 values, those of DetectionEvaluate",
                fix='end the test net with a DetectionEvaluate layer, or set eval_type: "classification"',
            )
        self._batches.append(rows.reshape(-1, 5))

    def average_precisions(self, ap_version: str) -> dict[int, float]:
        """Class -> average precision, for every class with a count of ground truths, 0 where there are none."""
        rows = np.concatenate([np.empty((0, 5), np.float32), *self._batches])
        counts = rows[rows[:, 0] == -1]
        found = rows[(rows[:, 0] != -1) & (rows[:, 3:].sum(1) != 0)]
        measure = AP_VERSIONS[ap_version]
        result = {}
        for label in np.unique(counts[:, 1]).astype(int).tolist():
            positives = int(counts[counts[:, 1] == label, 2].sum())
            mine = found[found[:, 1] == label]
            result[label] = 0.0
            if len(mine) and positives:
                result[label] = measure(*precision_recall(mine[:, 3] > 0, mine[:, 2], positives))
        return result


def mean_average_precision(average_precisions: dict[int, float]) -> float:
    """mAP over all classes that were counted, those without ground truth included, as Caffe averages them."""
    return sum(average_precisions.values()) / max(len(average_precisions), 1)
