"""From a graph and its weights to one ONNX model: standard operators, post-processing inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper

from converters.caffemodel import require_all
from converters.onnx.builder import Builder, Open
from converters.onnx.layers import NODES
from converters.wire import header
from prototxt.errors import UserError, UserErrors
from prototxt.files import atomic_write
from prototxt.graph import Graph, Layer
from prototxt.shapes.detection import DETECTORS
from prototxt.shapes.roi import PROPOSALS

OPSET = 17
_IR_VERSION = 8  # came with opset 17; readers refuse a newer one than they know
_LARGEST = 2**31 - 1  # bytes of a protobuf message
_SMALL = 1024  # values of a constant that may say a shape

Weights = Mapping[str, Sequence[np.ndarray]]
Form = Callable[[Builder, Layer, "list[str]"], "list[str]"]


def to_onnx(
    graph: Graph,
    weights: Weights,
    constants: Mapping[str, np.ndarray] | None = None,
    forms: Mapping[str, Form] | None = None,
    is_open: Open | None = None,
) -> ModelProto:
    """The ONNX form of a net: operators of opset 17, the graph's shapes, inputs and outputs as Caffe has them.

    Inputs and outputs are called like their blobs. Of a blob that layers change in place, the last value has its name,
    and what a layer `L` left on the way is called `<blob>@L`; an input's name stays with what is fed. Nodes are called
    `<layer>/<operator>`.

    Args:
        graph: a net of phase TEST.
        weights: layer name -> blobs; those of layers that the graph lacks are left out.
        constants: inputs that are known now and become part of the model.
        forms: layer type -> its form here, instead of that in the table.
        is_open: which sizes are to be left open; by default none is.

    Raises:
        UserErrors: layer types or parameters that have no ONNX form, or blobs that do not fit: all of them.
        UserError: the graph is of another phase; layers that get no blobs, all named; a size cannot be left open.
    """
    if graph.phase != "TEST":
        raise UserError(f"a net of phase {graph.phase} cannot be exported", where=graph.net.path, expected="phase TEST")
    require_all(graph, weights)
    sizes = is_open or Open()
    build, outputs = _build(graph, weights, constants or {}, forms or {}, sizes)
    for other, name in _with_other_sizes(graph, sizes):
        _require_same(graph, build, _build(other, weights, constants or {}, forms or {}, sizes)[0], name)
    inputs = [_open_value(name, shape, sizes) for name, shape in graph.inputs.items() if name not in (constants or {})]
    if is_open:
        outputs = _open_outputs(outputs, graph, sizes)
    return _model(graph, build, inputs, outputs)


def _build(
    graph: Graph, weights: Weights, constants: Mapping[str, np.ndarray], forms: Mapping[str, Form], is_open: Open
) -> tuple[Builder, list[ValueInfoProto]]:
    """Every layer's nodes and the model's outputs."""
    build = Builder(weights, [name for name in graph.shapes if name not in graph.inputs], is_open)
    values = _emit_layers(graph, build, constants, forms)
    return build, _outputs(graph, build, values)


def _emit_layers(
    graph: Graph, build: Builder, known: Mapping[str, np.ndarray], forms: Mapping[str, Form]
) -> dict[str, str]:
    """Add every layer; blob -> the value it has at the end. Raises UserErrors of all layers that cannot be added."""
    values: dict[str, str] = {}
    still_made = Counter(top for layer in graph.layers for top in layer.tops)
    errors: list[UserError] = []
    for layer in graph.layers:
        still_made.subtract(layer.tops)
        try:
            made = _emit(build, layer, [values[name] for name in layer.bottoms], known, forms)
        except UserError as error:
            errors.append(error)
            made = list(layer.tops)  # so that the layers after it are looked at, too
        for top, value in zip(layer.tops, made):
            is_last = not still_made[top]
            if is_last and top in graph.outputs and not build.computes(value):
                value = build.node("Identity", [value], layer)  # an output that only an operator's value can be
            is_named = is_last and top not in graph.inputs
            values[top] = build.rename(value, top if is_named else build.unique(f"{top}@{layer.name}"))
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    return values


def _emit(
    build: Builder, layer: Layer, bottoms: list[str], known: Mapping[str, np.ndarray], forms: Mapping[str, Form]
) -> list[str]:
    if layer.type not in forms and layer.type not in NODES:
        raise layer.error("this layer type has no ONNX form", fix="give the deploy prototxt, not that of training")
    build.begin()
    if layer.type == "Input" and set(layer.tops) <= set(known):
        return [build.constant(known[top], top) for top in layer.tops]
    form = forms[layer.type] if layer.type in forms else NODES[layer.type]
    return form(build, layer, bottoms)


def _outputs(graph: Graph, build: Builder, values: Mapping[str, str]) -> list[ValueInfoProto]:
    shapes = _shapes(graph)
    found = []
    for name in graph.outputs:
        found += build.outputs.get(name) or [_float_value(values[name], shapes[name])]
    return found


def _shapes(graph: Graph) -> dict[str, Sequence[int | str]]:
    """The shape of every blob. How many detections and regions there are is known only after the forward."""
    shapes: dict[str, Sequence[int | str]] = dict(graph.shapes)
    regions: set[str] = set()
    for layer in graph.layers:
        if layer.type in DETECTORS:
            shapes |= dict.fromkeys(layer.tops, (1, 1, "detections", 7))
        elif layer.type in PROPOSALS or regions & set(layer.bottoms):
            regions |= set(layer.tops)
            shapes |= {top: ("regions", *shape[1:]) for top, shape in zip(layer.tops, layer.top_shapes)}
    return shapes


def _float_value(name: str, shape: Sequence[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _with_other_sizes(graph: Graph, is_open: Open) -> Iterator[tuple[Graph, str]]:
    """The net for other sizes of those that are left open, and what is open there: they must have the same form."""
    for name, axes in (("batch", (0,)), ("size", (2, 3))):
        if not getattr(is_open, name):
            continue
        yield _resized(graph, axes, lambda size: 2 * size), name
        try:
            yield _resized(graph, axes, lambda size: size + 1), name
        except UserError:
            continue  # the net cannot have this size at all, say for a sum of two branches


def _resized(graph: Graph, axes: tuple[int, ...], change: Callable[[int], int]) -> Graph:
    shapes = {
        blob: tuple(change(size) if axis in axes else size for axis, size in enumerate(shape))
        for blob, shape in graph.inputs.items()
    }
    state = graph.state
    return Graph(graph.net, state.phase, state.level, state.stages, shapes)


def _require_same(graph: Graph, build: Builder, other: Builder, name: str) -> None:
    """Refuse a net of which some layer depends on a size that is to be left open."""
    fixing: dict[str, None] = {}
    for node, twin in zip_longest(build.nodes, other.nodes):
        if node is None or twin is None or node != twin or _differs(node, build, other):
            fixing[(node or twin).name.rpartition("/")[0]] = None
    if fixing:
        layers = {layer.name: layer for layer in graph.layers}
        first = next((layers[each] for each in fixing if each in layers), graph.layers[-1])
        raise first.error(
            f"the {name} of the net's input is fixed in this layer's ONNX form, so it cannot be left open"
            + (f" (and in {len(fixing) - 1} more)" if len(fixing) > 1 else ""),
            fix=f"convert without --dynamic {name}, once for each {name} that you need",
        )


def _differs(node: NodeProto, build: Builder, other: Builder) -> bool:
    """Whether a constant that a node reads is another for another size."""
    pairs = [(build.initializers.get(name), other.initializers.get(name)) for name in node.input]
    return any(a is not b and not np.array_equal(a, b) for a, b in pairs if a is not None or b is not None)


def _open_value(name: str, shape: Sequence[int], is_open: Open) -> ValueInfoProto:
    named: list[int | str] = list(shape)
    if is_open.batch:
        named[0] = "batch"
    if is_open.size:
        named[2:4] = ["height", "width"]
    return _float_value(name, named)


def _open_outputs(outputs: Sequence[ValueInfoProto], graph: Graph, is_open: Open) -> list[ValueInfoProto]:
    """The outputs with a name for each axis that another size of the inputs changes."""
    found = list(outputs)
    for other, name in _with_other_sizes(graph, is_open):
        for value in found:
            shapes = zip(value.type.tensor_type.shape.dim, other.shapes.get(value.name, ()))
            for axis, (dim, size) in enumerate(shapes):
                if dim.WhichOneof("value") == "dim_value" and dim.dim_value != size:
                    dim.dim_param = "batch" if name == "batch" else f"{value.name}_{axis}"
    return found


def _model(
    graph: Graph, build: Builder, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    opsets = [helper.make_opsetid("", OPSET)]
    opsets += [helper.make_opsetid(domain, 1) for domain in sorted({node.domain for node in build.nodes} - {""})]
    body = GraphProto(name=graph.name, node=build.nodes, input=inputs, output=outputs)
    model = ModelProto(ir_version=_IR_VERSION, producer_name="netgen", graph=body, opset_import=opsets)
    large = {name: array for name, array in build.initializers.items() if array.size > _SMALL}
    for name in build.initializers.keys() - large.keys():
        _add_initializer(model, name, build.initializers[name])
    _check(model, large)
    for name, array in large.items():
        _add_initializer(model, name, array)
    return model


def _add_initializer(model: ModelProto, name: str, array: np.ndarray) -> None:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = model.graph.initializer.add(name=name, dims=array.shape, data_type=kind)
    tensor.raw_data = array.tobytes()


def _check(model: ModelProto, large: Mapping[str, np.ndarray]) -> None:
    """Check a model without its large constants, of which only the shapes matter; the checker would copy them."""
    outline = ModelProto()
    outline.CopyFrom(model)
    for name, array in large.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        outline.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    checker.check_model(outline, full_check=True)


def write_onnx(path: str | Path, model: ModelProto) -> None:
    """Write a model; the file appears whole or not at all.

    The constants of a model above 2 GB, which is more than one message can hold, are in a file beside it, `NET.data`.

    Raises:
        UserError: it cannot be written.
    """
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _LARGEST:
        model = _with_external_data(Path(path), model)
    # Constant by constant: the whole message would be in memory twice more.
    outline = _without_constants(model)
    body = outline.graph.SerializeToString()
    outline.ClearField("graph")
    sizes = [tensor.ByteSize() for tensor in model.graph.initializer]
    heads = [header(GraphProto.INITIALIZER_FIELD_NUMBER, size) for size in sizes]
    with atomic_write(path) as file:
        file.write(outline.SerializeToString())
        file.write(header(ModelProto.GRAPH_FIELD_NUMBER, len(body) + sum(sizes) + sum(map(len, heads))))
        file.write(body)
        for head, tensor in zip(heads, model.graph.initializer):
            file.write(head)
            file.write(tensor.SerializeToString())


def _without_constants(model: ModelProto) -> ModelProto:
    """All of a model but its initializers."""
    outline = ModelProto()
    for source, copy in ((model, outline), (model.graph, outline.graph)):
        for field, value in source.ListFields():
            if field.name in ("graph", "initializer"):
                continue
            if isinstance(value, (int, str)):
                setattr(copy, field.name, value)
            else:
                getattr(copy, field.name).extend(value)
    return outline


def _with_external_data(path: Path, model: ModelProto) -> ModelProto:
    """Write the large constants beside `path`; the model that refers to them."""
    beside = path.with_name(path.name + ".data")
    outline = _without_constants(model)
    with atomic_write(beside) as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) <= _SMALL:
                outline.graph.initializer.append(tensor)
                continue
            place = {"location": beside.name, "offset": file.tell(), "length": len(tensor.raw_data)}
            entry = outline.graph.initializer.add(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            entry.data_location = TensorProto.EXTERNAL
            for key, value in place.items():
                entry.external_data.add(key=key, value=str(value))
            file.write(tensor.raw_data)
    return outline
