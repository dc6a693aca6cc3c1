"""Normalisations and the affine layers that follow them."""

from __future__ import annotations

from math import prod

import numpy as np

from converters.onnx.builder import Builder
from converters.onnx.layers.table import NODES, like_bottom
from prototxt.graph import Layer
from prototxt.shapes.norm import keeps_statistics, scales_itself
from prototxt.shapes.table import axis_of


@NODES.register("BatchNorm")
def batch_norm(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p = layer.p
    if p.HasField("use_global_stats") and not p.use_global_stats and not scales_itself(p):
        raise layer.error(
            "use_global_stats: false normalises with the batch, which has no ONNX form",
            fix="drop use_global_stats from the deploy prototxt",
        )
    if len(layer.bottom_shapes[0]) < 2:
        raise layer.error("its bottom has no axis of channels, which has no ONNX form", expected="N x C …")
    mean, variance, factor, *affine = build.blobs(layer)
    scale = 0.0 if factor.reshape(-1)[0] == 0 else 1.0 / factor.reshape(-1)[0]  # the blobs are sums
    constants = {
        "scale": affine[0] if affine else np.ones_like(mean),
        "bias": affine[1] if affine else np.zeros_like(mean),
        "mean": mean * scale,
        "variance": variance * scale,
    }
    inputs = [build.constant(array, f"{layer.name}/{name}") for name, array in constants.items()]
    return [build.node("BatchNormalization", [*bottoms, *inputs], layer, epsilon=p.eps)]


@NODES.register("BN")
def bn(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p, blobs = layer.p, build.blobs(layer)
    if keeps_statistics(p):
        names = ("scale", "bias", "mean", "variance")
        inputs = [build.constant(blob.reshape(-1), f"{layer.name}/{name}") for name, blob in zip(names, blobs)]
        return [build.node("BatchNormalization", [*bottoms, *inputs], layer, epsilon=p.eps)]
    if p.bn_mode == p.LEARN:
        raise layer.error(
            "bn_mode: LEARN normalises with the batch, which has no ONNX form",
            fix="compute the statistics into scale and shift, as SegNet's scripts do, and write `bn_mode: INFERENCE`",
        )
    scale, shift = (build.constant(blob, f"{layer.name}/{name}") for name, blob in zip(("scale", "shift"), blobs))
    return [build.node("Add", [build.node("Mul", [*bottoms, scale], layer), shift], layer)]


def _spread(shape: tuple[int, ...], layer: Layer) -> tuple[int, ...]:
    """`shape` with the ones that make it broadcast over the bottom from the layer's axis on."""
    if not shape:
        return ()
    bottom = layer.bottom_shapes[0]
    return (*shape, *[1] * (len(bottom) - axis_of(layer.p.axis, bottom) - len(shape)))


def _is_by_channel(layer: Layer) -> bool:
    """Whether a Scale has one factor and one shift for each channel."""
    shapes, bottom = layer.blob_shapes, layer.bottom_shapes[0]
    return layer.type == "Scale" and len(bottom) == 4 and shapes == ((bottom[1],),) * 2 and layer.p.axis in (1, -3)


def _as_normalization(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    """One operator for factor and shift, which ONNX Runtime joins with the convolutions and ReLUs around it."""
    factor, shift = build.blobs(layer)
    constants = {"scale": factor, "bias": shift, "mean": np.zeros_like(factor), "variance": np.ones_like(factor)}
    inputs = [build.constant(array, f"{layer.name}/{name}") for name, array in constants.items()]
    return [build.node("BatchNormalization", [*bottoms, *inputs], layer, epsilon=0.0)]


@NODES.register("Scale", "Bias")
def scale(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    if len(bottoms) == 1 and _is_by_channel(layer):
        return _as_normalization(build, layer, bottoms)
    blobs = [build.constant(blob.reshape(_spread(blob.shape, layer)), f"{layer.name}/{i}")
             for i, blob in enumerate(build.blobs(layer))]  # fmt: skip
    if len(bottoms) == 2:
        as_it_is = (0,) * len(layer.bottom_shapes[1])  # so that an open batch stays open
        shape = build.constant(_spread(as_it_is, layer), f"{layer.name}/shape", np.int64)
        blobs.insert(0, build.node("Reshape", [bottoms[1], shape], layer))
    value = bottoms[0]
    for op, blob in zip(["Add"] if layer.type == "Bias" else ["Mul", "Add"], blobs):
        value = build.node(op, [value, blob], layer)
    return [value]


@NODES.register("Normalize")
def normalize(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p, (factor,) = layer.p, build.blobs(layer)
    over = list(range(1, len(layer.bottom_shapes[0]))) if p.across_spatial else [1]
    squares = build.node("Mul", [bottoms[0], bottoms[0]], layer)
    total = build.node("ReduceSum", [squares, build.constant(over, f"{layer.name}/axes", np.int64)], layer, keepdims=1)
    norm = build.node("Sqrt", [build.node("Add", [total, build.constant(p.eps, f"{layer.name}/eps")], layer)], layer)
    unit = build.node("Div", [bottoms[0], norm], layer)
    spread = factor.reshape(-1, *[1] * (len(layer.bottom_shapes[0]) - 2))
    return [build.node("Mul", [unit, build.constant(spread, f"{layer.name}/scale")], layer)]


@NODES.register("LRN")
def lrn(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p = layer.p
    if p.local_size % 2 == 0:
        raise layer.error(f"local_size is {p.local_size}", expected="an odd number")
    if p.norm_region == p.ACROSS_CHANNELS:
        return [build.node("LRN", bottoms, layer, alpha=p.alpha, beta=p.beta, bias=p.k, size=p.local_size)]
    pad, size = p.local_size // 2, p.local_size
    squares = build.node("Mul", [bottoms[0], bottoms[0]], layer)
    mean = build.node("AveragePool", [squares], layer, kernel_shape=[size] * 2, pads=[pad] * 4, count_include_pad=1)
    scaled = build.node("Mul", [mean, build.constant(p.alpha, f"{layer.name}/alpha")], layer)
    base = build.node("Add", [scaled, build.constant(1.0, f"{layer.name}/one")], layer)
    factor = build.node("Pow", [base, build.constant(-p.beta, f"{layer.name}/beta")], layer)
    return [build.node("Mul", [bottoms[0], factor], layer)]


@NODES.register("MVN")
def mvn(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p, shape = layer.p, layer.bottom_shapes[0]
    kept = shape[:1] if p.across_channels else shape[:2]
    sizes = like_bottom((*kept, prod(shape[len(kept) :])), layer)
    rows = build.constant(sizes, f"{layer.name}/rows", np.int64)
    x = build.node("Reshape", [bottoms[0], rows], layer)
    y = build.node("Sub", [x, build.node("ReduceMean", [x], layer, axes=[-1])], layer)
    if p.normalize_variance:
        variance = build.node("ReduceMean", [build.node("Mul", [y, y], layer)], layer, axes=[-1])
        deviation = build.node("Sqrt", [variance], layer)
        y = build.node(
            "Div", [y, build.node("Add", [deviation, build.constant(p.eps, f"{layer.name}/eps")], layer)], layer
        )
    return [
        build.node("Reshape", [y, build.constant(like_bottom(shape, layer), f"{layer.name}/shape", np.int64)], layer)
    ]
