"""Convolution, Deconvolution, InnerProduct, Embed."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from converters.pytorch.layers.table import MODULES, CaffeLayer
from prototxt.graph import Layer
from prototxt.shapes.table import axis_of


class _Weighted(CaffeLayer):
    blob_names = ("weight", "bias")
    filler_fields = ("weight_filler", "bias_filler")

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.add_learned(layer)


@MODULES.register("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution")
class Convolution(_Weighted):
    """[N, C, H, W] -> [N, num_output, H', W'], for each bottom."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        p = self.layer.p
        return tuple(
            F.conv2d(x, self.weight, self.bias, p.stride_hw, p.pad_hw, p.dilation_hw, p.group) for x in bottoms
        )


@MODULES.register("Deconvolution")
class Deconvolution(_Weighted):
    """[N, C, H, W] -> [N, num_output, H', W'], for each bottom; the weight is [C, num_output / group, kh, kw]."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        p = self.layer.p
        return tuple(
            F.conv_transpose2d(x, self.weight, self.bias, p.stride_hw, p.pad_hw, 0, p.group, p.dilation_hw)
            for x in bottoms
        )


@MODULES.register("InnerProduct")
class InnerProduct(_Weighted):
    """[A…, B…] -> [A…, num_output], B being the axes from `axis` on."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(axis_of(self.layer.p.axis, tuple(x.shape)))
        return F.linear(flat, self.weight.T if self.layer.p.transpose else self.weight, self.bias)


@MODULES.register("Embed")
class Embed(_Weighted):
    """Row numbers […] -> rows of the weight […, num_output]."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.detach().long()
        if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < len(self.weight):
            found = f"its bottom asks for rows {int(rows.min())} to {int(rows.max())}"
            raise self.layer.error(found, expected=f"0 to {len(self.weight) - 1}")
        top = F.embedding(rows, self.weight)
        return top if self.bias is None else top + self.bias
