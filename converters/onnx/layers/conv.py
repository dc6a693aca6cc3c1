"""Convolution, Deconvolution, InnerProduct, Embed."""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import TensorProto

from converters.onnx.builder import Builder
from converters.onnx.layers.table import NODES
from prototxt.graph import Layer
from prototxt.shapes.table import axis_of

_OPS = {
    "Convolution": "Conv",
    "ConvolutionDepthwise": "Conv",
    "Deconvolution": "ConvTranspose",
    "DepthwiseConvolution": "Conv",
}


def _learned(build: Builder, layer: Layer) -> list[str]:
    names = (f"{layer.name}/weight", f"{layer.name}/bias")
    return [build.constant(blob, name) for blob, name in zip(build.blobs(layer), names)]


@NODES.register(*_OPS)
def convolution(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p = layer.p
    learned = _learned(build, layer)
    attributes = {
        "kernel_shape": p.kernel_hw,
        "strides": p.stride_hw,
        "pads": [*p.pad_hw, *p.pad_hw],
        "dilations": p.dilation_hw,
        "group": p.group,
    }
    return [build.node(_OPS[layer.type], [bottom, *learned], layer, **attributes) for bottom in bottoms]


@NODES.register("InnerProduct")
def inner_product(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    weight, *bias = build.blobs(layer)
    shape = layer.bottom_shapes[0]
    axis = axis_of(layer.p.axis, shape)
    rows = build.constant([*[0] * axis, prod(shape[axis:])], f"{layer.name}/shape", np.int64)  # 0: as it comes
    matrix = build.constant(weight if layer.p.transpose else weight.T, f"{layer.name}/weight")
    top = build.node("MatMul", [build.node("Reshape", [bottoms[0], rows], layer), matrix], layer)
    return [build.node("Add", [top, build.constant(bias[0], f"{layer.name}/bias")], layer) if bias else top]


@NODES.register("Embed")
def embed(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    weight, *bias = _learned(build, layer)
    top = build.node("Gather", [weight, build.node("Cast", bottoms, layer, to=TensorProto.INT64)], layer, axis=0)
    return [build.node("Add", [top, *bias], layer) if bias else top]
