"""Layers that change values and not shapes."""

from __future__ import annotations

import math

from converters.pytorch.source.layers.table import FORMS, Form, number
from prototxt.graph import Layer


def _function(text: str):
    return lambda layer: Form(text)


for _type, _text in {
    "AbsVal": "torch.abs({0})",
    "Sigmoid": "torch.sigmoid({0})",
    "TanH": "torch.tanh({0})",
    "BNLL": "F.softplus({0})",
    "ReLU6": "F.relu6({0})",
    "Mish": "F.mish({0})",
}.items():
    FORMS.register(_type)(_function(_text))


@FORMS.register("ReLU")
def relu(layer: Layer) -> Form:
    slope = layer.p.negative_slope
    return Form(f"F.leaky_relu({{0}}, {number(slope)})" if slope else "F.relu({0})")


@FORMS.register("Clip")
def clip(layer: Layer) -> Form:
    return Form(f"{{0}}.clamp({number(layer.p.min)}, {number(layer.p.max)})")


@FORMS.register("Swish")
def swish(layer: Layer) -> Form:  # x · sigmoid(beta · x)
    beta = layer.p.beta
    return Form("F.silu({0})" if beta == 1 else f"{{0}} * torch.sigmoid({number(beta)} * {{0}})")


@FORMS.register("PReLU")
def prelu(layer: Layer) -> Form:
    (shape,) = layer.blob_shapes
    count = shape[0] if shape else 1
    return Form(
        "{me}({0})",
        f"nn.PReLU({count})",
        save=lambda blobs: {"weight": blobs[0].reshape(-1)},
        load=lambda state: [state["weight"]],
    )


@FORMS.register("ELU")
def elu(layer: Layer) -> Form:
    return Form(f"F.elu({{0}}, {number(layer.p.alpha)})" if layer.p.alpha != 1 else "F.elu({0})")


@FORMS.register("Softmax")
def softmax(layer: Layer) -> Form:
    return Form(f"{{0}}.softmax({layer.p.axis})")


@FORMS.register("Threshold")
def threshold(layer: Layer) -> Form:
    return Form(f"({{0}} > {number(layer.p.threshold)}).float()")


@FORMS.register("Power")
def power(layer: Layer) -> Form:  # (shift + scale · x)^power; a constant where x has no part in it, even if x is NaN
    p = layer.p
    if p.scale * p.power == 0:
        base = number(p.shift)
        return Form(f"torch.full_like({{0}}, {base}).pow({number(p.power)})")
    text = _linear(p.scale, p.shift)
    return Form(text if p.power == 1 else f"({text}).pow({number(p.power)})")


@FORMS.register("Exp")
def exp(layer: Layer) -> Form:  # base^(shift + scale · x); base -1 is e
    p = layer.p
    text = _linear(p.scale, p.shift)
    return Form(f"torch.exp({text})" if p.base == -1 else f"torch.exp(({text}) * {math.log(p.base)!r})")


@FORMS.register("Log")
def log(layer: Layer) -> Form:  # log_base(shift + scale · x); base -1 is e
    p = layer.p
    text = f"torch.log({_linear(p.scale, p.shift)})"
    return Form(text if p.base == -1 else f"{text} / {math.log(p.base)!r}")


def _linear(scale: float, shift: float) -> str:
    """scale · x + shift."""
    text = "{0}" if scale == 1 else f"{{0}} * {number(scale)}"
    if shift:
        text += f" + {number(shift)}" if shift > 0 else f" - {number(-shift)}"
    return text


@FORMS.register("Dropout")
def dropout(layer: Layer) -> Form:  # of a deployed net
    p = layer.p
    if p.sample_weights_test:
        return Form(f"F.dropout({{0}}, {number(p.dropout_ratio)})" + _by(1 if p.scale_train else 1 - p.dropout_ratio))
    return Form("{0}" + _by(1 if p.scale_train else 1 - p.dropout_ratio))


@FORMS.register("spatial_dropout.SpatialDropoutLayer")
def spatial_dropout(layer: Layer) -> Form:
    p = layer.p
    return Form(f"F.dropout2d({{0}}, {number(p.ratio)})" if p.trains else "{0}" + _by(1 / (1 - p.ratio)))


def _by(factor: float) -> str:
    return "" if factor == 1 else f" * {number(factor)}"
