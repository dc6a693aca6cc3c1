"""Preprocessing inside the model: it takes pictures as cameras and decoders give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from converters.caffemodel import Weights
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import NetFile, read_net
from prototxt.phase import kept
from prototxt.schema import LayerParameter, NetParameter

# What an input of pictures can be, and its channels.
ORDERS = {"uint8-bgr": 3, "uint8-rgb": 3, "uint8-grey": 1}


@dataclass(frozen=True)
class Values:
    """What a net is trained on: (pixel - mean) · scale.

    Attributes:
        mean: one value, or one for each channel: blue, green, red.
    """

    mean: tuple[float, ...]
    scale: float = 1.0


def values_of_net(path: str) -> Values:
    """Mean and scale of the first data layer of a train or test prototxt. Raises UserError when it says none."""
    net = read_net(path)
    for index, layer in enumerate(net.message.layer):
        if layer.HasField("transform_param"):
            transform, where = layer.transform_param, net.where_layer(index)
            if transform.mean_file:
                raise UserError(
                    f'layer "{layer.name}": its mean is an image, {transform.mean_file}', where=where,
                    expected="mean_value", fix="give the mean of each of its channels with --mean",
                )  # fmt: skip
            return Values(tuple(transform.mean_value) or (0.0,), transform.scale)
    raise UserError("no layer has a transform_param", where=path, expected="the train or test prototxt")


def picture_input(graph: Graph, order: str) -> str:
    """The input that takes pictures. Raises UserError when there is none, or more than one."""
    names = [name for name, shape in graph.inputs.items() if len(shape) == 4]
    if len(names) != 1:
        raise UserError(f"{len(names)} of its inputs have four axes", where=graph.net.path, expected="one picture")
    channels = graph.inputs[names[0]][1]
    if channels != ORDERS[order]:
        fix = "--input uint8-grey" if channels == 1 else "--input float"
        raise UserError(f'"{names[0]}" has {channels} channels, {order} has {ORDERS[order]}', fix=fix)
    return names[0]


def with_values(graph: Graph, weights: Mapping[str, Sequence[np.ndarray]], name: str, values: Values):
    """The net that subtracts the mean of input `name` and scales it itself: a graph and its weights.

    It begins with a Scale layer, which `converters.fold` takes into the layer after it where that is exact.
    """
    channels = graph.inputs[name][1]
    if len(values.mean) not in (1, channels):
        raise UserError(f"--mean has {len(values.mean)} numbers", expected=f"one, or one for each of {channels}")
    old, state = graph.net, graph.state
    names = {layer.name for layer in old.message.layer}
    scale = LayerParameter(name=_unused(f"{name}/pixels", names), type="Scale", bottom=[name], top=[name])
    scale.scale_param.bias_term = True
    message, origins = NetParameter(name=old.message.name), []
    for index in kept(old.message.layer, state):
        layer = old.message.layer[index]
        origin = ("layer", index) if old.origins is None else old.origins[index]
        message.layer.append(layer)
        origins.append(origin)
        if layer.type == "Input" and name in layer.top:
            message.layer.append(scale)
            origins.append(origin)
    net = NetFile(message, old.path, old.lines, origins)
    factor = np.full(channels, values.scale, np.float32)
    shift = (-np.broadcast_to(np.float64(values.mean), channels) * values.scale).astype(np.float32)
    more = Weights({**weights, scale.name: [factor, shift]}, getattr(weights, "path", ""))
    return Graph(net, state.phase, state.level, state.stages, graph.inputs), more


def _unused(name: str, names: set[str]) -> str:
    while name in names:
        name += "'"
    return name


def take_pictures(model: ModelProto, name: str, order: str) -> None:
    """Have input `name` [N, C, H, W] of a model take uint8 [N, H, W, C] instead, in place."""
    graph = model.graph
    (value,) = (value for value in graph.input if value.name == name)
    dims = value.type.tensor_type.shape.dim
    shape = [dims[axis].dim_param or dims[axis].dim_value for axis in (0, 2, 3, 1)]
    value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, shape))
    steps = [("Cast", [], {"to": TensorProto.FLOAT}), ("Transpose", [], {"perm": [0, 3, 1, 2]})]
    if order == "uint8-rgb":
        graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), f"{name}/to_bgr"))
        steps.append(("Gather", [f"{name}/to_bgr"], {"axis": 1}))
    nodes, last = [], name
    for op, more, attributes in steps:
        top = f"{name}/{op}"
        nodes.append(helper.make_node(op, [last, *more], [top], name=top, doc_string="Input", **attributes))
        last = top
    for node in graph.node:
        node.input[:] = [last if each == name else each for each in node.input]
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
