"""DetectionEvaluate: which detections are true. Average precision is computed from its rows, over a whole test set."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from converters.pytorch.boxes import overlaps
from converters.pytorch.matching import object_classes
from converters.pytorch.pixels import read_name_sizes, to_pixels
from prototxt.graph import Layer

_TRUE, _FALSE, _NEITHER = (1, 0), (0, 1), (0, 0)


class DetectionEvaluate(nn.Module):
    """Holds the detections of a batch against its ground truths.

    Its rows [1, 1, E, 5] are first, for each class but the background, -1, class, number of ground truths, -1, -1
    (without difficult ones where `evaluate_difficult_gt` is false); then for each detection its image, class, score,
    true positive, false positive (both 0 when it meets a difficult ground truth that is not evaluated). Detections are
    ordered by image, class and descending score.

    With a `name_size_file` boxes are compared in pixels of the original images, which it lists in the order of the
    database; `position` is the line of the next batch's first image and moves on with each forward, from the last
    line to the first. A batch counts as many images as its highest image number says (Caffe leaves out images without
    a row, and its later sizes are those of other images).

    Source: Everingham et al., PASCAL VOC (2010), section 4.2; Caffe's DetectionEvaluate.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        _check(layer)
        p = layer.p
        self.layer, self.p = layer, p
        self.sizes = read_name_sizes(p.name_size_file) if p.HasField("name_size_file") else []
        self.position = 0

    @torch.no_grad()
    @np.errstate(over="ignore", invalid="ignore")  # an untrained net's boxes may be infinite
    def forward(self, detections: Tensor, label: Tensor) -> Tensor:
        """Rows [1, 1, E, 5] of detections [1, 1, D, 7] and ground truths [1, 1, G, 8].

        Raises:
            UserError: a detection or a ground truth of the background class.
        """
        found = detections.detach().cpu().numpy().reshape(-1, 7)
        truths = _until_empty(label.detach().cpu().numpy().reshape(-1, 8).copy())
        truths[:, 1] = object_classes(truths[:, 1], self.p.num_classes)
        for what, boxes in (("detection", found), ("ground truth", truths)):
            self._refuse_background(what, boxes)
        rows = self._counts(truths)
        objects = found[(found[:, 0] != -1) & (found[:, 1] != -1)]
        for image in np.unique(objects[:, 0]):
            for c in np.unique(objects[objects[:, 0] == image, 1]):
                rows += self._judge(int(image), *(_of(image, c, boxes) for boxes in (objects, truths)))
        if self.sizes:
            images = 1 + int(max(found[:, 0].max(initial=-1), truths[:, 0].max(initial=-1)))
            self.position = (self.position + images) % len(self.sizes)
        return torch.tensor(np.array(rows, np.float32).reshape(1, 1, -1, 5), device=detections.device)

    def _refuse_background(self, what: str, boxes: np.ndarray) -> None:
        background = boxes[boxes[:, 1] == self.p.background_label_id]
        if len(background):
            raise self.layer.error(
                f"image {background[0, 0]:.0f} of the batch has a {what} of the background class "
                f"({self.p.background_label_id})",
                fix="give the label map and the background_label_id that the net was trained with",
            )

    def _counts(self, truths: np.ndarray) -> list[tuple[float, ...]]:
        counted = truths if self.p.evaluate_difficult_gt else truths[truths[:, 7] == 0]
        classes = [c for c in range(self.p.num_classes) if c != self.p.background_label_id]
        return [(-1, c, (counted[:, 1] == c).sum(), -1, -1) for c in classes]

    def _judge(self, image: int, found: np.ndarray, truths: np.ndarray) -> list[tuple[float, ...]]:
        """Rows of the detections [D, 7] of one class in one image with the ground truths [G, 8]."""
        if not len(truths):
            return [(image, row[1], row[2], *_FALSE) for row in found]
        found = found[np.argsort(-found[:, 2], kind="stable")]
        shared = self._overlaps(image, found[:, 3:], truths[:, 3:7])
        best = shared.argmax(axis=1)
        skipped = (truths[:, 7] != 0) & (not self.p.evaluate_difficult_gt)
        taken: set[int] = set()
        rows = []
        for row, nearest, overlap in zip(found, best.tolist(), shared.max(axis=1)):
            verdict = _FALSE
            if overlap >= self.p.overlap_threshold:
                if skipped[nearest]:
                    verdict = _NEITHER
                elif nearest not in taken:
                    verdict = _TRUE
                    taken.add(nearest)
            rows.append((image, row[1], row[2], *verdict))
        return rows

    def _overlaps(self, image: int, found: np.ndarray, truths: np.ndarray) -> np.ndarray:
        if not self.sizes:
            return overlaps(found, truths)
        size_hw = self.sizes[(self.position + image) % len(self.sizes)].size_hw
        resize = self.p.resize_param if self.p.HasField("resize_param") else None
        return _pixel_overlaps(*to_pixels(found, size_hw, resize), *to_pixels(truths, size_hw, resize))


def _pixel_overlaps(first: np.ndarray, first_areas: np.ndarray, second: np.ndarray, second_areas: np.ndarray):
    """Intersection over union [A, B] in pixels, the border pixel counted. Boxes apart share one pixel, as in Caffe."""
    low, high = np.maximum(first[:, None, :2], second[:, :2]), np.minimum(first[:, None, 2:], second[:, 2:])
    apart = (second[:, :2] > first[:, None, 2:]) | (second[:, 2:] < first[:, None, :2])
    sides = np.where(apart.any(axis=2, keepdims=True), np.float32(0), high - low) + np.float32(1)
    inside = np.where((sides > 0).all(axis=2), sides.prod(axis=2), np.float32(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return inside / (first_areas[:, None] + second_areas - inside)


def _of(image: float, c: float, boxes: np.ndarray) -> np.ndarray:
    return boxes[(boxes[:, 0] == image) & (boxes[:, 1] == c)]


def _until_empty(rows: np.ndarray) -> np.ndarray:
    """The label rows before the first of image -1, which ends the batch's ground truths here as in Caffe."""
    ends = np.flatnonzero(rows[:, 0] == -1)
    return rows[: ends[0]] if len(ends) else rows


def _check(layer: Layer) -> None:
    p = layer.p
    if p.num_classes < 1:
        raise layer.error("num_classes is missing or 0", fix="count the background as a class, too")
    if p.overlap_threshold <= 0:
        raise layer.error(f"overlap_threshold is {p.overlap_threshold:g}", expected="above 0")
    if p.HasField("resize_param") and min(p.resize_param.height, p.resize_param.width) < 1:
        raise layer.error("resize_param lacks height or width", expected="the size of the net's input")
