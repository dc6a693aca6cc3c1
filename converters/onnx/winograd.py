"""3x3 convolutions in a quarter of their multiplications, for runtimes that do not do so themselves.

Winograd's F(4x4, 3x3) of A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, 4.3.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from converters.onnx.builder import Builder, LayerBuilder
from converters.onnx.layers.conv import convolution
from prototxt.graph import Graph, Layer

_OUT, _IN = 4, 6  # the side of a tile of the top, and of the tile of the bottom that it is computed from
# The transforms of a row of the bottom, of the kernel, and back to the top; the paper's B^T, G and A^T.
_BOTTOM = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
     [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]], float)  # fmt: skip
_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], float) / 24
_TOP = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], float)
# Where ONNX Runtime gains, as measured on two cores: from so many channels (the harmonic mean of the bottom's and the
# top's) and so many tiles on.
_CHANNELS, _TILES = 96, 16


def winograd(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    """A Convolution as matrix products over tiles where that pays, and else as Conv."""
    if not pays(layer):
        return convolution(build, layer, bottoms)
    weight, *bias = build.blobs(layer)
    step, (outs, ins) = LayerBuilder(build, layer), weight.shape[:2]
    # The kernels stay as Caffe has them: a runtime transforms them once, when it loads the model.
    kernels = step.node("Reshape", step.floats(weight, "weight"), step.ints([outs * ins, 9], "kernels"))
    kernels = step.node("Transpose", kernels, perm=[1, 0])
    kernels = step.node("MatMul", step.floats(_in_plane(_KERNEL), "to_kernel"), kernels)
    kernels = step.node("Reshape", kernels, step.ints([_IN**2, outs, ins], "points"))
    tops = [_product(step, layer, bottom, shape, kernels) for bottom, shape in zip(bottoms, layer.bottom_shapes)]
    if not bias:
        return tops
    shift = step.floats(bias[0].reshape(-1, 1, 1), "bias")
    return [step.node("Add", top, shift) for top in tops]


def pays(layer: Layer) -> bool:
    """Whether a Convolution has such kernels, and fewer products are worth more than the transforms cost.

    For each value of a channel's map, the transforms cost as much as its channels and its top's, C + K, and save as
    much as C * K; on a map of few tiles, the kernels, four times as large, are most of what is read.
    """
    p = layer.p
    if (p.kernel_hw, p.stride_hw, p.dilation_hw, p.group) != ((3, 3), (1, 1), (1, 1), 1):
        return False
    outs, tall, wide = layer.top_shapes[0][1:]
    ins = layer.bottom_shapes[0][1]
    return 2 * ins * outs / (ins + outs) >= _CHANNELS and _tiles(tall) * _tiles(wide) >= _TILES


def winograd_note(graph: Graph) -> str:
    """How many of a net's convolutions are so computed."""
    layers = [layer for layer in graph.layers if layer.type == "Convolution"]
    count = sum(map(pays, layers))
    return f"{count} of {len(layers)} convolutions are computed as F(4x4, 3x3)" + (
        "" if count else ": none has 3x3 kernels on enough channels and tiles"
    )


def _tiles(size: int) -> int:
    return ceil(size / _OUT)


def _in_plane(row: np.ndarray) -> np.ndarray:
    """The transform of a square, its rows one after the other, from that of a row."""
    return np.kron(row, row)


def _product(step: LayerBuilder, layer: Layer, bottom: str, shape: tuple[int, ...], kernels: str) -> str:
    """The convolution of a bottom [N, C, H, W] with transformed kernels [36, K, C], without bias."""
    _, ins, height, width = shape
    outs, tall, wide = layer.top_shapes[0][1:]
    down, across = _tiles(tall), _tiles(wide)
    # Each channel by itself: the transform of its tiles is a convolution with 36 kernels of 6x6 in steps of 4.
    top, left = layer.p.pad_hw
    pads = [top, left, _OUT * down + 2 - height - top, _OUT * across + 2 - width - left]
    tiles = step.node("Reshape", bottom, step.ints([-1, 1, height, width], "channels"))
    points = step.floats(_in_plane(_BOTTOM).reshape(_IN**2, 1, _IN, _IN), "to_points")
    tiles = step.node("Conv", tiles, points, kernel_shape=[_IN, _IN], strides=[_OUT, _OUT], pads=pads)
    tiles = step.node("Reshape", tiles, step.ints([-1, ins, _IN**2, down * across], "tiles"))
    tiles = step.node("Transpose", tiles, perm=[0, 2, 1, 3])
    found = step.node("MatMul", kernels, tiles)
    found = step.node("Reshape", found, step.ints([-1, _IN**2, outs * down * across], "products"))
    found = step.node("MatMul", step.floats(_in_plane(_TOP), "to_top"), found)
    found = step.node("Reshape", found, step.ints([-1, _OUT**2 * outs, down, across], "squares"))
    found = step.node("DepthToSpace", found, blocksize=_OUT, mode="DCR")
    if (tall, wide) == (_OUT * down, _OUT * across):
        return found
    starts, ends, axes = (step.ints(v, n) for v, n in (([0, 0], "starts"), ([tall, wide], "ends"), ([2, 3], "axes")))
    return step.node("Slice", found, starts, ends, axes)
