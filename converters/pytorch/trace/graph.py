"""A module as the graph of operators that it runs, and that graph as an ONNX model."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from onnx import ModelProto
from torch import Tensor, fx, nn

from converters.from_onnx.nodes import unique
from converters.pytorch.trace import layers, shapes, values  # noqa: F401, they fill the table
from converters.pytorch.trace.model import Model, Refused, Value
from converters.pytorch.trace.table import OPERATORS
from prototxt.errors import UserError

_SINCE = (2, 6)  # since then torch.export keeps convolutions, norms and poolings whole


def exported(module: nn.Module, examples: Sequence[Tensor], where: str) -> torch.export.ExportedProgram:
    """The program that `module` runs on the examples, in evaluation mode, nothing of it in place.

    Raises:
        UserError: the module cannot run on them, or what it runs depends on values and not on shapes alone.
    """
    if tuple(int(number) for number in torch.__version__.split(".")[:2]) < _SINCE:
        raise UserError(f"PyTorch {torch.__version__} cannot trace it", expected="2.6 or later", fix="update PyTorch")
    with evaluating(module), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module(*examples)
            return torch.export.export(module, tuple(examples)).run_decompositions({})
        except Exception as error:  # whatever the module's own code raises
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"the module cannot be traced: {type(error).__name__}: {reason}",
                where=where,
                expected="a module that runs the same operators on every input of these shapes",
            ) from error


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, and afterwards as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


class Tracer:
    """Walks a program and writes its ONNX model.

    Attributes:
        refused: name of a node -> why it has no form.
        model: the ONNX model.
    """

    def __init__(self, program: torch.export.ExportedProgram, module: nn.Module) -> None:
        self._module = module
        tensors = {**program.state_dict, **program.constants}
        signature = program.graph_signature
        targets = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self._known = {name: tensors[target].detach() for name, target in targets.items()}
        names = {id(self._known[name]): target for name, target in targets.items()}
        self._graph = Model(names)
        self._taken: set[str] = set(names.values())
        self._user_inputs = set(signature.user_inputs)
        self._values: dict[fx.Node, Any] = {}
        self._inputs: list[Value] = []
        self.refused = {
            target: "this buffer changes while the module runs" for target in signature.buffers_to_mutate.values()
        }
        self.model = self._run(program.graph, len(signature.buffers_to_mutate))

    def _run(self, graph: fx.Graph, changed: int) -> ModelProto:
        """The model of a graph whose first outputs, `changed` of them, are buffers' new values."""
        for node in graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._placeholder(node)
            elif node.op == "call_function" and (node.target is operator.getitem or node.meta.get("val") is not None):
                self._values[node] = self._call(node)
        (result,) = next(node for node in graph.nodes if node.op == "output").args
        result = result[changed:]
        outputs = [self._values[node] for node in result if isinstance(node, fx.Node)]
        computed = [self._own(value) for value in outputs if isinstance(value, Value)]
        if len(computed) < len(result):
            self.refused["output"] = "one of its outputs does not depend on its inputs; give back the others alone"
        return self._graph.finish(type(self._module).__name__, computed)

    def _own(self, value: Value) -> Value:
        """An output that is no input."""
        if value not in self._inputs:
            return value
        self._graph.base, self._graph.shapes = "output", [value.shape]
        return self._graph.add("Identity", value)

    def _placeholder(self, node: fx.Node) -> Any:
        if node.name not in self._user_inputs:
            return self._known[node.name]
        example = node.meta["val"]
        if not isinstance(example, Tensor) or not example.is_floating_point():
            self.refused[node.name] = "it is no tensor of floating-point numbers"
            return Value(node.name, ())
        self._taken.add(node.name)
        self._inputs.append(self._graph.input(node.name, example.shape))
        return self._inputs[-1]

    def _call(self, node: fx.Node) -> Any:
        arguments = fx.map_arg((node.args, node.kwargs), self._values.__getitem__)
        args, kwargs = arguments
        if node.target is operator.getitem:
            return self._item(node, *args)
        inputs = [value for value in node.all_input_nodes if _computed(self._values[value])]
        if not inputs and torch.Tag.nondeterministic_seeded not in node.target.tags:
            return node.target(*args, **kwargs)
        name = node.target.name().removeprefix("aten::").partition(".")[0]
        self._graph.base = self._name(node, name)
        self._graph.shapes = _shapes(node.meta["val"])
        if not inputs:
            self.refused[self._graph.base] = f"({name}) it draws random numbers"
        elif name in OPERATORS:
            try:
                return self._graph.finish_node(OPERATORS[name](self._graph, *args, **kwargs))
            except Refused as reason:
                self.refused[self._graph.base] = f"({name}) {reason}"
        found = self._graph.unknown(name, self._flat(inputs))
        return found[0] if isinstance(node.meta["val"], Tensor) else found

    def _item(self, node: fx.Node, made: Any, index: int) -> Any:
        if index < len(made):
            return made[index]
        self._graph.base, self._graph.shapes = self._name(node, "getitem"), [()]
        self.refused[self._graph.base] = "it reads a second output of an operator, such as indices, that has no form"
        return self._graph.unknown("getitem", made)[0]

    def _flat(self, nodes: Sequence[fx.Node]) -> list[Value]:
        found = []
        for node in nodes:
            value = self._values[node]
            found += value if isinstance(value, (list, tuple)) else [value]
        return found

    def _name(self, node: fx.Node, operation: str) -> str:
        """The module's path where the module is this operator, else the path of what calls it and the operator."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0].partition("@")[0] if stack else ""
        if path and not any(True for _ in self._module.get_submodule(path).children()):
            return unique(path, self._taken)
        return unique(f"{path}.{operation}".strip("."), self._taken)


def _computed(value: Any) -> bool:
    return any(map(_computed, value)) if isinstance(value, (list, tuple)) else isinstance(value, Value)


def _shapes(example: Any) -> list[tuple[int, ...]]:
    examples = example if isinstance(example, (list, tuple)) else [example]
    return [tuple(map(int, one.shape)) for one in examples if isinstance(one, Tensor)]
