"""Convolution under its names, Deconvolution, InnerProduct."""

from __future__ import annotations

from converters.pytorch.source.layers.table import FORMS, Form, call, pair
from prototxt.graph import Layer
from prototxt.shapes.table import axis_of

_CLASSES = dict.fromkeys(("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution"), "nn.Conv2d")
_CLASSES |= {"Deconvolution": "nn.ConvTranspose2d"}


@FORMS.register(*_CLASSES)
def convolution(layer: Layer) -> Form:
    p = layer.p
    module = call(
        _CLASSES[layer.type],
        str(layer.bottom_shapes[0][1]),
        str(p.num_output),
        pair(p.kernel_hw),
        stride=(pair(p.stride_hw), "1"),
        padding=(pair(p.pad_hw), "0"),
        dilation=(pair(p.dilation_hw), "1"),
        groups=(str(p.group), "1"),
        bias=(str(p.bias_term), "True"),
    )
    calls = ", ".join(f"{{me}}({{{i}}})" for i in range(len(layer.bottoms)))
    return Form(calls, module, names=_names(layer), opens=True)


@FORMS.register("InnerProduct")
def inner_product(layer: Layer) -> Form:
    p, shape = layer.p, layer.bottom_shapes[0]
    axis = axis_of(p.axis, shape)
    rows, columns = layer.blob_shapes[0][:: -1 if p.transpose else 1]
    module = call("nn.Linear", str(columns), str(rows), bias=(str(p.bias_term), "True"))
    text = "{me}({0})" if axis == len(shape) - 1 else f"{{me}}({{0}}.flatten({axis}))"
    if not p.transpose:
        return Form(text, module, names=_names(layer), opens=True)
    names = _names(layer)
    return Form(
        text,
        module,
        save=lambda blobs: dict(zip(names, (blobs[0].T, *blobs[1:]))),
        load=lambda state: [state["weight"].T, *(state[name] for name in names[1:])],
        opens=True,
    )


def _names(layer: Layer) -> tuple[str, ...]:
    return ("weight", "bias")[: len(layer.blob_shapes)]


@FORMS.register("Embed")
def embed(layer: Layer) -> Form:
    p = layer.p
    module = call("Embed", str(p.input_dim), str(p.num_output), bias=(str(p.bias_term), "True"))
    return Form("{me}({0})", module, names=("weight", "bias")[: 1 + p.bias_term])
