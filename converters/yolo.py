"""The thresholds of YOLO's detections, for suppressions that drop what is above one."""

from __future__ import annotations

import numpy as np

from prototxt.fork_params import Yolo


def limits(p: Yolo) -> tuple[np.float32, np.float32]:
    """The score and the overlap with a better box that a detection must be above, and must not be above.

    There, an overlap at the threshold is too much and, where classes exclude each other, a score at the threshold
    counts: so these two are the next smaller numbers.
    """
    score, overlap = np.float32(p.confidence_threshold), np.float32(p.nms_threshold)
    lowest = np.nextafter(score, np.float32(-np.inf)) if p.has_one_class else score
    return lowest, np.nextafter(overlap, np.float32(0))
