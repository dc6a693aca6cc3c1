"""Sums, products and their like of two or more inputs, which broadcast."""

from __future__ import annotations

from functools import partial, reduce

import numpy as np

from converters.from_onnx.builder import Made, Step
from converters.from_onnx.ops.common import (
    add,
    affine,
    at_least,
    at_most,
    eltwise,
    multiply,
    power,
    scale_by,
    shift_by,
    tile,
)
from converters.from_onnx.ops.table import LAYERS
from prototxt.graph import Shape


def _split(step: Step) -> tuple[int, np.ndarray] | None:
    """Which of two inputs is computed, and the other one's array; None when both are computed."""
    for computed, other in ((0, 1), (1, 0)):
        array = step.array(other)
        if array is not None:
            return computed, array.astype(np.float32)
    return None


@LAYERS.register("Add")
def add_(step: Step) -> list[str]:
    parts = _split(step)
    if parts is None:
        return [add(step, step.bottom(0), step.bottom(1))]
    return [_plus(step, *parts)]


def _plus(step: Step, index: int, term: np.ndarray) -> str:
    """A computed input plus a constant; the bias of the layer before it where that has none yet."""
    value = step.node.inputs[index]
    x = step.bottom(index)
    if step.out_shape == step.blob_shape(x) and step.build.is_private(value):
        maker = step.build.maker(x)
        if maker is not None and _take_bias(maker, step.out_shape, term):
            return x
    return shift_by(step, tile(step, x, step.out_shape), term)


# Layer type -> its parameters, and the axis of its top that a bias goes along.
_WITH_BIAS = {"InnerProduct": ("inner_product_param", -1)}
_WITH_BIAS |= dict.fromkeys(("Convolution", "Deconvolution"), ("convolution_param", 1))


def _take_bias(maker: Made, shape: Shape, term: np.ndarray) -> bool:
    """Give a layer without bias one, when `term` is one number for each of its outputs or Scale's factors."""
    if maker.proto.type == "Scale" and len(maker.proto.bottom) == 1:
        field, axis, size = "scale_param", maker.proto.scale_param.axis, maker.blobs[0].shape
    elif maker.proto.type in _WITH_BIAS:
        field, axis = _WITH_BIAS[maker.proto.type]
        axis, size = axis % len(shape), (shape[axis],)
    else:
        return False
    param = getattr(maker.proto, field)
    whole = (1,) * axis + size + (1,) * (len(shape) - axis - len(size))
    aligned = (1,) * (len(shape) - term.ndim) + term.shape
    if len(maker.blobs) > 1 or aligned != whole or not maker.blobs:
        return False
    param.bias_term = True
    maker.blobs.append(term.reshape(size))
    return True


@LAYERS.register("Mul")
def mul(step: Step) -> list[str]:
    parts = _split(step)
    if parts is None:
        return [multiply(step, step.bottom(0), step.bottom(1))]
    return [_times(step, *parts)]


def _times(step: Step, index: int, factor: np.ndarray) -> str:
    """A computed input times a constant; the scale of a Normalize before it where that has none yet."""
    x = step.bottom(index)
    maker = step.build.maker(x)
    if (
        maker is not None
        and maker.proto.type == "Normalize"
        and step.build.is_private(step.node.inputs[index])
        and (maker.blobs[0] == 1).all()
        and factor.size == maker.blobs[0].size
        and factor.reshape(-1, *[1] * (len(step.out_shape) - 2)).shape == factor.shape[-len(step.out_shape) + 1 :]
    ):
        maker.blobs[0] = factor.reshape(-1)
        return x
    return scale_by(step, tile(step, x, step.out_shape), factor)


@LAYERS.register("Sub")
def sub(step: Step) -> list[str]:
    parts = _split(step)
    if parts is not None:
        index, array = parts
        if index == 0:
            return [_plus(step, 0, -array)]
        return [shift_by(step, tile(step, affine(step, step.bottom(1), -1, 0), step.out_shape), array)]
    a, b = step.bottom(0), step.bottom(1)
    if step.shape(0) == step.shape(1):
        return [eltwise(step, "SUM", [a, b], [1, -1])]
    return [add(step, a, affine(step, b, -1, 0))]


@LAYERS.register("Div")
def div(step: Step) -> list[str]:
    parts = _split(step)
    if parts is None:
        return [multiply(step, step.bottom(0), power(step, step.bottom(1), -1))]
    index, array = parts
    x = step.bottom(index)
    with np.errstate(divide="ignore"):
        array, x = (1 / array, x) if index == 0 else (array, power(step, x, -1))
    return [scale_by(step, tile(step, x, step.out_shape), array)]


@LAYERS.register("Sum", "Mean")
def sum_(step: Step) -> list[str]:
    count = len(step.node.inputs)
    blobs = [step.bottom(i) for i in range(count)]
    if count > 1 and all(step.shape(i) == step.out_shape for i in range(count)):
        return [eltwise(step, "SUM", blobs, [1 / count] * count if step.node.op == "Mean" else ())]
    total = reduce(partial(add, step), blobs)
    return [affine(step, total, 1 / count, 0) if step.node.op == "Mean" else total]


@LAYERS.register("Max", "Min")
def extreme(step: Step) -> list[str]:
    sign = 1 if step.node.op == "Max" else -1
    arrays = [step.array(i) for i in range(len(step.node.inputs))]
    limits = [array for array in arrays if array is not None]
    if any(array.size > 1 for array in limits):
        raise step.error("one of its inputs is a constant of several values", expected="one number, or computed inputs")
    blobs = [tile(step, step.bottom(i), step.out_shape) for i, array in enumerate(arrays) if array is None]
    if len(blobs) > 1:
        blobs = [eltwise(step, "MAX", [affine(step, blob, sign, 0) for blob in blobs])]
        blobs = [affine(step, blobs[0], sign, 0)]
    bound = at_least if sign == 1 else at_most
    return [reduce(lambda blob, limit: bound(step, blob, float(limit.item())), limits, blobs[0])]
