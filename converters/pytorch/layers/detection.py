"""PriorBox, DetectionOutput, DetectionEvaluate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from converters.priors import prior_boxes
from converters.pytorch.detection_output import DetectionOutput
from converters.pytorch.evaluate import DetectionEvaluate
from converters.pytorch.layers.table import MODULES
from prototxt.graph import Layer

MODULES.register("DetectionOutput")(DetectionOutput)
MODULES.register("DetectionEvaluate")(DetectionEvaluate)


@MODULES.register("PriorBox")
class PriorBox(nn.Module):
    """Prior boxes and variances [1, 2, 4P] for the sizes of a feature map and of the image."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.p = layer.p
        self._made: tuple[object, Tensor] = (None, torch.empty(0))

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        sizes = (tuple(features.shape[2:]), tuple(image.shape[2:]), features.device)
        if self._made[0] != sizes:
            self._made = sizes, torch.from_numpy(prior_boxes(self.p, *sizes[:2])).to(features.device)
        return self._made[1]
