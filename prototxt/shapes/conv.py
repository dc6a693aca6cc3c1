"""Convolution, Deconvolution, InnerProduct, Embed, and the forks' names of a convolution with one group a channel."""

from __future__ import annotations

from math import prod

from prototxt.shapes.table import BLOBS, SHAPES, ShapeError, axis_of, maps_hw, need


def _same(bottoms):
    if not bottoms:
        raise ShapeError("it has no bottom")
    for shape in bottoms:
        maps_hw(shape)
        if shape != bottoms[0]:
            raise ShapeError("all bottoms must have one shape")


def _channels(p, bottoms) -> int:
    channels = bottoms[0][1]
    if channels % p.group:
        raise ShapeError(f"group {p.group} does not divide its {channels} input channels")
    return channels


@SHAPES.register("Convolution")
def convolution(p, bottoms):  # [(N, C, H, W)] -> [(N, num_output, H', W')], floor
    _same(bottoms)
    _channels(p, bottoms)
    out = [
        (size + 2 * pad - extent) // stride + 1
        for size, pad, extent, stride in zip(maps_hw(bottoms[0]), p.pad_hw, p.extent_hw, p.stride_hw)
    ]
    if min(out) < 1:
        raise ShapeError(f"the kernel of {p.extent_hw[0]} x {p.extent_hw[1]} is larger than the padded input")
    return [(bottoms[0][0], p.num_output, *out)] * len(bottoms)


@SHAPES.register("ConvolutionDepthwise", "DepthwiseConvolution")
def depthwise(p, bottoms):  # [(N, C, H, W)] -> [(N, num_output, H', W')]
    _same(bottoms)
    if bottoms[0][1] != p.group:
        raise ShapeError(f"its {p.group} groups must be as many as its {bottoms[0][1]} input channels")
    return convolution(p, bottoms)


@BLOBS.register("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution")
def convolution_blobs(p, bottoms):
    weight = (p.num_output, _channels(p, bottoms) // p.group, *p.kernel_hw)
    return [weight, (p.num_output,)] if p.bias_term else [weight]


@SHAPES.register("Deconvolution")
def deconvolution(p, bottoms):  # [(N, C, H, W)] -> [(N, num_output, H', W')]
    _same(bottoms)
    _channels(p, bottoms)
    out = [
        stride * (size - 1) + extent - 2 * pad
        for size, pad, extent, stride in zip(maps_hw(bottoms[0]), p.pad_hw, p.extent_hw, p.stride_hw)
    ]
    if min(out) < 1:
        raise ShapeError("the padding leaves nothing of the output")
    return [(bottoms[0][0], p.num_output, *out)] * len(bottoms)


@BLOBS.register("Deconvolution")
def deconvolution_blobs(p, bottoms):
    weight = (_channels(p, bottoms), p.num_output // p.group, *p.kernel_hw)
    return [weight, (p.num_output,)] if p.bias_term else [weight]


@SHAPES.register("InnerProduct")
def inner_product(p, bottoms):  # [(A…, B…)] -> [(A…, num_output)], B from p.axis on
    if len(bottoms) != 1:
        raise ShapeError(f"it has {len(bottoms)} bottoms but takes 1")
    return [(*bottoms[0][: axis_of(p.axis, bottoms[0])], p.num_output)]


@BLOBS.register("InnerProduct")
def inner_product_blobs(p, bottoms):
    inputs = prod(bottoms[0][axis_of(p.axis, bottoms[0]) :])
    weight = (inputs, p.num_output) if p.transpose else (p.num_output, inputs)
    return [weight, (p.num_output,)] if p.bias_term else [weight]


@SHAPES.register("Embed")
def embed(p, bottoms):  # [(…)] of row numbers -> [(…, num_output)]
    need(bottoms, 1)
    if min(p.input_dim, p.num_output) < 1:
        raise ShapeError("input_dim and num_output must be at least 1")
    return [(*bottoms[0], p.num_output)]


@BLOBS.register("Embed")
def embed_blobs(p, bottoms):
    weight = (p.input_dim, p.num_output)
    return [weight, (p.num_output,)] if p.bias_term else [weight]
