"""From an ONNX file to `Nodes`: constants computed, shapes inferred node by node, the graph cut at the outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from onnx import (
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    checker,
    helper,
)
from onnx.reference import ReferenceEvaluator

from converters.from_onnx.file import OnnxFile
from converters.from_onnx.nodes import Node, Nodes, Reading, absurd_attribute, attributes_of, input_shapes
from converters.from_onnx.shapes import SHAPES
from prototxt.errors import UserError, nearest
from prototxt.graph import Shape, show

OPSETS = range(7, 23)
_IR_VERSION = 10
_LARGEST = 2**31 - 1  # values of a Caffe blob
_ROOM = 2**26  # values that computed constants may have together, besides a few times those of the file

# What exporters compute of shapes and weights. Each takes a time in proportion to its inputs and outputs.
_CHEAP = """
Abs Add And BitShift Cast Ceil Clip Concat ConstantOfShape DequantizeLinear Div Equal Exp Expand Flatten Floor Gather
GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pad Pow Range
Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round
ScatterND Sigmoid Sign Slice Softplus Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Unsqueeze Where Xor
"""
_FOLDABLE = set(_CHEAP.split())
# What Python raises where sizes, attributes and inputs contradict each other, which a stranger's may in any way.
UNFIT = (ValueError, TypeError, LookupError, ArithmeticError)


class Constants(Mapping[str, np.ndarray]):
    """Values that are known: tensors of the file, read when they are asked for, and what was computed of them."""

    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self._tensors: dict[str, TensorProto] = {}
        self._arrays: dict[str, np.ndarray] = {}

    def add_tensor(self, name: str, tensor: TensorProto) -> None:
        self._tensors[name] = tensor

    def add(self, name: str, array: np.ndarray) -> None:
        self._arrays[name] = array

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name] if name in self._arrays else self._file.array(self._tensors[name])

    def __contains__(self, name: object) -> bool:
        return name in self._arrays or name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter({**self._tensors, **self._arrays})

    def __len__(self) -> int:
        return len({**self._tensors, **self._arrays})


def load_nodes(file: OnnxFile, outputs: Sequence[str] = (), given_shapes: Mapping[str, Shape] | None = None) -> Nodes:
    """The graph of a file, every size of it known.

    Args:
        outputs: values to cut the graph at; by default its own outputs.
        given_shapes: input -> shape, where the model leaves sizes open.

    Raises:
        UserError: an operator set that is not known, a graph that is no graph (a value made twice or read before it
            is made), tensors that are damaged, open sizes, an output that nothing makes.
    """
    graph, opsets = file.model.graph, _opsets(file)
    _check_text(file)
    constants = Constants(file)
    for tensor in graph.initializer:
        constants.add_tensor(tensor.name, tensor)
    if graph.sparse_initializer:
        raise file.error(f'tensor "{graph.sparse_initializer[0].values.name}" is sparse', expected="dense tensors")
    declared = {value.name: _declared(file, value) for value in graph.input if value.name not in constants}
    shapes = input_shapes(declared, given_shapes or {}, file.path)
    nodes = Nodes(graph.name, file.path, shapes, list(outputs) or [value.name for value in graph.output])
    nodes.constants = constants
    nodes.nodes = [_node(proto, opsets, file) for proto in graph.node]
    _check_wiring(nodes, file)
    nodes.prune()
    nodes.shapes.update(shapes)
    nodes.types.update({v.name: v.type.tensor_type.elem_type for v in graph.input if v.name in shapes})
    for tensor in graph.initializer:
        nodes.shapes[tensor.name], nodes.types[tensor.name] = file.dims(tensor), tensor.data_type
    _Folder(nodes, constants, opsets).run()
    nodes.prune()
    readers = nodes.readers()
    nodes.inputs = {name: shape for name, shape in shapes.items() if readers[name]}
    return nodes


def _check_text(file: OnnxFile) -> None:
    """Raise UserError when a name is not text: protobuf gives such a one as bytes."""
    graph = file.model.graph
    names = [graph.name, *(entry.domain for entry in file.model.opset_import)]
    names += [item.name for group in (graph.input, graph.output, graph.initializer) for item in group]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)]
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise file.error(f"the name {wrong[0]!r} is no UTF-8 text")


def _opsets(file: OnnxFile) -> dict[str, int]:
    opsets = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in file.model.opset_import}
    if opsets.get("") not in OPSETS:
        raise file.error(
            f"it is written for operator set {opsets.get('', 'none')}",
            expected=f"{OPSETS[0]} to {OPSETS[-1]}",
            fix="export it again with another opset_version, or use onnx.version_converter",
        )
    return opsets


def _declared(file: OnnxFile, value: ValueInfoProto) -> list[int | str]:
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or tensor.elem_type in (0, TensorProto.STRING):
        raise file.error(f'input "{value.name}" is no tensor of numbers')
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]


def _node(proto: NodeProto, opsets: Mapping[str, int], file: OnnxFile) -> Node:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    op = f"{domain}::{proto.op_type}" if domain else proto.op_type
    name = proto.name or next(filter(None, proto.output), "")
    node = Node(op, name, list(proto.input), list(proto.output), {}, opsets.get(domain, 0), file.path, proto)
    try:
        node.attributes = attributes_of(proto)
    except ValueError as error:
        raise node.error(f"its attributes cannot be read: {error}") from error
    return node


def _check_wiring(nodes: Nodes, file: OnnxFile) -> None:
    made = {*nodes.inputs, *nodes.constants}
    later = {name for node in nodes.nodes for name in node.outputs}
    for node in nodes.nodes:
        for name in filter(None, node.inputs):
            if name not in made:
                hint = "a node behind it makes: the graph is not in order, or turns in a circle"
                raise node.error(f'it reads "{name}", which {hint if name in later else "nothing makes"}')
        for name in filter(None, node.outputs):
            if name in made:
                raise node.error(f'its output "{name}" is made twice')
            made.add(name)
    for name in nodes.outputs:
        if name not in made:
            raise file.error(f'there is no value "{name}"{nearest(name, made)}', fix="name a node's output")


class _Folder:
    """Walks the nodes once: shapes and types of what each makes, and the values of what does not need the inputs."""

    def __init__(self, nodes: Nodes, constants: Constants, opsets: Mapping[str, int]) -> None:
        self._nodes, self._constants = nodes, constants
        self._opsets = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
        self._context = checker.DEFAULT_CONTEXT.__class__()
        self._context.ir_version, self._context.opset_imports = _IR_VERSION, dict(opsets)
        self._room = _ROOM + 4 * sum(prod(nodes.shapes[name]) for name in constants)

    def run(self) -> None:
        kept = []
        for node in self._nodes.nodes:
            node.reason = absurd_attribute(node.attributes)
            if not node.reason and not self._constant(node):
                self._infer(node)
                if node.reason or not self._compute(node):
                    kept.append(node)
            elif node.reason:
                kept.append(node)
        self._nodes.nodes = kept

    def _constant(self, node: Node) -> bool:
        """Take in a Constant node."""
        if node.op != "Constant":
            return False
        kind, value = next(iter(node.attributes.items()), ("", None))
        if isinstance(value, TensorProto):
            self._constants.add_tensor(node.outputs[0], value)
            shape, data_type = tuple(value.dims), value.data_type
            self._constants[node.outputs[0]]  # so that damage is found now
        elif kind in ("value_float", "value_floats", "value_int", "value_ints"):
            array = np.array(value, np.float32 if "float" in kind else np.int64)
            self._constants.add(node.outputs[0], array)
            shape, data_type = array.shape, helper.np_dtype_to_tensor_dtype(array.dtype)
        else:
            return False
        self._nodes.shapes[node.outputs[0]], self._nodes.types[node.outputs[0]] = shape, data_type
        return True

    def _infer(self, node: Node) -> None:
        """Shapes and types of what a node makes; its `reason` where they cannot be told."""
        names = [name for name in node.inputs if name]
        if node.op not in SHAPES or any(name not in self._nodes.shapes for name in names):
            return  # it has no layer, or is behind a node that is refused
        try:
            checker.check_node(node.proto, self._context)
        except (checker.ValidationError, UnicodeError) as error:
            if "deprecated" not in str(error):
                node.reason = f"it is no valid node: {' '.join(str(error).split())[:300]}"
                return
        try:
            shapes = [tuple(map(int, shape)) for shape in SHAPES[node.op](Reading(self._nodes, node))]
        except UserError as error:
            node.reason = error.found.partition(": ")[2]
            return
        except UNFIT as error:
            node.reason = f"its attributes and inputs do not fit each other: {error}"
            return
        for name, shape in zip(node.outputs, shapes):
            if any(size < 0 for size in shape) or prod(shape) > _LARGEST:
                node.reason = f"its output has the shape {show(shape)}; a blob has at most {_LARGEST:,} values"
                return
            self._nodes.shapes[name] = shape
            self._nodes.types[name] = _type(node, self._nodes.types)

    def _compute(self, node: Node) -> bool:
        """Add the values that a node makes to the constants; False when they depend on the inputs."""
        shapes = self._nodes.shapes
        if node.op in ("Shape", "Size") and node.inputs[0] in shapes:
            shape = shapes[node.inputs[0]]
            bounds = slice(node.attributes.get("start", 0), node.attributes.get("end"))
            self._constants.add(
                node.outputs[0], np.array(shape[bounds] if node.op == "Shape" else prod(shape), np.int64)
            )
            return True
        if node.op not in _FOLDABLE or not all(name in self._constants for name in node.inputs if name):
            return False
        size = sum(prod(shapes[name]) for name in node.outputs if name in shapes)
        if size > self._room:
            node.reason = f"it computes a constant of {size:,} values, more than all weights of the file"
            return False
        self._room -= size
        try:
            arrays = self._evaluate(node)
        except Exception as error:  # the reference evaluator's errors have no common base
            if isinstance(error, UserError):
                raise
            node.reason = f"its constant cannot be computed: {error}"
            return False
        for name, array in zip(node.outputs, arrays):
            if name:
                self._constants.add(name, np.asarray(array))
                shapes[name] = np.asarray(array).shape
                self._nodes.types[name] = helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype)
        return True

    def _evaluate(self, node: Node) -> list[Any]:
        feeds = {name: np.asarray(self._constants[name]) for name in node.inputs if name}
        ends = [
            [helper.make_value_info(name, TypeProto()) for name in names if name] for names in (feeds, node.outputs)
        ]
        graph = helper.make_graph([node.proto], "constant", *ends)
        model = helper.make_model(graph, opset_imports=self._opsets, ir_version=_IR_VERSION)
        found = dict(zip(filter(None, node.outputs), ReferenceEvaluator(model).run(None, feeds)))
        return [found.get(name) for name in node.outputs]


def _type(node: Node, types: Mapping[str, int]) -> int:
    """ONNX's number of the type of a node's outputs."""
    if node.op == "Cast":
        return node.attributes["to"]
    if node.op in ("ArgMax", "ArgMin", "Shape", "Size"):
        return TensorProto.INT64
    return types.get(next(filter(None, node.inputs), ""), TensorProto.FLOAT)
