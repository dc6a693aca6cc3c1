"""A model as it is deployed: folded, with the end, the input, the precision and the version that its reader wants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, helper

from converters.fold import fold
from converters.onnx.builder import Open
from converters.onnx.export import OPSET, to_onnx
from converters.onnx.half import to_half
from converters.onnx.opset import to_opset
from converters.onnx.pixels import Values, picture_input, take_pictures, with_values
from converters.onnx.postprocess import FORMS, detection_layers, raw_head
from converters.onnx.winograd import winograd, winograd_note
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.shapes.detection import DETECTORS


@dataclass(frozen=True)
class Deployment:
    """What a model is to be like.

    Attributes:
        fold: take BatchNorm and Scale layers into convolutions (`converters.fold`).
        postprocess: none, nms or efficient-nms.
        input: float, or one of `pixels.ORDERS`.
        values: what the net is trained on; needed for pixels, else for the metadata alone.
        labels: names of the classes, by label.
        is_open: sizes that are left open.
        half: compute in float16.
        winograd: compute 3x3 convolutions in fewer multiplications (`converters.onnx.winograd`).
    """

    fold: bool = True
    postprocess: str = "nms"
    input: str = "float"
    values: Values | None = None
    labels: Mapping[int, str] | None = None
    is_open: Open | None = None
    opset: int = OPSET
    half: bool = False
    winograd: bool = False


def deploy(graph: Graph, weights: Mapping[str, Sequence[np.ndarray]], how: Deployment) -> tuple[ModelProto, list[str]]:
    """A model, and what the user should know about it.

    Raises:
        UserErrors, UserError: see `to_onnx`; what is asked for does not fit the net.
    """
    if how.winograd:
        _check_winograd(how)
    notes: list[str] = []
    pixels = "" if how.input == "float" else picture_input(graph, how.input)
    if how.postprocess != "nms":
        detection_layers(graph)
    net = raw_head(graph) if how.postprocess == "none" else graph
    if pixels:
        net, weights = with_values(net, weights, pixels, how.values or Values((0.0,)))
    if how.fold:
        folded = fold(net, weights)
        net, weights, notes = folded.graph, folded.weights, folded.notes()
    forms = FORMS[how.postprocess]
    if how.winograd:
        forms = forms | {"Convolution": winograd}
        notes = [*notes, winograd_note(net)]
    model = to_onnx(net, weights, forms=forms, is_open=how.is_open)
    if how.half:
        to_half(model)
    if pixels:
        take_pictures(model, pixels, how.input)
    to_opset(model, how.opset)
    helper.set_model_props(model, metadata(graph, how))
    return model, notes


def _check_winograd(how: Deployment) -> None:
    if how.half:
        raise UserError("the transforms of --winograd lose too much in float16", fix="leave out --fp16 or --winograd")
    if how.is_open and how.is_open.size:
        raise UserError("--winograd cuts maps of known size into tiles", fix="leave out --dynamic size, or --winograd")


def metadata(graph: Graph, how: Deployment) -> dict[str, str]:
    """What a program that runs the model must know: keys and values, lists in JSON."""
    shapes = [shape for shape in graph.inputs.values() if len(shape) == 4]
    inside = how.input != "float"
    found = {
        "layout": "NHWC" if inside else "NCHW",
        "channel_order": "" if len(shapes) != 1 or shapes[0][1] != 3 else "RGB" if how.input == "uint8-rgb" else "BGR",
        "preprocessing": "inside" if inside else "(pixel - mean) * scale" if how.values else "",
        "mean": json.dumps(how.values.mean) if how.values else "",
        "scale": json.dumps(how.values.scale) if how.values else "",
        "labels": json.dumps({str(label): name for label, name in how.labels.items()}) if how.labels else "",
        "boxes": "xmin, ymin, xmax, ymax in 0-1" if how.postprocess != "none" and _is_detector(graph) else "",
    }
    return {key: value for key, value in found.items() if value}


def _is_detector(graph: Graph) -> bool:
    return any(layer.type in DETECTORS for layer in graph.layers)
