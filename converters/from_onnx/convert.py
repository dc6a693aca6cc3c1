"""From an ONNX file to a deploy prototxt and its weights, or to the list of the nodes that have no Caffe form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from converters.caffemodel import Weights
from converters.from_onnx.builder import NetBuilder, Step
from converters.from_onnx.file import OnnxFile, type_name
from converters.from_onnx.fold import UNFIT, load_nodes
from converters.from_onnx.nodes import FLOATS, Node, Nodes
from converters.from_onnx.ops import LAYERS
from converters.from_onnx.patterns import fuse
from prototxt import schema
from prototxt.errors import UserError, UserErrors
from prototxt.graph import Graph, Shape, show
from prototxt.io import net_file

# What only moves values may move those of an image of bytes, too.
_MOVING = "Cast Concat Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze"
_ANY_TYPE = set(_MOVING.split())


def to_caffe(
    file: OnnxFile, outputs: Sequence[str] = (), input_shapes: Mapping[str, Shape] | None = None
) -> tuple[Graph, Weights]:
    """The Caffe form of an ONNX model: stock layers of SSD-Caffe that compute the same values.

    Inputs and outputs, and every blob between them that is a value of the model, have the model's names and shapes.
    Layers are called as the nodes they come from, `<node>/<what>` where one node takes several. What does not depend
    on the inputs is computed here.

    Args:
        outputs: values to cut the graph at; by default its own outputs.
        input_shapes: input -> shape, where the model leaves more than the batch open.

    Returns:
        the graph and its weights, layer name -> blobs.

    Raises:
        UserErrors: nodes that have no Caffe form, all of them, with the reason.
        UserError: the file is damaged or its sizes are open.
    """
    nodes = load_nodes(file, outputs, input_shapes)
    fuse(nodes)
    build = NetBuilder(nodes)
    errors = [error for node in nodes.nodes if (error := _emit(build, node))]
    errors += [error for name in nodes.outputs if (error := _no_output(nodes, name))]
    if errors:
        _advise_cut(build, errors[-1])
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    build.finish()
    net = schema.NetParameter(name=nodes.name or "net", layer=[made.proto for made in build.layers])
    weights = Weights({made.proto.name: made.blobs for made in build.layers if made.blobs}, file.path)
    return Graph(net_file(net, file.path)), weights


def _emit(build: NetBuilder, node: Node) -> UserError | None:
    """Add a node's layers; why that is impossible. What is behind a refused node is looked at as if it were there."""
    try:
        reason = _reason(build.nodes, node)
        if reason:
            raise node.error(reason)
        if all(name in build.blob_of for name in node.inputs if name and name not in build.nodes.constants):
            step = Step(build, node)
            step.finish(LAYERS[node.op](step))
        return None
    except UserError as error:
        build.pretend(node)
        return error
    except UNFIT as error:
        build.pretend(node)
        return node.error(f"its attributes and inputs do not fit each other: {error}")


def _reason(nodes: Nodes, node: Node) -> str:
    """What speaks against a node before its rule is asked; empty when nothing does."""
    if node.reason:
        return node.reason
    if node.op not in LAYERS:
        return "no Caffe layers compute this operator"
    for name in node.outputs:
        if name in nodes.shapes and 0 in nodes.shapes[name]:
            return f'its output "{name}" has the shape {show(nodes.shapes[name])}, no value at all'
    for name in node.inputs:
        kind = nodes.types.get(name)
        if (
            name
            and name not in nodes.constants
            and kind is not None
            and kind not in FLOATS
            and node.op not in _ANY_TYPE
        ):
            return f'it computes with "{name}" of type {type_name(kind)}, and Caffe with float32'
    return ""


def _no_output(nodes: Nodes, name: str) -> UserError | None:
    if name not in nodes.constants and name not in nodes.inputs:
        return None
    what = "a constant" if name in nodes.constants else "an input"
    return UserError(f'output "{name}" is {what}, which needs no net', where=nodes.where)


def _advise_cut(build: NetBuilder, error: UserError) -> None:
    """Add to an error the values that a cut before every refused node would give."""
    lost = set(build.pretended)
    last: dict[str, None] = {}
    for node in build.nodes.nodes:
        if lost.intersection([*node.inputs, *node.outputs]):
            lost.update(node.outputs)
            last.update(dict.fromkeys(name for name in node.inputs if name in build.blob_of and name not in lost))
    names = ",".join(name for name in last if name not in build.nodes.inputs)
    if names:
        error.fix = f"{error.fix}; or " * bool(error.fix) + f"cut the graph before it: --outputs {names}"
        error.args = (str(error),)
