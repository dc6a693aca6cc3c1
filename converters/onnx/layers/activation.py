"""Layers that change values and not shapes."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from converters.onnx.builder import Builder
from converters.onnx.layers.table import NODES
from prototxt.graph import Layer

_DRAWS = "it draws at random in testing, too, which has no ONNX form"
_PLAIN = {"AbsVal": "Abs", "BNLL": "Softplus", "Sigmoid": "Sigmoid", "TanH": "Tanh"}


@NODES.register(*_PLAIN)
def plain(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return [build.node(_PLAIN[layer.type], bottoms, layer)]


@NODES.register("ReLU")
def relu(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    slope = layer.p.negative_slope
    return [build.node("LeakyRelu", bottoms, layer, alpha=slope) if slope else build.node("Relu", bottoms, layer)]


@NODES.register("Clip", "ReLU6")
def clip(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    limits = (0, 6) if layer.type == "ReLU6" else (layer.p.min, layer.p.max)
    inputs = [build.constant(limit, f"{layer.name}/{name}") for name, limit in zip(("least", "most"), limits)]
    return [build.node("Clip", [*bottoms, *inputs], layer)]


@NODES.register("Swish")
def swish(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    scaled = bottoms[0]
    if layer.p.beta != 1:
        scaled = build.node("Mul", [scaled, build.constant(layer.p.beta, f"{layer.name}/beta")], layer)
    return [build.node("Mul", [bottoms[0], build.node("Sigmoid", [scaled], layer)], layer)]


@NODES.register("Mish")
def mish(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:  # an operator of its own since opset 18
    gate = build.node("Tanh", [build.node("Softplus", bottoms, layer)], layer)
    return [build.node("Mul", [*bottoms, gate], layer)]


@NODES.register("PReLU")
def prelu(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    (slope,) = build.blobs(layer)
    spread = slope.reshape(-1, *[1] * (len(layer.bottom_shapes[0]) - 2))
    return [build.node("PRelu", [*bottoms, build.constant(spread, f"{layer.name}/slope")], layer)]


@NODES.register("ELU")
def elu(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return [build.node("Elu", bottoms, layer, alpha=layer.p.alpha)]


@NODES.register("Softmax")
def softmax(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return [build.node("Softmax", bottoms, layer, axis=layer.p.axis)]


@NODES.register("Split")
def same(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return bottoms * len(layer.tops)


@NODES.register("Dropout")
def dropout(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:  # outside training
    p = layer.p
    if p.sample_weights_test:
        raise layer.error(_DRAWS, fix="drop sample_weights_test from the deploy prototxt")
    return bottoms if p.scale_train else [_times(build, layer, bottoms[0], 1 - p.dropout_ratio)]


@NODES.register("spatial_dropout.SpatialDropoutLayer")
def spatial_dropout(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    if layer.p.trains:
        raise layer.error(_DRAWS, fix="write 'phase': 'TEST' into its param_str")
    return [_times(build, layer, bottoms[0], 1 / (1 - layer.p.ratio))]


def _times(build: Builder, layer: Layer, value: str, factor: float) -> str:
    return build.node("Mul", [value, build.constant(factor, f"{layer.name}/scale")], layer)


@NODES.register("Silence")
def silence(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return []


def _affine(build: Builder, layer: Layer, value: str) -> str:
    """shift + scale · x, each where it does something."""
    if layer.p.scale != 1:
        value = build.node("Mul", [value, build.constant(layer.p.scale, f"{layer.name}/scale")], layer)
    if layer.p.shift != 0:
        value = build.node("Add", [value, build.constant(layer.p.shift, f"{layer.name}/shift")], layer)
    return value


@NODES.register("Power")
def power(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p = layer.p
    if p.scale * p.power == 0:
        constant = 1.0 if p.power == 0 else p.shift**p.power
        return [build.constant(np.full(layer.bottom_shapes[0], constant), layer.name)]
    value = _affine(build, layer, bottoms[0])
    return [
        value if p.power == 1 else build.node("Pow", [value, build.constant(p.power, f"{layer.name}/power")], layer)
    ]


@NODES.register("Exp")
def exp(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    value = _affine(build, layer, bottoms[0])
    if layer.p.base != -1:
        value = build.node("Mul", [value, _log_base(build, layer)], layer)
    return [build.node("Exp", [value], layer)]


@NODES.register("Log")
def log(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    value = build.node("Log", [_affine(build, layer, bottoms[0])], layer)
    return [value if layer.p.base == -1 else build.node("Div", [value, _log_base(build, layer)], layer)]


def _log_base(build: Builder, layer: Layer) -> str:
    if layer.p.base <= 0:
        raise layer.error(f"base is {layer.p.base:g}", expected="a number above 0, or -1 for e")
    return build.constant(math.log(layer.p.base), f"{layer.name}/log_base")


@NODES.register("Threshold")
def threshold(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    limit = build.constant(layer.p.threshold, f"{layer.name}/threshold")
    return [build.node("Cast", [build.node("Greater", [*bottoms, limit], layer)], layer, to=TensorProto.FLOAT)]
