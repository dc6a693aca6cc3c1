"""YOLO's detections, copied as the parts of `parts.py` are into the files of nets that need them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from converters.pytorch.source.parts import suppress


@dataclass(frozen=True)
class YoloDetections:
    """Boxes around anchors, the best of those that overlap, whatever their classes.

    `anchors` holds for each map the width and height of each anchor of a cell, in cells. With `has_one_class` (YOLO
    v2) the classes of a box exclude each other, and a score at the threshold counts.
    """

    num_classes: int
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    confidence_threshold: float
    nms_threshold: float
    has_one_class: bool = False

    def __call__(self, *maps: Tensor) -> Tensor:
        """Rows [1, 1, D, 7] (0, class from 1 on, score, xmin, ymin, xmax, ymax in 0-1) of maps [1, A(5 + C), H, W].

        Rows are ordered by descending score. Without any there is one row of -1.
        """
        pairs = [self.decode(x.detach().cpu(), sides) for x, sides in zip(maps, self.anchors)]
        boxes, scores = map(torch.cat, zip(*pairs))
        # All classes of a box are one place: the best of them drops the others.
        best, label = scores.max(1)
        is_above = best >= self.confidence_threshold if self.has_one_class else best > self.confidence_threshold
        above = is_above.nonzero()[:, 0]
        above = above[best[above].argsort(descending=True, stable=True)]
        # An overlap at the threshold is too much.
        below = torch.nextafter(torch.tensor(self.nms_threshold), torch.tensor(-math.inf)).item()
        kept = above[suppress(boxes[above], below)]
        if not len(kept):
            return torch.tensor([[[[0.0] + [-1.0] * 6]]])
        image = torch.zeros(len(kept), 1)
        return torch.cat([image, label[kept, None] + 1.0, best[kept, None], boxes[kept]], 1)[None, None]

    def decode(self, x: Tensor, sides: tuple[tuple[float, float], ...]) -> tuple[Tensor, Tensor]:
        """Boxes [HWA, 4], corners in 0-1, and scores [HWA, C] of a map [1, A(5 + C), H, W]."""
        height, width = x.shape[2:]
        x = x[0].unflatten(0, (len(sides), 5 + self.num_classes)).permute(2, 3, 0, 1)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        size = torch.tensor([width, height])
        centre = (x[..., :2].sigmoid() + torch.stack([columns, rows], -1)[:, :, None]) / size
        half = x[..., 2:4].exp() * torch.tensor(sides) / size / 2
        classes = x[..., 5:].softmax(-1) if self.has_one_class else x[..., 5:].sigmoid()
        scores = x[..., 4:5].sigmoid() * classes
        return torch.cat([centre - half, centre + half], -1).flatten(0, 2), scores.flatten(0, 2)
