"""An ONNX file that is said to be a net: what it takes, which values of the net it shows, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import Message
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from converters.caffemodel import Weights
from converters.files import LARGEST_MESSAGE
from converters.from_onnx.file import OnnxFile, read_onnx, type_name
from converters.onnx.pixels import Values, with_values
from converters.onnx.postprocess import plugin_attributes
from converters.proof.samples import Arrays, Sample
from converters.proof.values import Prepare, Value, ends_of, folding_of, values_of
from prototxt.errors import UserError
from prototxt.graph import Graph, Layer, show
from prototxt.shapes.detection import DETECTORS

_PLUGIN = "EfficientNMS_TRT"
Derive = Callable[[Arrays], Arrays]
Expect = Callable[[Arrays, Arrays], Arrays]  # of the reference's values and the model's own


@dataclass
class GivenOnnx:
    """An ONNX model beside the net that it should compute.

    Attributes:
        model: with an output for each value that can be compared, and without what only TensorRT runs.
        external: initialiser -> its array, of those whose data lies beside the file.
        names: value of the net -> its name in the model.
        into: layer -> the layer that it is folded into.
        orders: input that takes pictures -> whether its channels are R, G, B.
        open_axes: input -> axes of the net's blob whose sizes the model leaves open.
        is_half: whether it computes in float16.
        more: what is made of the model's values, under names that the net has, too.
        expect: what some of the model's values should be instead of the reference's, or beside them.
        notes: what a reader of the comparison should know.
    """

    model: ModelProto
    external: dict[str, np.ndarray] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    into: dict[str, str] = field(default_factory=dict)
    orders: dict[str, bool] = field(default_factory=dict)
    open_axes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    is_half: bool = False
    more: list[Derive] = field(default_factory=list)
    expect: list[Expect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def feeds(self, sample: Sample) -> dict[str, np.ndarray]:
        """What the model is fed for a sample. Raises UserError where it takes pictures and the sample is none."""
        found = dict(sample.arrays)
        for name, is_rgb in self.orders.items():
            if name not in sample.pixels:
                raise UserError(f'the model\'s input "{name}" takes pictures, and {sample.name} is none')
            pixels = sample.pixels[name]
            found[name] = np.ascontiguousarray(pixels[..., ::-1]) if is_rgb else pixels
        return found


def preprocessing(path: str | Path) -> Values | None:
    """Mean and scale of a net as its ONNX file says them in its metadata; None where it says none."""
    said = _metadata(read_onnx(path).model)
    try:
        mean, scale = (json.loads(said[key]) for key in ("mean", "scale"))
        return Values(tuple(map(float, mean)), float(scale))
    except (KeyError, TypeError, ValueError):
        return None


def open_axes_of(path: str | Path, graph: Graph) -> dict[str, tuple[int, ...]]:
    """Input -> axes of the net's blob whose sizes an ONNX file leaves open. Raises UserError for another net's file."""
    given = GivenOnnx(read_onnx(path).model)
    _inputs(given, graph, str(path))
    return given.open_axes


def read_given(path: str | Path, graph: Graph, weights: Weights, values: Iterable[Value]) -> GivenOnnx:
    """A file, ready to show those of `values` that it computes.

    Raises:
        UserError: the file is damaged, or of another net.
    """
    file = read_onnx(path)
    given = GivenOnnx(file.model, _external(file))
    _inputs(given, graph, file.path)
    cut = _cut_plugins(given, graph, file.path)
    raw = _raw_ends(given, graph)
    names = _names(given, graph, weights)
    if _computes_in_half(file.model):
        _expect_of_half(given, [layer for layer in _detections(graph) if layer.tops[0] in names])
    for value in ends_of(graph):
        if value.name in graph.outputs and value.name not in names and value.layer.name not in {*cut, *raw}:
            raise _other_net(file.path, graph, f'it makes no "{value.name}"')
    wanted = {value.name for value in values} | {name for bottoms in raw.values() for name in bottoms}
    given.names = {own: name for own, name in names.items() if own in wanted}
    for shown in cut.values():
        given.names |= shown
    if (given.more or given.expect) and find_spec("torch") is None:
        given.more, given.expect = [], []
        tops = {layer.tops[0] for layer in _detections(graph)}
        given.names = {own: name for own, name in given.names.items() if own not in tops}
        given.notes.append("torch is not installed, so detections are not compared")
    _show(given)
    return given


def plain_onnx(graph: Graph, weights: Weights, values: Iterable[Value]) -> GivenOnnx:
    """A net converted as it is. Raises UserError where it has no ONNX form, or one above 2 GB."""
    from converters.onnx import to_onnx

    model = to_onnx(graph, weights)
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST_MESSAGE:
        raise UserError(
            "it is too large for one message", fix="write it with `netgen convert`, and give it with --onnx"
        )
    made = {name for node in model.graph.node for name in node.output}
    given = GivenOnnx(model, names={value.name: value.name for value in values if value.name in made})
    _show(given)
    return given


def _names(given: GivenOnnx, graph: Graph, weights: Weights) -> dict[str, str]:
    """Value of the net -> its name in the model, of all that the model computes."""
    made = {name for node in given.model.graph.node for name in node.output}
    own = {value.name: value.name for value in values_of(graph)}
    folding = folding_of(graph, weights, _first(given))
    # What only a net without folding computes is not there: it is folded.
    if folding.is_folded and not made & (own.keys() - set(folding.names.values())):
        own, given.into = folding.names, dict(folding.into)
    return {mine: name for mine, name in own.items() if name in made}


def _other_net(path: str, graph: Graph, found: str) -> UserError:
    return UserError(found, where=path, expected=f"the net of {graph.net.path}", fix="convert the net again")


def _metadata(model: ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def _external(file: OnnxFile) -> dict[str, np.ndarray]:
    """The arrays that lie beside the file. Raises UserError where they are not what the file says, or elsewhere."""
    found = {}
    for tensor in file.model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            found[tensor.name] = file.array(tensor)
    for tensor in _inner_tensors(file.model):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise file.error(f'tensor "{tensor.name}" of a node has its data in another file', expected="its values")
    return found


def _inner_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model, wherever it stands, but the initialisers of its graph."""
    for message, left_out in ((model, "graph"), (model.graph, "initializer")):
        for descriptor, value in message.ListFields():
            if descriptor.name != left_out:
                yield from _tensors(value)


