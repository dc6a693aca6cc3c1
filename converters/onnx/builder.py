"""What the ONNX rules of the layers write into: nodes, constants and the names that carry the blobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, ValueInfoProto, helper

from prototxt.graph import Layer


@dataclass(frozen=True)
class Open:
    """Which sizes of its input a model leaves open."""

    batch: bool = False
    size: bool = False


class Builder:
    """The nodes and initialisers of an ONNX graph in the making.

    A value is an ONNX name. A constant is a value whose array is known; it becomes an initialiser when the first
    node reads it, so what is folded away leaves nothing behind.

    Args:
        weights: layer name -> blobs.
        reserved: names that only `rename` gives out: those of the net's blobs.
        is_open: which sizes the model leaves open.

    Attributes:
        nodes: in the order of computation.
        initializers: by name.
        outputs: top -> what takes its place among the outputs, where its ONNX form is another.
    """

    def __init__(
        self, weights: Mapping[str, Sequence[np.ndarray]], reserved: Iterable[str] = (), is_open: Open | None = None
    ) -> None:
        self._weights = weights
        self.is_open = is_open or Open()
        self._constants: dict[str, np.ndarray] = {}
        self._used = set(reserved)
        self._own: set[str] = set()
        self._since = 0
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.outputs: dict[str, list[ValueInfoProto]] = {}

    def begin(self) -> None:
        """A new layer begins."""
        self._since = len(self.nodes)
        self._own.clear()

    def blobs(self, layer: Layer) -> list[np.ndarray]:
        """The layer's learned blobs, in Caffe's order and with the shapes the graph gives them."""
        blobs = self._weights.get(layer.name, ())
        return [np.asarray(blob, np.float32).reshape(s) for blob, s in zip(blobs, layer.blob_shapes)]

    def unique(self, name: str) -> str:
        """`name`, or `name/2`, `name/3` … when it is taken."""
        candidate, count = name, 1
        while candidate in self._used:
            count += 1
            candidate = f"{name}/{count}"
        self._used.add(candidate)
        return candidate

    def constant(self, array: Any, name: str, dtype: type = np.float32) -> str:
        """A constant value called `name` or nearly so."""
        name = self.unique(name)
        self._constants[name] = np.asarray(array, dtype)
        self._own.add(name)
        return name

    def array(self, value: str) -> np.ndarray | None:
        """The array of a constant; None for a value that is computed."""
        return self._constants.get(value)

    def node(self, op: str, inputs: Sequence[str], layer: Layer, outputs: int = 1, **attributes: Any) -> Any:
        """Add an operator; its output's name, or a list of names when there are several.

        The node is called after its layer, `conv1/Conv` or `detection_out/Concat`, and has the layer's type for a
        comment: so it is found in any viewer.
        """
        for name in inputs:
            if name in self._constants and name not in self.initializers:
                self.initializers[name] = self._constants[name]
        node_name = self.unique(f"{layer.name}/{op}")
        names = [node_name if outputs == 1 else f"{node_name}:{i}" for i in range(outputs)]
        node = helper.make_node(op, list(inputs), names, name=node_name, doc_string=layer.type, **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def computes(self, value: str) -> bool:
        """Whether a node of the present layer makes `value`."""
        return any(value in node.output for node in self.nodes[self._since :])

    def rename(self, value: str, name: str) -> str:
        """Call a value that the present layer made `name`; the name that it has now.

        A value of an earlier layer, handed on as it is, keeps its name.
        """
        if value in self._own and value not in self.initializers:
            self._constants[name] = self._constants.pop(value)
            return name
        if not self.computes(value):
            return value
        for node in self.nodes[self._since :]:
            for names in (node.input, node.output):
                names[:] = [name if each == value else each for each in names]
        return name


class LayerBuilder:
    """A builder for the many small steps of one layer."""

    def __init__(self, build: Builder, layer: Layer) -> None:
        self._build, self._layer = build, layer

    def node(self, op: str, *inputs: str, **attributes: Any) -> Any:
        """See `Builder.node`."""
        return self._build.node(op, inputs, self._layer, **attributes)

    def array(self, value: str) -> np.ndarray | None:
        """See `Builder.array`."""
        return self._build.array(value)

    def floats(self, array: Any, name: str) -> str:
        """A constant of float32, called `<layer>/<name>`."""
        return self._build.constant(array, f"{self._layer.name}/{name}")

    def ints(self, array: Any, name: str) -> str:
        """A constant of int64, called `<layer>/<name>`."""
        return self._build.constant(array, f"{self._layer.name}/{name}", np.int64)
