"""An ONNX graph whose every shape is known and whose constant parts have been computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from prototxt.errors import UserError
from prototxt.graph import Shape, show

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


@dataclass
class Node:
    """One operator.

    Attributes:
        op: its type; with its domain, `com.microsoft::FusedConv`, where that is not ONNX's own.
        name: its own, or that of its first output.
        inputs, outputs: values; "" for one that is left out.
        attributes: those that are given.
        version: of the operator set that its domain is in.
        where: the file.
        reason: why it can be no layer; empty when nothing speaks against it yet.
    """

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    version: int
    where: str
    proto: NodeProto
    reason: str = ""

    def error(self, found: str, *, expected: str = "", fix: str = "") -> UserError:
        """A UserError that names this node and its operator."""
        return UserError(f'node "{self.name}" ({self.op}): {found}', where=self.where, expected=expected, fix=fix)


@dataclass
class Nodes:
    """A graph in order of computation, without what no output needs.

    Attributes:
        name: the graph's.
        where: the file.
        inputs: shape of each value that is fed.
        outputs: the values asked for.
        nodes: operators that compute something from the inputs.
        shapes: of every value whose shape is known, constants included.
        types: value -> ONNX's number of its type.
        constants: values that do not depend on the inputs.
    """

    name: str
    where: str
    inputs: dict[str, Shape]
    outputs: list[str]
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)

    def makers(self) -> dict[str, Node]:
        """Value -> the node that makes it."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    def readers(self) -> Counter[str]:
        """Value -> how often it is read, by nodes and as an output."""
        return Counter([*self.outputs, *(name for node in self.nodes for name in node.inputs)])

    def prune(self) -> None:
        """Drop the nodes that no output needs."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]


class Reading:
    """What one node's inputs and attributes say.

    Attributes:
        nodes: its graph.
        node: itself.
    """

    def __init__(self, nodes: Nodes, node: Node) -> None:
        self.nodes, self.node = nodes, node

    def error(self, found: str, *, expected: str = "", fix: str = "") -> UserError:
        """See `Node.error`."""
        return self.node.error(found, expected=expected, fix=fix)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or `default`."""
        return self.node.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.node.inputs) and bool(self.node.inputs[index])

    def array(self, index: int) -> np.ndarray | None:
        """Input `index` where it is a constant; None where it is computed or left out."""
        name = self.node.inputs[index] if self.has(index) else ""
        return np.asarray(self.nodes.constants[name]) if name in self.nodes.constants else None

    def constant(self, index: int, what: str) -> np.ndarray:
        """Input `index`, which must be a constant. Raises UserError when it is computed."""
        array = self.array(index)
        if array is None:
            name = self.node.inputs[index] if self.has(index) else ""
            raise self.error(f'its {what} "{name}" are computed while the net runs', expected="constants")
        return array

    def setting(self, name: str, index: int, default: Any = None) -> Any:
        """What older operator sets give as attribute `name` and newer ones as input `index`."""
        if name in self.node.attributes:
            return self.node.attributes[name]
        return self.constant(index, name).tolist() if self.has(index) else default

    def shape(self, index: int) -> Shape:
        """Shape of input `index`."""
        return self.nodes.shapes[self.node.inputs[index]]

    def axis(self, default: int) -> int:
        """The attribute `axis`, counted from the front. Raises ValueError when the first input has no such axis."""
        axis, rank = self.attribute("axis", default), len(self.shape(0))
        if not -rank <= axis < rank:
            raise ValueError(f"axis {axis} of {rank}")
        return axis % rank

    def scales(self) -> list[float]:
        """The factors of a Resize or Upsample; empty when it has sizes instead."""
        is_old = self.node.op == "Upsample" or self.node.version < 11
        return self.setting("scales", 1 if is_old else 2) or []

    def pads(self) -> tuple[list[int], list[int]]:
        """What a Pad adds before and behind each axis."""
        pads, rank = self.setting("pads", 1), len(self.shape(0))
        axes = [axis % rank for axis in self.constant(3, "axes").tolist()] if self.has(3) else list(range(rank))
        if len(pads) != 2 * len(axes):
            raise ValueError(f"pads has {len(pads)} values for {len(axes)} axes")
        begin, end = [0] * rank, [0] * rank
        for axis, before, behind in zip(axes, pads[: len(axes)], pads[len(axes) :]):
            begin[axis], end[axis] = before, behind
        return begin, end


def attributes_of(proto: NodeProto) -> dict[str, Any]:
    """The attributes of a node as Python values: numbers, lists, text, TensorProto.

    Raises:
        ValueError: one of a kind that is not known.
    """
    found = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return found


# C++ code divides by these without a look, and sizes beyond any blob overflow it.
_COUNTS = ("strides", "dilations", "kernel_shape", "group", "blocksize", "num_outputs", "num_groups", "size")
_MOST = 2**31 - 1


def absurd_attribute(attributes: Mapping[str, Any]) -> str:
    """What is wrong with an attribute that shape inference must not see; empty when nothing is."""
    for name, value in attributes.items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        numbers = [v for v in values if isinstance(v, int)]
        if name in _COUNTS and any(v < 1 for v in numbers):
            return f"{name} is {value}, and must be at least 1"
        if name != "ends" and any(abs(v) > _MOST for v in numbers):  # "to the end" is often the largest integer
            return f"{name} is {value}, beyond any blob"
    return ""


def input_shapes(
    declared: Mapping[str, Sequence[int | str]], given: Mapping[str, Shape], where: str
) -> dict[str, Shape]:
    """The shape of each input: as the model declares it, the batch 1 where it is left open, the rest as given.

    Args:
        declared: name -> sizes; text, or a number below 1, is a size that the model leaves open.
        given: name -> shape, from the user.

    Raises:
        UserError: a size is open and not given; a shape is given that the model does not allow, or for no input.
    """
    for name in given:
        if name not in declared:
            raise UserError(
                f'"{name}" is no input of this model', where=where, expected="one of " + ", ".join(declared)
            )
    return {name: _input_shape(name, sizes, given.get(name), where) for name, sizes in declared.items()}


def _input_shape(name: str, sizes: Sequence[int | str], given: Shape | None, where: str) -> Shape:
    fixed = [size if isinstance(size, int) and size > 0 else None for size in sizes]
    declared = "×".join(str(own or size or "?") for own, size in zip(fixed, sizes)) or "of any shape"
    if given is not None:
        fits = len(given) == len(sizes) and all(own in (None, size) for own, size in zip(fixed, given))
        if not fits or min(given, default=1) < 1:
            raise UserError(f'input "{name}" cannot be {show(given)}', where=where, expected=declared)
        return given
    if not sizes or None in fixed[1:]:
        example = ",".join([str(fixed[0] or 1), *(str(size or "SIZE") for size in fixed[1:])]) if sizes else "SIZE,…"
        raise UserError(
            f'input "{name}" is {declared}: a Caffe net has fixed sizes',
            where=where,
            fix=f"give them: --input-shape {name}={example}",
        )
    return tuple(size or 1 for size in fixed)


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name/2`, `name/3` … when it is taken; taken from now on."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}/{count}"
    taken.add(candidate)
    return candidate
