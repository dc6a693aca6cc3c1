"""Convolutions, products, normalisations, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from converters.pytorch.trace.model import Model, Value, refuse
from converters.pytorch.trace.table import OPERATORS


def _sides(value: int | Sequence[int], count: int) -> list[int]:
    """A number for each side of a map; one number stands for all."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


@OPERATORS.register("conv1d", "conv2d")
def conv(m: Model, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Value:
    count = len(x.shape) - 2
    dilation = _sides(dilation, count)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:])]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    else:
        pads = _sides(0 if padding == "valid" else padding, count) * 2
    strides = _sides(stride, count)
    return m.add("Conv", x, weight, bias, strides=strides, pads=pads, dilations=dilation, group=groups)


@OPERATORS.register("conv_transpose1d", "conv_transpose2d")
def conv_transpose(
    m: Model, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Value:
    stride, padding, extra, dilation = (
        _sides(v, len(x.shape) - 2) for v in (stride, padding, output_padding, dilation)
    )
    more = {"output_padding": extra} if any(extra) else {}
    options = {"strides": stride, "pads": padding * 2, "dilations": dilation, "group": groups, **more}
    return m.add("ConvTranspose", x, weight, bias, **options)


@OPERATORS.register("linear")
def linear(m: Model, x, weight, bias=None) -> Value:
    if len(x.shape) == 2:
        return m.add("Gemm", x, weight, bias, transB=1)
    product = m.add("MatMul", x, weight.T)
    return product if bias is None else m.add("Add", product, bias)


@OPERATORS.register("addmm")
def addmm(m: Model, bias, x, weight, beta=1, alpha=1) -> Value:
    return m.add("Gemm", x, weight, bias, alpha=float(alpha), beta=float(beta))


@OPERATORS.register("matmul", "mm", "bmm")
def matmul(m: Model, x, other) -> Value:
    return m.add("MatMul", x, other)


@OPERATORS.register("_native_batch_norm_legit_no_training")
def batch_norm(m: Model, x, weight, bias, mean, variance, momentum, eps) -> tuple[Value]:
    weight, bias = _or_plain(weight, mean.shape, 1), _or_plain(bias, mean.shape, 0)
    return (m.add("BatchNormalization", x, weight, bias, mean, variance, epsilon=eps),)


def _or_plain(tensor: Tensor | None, shape: Sequence[int], value: float) -> Tensor:
    return torch.full(tuple(shape), float(value)) if tensor is None else tensor


@OPERATORS.register("group_norm")
def group_norm(m: Model, x, groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True) -> Value:
    rows = (x.shape[0], groups, prod(x.shape[1:]) // groups)
    y = m.add("Reshape", x, list(rows), shape=rows)
    y = m.add("LayerNormalization", y, torch.ones(rows[2:]), torch.zeros(rows[2:]), shape=rows, axis=-1, epsilon=eps)
    y = m.add("Reshape", y, list(x.shape))
    factors = [-1, *[1] * (len(x.shape) - 2)]
    y = y if weight is None else m.add("Mul", y, weight.reshape(factors))
    return y if bias is None else m.add("Add", y, bias.reshape(factors))


@OPERATORS.register("native_group_norm")
def native_group_norm(m: Model, x, weight, bias, images, channels, positions, groups, eps) -> tuple[Value]:
    return (group_norm(m, x, groups, weight, bias, eps),)


@OPERATORS.register("layer_norm")
def layer_norm(m: Model, x, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True) -> Value:
    weight = _or_plain(weight, normalized_shape, 1)
    return m.add("LayerNormalization", x, weight, bias, axis=-len(normalized_shape), epsilon=eps)


@OPERATORS.register("native_layer_norm")
def native_layer_norm(m: Model, x, normalized_shape, weight, bias, eps) -> tuple[Value]:
    return (layer_norm(m, x, normalized_shape, weight, bias, eps),)


@OPERATORS.register("instance_norm", "_native_batch_norm_legit")
def instance_norm(m: Model, *arguments) -> Value:
    raise refuse("it normalises with the statistics of its input", "a GroupNorm of as many groups as channels")


@OPERATORS.register("max_pool1d", "max_pool2d")
def max_pool(m: Model, x, kernel, stride=(), padding=0, dilation=1, ceil_mode=False) -> Value:
    kernel, strides, begin = _windows(x, kernel, stride, padding)
    # Where the last windows end is said by the padding after the input, which has no part in a maximum.
    end = [
        max((out - 1) * s + k - size - b, 0)
        for out, size, k, s, b in zip(m.shape[2:], x.shape[2:], kernel, strides, begin)
    ]
    dilations = _sides(dilation, len(kernel))
    return m.add("MaxPool", x, kernel_shape=kernel, strides=strides, pads=[*begin, *end], dilations=dilations)


@OPERATORS.register("max_pool2d_with_indices")
def max_pool_with_indices(m: Model, *arguments) -> tuple[Value]:
    return (max_pool(m, *arguments),)


@OPERATORS.register("avg_pool1d", "avg_pool2d")
def avg_pool(m: Model, x, kernel, stride=(), padding=0, ceil_mode=False, count_pad=True, divisor=None) -> Value:
    kernel, strides, pads = _windows(x, kernel, stride, padding)
    if divisor is not None and (any(pads) or ceil_mode):
        raise refuse("divisor_override together with padding or ceil_mode")
    options = {"kernel_shape": kernel, "strides": strides, "pads": pads * 2, "count_include_pad": int(count_pad)}
    y = m.add("AveragePool", x, ceil_mode=int(ceil_mode), **options)
    return y if divisor is None else m.add("Mul", y, prod(kernel) / divisor)


def _windows(x: Value, kernel, stride, padding) -> tuple[list[int], list[int], list[int]]:
    count = len(x.shape) - 2
    kernel = _sides(kernel, count)
    return kernel, _sides(stride, count) if stride != () and stride != [] else kernel, _sides(padding, count)


@OPERATORS.register("adaptive_avg_pool1d", "adaptive_avg_pool2d")
def adaptive_avg_pool(m: Model, x, size) -> Value:
    return _adaptive(m, x, "AveragePool")


@OPERATORS.register("adaptive_max_pool1d", "adaptive_max_pool2d")
def adaptive_max_pool(m: Model, x, size) -> tuple[Value]:
    return (_adaptive(m, x, "MaxPool"),)


def _adaptive(m: Model, x: Value, kind: str) -> Value:
    after = m.shape[2:]
    if set(after) == {1}:
        return m.add(f"Global{kind}", x)
    if any(size % out for size, out in zip(x.shape[2:], after)):
        raise refuse(f"from {x.shape[2:]} to {after} its windows differ in size", "sizes that divide its input's")
    kernel = [size // out for size, out in zip(x.shape[2:], after)]
    return m.add(kind, x, kernel_shape=kernel, strides=kernel)
