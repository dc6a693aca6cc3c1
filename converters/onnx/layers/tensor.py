"""Layers that move, join, cut, add up or reorder values. Shapes are written out: the batch is the graph's."""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np
from onnx import TensorProto

from converters.onnx.builder import Builder
from converters.onnx.layers.table import NODES
from prototxt.graph import Layer
from prototxt.shapes.table import axis_of
from prototxt.shapes.tensor import crop_offsets, permutation


@NODES.register("Concat")
def concat(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    axis = axis_of(layer.p.concat_dim if layer.p.HasField("concat_dim") else layer.p.axis, layer.bottom_shapes[0])
    arrays = [build.array(bottom) for bottom in bottoms]
    if all(array is not None for array in arrays):  # prior boxes
        return [build.constant(np.concatenate(arrays, axis), layer.name)]
    return [build.node("Concat", bottoms, layer, axis=axis)]


@NODES.register("Slice")
def slice_(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    axis = axis_of(layer.p.slice_dim if layer.p.HasField("slice_dim") else layer.p.axis, layer.bottom_shapes[0])
    sizes = build.constant([shape[axis] for shape in layer.top_shapes], f"{layer.name}/sizes", np.int64)
    tops = build.node("Split", [*bottoms, sizes], layer, outputs=len(layer.tops), axis=axis)
    return [tops] if isinstance(tops, str) else tops


@NODES.register("Eltwise")
def eltwise(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p = layer.p
    op = {p.PROD: "Mul", p.SUM: "Add", p.MAX: "Max"}[p.operation]
    if p.coeff:
        bottoms = [
            value if factor == 1 else build.node("Mul", [value, build.constant(factor, f"{layer.name}/coeff")], layer)
            for value, factor in zip(bottoms, p.coeff)
        ]
    return [reduce(lambda a, b: build.node(op, [a, b], layer), bottoms)]


@NODES.register("Permute")
def permute(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return [build.node("Transpose", bottoms, layer, perm=permutation(layer.p, len(layer.bottom_shapes[0])))]


@NODES.register("Flatten", "Reshape")
def reshape(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    shape = build.constant(layer.top_shapes[0], f"{layer.name}/shape", np.int64)
    return [build.node("Reshape", [*bottoms, shape], layer)]


@NODES.register("Crop")
def crop(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    first = axis_of(layer.p.axis, layer.bottom_shapes[0])
    starts = crop_offsets(layer.p, layer.bottom_shapes[0])[first:]
    ends = [start + size for start, size in zip(starts, layer.top_shapes[0][first:])]
    axes = range(first, len(layer.bottom_shapes[0]))
    names = ("starts", "ends", "axes")
    cut = [build.constant(v, f"{layer.name}/{n}", np.int64) for n, v in zip(names, (starts, ends, list(axes)))]
    return [build.node("Slice", [bottoms[0], *cut], layer)]


@NODES.register("Tile")
def tile(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    repeats = [1] * len(layer.bottom_shapes[0])
    repeats[axis_of(layer.p.axis, layer.bottom_shapes[0])] = layer.p.tiles
    return [build.node("Tile", [*bottoms, build.constant(repeats, f"{layer.name}/repeats", np.int64)], layer)]


@NODES.register("Reduction")
def reduction(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p, shape = layer.p, layer.bottom_shapes[0]
    axis = axis_of(p.axis, shape)
    rows = build.constant([*shape[:axis], prod(shape[axis:])], f"{layer.name}/rows", np.int64)
    value = build.node("Reshape", [*bottoms, rows], layer)
    if p.operation == p.SUM:  # since opset 13 its axes are an input, unlike its sisters'
        value = build.node(
            "ReduceSum", [value, build.constant([axis], f"{layer.name}/axes", np.int64)], layer, keepdims=0
        )
    else:
        op = {p.ASUM: "ReduceL1", p.SUMSQ: "ReduceSumSquare", p.MEAN: "ReduceMean"}[p.operation]
        value = build.node(op, [value], layer, axes=[axis], keepdims=0)
    return [
        value if p.coeff == 1 else build.node("Mul", [value, build.constant(p.coeff, f"{layer.name}/coeff")], layer)
    ]


@NODES.register("ArgMax")
def arg_max(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p, value, axis = layer.p, bottoms[0], 1
    if p.HasField("axis"):
        axis = axis_of(p.axis, layer.bottom_shapes[0])
    else:
        value = build.node("Flatten", [value], layer, axis=1)
    count = build.constant([p.top_k], f"{layer.name}/top_k", np.int64)
    values, indices = build.node("TopK", [value, count], layer, outputs=2, axis=axis)
    indices = build.node("Cast", [indices], layer, to=TensorProto.FLOAT)
    if p.HasField("axis"):
        return [values if p.out_max_val else indices]
    one = build.constant([1], f"{layer.name}/one", np.int64)
    rows = [build.node("Unsqueeze", [part, one], layer) for part in ([indices, values] if p.out_max_val else [indices])]
    return [build.node("Concat", rows, layer, axis=1)]
