"""Operators that change values and not shapes."""

from __future__ import annotations

from math import log, prod

import numpy as np
from onnx import TensorProto

from converters.from_onnx.builder import Step
from converters.from_onnx.nodes import FLOATS
from converters.from_onnx.ops.common import affine, at_least, at_most, multiply, power, reshape
from converters.from_onnx.ops.table import LAYERS

_PLAIN = {"Abs": "AbsVal", "Exp": "Exp", "Log": "Log", "Relu": "ReLU", "Sigmoid": "Sigmoid"}
_PLAIN |= {"Softplus": "BNLL", "Tanh": "TanH"}


@LAYERS.register(*_PLAIN)
def plain(step: Step) -> list[str]:
    return [step.layer(_PLAIN[step.node.op], step.bottom(0))]


@LAYERS.register("Identity", "Dropout")
def same(step: Step) -> list[str]:
    if len([name for name in step.node.outputs if name]) > 1:
        raise step.error("its mask is read, which a net at work has not", fix="export the model in evaluation mode")
    if step.has(2) and step.constant(2, "training mode"):
        raise step.error("it is in training mode", fix="export the model in evaluation mode")
    return [step.bottom(0)]


@LAYERS.register("Cast")
def cast(step: Step) -> list[str]:
    kinds, to = step.build.nodes.types[step.node.inputs[0]], step.attribute("to")
    if to not in FLOATS and kinds in FLOATS:
        raise step.error(f"it rounds to {TensorProto.DataType.Name(to)}", expected="a type of floating-point numbers")
    if kinds == TensorProto.BOOL:
        raise step.error("it counts truth values, which Caffe has not")
    return [step.bottom(0)]


@LAYERS.register("LeakyRelu")
def leaky_relu(step: Step) -> list[str]:
    return [step.layer("ReLU", step.bottom(0), relu_param={"negative_slope": step.attribute("alpha", 0.01)})]


@LAYERS.register("PRelu")
def prelu(step: Step) -> list[str]:
    slope, shape = step.constant(1, "slopes"), step.shape(0)
    if slope.size == 1:
        return [step.layer("PReLU", step.bottom(0), blobs=[slope], prelu_param={"channel_shared": True})]
    aligned = (1,) * (len(shape) - slope.ndim) + slope.shape
    if len(shape) < 2 or slope.size != shape[1] or aligned[1] != shape[1]:
        raise step.error(f"its slopes have the shape {slope.shape}", expected="one slope, or one for each channel")
    return [step.layer("PReLU", step.bottom(0), blobs=[slope])]


@LAYERS.register("Elu")
def elu(step: Step) -> list[str]:
    return [_elu(step, step.bottom(0), step.attribute("alpha", 1.0))]


def _elu(step: Step, x: str, alpha: float) -> str:
    return step.layer("ELU", x, elu_param={"alpha": alpha})


@LAYERS.register("Selu")
def selu(step: Step) -> list[str]:
    alpha, gamma = (
        step.attribute("alpha", 1.67326319217681884765625),
        step.attribute("gamma", 1.05070102214813232421875),
    )
    return [affine(step, _elu(step, step.bottom(0), alpha), gamma, 0)]


@LAYERS.register("Celu")
def celu(step: Step) -> list[str]:  # alpha · ELU(x / alpha)
    alpha = step.attribute("alpha", 1.0)
    return [affine(step, _elu(step, affine(step, step.bottom(0), 1 / alpha, 0), 1.0), alpha, 0)]


@LAYERS.register("Clip")
def clip(step: Step) -> list[str]:
    low, high = step.setting("min", 1), step.setting("max", 2)
    blob = step.bottom(0)
    if low is not None and low > np.finfo(np.float32).min:
        blob = at_least(step, blob, low)
    if high is not None and high < np.finfo(np.float32).max:
        blob = at_most(step, blob, high)
    return [blob]


@LAYERS.register("HardSigmoid")
def hard_sigmoid(step: Step) -> list[str]:
    return [_hard_sigmoid(step, step.attribute("alpha", 0.2), step.attribute("beta", 0.5))]


@LAYERS.register("HardSwish")
def hard_swish(step: Step) -> list[str]:
    return [multiply(step, step.bottom(0), _hard_sigmoid(step, 1 / 6, 0.5))]


def _hard_sigmoid(step: Step, alpha: float, beta: float) -> str:
    return at_most(step, at_least(step, affine(step, step.bottom(0), alpha, beta), 0), 1)


@LAYERS.register("ThresholdedRelu")
def thresholded_relu(step: Step) -> list[str]:
    x = step.bottom(0)
    mask = step.layer("Threshold", x, threshold_param={"threshold": step.attribute("alpha", 1.0)})
    return [multiply(step, x, mask)]


@LAYERS.register("Softsign")
def softsign(step: Step) -> list[str]:
    x = step.bottom(0)
    return [multiply(step, x, power(step, affine(step, step.layer("AbsVal", x), 1, 1), -1))]


_UNARY = {"Sqrt": (1, 0.5), "Reciprocal": (1, -1), "Neg": (-1, 1)}  # scale, power


@LAYERS.register(*_UNARY)
def unary(step: Step) -> list[str]:
    scale, exponent = _UNARY[step.node.op]
    return [power(step, affine(step, step.bottom(0), scale, 0), exponent)]


@LAYERS.register("Pow")
def pow_(step: Step) -> list[str]:
    base, exponent = step.array(0), step.array(1)
    if exponent is not None and exponent.size == 1 and exponent.ndim <= len(step.shape(0)):
        return [power(step, step.bottom(0), float(exponent.item()))]
    if base is not None and base.size == 1 and base.ndim <= len(step.shape(1)) and base.item() > 0:
        return [step.layer("Exp", affine(step, step.bottom(1), log(base.item()), 0))]
    raise step.error("its base or its exponent must be one number")


@LAYERS.register("Softmax", "LogSoftmax")
def softmax(step: Step) -> list[str]:
    shape, since_13 = step.shape(0), step.node.version >= 13
    axis = step.axis(-1 if since_13 else 1)
    x = step.bottom(0)
    if since_13 or prod(shape[axis + 1 :]) == 1:
        y = step.layer("Softmax", x, softmax_param={"axis": axis})
    else:  # until operator set 12 over all axes from this one on
        rows = reshape(step, x, (prod(shape[:axis]), prod(shape[axis:])))
        y = reshape(step, step.layer("Softmax", rows), shape)
    return [y if step.node.op == "Softmax" else step.layer("Log", y)]
