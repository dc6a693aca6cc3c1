"""Operators that compute each value of their output by itself, or reduce some axes."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

from torch import Tensor

from converters.pytorch.trace.model import Model, Value, refuse
from converters.pytorch.trace.table import OPERATORS

_PLAIN = {
    "abs": "Abs", "exp": "Exp", "log": "Log", "neg": "Neg", "reciprocal": "Reciprocal", "relu": "Relu",
    "sigmoid": "Sigmoid", "sqrt": "Sqrt", "tanh": "Tanh", "clone": "Identity", "alias": "Identity",
    "contiguous": "Identity", "detach": "Identity", "lift_fresh_copy": "Identity", "dropout": "Identity",
}  # fmt: skip


def _plain(op: str) -> Any:
    return lambda m, x, *_, **__: m.add(op, x)


for _name, _op in _PLAIN.items():
    OPERATORS.register(_name)(_plain(_op))


@OPERATORS.register("_to_copy", "to")
def to(m: Model, x, *_, **__) -> Value:
    return m.add("Identity", x)


@OPERATORS.register("relu6")
def relu6(m: Model, x) -> Value:
    return clamp(m, x, 0, 6)


@OPERATORS.register("hardtanh")
def hardtanh(m: Model, x, low=-1, high=1) -> Value:
    return clamp(m, x, low, high)


@OPERATORS.register("clamp")
def clamp(m: Model, x, low=None, high=None) -> Value:
    if isinstance(low, (Value, Tensor)) or isinstance(high, (Value, Tensor)):
        raise refuse("its bounds are tensors", "numbers")
    return m.add("Clip", x, low if low is None else float(low), high if high is None else float(high))


@OPERATORS.register("clamp_min")
def clamp_min(m: Model, x, low) -> Value:
    return clamp(m, x, low, None)


@OPERATORS.register("clamp_max")
def clamp_max(m: Model, x, high) -> Value:
    return clamp(m, x, None, high)


@OPERATORS.register("leaky_relu")
def leaky_relu(m: Model, x, slope=0.01) -> Value:
    return m.add("LeakyRelu", x, alpha=float(slope))


@OPERATORS.register("prelu", "_prelu_kernel")
def prelu(m: Model, x, weight) -> Value:
    return m.add("PRelu", x, weight.reshape(-1, *[1] * (len(x.shape) - 2)) if weight.numel() > 1 else weight)


@OPERATORS.register("elu")
def elu(m: Model, x, alpha=1, scale=1, input_scale=1) -> Value:
    if input_scale != 1:
        x = m.add("Mul", x, input_scale)
    y = m.add("Elu", x, alpha=float(alpha))
    return y if scale == 1 else m.add("Mul", y, scale)


@OPERATORS.register("selu")
def selu(m: Model, x) -> Value:
    return m.add("Selu", x)


@OPERATORS.register("celu")
def celu(m: Model, x, alpha=1.0) -> Value:
    return m.add("Celu", x, alpha=float(alpha))


@OPERATORS.register("silu")
def silu(m: Model, x) -> Value:
    return m.add("Mul", x, m.add("Sigmoid", x))


@OPERATORS.register("hardsigmoid")
def hard_sigmoid(m: Model, x) -> Value:
    return m.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@OPERATORS.register("hardswish")
def hard_swish(m: Model, x) -> Value:
    return m.add("HardSwish", x)


@OPERATORS.register("softplus")
def softplus(m: Model, x, beta=1, threshold=20) -> Value:
    # Beyond the threshold PyTorch takes x itself, which differs by e^-20 from 20 on.
    if threshold < 15:
        raise refuse(f"threshold is {threshold}", "at least 15")
    y = m.add("Softplus", x if beta == 1 else m.add("Mul", x, beta))
    return y if beta == 1 else m.add("Mul", y, 1 / beta)


@OPERATORS.register("mish")
def mish(m: Model, x) -> Value:
    return m.add("Mul", x, m.add("Tanh", m.add("Softplus", x)))


@OPERATORS.register("gelu")
def gelu(m: Model, x, approximate="none") -> Value:
    if approximate != "tanh":
        raise refuse("Caffe has no error function", 'nn.GELU(approximate="tanh")')
    cube = m.add("Mul", m.add("Pow", x, 3.0), 0.044715)
    slope = m.add("Tanh", m.add("Mul", m.add("Add", x, cube), sqrt(2 / pi)))
    return m.add("Mul", m.add("Mul", x, 0.5), m.add("Add", slope, 1.0))


@OPERATORS.register("softmax", "_softmax")
def softmax(m: Model, x, axis, *_) -> Value:
    return m.add("Softmax", x, axis=axis)


@OPERATORS.register("log_softmax", "_log_softmax")
def log_softmax(m: Model, x, axis, *_) -> Value:
    return m.add("LogSoftmax", x, axis=axis)


@OPERATORS.register("pow")
def pow_(m: Model, x, exponent) -> Value:
    return m.add("Pow", x, exponent)


@OPERATORS.register("square")
def square(m: Model, x) -> Value:
    return m.add("Pow", x, 2.0)


@OPERATORS.register("rsqrt")
def rsqrt(m: Model, x) -> Value:
    return m.add("Reciprocal", m.add("Sqrt", x))


@OPERATORS.register("add")
def add(m: Model, x, other, alpha=1) -> Value:
    return m.add("Add", x, _times(m, other, alpha))


@OPERATORS.register("sub")
def sub(m: Model, x, other, alpha=1) -> Value:
    return m.add("Sub", x, _times(m, other, alpha))


@OPERATORS.register("rsub")
def rsub(m: Model, x, other, alpha=1) -> Value:
    return m.add("Sub", other, _times(m, x, alpha))


def _times(m: Model, x: Any, factor: float) -> Any:
    if factor == 1:
        return x
    return m.add("Mul", x, factor, shape=x.shape) if isinstance(x, Value) else x * factor


@OPERATORS.register("mul")
def mul(m: Model, x, other) -> Value:
    return m.add("Mul", x, other)


@OPERATORS.register("div")
def div(m: Model, x, other, rounding_mode=None) -> Value:
    if rounding_mode is not None:
        raise refuse(f'it rounds: rounding_mode is "{rounding_mode}"')
    return m.add("Div", x, other)


@OPERATORS.register("maximum")
def maximum(m: Model, x, other) -> Value:
    return m.add("Max", x, other)


@OPERATORS.register("minimum")
def minimum(m: Model, x, other) -> Value:
    return m.add("Min", x, other)


def _reduction(op: str) -> Any:
    def reduce(m: Model, x, axes=(), keepdim=False, **_) -> Value:
        axes = [axes] if isinstance(axes, int) else list(axes or range(len(x.shape)))
        return m.add(op, x, axes, keepdims=int(keepdim))

    return reduce


for _name, _op in {"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin"}.items():
    OPERATORS.register(_name)(_reduction(_op))


@OPERATORS.register("linalg_vector_norm", "norm")
def vector_norm(m: Model, x, order=2, axes=None, keepdim=False, **_) -> Value:
    if order not in (1, 2):
        raise refuse(f"it is the norm of order {order}", "1 or 2")
    return _reduction(f"ReduceL{int(order)}")(m, x, axes, keepdim)
