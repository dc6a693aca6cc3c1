"""Ground truths and their matching to prior boxes, in NumPy: labels are small and carry no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.pytorch.boxes import crosses_boundary, overlaps
from prototxt import schema
from prototxt.graph import Layer

UNMATCHED = -1
IGNORED = -2  # crosses the image's border: neither positive nor negative
_NO_OVERLAP = 1e-6  # Caffe's: an overlap up to this counts as none


@dataclass(frozen=True)
class GroundTruth:
    """The boxes of a batch: image in the batch [G], class [G], corners in 0–1 [G, 4], in the label's order."""

    image: np.ndarray
    label: np.ndarray
    box: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


def object_classes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The classes as a layer of `num_classes` sees them.

    With two classes (background and object) every class from 2 on becomes 1, as in RefineDet's Caffe.
    """
    return np.where(labels >= 2, 1, labels) if num_classes == 2 else labels


def read_ground_truth(layer: Layer, rows: np.ndarray, batch: int) -> GroundTruth:
    """The ground truths that a MultiBoxLoss trains on.

    Args:
        layer: the MultiBoxLoss.
        rows: label blob [..., 8]: image, class, instance, xmin, ymin, xmax, ymax, difficult. Rows of image -1 (an
            image without boxes) and of images beyond the batch are passed over.
        batch: number of images.

    Raises:
        UserError: a box of the background class or of a class from `num_classes` on.
    """
    p = layer.proto.multibox_loss_param
    rows = rows.reshape(-1, 8)
    image = rows[:, 0].astype(np.int64)
    used = (image >= 0) & (image < batch)
    if not p.use_difficult_gt:
        used &= rows[:, 7] == 0
    image, label = image[used], object_classes(rows[used, 1].astype(np.int64), p.num_classes)
    wrong = (label < 0) | (label >= p.num_classes) | (label == p.background_label_id)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise layer.error(
            f"image {image[first]} of the batch has a ground truth of class {label[first]}",
            expected=f"classes below num_classes ({p.num_classes}), without the background ({p.background_label_id})",
            fix="use the label map that the database was made with, and its number of classes",
        )
    return GroundTruth(image, label, rows[used, 3:7])


def match(boxes: np.ndarray, truths: np.ndarray, p: Any) -> tuple[np.ndarray, np.ndarray]:
    """Give prior boxes their ground truths.

    First each ground truth takes the prior that overlaps it most, the best pair first and no prior twice; then,
    with PER_PREDICTION, every other prior takes the ground truth that it overlaps most, when that reaches
    `overlap_threshold`. Of equal overlaps the first prior wins, then the first ground truth.

    Args:
        boxes: priors (or decoded predictions) [P, 4].
        truths: ground truths [G, 4] of one image.
        p: a MultiBoxLossParameter.

    Returns:
        For each prior the index of its ground truth, UNMATCHED or IGNORED, int64 [P]; and its overlap with it, or
        its largest overlap where it has none, float32 [P].

    Source: SSD (2016), section 2.2, matching strategy; Caffe's bbox_util, MatchBBox.
    """
    index = np.full(len(boxes), UNMATCHED)
    shared = overlaps(truths, boxes)
    shared[shared <= _NO_OVERLAP] = 0
    if p.ignore_cross_boundary_bbox:
        outside = crosses_boundary(boxes)
        index[outside], shared[:, outside] = IGNORED, 0
    if not len(truths):
        return index, np.zeros(len(boxes), np.float32)
    best = shared.max(axis=0)
    if p.match_type == schema.MultiBoxLossParameter.PER_PREDICTION:
        near = np.flatnonzero((best >= p.overlap_threshold) & (best > 0))
        index[near] = shared[:, near].argmax(axis=0)
    _match_best_pairs(shared, index, best)
    return index, best


def _match_best_pairs(shared: np.ndarray, index: np.ndarray, best: np.ndarray) -> None:
    """One prior for each ground truth, written over `index` and `best`; `shared` loses the columns of those taken."""
    prior = shared.argmax(axis=1)
    waiting = set(range(len(shared)))
    while waiting:
        truth = min(waiting, key=lambda g: (-shared[g, prior[g]], prior[g], g))
        taken = prior[truth]
        if shared[truth, taken] == 0:
            return
        index[taken], best[taken] = truth, shared[truth, taken]
        waiting.remove(truth)
        shared[:, taken] = 0
        for other in waiting:
            if prior[other] == taken:
                prior[other] = shared[other].argmax()
