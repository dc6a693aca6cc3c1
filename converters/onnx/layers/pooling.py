"""Pooling: Caffe's rounding up is written out as padding at the far sides."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from converters.onnx.builder import Builder
from converters.onnx.layers.table import NODES
from prototxt.graph import Layer


@NODES.register("Pooling")
def pooling(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p = layer.p
    if p.method == "STOCHASTIC":
        raise layer.error("stochastic pooling has no ONNX form", expected="MAX or AVE")
    if p.kernel_hw is None and len(layer.tops) == 1:
        return [build.node({"MAX": "GlobalMaxPool", "AVE": "GlobalAveragePool"}[p.method], bottoms, layer)]
    if build.is_open.size:
        return [_of_any_size(build, layer, bottoms)]
    kernel_hw = p.kernel_hw or layer.bottom_shapes[0][2:]
    end_hw = [_end(layer, side, kernel_hw[side]) for side in (0, 1)]
    attributes = {"kernel_shape": kernel_hw, "strides": p.stride_hw, "pads": [*p.pad_hw, *end_hw]}
    if p.method == "MAX":
        return _maximum(build, layer, bottoms, attributes)
    top = build.node("AveragePool", bottoms, layer, count_include_pad=1, **attributes)
    factor = _window_factor(layer)
    return [
        top if (factor == 1).all() else build.node("Mul", [top, build.constant(factor, f"{layer.name}/window")], layer)
    ]


def _of_any_size(build: Builder, layer: Layer, bottoms: list[str]) -> str:
    """MaxPool that rounds up itself; of a mean, the windows at the far sides would count otherwise than in Caffe."""
    p = layer.p
    if p.method != "MAX" or len(layer.tops) > 1 or any(k < s for k, s in zip(p.kernel_hw or (0, 0), p.stride_hw)):
        raise layer.error(
            "the size of its bottom decides about its windows, so the size cannot be left open",
            expected="MAX pooling with one top and a kernel that is not smaller than the stride",
            fix="convert without --dynamic size, once for each size that you need",
        )
    pads = [*p.pad_hw, *p.pad_hw]
    return build.node("MaxPool", bottoms, layer, kernel_shape=p.kernel_hw, strides=p.stride_hw, pads=pads, ceil_mode=1)


def _maximum(build: Builder, layer: Layer, bottoms: list[str], attributes: dict[str, Any]) -> list[str]:
    if len(layer.tops) == 1:
        return [build.node("MaxPool", bottoms, layer, **attributes)]
    top, at = build.node("MaxPool", bottoms, layer, outputs=2, **attributes)
    # Caffe's mask counts from the start of each plane, ONNX's from that of the whole blob.
    plane = build.constant(prod(layer.bottom_shapes[0][2:]), f"{layer.name}/plane", np.int64)
    return [top, build.node("Cast", [build.node("Mod", [at, plane], layer)], layer, to=TensorProto.FLOAT)]


def _end(layer: Layer, side: int, kernel: int) -> int:
    """Padding after the last row (side 0) or column that the last window needs."""
    p, size, out = layer.p, layer.bottom_shapes[0][2 + side], layer.top_shapes[0][2 + side]
    need = (out - 1) * p.stride_hw[side] + kernel - size - p.pad_hw[side]
    if need >= kernel:
        raise layer.error(
            "its last window lies wholly outside the input, which has no ONNX form",
            fix="choose a stride that is not above the kernel size",
        )
    return max(need, 0)


def _window_factor(layer: Layer) -> np.ndarray:
    """[H', W'], area of the kernel over that part of each window which Caffe counts: the part in the padded image."""
    p = layer.p
    sides = []
    for side in (0, 1):
        starts = np.arange(layer.top_shapes[0][2 + side]) * p.stride_hw[side]
        inside = np.minimum(starts + p.kernel_hw[side], layer.bottom_shapes[0][2 + side] + 2 * p.pad_hw[side]) - starts
        sides.append(p.kernel_hw[side] / inside)
    return np.outer(*sides)