def _tensors(value: Any) -> Iterator[TensorProto]:
    """The tensors of a field: of a message, of several, or of what is none."""
    if isinstance(value, TensorProto):
        yield value
    elif isinstance(value, Message):
        for descriptor, inner in value.ListFields():
            if descriptor.message_type is not None:
                yield from _tensors(inner)
    elif not isinstance(value, (str, bytes, int, float)):
        for each in value:
            yield from _tensors(each)


def _inputs(given: GivenOnnx, graph: Graph, path: str) -> None:
    """Find out how the model takes the net's inputs. Raises UserError when its inputs are others."""
    known = {tensor.name for tensor in given.model.graph.initializer}
    fed = {value.name: value for value in given.model.graph.input if value.name not in known}
    shapes = {name: _dims(value) for name, value in fed.items()}
    taken = {}
    for name, dims in shapes.items():
        is_picture = fed[name].type.tensor_type.elem_type == TensorProto.UINT8 and len(dims) == 4
        if is_picture:
            given.orders[name] = _metadata(given.model).get("channel_order") == "RGB"
        own = [dims[axis] for axis in (0, 3, 1, 2)] if is_picture else dims
        wanted = graph.inputs.get(name, ())
        given.open_axes[name] = tuple(axis for axis, size in enumerate(own) if isinstance(size, str))
        fits = len(own) == len(wanted)
        taken[name] = tuple(wanted[axis] if isinstance(size, str) and fits else size for axis, size in enumerate(own))
    if taken != graph.inputs:
        raise _other_net(path, graph, f"its inputs are {shapes}, those of {graph.net.path} {graph.inputs}")


def _dims(value: ValueInfoProto) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.WhichOneof("value") == "dim_value" else dim.dim_param or "?" for dim in dims)


def _computes_in_half(model: ModelProto) -> bool:
    return any(tensor.data_type == TensorProto.FLOAT16 for tensor in _tensors(model))


def _expect_of_half(given: GivenOnnx, layers: Iterable[Layer]) -> None:
    """Hold the detections that a float16 model makes against those of its own predictions.

    The predictions lie near the reference's. Of the detections some may be others all the same, as half a bit decides
    whether a box passes the suppression.
    """
    given.is_half, given.more = True, []
    given.notes.append("the ONNX file computes in float16")
    for layer in layers:
        given.expect.append(partial(lambda layer, wanted, own: _detect(layer, {**wanted, **own}), layer))
        given.notes.append(f'"{layer.tops[0]}" is held against the detections of the float16 predictions')


