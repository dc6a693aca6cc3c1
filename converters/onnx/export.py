"""From a graph and its weights to one ONNX model: standard operators, fixed shapes, post-processing inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, checker, helper

from converters.caffemodel import require_all
from converters.onnx.builder import Builder
from converters.onnx.layers import NODES
from prototxt.errors import UserError, UserErrors
from prototxt.files import atomic_write
from prototxt.graph import Graph, Layer

OPSET = 17
_IR_VERSION = 8  # came with opset 17; readers refuse a newer one than they know

Weights = Mapping[str, Sequence[np.ndarray]]


def to_onnx(graph: Graph, weights: Weights, constants: Mapping[str, np.ndarray] | None = None) -> ModelProto:
    """The ONNX form of a net: operators of opset 17, the graph's shapes, inputs and outputs as Caffe has them.

    Inputs and outputs are called like their blobs. Of a blob that layers change in place, the last value has its name,
    and what a layer `L` left on the way is called `<blob>@L`; an input's name stays with what is fed. Nodes are called
    `<layer>/<operator>`.

    Args:
        graph: a net of phase TEST.
        weights: layer name -> blobs; those of layers that the graph lacks are left out.
        constants: inputs that are known now and become part of the model.

    Raises:
        UserErrors: layer types or parameters that have no ONNX form, or blobs that do not fit: all of them.
        UserError: the graph is of another phase; layers that get no blobs, all named.
    """
    if graph.phase != "TEST":
        raise UserError(f"a net of phase {graph.phase} cannot be exported", where=graph.net.path, expected="phase TEST")
    require_all(graph, weights)
    known = dict(constants or {})
    build = Builder(weights, reserved=[name for name in graph.shapes if name not in graph.inputs])
    values = _emit_layers(graph, build, known)
    inputs = [_float_value(name, shape) for name, shape in graph.inputs.items() if name not in known]
    return _model(graph, build, inputs, _outputs(graph, values))


def _emit_layers(graph: Graph, build: Builder, known: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Add every layer; blob -> the value it has at the end. Raises UserErrors of all layers that cannot be added."""
    values: dict[str, str] = {}
    still_made = Counter(top for layer in graph.layers for top in layer.tops)
    errors: list[UserError] = []
    for layer in graph.layers:
        still_made.subtract(layer.tops)
        try:
            made = _emit(build, layer, [values[name] for name in layer.bottoms], known)
        except UserError as error:
            errors.append(error)
            made = list(layer.tops)  # so that the layers after it are looked at, too
        for top, value in zip(layer.tops, made):
            is_last = not still_made[top]
            if is_last and top in graph.outputs and not build.computes(value):
                value = build.node("Identity", [value], layer)  # an output that only an operator's value can be
            values[top] = build.rename(value, top if is_last and top not in graph.inputs else f"{top}@{layer.name}")
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    return values


def _emit(build: Builder, layer: Layer, bottoms: list[str], known: Mapping[str, np.ndarray]) -> list[str]:
    if layer.type not in NODES:
        raise layer.error("this layer type has no ONNX form", fix="give the deploy prototxt, not that of training")
    build.begin()
    if layer.type == "Input" and set(layer.tops) <= set(known):
        return [build.constant(known[top], top) for top in layer.tops]
    return NODES[layer.type](build, layer, bottoms)


def _outputs(graph: Graph, values: Mapping[str, str]) -> list[ValueInfoProto]:
    # How many detections there are is known only after the forward.
    detections = {top for layer in graph.layers if layer.type == "DetectionOutput" for top in layer.tops}
    return [
        _float_value(values[name], (1, 1, "detections", 7) if name in detections else graph.shapes[name])
        for name in graph.outputs
    ]


def _float_value(name: str, shape: Sequence[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(
    graph: Graph, build: Builder, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    body = helper.make_graph(build.nodes, graph.name, inputs, outputs, list(build.initializers.values()))
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(body, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="netgen")
    checker.check_model(model, full_check=True)
    return model


def write_onnx(path: str | Path, model: ModelProto) -> None:
    """Write a model; the file appears whole or not at all. Raises UserError when it cannot be written."""
    with atomic_write(path) as file:
        file.write(model.SerializeToString())
