"""What the rules of PyTorch's operators write into: an ONNX graph whose nodes are called as the modules are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from converters.from_onnx.nodes import unique
from prototxt.errors import UserError

OPSET = 21  # in which a group normalisation has factors for each channel
_IR_VERSION = 10
_UNKNOWN = "aten"  # domain of the operators that have no rule


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the inputs: its name and its shape."""

    name: str
    shape: tuple[int, ...]


Input = "Value | Tensor | float | int | Sequence[int] | None"


class Refused(Exception):
    """Why an operator has no ONNX form here."""


class Model:
    """An ONNX graph in the making.

    Attributes:
        base: what the node at hand is called.
        shapes: of what the node at hand gives.
    """

    def __init__(self, parameter_names: dict[int, str]) -> None:
        self.base = ""
        self.shapes: list[tuple[int, ...]] = []
        self._inputs: list[Any] = []
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._parameter_names = parameter_names  # id of a tensor -> its name in the module
        self._names: set[str] = set()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the node at hand gives first."""
        return self.shapes[0]

    def input(self, name: str, shape: Sequence[int]) -> Value:
        """Add an input of the model."""
        value = Value(unique(name, self._names), tuple(shape))
        self._inputs.append(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape))
        return value

    def add(self, op: str, *inputs: Any, shape: Sequence[int] | None = None, **attributes: Any) -> Value:
        """Add an operator with one output.

        Args:
            inputs: values; tensors and numbers become constants, lists of integers shapes or axes; None is left out.
            shape: of its output; by default that of what the node at hand gives.
        """
        return self.add_several(op, *inputs, shapes=[self.shape if shape is None else tuple(shape)], **attributes)[0]

    def unknown(self, op: str, inputs: Sequence[Value]) -> list[Value]:
        """Add an operator that has no form, so that it is refused by its name."""
        names = [unique(self.base if i == 0 else f"{self.base}:{i}", self._names) for i in range(len(self.shapes))]
        self._nodes.append(helper.make_node(op, [v.name for v in inputs], names, self.base, domain=_UNKNOWN))
        return [Value(name, shape) for name, shape in zip(names, self.shapes)]

    def add_several(self, op: str, *inputs: Any, shapes: Sequence[tuple[int, ...]], **attributes: Any) -> list[Value]:
        """Add an operator with an output for each of `shapes`."""
        name = unique(f"{self.base}/{op}", self._names)
        outputs = [name if len(shapes) == 1 else unique(f"{name}:{i}", self._names) for i in range(len(shapes))]
        names = [self._input_name(value) for value in inputs]
        self._nodes.append(helper.make_node(op, names, outputs, name, **attributes))
        return [Value(output, tuple(shape)) for output, shape in zip(outputs, shapes)]

    def finish_node(self, value: Any) -> Any:
        """Give the operator that makes the only value of the node at hand the node's name."""
        if isinstance(value, tuple) and len(value) == 1:
            return (self.finish_node(value[0]),)
        if not isinstance(value, Value) or not value.name.startswith(f"{self.base}/"):
            return value
        last = self._nodes[-1]
        last.name = last.output[0] = unique(self.base, self._names)
        return Value(last.name, value.shape)

    def _input_name(self, value: Any) -> str:
        if value is None:
            return ""
        return value.name if isinstance(value, Value) else self._constant(value)

    def _constant(self, value: Any) -> str:
        name = self._parameter_names.get(id(value)) if isinstance(value, Tensor) else None
        if name in self._constants:
            return name
        if isinstance(value, Tensor):
            tensor = value.detach().cpu()
            array = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
        else:
            dtype = torch.int64 if isinstance(value, (list, tuple)) else torch.float32
            array = torch.tensor(value, dtype=dtype).numpy()
        name = unique(name or f"{self.base}/constant", self._names)
        self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def finish(self, title: str, outputs: Sequence[Value]) -> ModelProto:
        """The model."""
        ends = [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in dict.fromkeys(outputs)]
        graph = helper.make_graph(self._nodes, title, self._inputs, ends, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_UNKNOWN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def refuse(what: str, expected: str = "") -> Refused:
    """Why an operator has no form, worded as a UserError."""
    return Refused(str(UserError(what, expected=expected)))