def _first(given: GivenOnnx) -> Prepare | None:
    """What `netgen convert` did to a net that takes pictures before it was folded: mean and scale became a layer."""
    if not given.orders:
        return None
    (name,) = given.orders
    return lambda net, weights: with_values(net, weights, name, Values((1.0,), 1.0))


def _raw_ends(given: GivenOnnx, graph: Graph) -> dict[str, tuple[str, ...]]:
    """Layers that make detections and that the model leaves to its user -> what they read."""
    made = {name for node in given.model.graph.node for name in node.output}
    found = {}
    for layer in _detections(graph):
        if layer.tops[0] not in made and made.issuperset(layer.bottoms):
            found[layer.name] = layer.bottoms
            given.more.append(partial(_detect, layer))
            given.notes.append(f'the ONNX file ends before "{layer.name}"')
    return found


def _detections(graph: Graph) -> list[Layer]:
    return [layer for layer in graph.layers if layer.type in DETECTORS]


def _detect(layer: Layer, arrays: Arrays) -> Arrays:
    """The rows of a layer that makes detections."""
    return {layer.tops[0]: _module(layer)(*_bottoms(layer, arrays)).numpy()}


def _decode(layer: Layer, arrays: Arrays) -> Arrays:
    """The boxes [N, P, 4] and scores [N, P, classes] that a DetectionOutput suppresses."""
    boxes, scores = _module(layer).decoded(*_bottoms(layer, arrays))
    return dict(zip(_plugin_names(layer), (boxes[:, 0], scores.swapaxes(1, 2))))


def _module(layer: Layer):
    from converters.pytorch.layers import MODULES

    return MODULES[layer.type](layer)


def _bottoms(layer: Layer, arrays: Arrays) -> list:
    import torch

    return [torch.from_numpy(np.ascontiguousarray(arrays[name], np.float32)) for name in layer.bottoms]


def _plugin_names(layer: Layer) -> list[str]:
    return [f"{layer.tops[0]}/{what}" for what in ("boxes", "scores")]


def _cut_plugins(given: GivenOnnx, graph: Graph, path: str) -> dict[str, dict[str, str]]:
    """Take TensorRT's nodes out of the model; DetectionOutput -> the names of what its node read."""
    layers = {layer.name: layer for layer in _detections(graph)}
    body, found = given.model.graph, {}
    for node in [node for node in body.node if node.op_type == _PLUGIN]:
        layer = layers.get(node.name.rpartition("/")[0])
        if layer is None:
            raise _other_net(path, graph, f'"{node.name}" belongs to no DetectionOutput')
        _check_plugin(node, layer, path)
        found[layer.name] = dict(zip(_plugin_names(layer), node.input))
        given.expect.append(partial(lambda layer, wanted, own: _decode(layer, wanted), layer))
        shown = " and ".join(f'"{name}"' for name in found[layer.name])
        given.notes.append(f"the ONNX file ends in {_PLUGIN}, which only TensorRT runs: what it reads is {shown}")
        for value in [value for value in body.output if value.name in node.output]:
            body.output.remove(value)
        body.node.remove(node)
    return found


def _check_plugin(node: NodeProto, layer: Layer, path: str) -> None:
    for name, wanted in plugin_attributes(layer).items():
        values = [helper.get_attribute_value(each) for each in node.attribute if each.name == name]
        value = values[0].decode() if values and isinstance(values[0], bytes) else (values or [None])[0]
        same = np.isclose(value, wanted, rtol=1e-6) if isinstance(wanted, float) and values else value == wanted
        if not same:
            raise UserError(f'{name} of "{node.name}" is {value}', where=path, expected=f"{wanted}, as {layer.where}")


def _show(given: GivenOnnx) -> None:
    """Make outputs of all the values that are compared."""
    outputs = given.model.graph.output
    for name in set(given.names.values()) - {output.name for output in outputs}:
        outputs.append(ValueInfoProto(name=name))


def describe(given: GivenOnnx) -> dict[str, str]:
    """What a report says about the file: operator set, precision, inputs, outputs."""
    version = next((each.version for each in given.model.opset_import if each.domain in ("", "ai.onnx")), 0)
    ends = [f"{value.name} {type_name(value.type.tensor_type.elem_type).lower()} {show(_dims(value))}"
            for value in given.model.graph.input]  # fmt: skip
    return {
        "opset": str(version),
        "made by": given.model.producer_name or "unknown",
        "precision": "float16" if given.is_half else "float32",
        "inputs": ", ".join(ends),
        "layers folded into others": str(len(given.into)),
    }
