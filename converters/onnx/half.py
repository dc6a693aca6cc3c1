"""A model in float16: weights and computation, with inputs, outputs and what float16 cannot hold in float32."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from prototxt.errors import UserError
from prototxt.shapes.yolo import YOLO

_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16
# Types of layers that stay in float32: post-processing, whose boxes need more than 11 bits, and what adds up squares
# or exponents, which leave the range of float16.
IN_FLOAT32 = frozenset(
    ("DetectionOutput", "Exp", "LRN", "Log", "MVN", "Normalize", "PSROIPooling", "Power", "Proposal", "ROIPooling",
     "Softmax", "rpn.proposal_layer.ProposalLayer", *YOLO)
)  # fmt: skip


def to_half(model: ModelProto) -> None:
    """Turn a model of `to_onnx` into one of float16, in place. Raises UserError for weights beyond its range."""
    _Half(model).convert()


class _Half:
    """The conversion of one model."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.halves: dict[str, str] = {}  # float32 value -> its name in float16
        self.floats: dict[str, str] = {}  # float16 value -> its name in float32
        self.is_half: set[str] = set()  # values that are float16
        self.is_float = {value.name for value in self.graph.input if value.type.tensor_type.elem_type == _FLOAT}
        self.is_float |= {name for name, tensor in self.constants.items() if tensor.data_type == _FLOAT}
        self.nodes: list[NodeProto] = []

    def convert(self) -> None:
        kinds = _element_types(self.graph, self.constants)
        for node in list(self.graph.node):
            self._add(node, kinds)
        for output in self.graph.output:
            if output.name in self.is_half:
                self._restore(output.name)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        self._drop_unread()

    def _add(self, node: NodeProto, kinds: dict[str, int]) -> None:
        in_float32 = node.doc_string in IN_FLOAT32
        read = self._as_float if in_float32 else self._as_half
        copy = NodeProto()
        copy.CopyFrom(node)
        # Resize takes its scales as float32 whatever it resizes.
        fixed = range(1, len(node.input)) if node.op_type == "Resize" else ()
        copy.input[:] = [name if i in fixed else read(name) for i, name in enumerate(node.input)]
        if node.op_type == "Cast" and not in_float32:
            for attribute in copy.attribute:
                attribute.i = _HALF if attribute.i == _FLOAT else attribute.i
        self.nodes.append(copy)
        made = {name for name in node.output if kinds.get(name) == _FLOAT}
        (self.is_float if in_float32 else self.is_half).update(made)

    def _as_half(self, name: str) -> str:
        if name not in self.is_float:
            return name
        if name not in self.halves:
            self.halves[name] = self._half_constant(name) if name in self.constants else self._cast(name, _HALF)
        return self.halves[name]

    def _as_float(self, name: str) -> str:
        if name not in self.is_half:
            return name
        if name not in self.floats:
            self.floats[name] = self._cast(name, _FLOAT)
        return self.floats[name]

    def _cast(self, name: str, kind: int) -> str:
        made = f"{name}/{'float16' if kind == _HALF else 'float32'}"
        self.nodes.append(helper.make_node("Cast", [name], [made], name=f"{made}/Cast", to=kind))
        return made

    def _half_constant(self, name: str) -> str:
        tensor = self.constants[name]
        values = np.frombuffer(tensor.raw_data, np.float32)
        if np.isfinite(values).all() and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise UserError(
                f'"{name}" holds {np.abs(values).max():g}, and float16 ends at {np.finfo(np.float16).max:g}',
                fix="convert without --fp16",
            )
        half = self.graph.initializer.add(name=f"{name}/float16", dims=tensor.dims, data_type=_HALF)
        half.raw_data = values.astype(np.float16).tobytes()
        return half.name

    def _restore(self, name: str) -> None:
        """Give an output back as float32 under its name."""
        half = f"{name}/float16"
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [half if each == name else each for each in names]
        self.nodes.append(helper.make_node("Cast", [half], [name], name=f"{name}/Cast", to=_FLOAT))

    def _drop_unread(self) -> None:
        read = {name for node in self.graph.node for name in node.input}
        left = [tensor for tensor in self.graph.initializer if tensor.name in read]
        if len(left) < len(self.graph.initializer):
            copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in left]
            del self.graph.initializer[:]
            self.graph.initializer.extend(copies)


def _element_types(graph, constants: dict[str, TensorProto]) -> dict[str, int]:
    """The element type of every value, as ONNX infers it."""
    from onnx import ModelProto as Model
    from onnx import shape_inference

    outline = Model(ir_version=8, opset_import=[helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1)])
    outline.graph.name = graph.name
    outline.graph.node.extend(graph.node)
    outline.graph.input.extend(graph.input)
    outline.graph.output.extend(graph.output)
    for name, tensor in constants.items():
        outline.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    found = shape_inference.infer_shapes(outline, data_prop=False).graph
    return {v.name: v.type.tensor_type.elem_type for v in (*found.value_info, *found.output, *found.input)}
