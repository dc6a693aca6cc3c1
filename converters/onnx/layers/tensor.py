"""Layers that move, join, cut, add up or reorder values. Shapes are written out, but not the batch."""

from __future__ import annotations

from functools import reduce
from itertools import takewhile
from math import prod

import numpy as np
from onnx import TensorProto

from converters.onnx.builder import Builder, LayerBuilder
from converters.onnx.layers.table import NODES, like_bottom
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


@NODES.register("Transpose")
def transpose(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return [build.node("Transpose", bottoms, layer, perm=list(layer.p.dim))]


@NODES.register("Reverse")
def reverse(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    step, axis = LayerBuilder(build, layer), axis_of(layer.p.axis, layer.bottom_shapes[0])
    backwards = (("starts", -1), ("ends", np.iinfo(np.int64).min), ("axes", axis), ("steps", -1))
    return [step.node("Slice", bottoms[0], *(step.ints([value], name) for name, value in backwards))]


@NODES.register("Flatten", "Reshape")
def reshape(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    before, after = layer.bottom_shapes[0], layer.top_shapes[0]
    same = len(list(takewhile(lambda sizes: sizes[0] == sizes[1], zip(before, after))))
    # 0: as it comes. A Proposal gives fewer regions than its most.
    shape = build.constant([*[0] * same, *after[same:]], f"{layer.name}/shape", np.int64)
    return [build.node("Reshape", [*bottoms, shape], layer)]


@NODES.register("Crop")
def crop(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    first = axis_of(layer.p.axis, layer.bottom_shapes[0])
    starts = crop_offsets(layer.p, layer.bottom_shapes[0])[first:]
    ends = [start + size for start, size in zip(starts, layer.top_shapes[0][first:])]
    if build.is_open.size:  # counted from the far side, which may move
        sizes = layer.bottom_shapes[0][first:]
        ends = [end - size if end < size else np.iinfo(np.int64).max for end, size in zip(ends, sizes)]
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
    sizes = like_bottom((*shape[:axis], prod(shape[axis:])), layer)
    rows = build.constant(sizes, f"{layer.name}/rows", np.int64)
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


@NODES.register("ShuffleChannel")
def shuffle_channel(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    step, shape = LayerBuilder(build, layer), layer.bottom_shapes[0]
    groups = step.ints([0, layer.p.group, shape[1] // layer.p.group, -1], "groups")
    dealt = step.node("Transpose", step.node("Reshape", bottoms[0], groups), perm=[0, 2, 1, 3])
    return [step.node("Reshape", dealt, step.node("Shape", bottoms[0]))]


@NODES.register("Reorg")
def reorg(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    step, stride, (channels, height, width) = LayerBuilder(build, layer), layer.p.stride, layer.bottom_shapes[0][1:]
    if layer.p.reverse:
        return [step.node("DepthToSpace", bottoms[0], blocksize=stride)]
    maps = step.ints([0, channels // stride**2, height * stride, width * stride], "maps")
    cells = step.node("SpaceToDepth", step.node("Reshape", bottoms[0], maps), blocksize=stride)
    return [step.node("Reshape", cells, step.ints([0, *layer.top_shapes[0][1:]], "shape"))]


@NODES.register("Axpy")
def axpy(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    step = LayerBuilder(build, layer)
    factor, x, y = bottoms
    factor_shape, shape = layer.bottom_shapes[:2]
    if len(factor_shape) < len(shape):
        factor = step.node("Unsqueeze", factor, step.ints(list(range(2, len(shape))), "axes"))
    return [step.node("Add", step.node("Mul", factor, x), y)]


@NODES.register("Interp")
def interp(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p, step, value = layer.p, LayerBuilder(build, layer), bottoms[0]
    if p.pad_beg or p.pad_end:
        ends = [size + p.pad_end for size in layer.bottom_shapes[0][2:]]
        cut = (step.ints(v, name) for name, v in (("starts", [-p.pad_beg] * 2), ("ends", ends), ("axes", [2, 3])))
        value = step.node("Slice", value, *cut)
    how = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    sizes = step.node("Concat", step.node("Shape", value, end=2), step.ints(layer.top_shapes[0][2:], "size_hw"), axis=0)
    return [step.node("Resize", value, "", "", sizes, **how)]


@NODES.register("Upsample")
def upsample(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p, step = layer.p, LayerBuilder(build, layer)
    if not p.by_mask:
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return [step.node("Resize", bottoms[0], "", step.floats([1, 1, *p.factor_hw], "scales"), **how)]
    height, width = layer.top_shapes[0][2:]
    flat = step.ints([0, 0, -1], "flat")
    values, mask = (step.node("Reshape", bottom, flat) for bottom in bottoms)
    size = step.node("Concat", step.node("Shape", bottoms[0], end=2), step.ints([height * width], "plane"), axis=0)
    places = step.node("Cast", mask, to=TensorProto.INT64)
    planes = step.node("ScatterElements", step.node("ConstantOfShape", size), places, values, axis=2)
    return [step.node("Reshape", planes, step.ints([0, 0, height, width], "shape"))]
