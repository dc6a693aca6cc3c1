"""YoloDetectionOutput and Yolov3DetectionOutput."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from converters.pytorch.layers.table import MODULES
from converters.pytorch.nms import greedy_nms
from converters.yolo import limits
from prototxt.graph import Layer
from prototxt.shapes.yolo import YOLO


@MODULES.register(*YOLO)
class YoloDetectionOutput(nn.Module):
    """The detections of an image, as rows: 0, class from 1 on, score, xmin, ymin, xmax, ymax (0–1, not clipped).

    Rows are ordered by descending score; of equal scores the first box comes first. Without a detection there is one
    row of -1. Runs on the CPU.

    Source: the layers of MobileNet-YOLO's Caffe; Redmon and Farhadi, YOLO9000 (2017), section 2, and YOLOv3 (2018),
    section 2.1. Suppression is across classes, so a box counts in its best class alone: it would drop itself in others.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.p = layer.p
        self._lowest, self._overlap = limits(self.p)

    @torch.no_grad()
    @np.errstate(over="ignore", invalid="ignore")  # an untrained net's boxes may be infinite
    def forward(self, *maps: Tensor) -> Tensor:
        """Rows [1, 1, D, 7] of maps [1, A(5 + C), H, W]: for each anchor x, y, w, h, object and classes."""
        decoded = [self._decode(x.cpu(), anchors) for x, anchors in zip(maps, self.p.anchors)]
        boxes, scores = (np.concatenate(parts) for parts in zip(*decoded))
        labels, best = scores.argmax(1), scores.max(1)
        above = np.flatnonzero(best > self._lowest)
        above = above[np.argsort(-best[above], kind="stable")]
        kept = above[greedy_nms(boxes[above], self._overlap, len(above))]
        rows = np.column_stack([np.zeros(len(kept)), labels[kept] + 1, best[kept], boxes[kept]])
        if not len(rows):
            rows = np.array([[0] + [-1] * 6])
        return torch.from_numpy(rows[None, None].astype(np.float32)).to(maps[0].device)

    def _decode(self, x: Tensor, anchors: tuple[tuple[float, float], ...]) -> tuple[np.ndarray, np.ndarray]:
        """Corners [HWA, 4] and scores [HWA, C] of the boxes of a map."""
        height, width = x.shape[2:]
        x = x[0].reshape(len(anchors), 5 + self.p.num_classes, height, width).permute(2, 3, 0, 1)
        cells = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), -1)[:, :, None]
        size = torch.tensor([width, height])
        centre = (cells + x[..., :2].sigmoid()) / size
        half = x[..., 2:4].exp() * torch.tensor(anchors) / size / 2
        classes = x[..., 5:].softmax(-1) if self.p.has_one_class else x[..., 5:].sigmoid()
        corners = torch.cat([centre - half, centre + half], -1)
        return corners.reshape(-1, 4).numpy(), (x[..., 4:5].sigmoid() * classes).flatten(0, 2).numpy()
