"""Convolutions and products with constant matrices."""

from __future__ import annotations

import numpy as np

from converters.from_onnx.builder import Step
from converters.from_onnx.ops.common import as_maps, permute, reshape
from converters.from_onnx.ops.table import LAYERS
from converters.from_onnx.ops.windows import Windows, windows

_MOST_ZEROS = 32  # rows that a kernel may grow by


def _fit(step: Step, side: Windows, forward: bool) -> tuple[int, int, int]:
    """Rows of zeros before and after a kernel with which one padding for both ends gives ONNX's windows, and it.

    Caffe pads both ends alike. Where ONNX does not, zeros move the kernel's taps away from the end that would get
    too much; nothing is added to any sum.
    """
    for zeros in range(_MOST_ZEROS):
        extent = side.extent + zeros * side.dilation
        for before in range(zeros + 1):
            pad = side.begin + before * side.dilation
            if forward:
                out = (side.size + 2 * pad - extent) // side.stride + 1
            else:
                out = side.stride * (side.size - 1) + extent - 2 * pad
            if out == side.out:
                return before, zeros - before, pad
    raise step.error(f"its padding of {side.begin} and {side.end} cannot be said with one padding for both ends")


def convolve(step: Step, kind: str, x: str, blobs: list[np.ndarray], sides: tuple[Windows, Windows], group: int) -> str:
    """A Convolution or Deconvolution of a map [N, C, H, W] with ONNX's windows."""
    forward = kind == "Convolution"
    kernel = np.asarray(blobs[0], np.float32)
    fits = [_fit(step, side, forward) for side in sides]
    zeros = [(before, after) for before, after, _ in fits]
    if any(map(any, zeros)):
        kernel = np.pad(kernel, [(0, 0), (0, 0), *zeros])
    param = {
        "num_output": len(kernel) if forward else kernel.shape[1] * group,
        "bias_term": len(blobs) > 1,
        "kernel_size": kernel.shape[2:],
        "stride": [side.stride for side in sides],
        "pad": [pad for _, _, pad in fits],
        "dilation": [side.dilation for side in sides],
        "group": group,
    }
    return step.layer(kind, x, blobs=[kernel, *blobs[1:]], convolution_param=_short(param))


def _short(param: dict) -> dict:
    """Convolution's parameters as people write them: one number for two that are the same, no defaults."""
    short = {"num_output": param["num_output"]}
    for name, default in (("kernel_size", None), ("stride", 1), ("pad", 0), ("dilation", 1)):
        height, width = param[name]
        single = name.removesuffix("_size")
        if height == width:
            short |= {name: [height]} if height != default else {}
        else:  # there is no dilation_h
            short |= {name: param[name]} if name == "dilation" else {f"{single}_h": height, f"{single}_w": width}
    if param["group"] > 1:
        short["group"] = param["group"]
    return short if param["bias_term"] else {**short, "bias_term": False}


_KINDS = {"Conv": "Convolution", "ConvTranspose": "Deconvolution"}


@LAYERS.register(*_KINDS)
def conv(step: Step) -> list[str]:
    blobs = [step.constant(1, "weights").astype(np.float32)]
    if step.has(2):
        blobs.append(step.constant(2, "biases"))
    sides = windows(step, blobs[0].shape[2:], transposed=step.node.op == "ConvTranspose")
    if blobs[0].ndim == 3:
        blobs[0] = blobs[0][:, :, None]
    x = as_maps(step, step.bottom(0))
    return [
        reshape(step, convolve(step, _KINDS[step.node.op], x, blobs, sides, step.attribute("group", 1)), step.out_shape)
    ]


def pick(step: Step, x: str, sides: tuple[Windows, Windows], at: tuple[int, int] = (0, 0)) -> str:
    """Single values of each channel's map, zero where a window lies in the padding: by a convolution with 1.

    Args:
        at: which row and column of each window.
    """
    channels = step.blob_shape(x)[1]
    step.room((channels, sides[0].kernel, sides[1].kernel), "kernel")
    kernel = np.zeros((channels, 1, sides[0].kernel, sides[1].kernel), np.float32)
    kernel[:, :, at[0], at[1]] = 1
    return convolve(step, "Convolution", x, [kernel], sides, channels)


@LAYERS.register("Gemm")
def gemm(step: Step) -> list[str]:
    matrix = step.constant(1, "weights").astype(np.float32) * np.float32(step.attribute("alpha", 1.0))
    weight = matrix if step.attribute("transB", 0) else matrix.T
    blobs = [weight]
    if step.has(2):
        bias = step.constant(2, "biases").astype(np.float32) * np.float32(step.attribute("beta", 1.0))
        if bias.ndim == 2 and len(bias) > 1:
            raise step.error(f"its biases have the shape {bias.shape}", expected="one for each output")
        blobs.append(np.broadcast_to(bias.reshape(-1), len(weight)))
    x = step.bottom(0)
    return [_inner_product(step, permute(step, x, [1, 0]) if step.attribute("transA", 0) else x, blobs)]


@LAYERS.register("MatMul")
def mat_mul(step: Step) -> list[str]:
    weight = step.array(1)
    if weight is None or step.array(0) is not None:
        raise step.error("Caffe has no product of two computed matrices", expected="constant weights on the right")
    if weight.ndim != 2 or len(step.shape(0)) < 2:
        raise step.error(f"its weights have {weight.ndim} axes", expected="two, and an input of at least two")
    return [_inner_product(step, step.bottom(0), [weight.T])]


def _inner_product(step: Step, x: str, blobs: list[np.ndarray]) -> str:
    axis = len(step.blob_shape(x)) - 1
    param = {"num_output": len(blobs[0]), "bias_term": len(blobs) > 1}
    return step.layer("InnerProduct", x, blobs=blobs, inner_product_param=param | ({"axis": axis} if axis != 1 else {}))


def matrix_product(step: Step, x: str, matrix: np.ndarray, axis: int) -> str:
    """`matrix` [n', n] times the vectors of `x` along an axis of n."""
    order = list(range(len(step.blob_shape(x))))
    order[axis], order[-1] = order[-1], order[axis]
    return permute(step, _inner_product(step, permute(step, x, order), [matrix]), order)
