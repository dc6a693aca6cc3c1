"""Layers that change values and not shapes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.pytorch.layers.table import MODULES, CaffeLayer, Compute
from prototxt.graph import Layer


@MODULES.register("ReLU")
def relu(layer: Layer) -> Compute:
    slope = layer.p.negative_slope
    return (lambda x: F.leaky_relu(x, slope)) if slope else F.relu


@MODULES.register("ReLU6")
def relu6(layer: Layer) -> Compute:
    return F.relu6


@MODULES.register("Clip")
def clip(layer: Layer) -> Compute:
    return lambda x: x.clamp(layer.p.min, layer.p.max)


@MODULES.register("Swish")
def swish(layer: Layer) -> Compute:  # x · sigmoid(beta · x)
    return lambda x: x * torch.sigmoid(layer.p.beta * x)


@MODULES.register("Mish")
def mish(layer: Layer) -> Compute:  # x · tanh(log(1 + e^x))
    return F.mish


@MODULES.register("PReLU")
class PReLU(CaffeLayer):
    """max(0, x) + slope · min(0, x), one slope a channel or one for all."""

    blob_names = ("slope",)
    filler_fields = ("filler",)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.add_learned(layer)

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.slope.reshape(-1))


@MODULES.register("ELU")
def elu(layer: Layer) -> Compute:
    return lambda x: F.elu(x, layer.p.alpha)


@MODULES.register("AbsVal")
def abs_val(layer: Layer) -> Compute:
    return torch.abs


@MODULES.register("Sigmoid")
def sigmoid(layer: Layer) -> Compute:
    return torch.sigmoid


@MODULES.register("TanH")
def tanh(layer: Layer) -> Compute:
    return torch.tanh


@MODULES.register("BNLL")
def bnll(layer: Layer) -> Compute:  # log(1 + e^x)
    return lambda x: torch.logaddexp(x, torch.zeros_like(x))


@MODULES.register("Power")
def power(layer: Layer) -> Compute:  # (shift + scale · x)^power
    p = layer.p
    if p.scale * p.power == 0:  # a constant: Caffe gives it the gradient 0 and never raises x to a power
        constant = torch.tensor(p.shift).pow(p.power).item()
        return lambda x: x * 0 + constant
    if p.power == 1:
        return lambda x: x * p.scale + p.shift
    return lambda x: (x * p.scale + p.shift) ** p.power


@MODULES.register("Exp")
def exp(layer: Layer) -> Compute:  # base^(shift + scale · x); base -1 is e
    p = layer.p
    log_base = 1.0 if p.base == -1 else math.log(_positive(layer, p.base))
    return lambda x: torch.exp((x * p.scale + p.shift) * log_base)


@MODULES.register("Log")
def log(layer: Layer) -> Compute:  # log_base(shift + scale · x); base -1 is e
    p = layer.p
    log_base = 1.0 if p.base == -1 else math.log(_positive(layer, p.base))
    if not log_base:
        raise layer.error("base is 1", expected="another number above 0, or -1 for e")
    return lambda x: torch.log(x * p.scale + p.shift) / log_base


def _positive(layer: Layer, base: float) -> float:
    if base <= 0:
        raise layer.error(f"base is {base:g}", expected="a number above 0, or -1 for e")
    return base


@MODULES.register("Threshold")
def threshold(layer: Layer) -> Compute:
    return lambda x: (x > layer.p.threshold).to(x.dtype)


@MODULES.register("Dropout")
def dropout(layer: Layer) -> Compute:  # in training the kept values are scaled by 1 / (1 - ratio)
    p, ratio = layer.p, layer.p.dropout_ratio
    if not 0 <= ratio < 1:
        raise layer.error(f"dropout_ratio is {ratio:g}", expected="at least 0 and below 1")
    drops = layer.phase == "TRAIN" or p.sample_weights_test
    if p.scale_train:
        return lambda x: F.dropout(x, ratio, training=drops)
    return lambda x: F.dropout(x, ratio, training=drops) * (1 - ratio)  # a fork's way: testing scales, not training


@MODULES.register("spatial_dropout.SpatialDropoutLayer")
def spatial_dropout(layer: Layer) -> Compute:
    p = layer.p
    return lambda x: F.dropout2d(x, p.ratio, training=True) if p.trains else x / (1 - p.ratio)


@MODULES.register("Softmax")
def softmax(layer: Layer) -> Compute:
    return lambda x: x.softmax(layer.p.axis)
