"""What the rules of the operators write into: Caffe layers, their learned blobs, and the names of the values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from converters.from_onnx.nodes import Node, Nodes, Reading, unique
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Layer, Shape, show

_ROOM = 2**26  # values of a blob that is made here, and not read from the file


@dataclass(eq=False)
class Made:
    """A layer in the making: its LayerParameter and its learned blobs."""

    proto: Any
    blobs: list[np.ndarray] = field(default_factory=list)


class NetBuilder:
    """The layers of a Caffe net in the making.

    Attributes:
        nodes: the graph that is converted.
        layers: in order of computation.
        shapes: of every blob.
        blob_of: ONNX value -> the blob that holds it, of the value's shape.
        pretended: values of nodes that were refused.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.layers: list[Made] = []
        self.shapes: dict[str, Shape] = {}
        self.blob_of: dict[str, str] = {}
        self.pretended: set[str] = set()
        self._readers = nodes.readers()
        self._makers: dict[str, Made] = {}
        self._holds: Counter[str] = Counter()
        self._layer_names: set[str] = set()
        self._blob_names = {*nodes.inputs, *nodes.outputs, *(name for node in nodes.nodes for name in node.outputs)}
        for name, shape in nodes.inputs.items():
            layer = schema.LayerParameter(name=self.layer_name(name), type="Input", top=[name])
            layer.input_param.shape.add(dim=shape)
            self.layers.append(Made(layer))
            self.shapes[name] = shape
            self.hold(name, name)

    def layer_name(self, name: str) -> str:
        """A name for a layer that no other has."""
        return unique(name, self._layer_names)

    def blob_name(self, name: str) -> str:
        """A name for a blob that neither another blob nor a value of the graph has."""
        return unique(name, self._blob_names)

    def add(self, proto: Any, blobs: Sequence[np.ndarray], node: Node) -> Made:
        """Add a layer; the shapes of its tops follow from Caffe's rules.

        Raises:
            UserError: Caffe has no such layer.
        """
        layer = Layer(proto, node.where, "TEST")
        try:
            layer.infer([self.shapes[name] for name in proto.bottom])
        except UserError as error:
            raise node.error(f"Caffe refuses the layer it becomes: {error.found}") from error
        found = [np.asarray(blob, np.float32) for blob in blobs]
        if [blob.size for blob in found] != [prod(shape) for shape in layer.blob_shapes]:
            given, wanted = (", ".join(map(show, shapes)) for shapes in ([b.shape for b in found], layer.blob_shapes))
            raise node.error(f"its weights have the shape {given}", expected=wanted)
        made = Made(proto, [blob.reshape(shape) for blob, shape in zip(found, layer.blob_shapes)])
        self.layers.append(made)
        self.shapes.update(zip(proto.top, layer.top_shapes))
        self._makers.update(dict.fromkeys(proto.top, made))
        return made

    def pretend(self, node: Node) -> None:
        """Act as if a refused node had its layers, so that those behind it are looked at, too."""
        for value in filter(None, node.outputs):
            self.pretended.add(value)
            if value in self.nodes.shapes:
                self.shapes[value] = self.nodes.shapes[value]
                self.hold(value, value)

    def hold(self, value: str, blob: str) -> None:
        """Let `blob` hold an ONNX value."""
        self.blob_of[value] = blob
        self._holds[blob] += 1

    def is_held(self, blob: str) -> bool:
        """Whether a blob holds a value already."""
        return self._holds[blob] > 0

    def maker(self, blob: str) -> Made | None:
        """The layer that makes a blob; None for an input."""
        return self._makers.get(blob)

    def is_private(self, value: str) -> bool:
        """Whether one node alone reads a value and it is no output, so that its layer may take in what follows."""
        return self._readers[value] == 1 and self._holds[self.blob_of[value]] == 1 and value not in self.nodes.inputs

    def rename(self, made: Iterable[Made], names: Mapping[str, str]) -> None:
        """Give blobs other names in the layers `made`, which must be all that make or read them."""
        for layer in made:
            for blobs in (layer.proto.bottom, layer.proto.top):
                blobs[:] = [names.get(blob, blob) for blob in blobs]
        for blob, name in names.items():
            self.shapes[name], self._makers[name] = self.shapes.pop(blob), self._makers.pop(blob)

    def finish(self) -> None:
        """Make the outputs the blobs that no layer reads, under the names that ONNX gives them; silence all others."""
        read = {name for made in self.layers for name in made.proto.bottom}
        held: dict[str, list[str]] = {}
        for value in dict.fromkeys(self.nodes.outputs):
            held.setdefault(self.blob_of[value], []).append(value)
        split = [b for b, values in held.items() if b in self.nodes.inputs or b in read or len(values) > 1]
        names = {blob: values[0] for blob, values in held.items() if blob not in split and blob != values[0]}
        names |= {blob: self.blob_name(f"{blob}/inner") for blob in split if blob in held[blob]}
        self.rename(self.layers, names)
        for blob in split:
            self._close("Split", f"{held[blob][0]}/output", [names.get(blob, blob)], held[blob])
        read = {name for made in self.layers for name in made.proto.bottom}
        unread = [top for made in self.layers for top in made.proto.top if top not in read]
        unread = [top for top in unread if top not in self.nodes.outputs]
        if unread:
            self._close("Silence", "silence", unread, [])

    def _close(self, kind: str, name: str, bottoms: Sequence[str], tops: Sequence[str]) -> None:
        self.layers.append(Made(schema.LayerParameter(name=self.layer_name(name), type=kind, bottom=bottoms, top=tops)))


class Step(Reading):
    """What one node's rule reads and writes.

    Attributes:
        build: the net in the making.
        out_shape: shape of the node's first output.
    """

    def __init__(self, build: NetBuilder, node: Node) -> None:
        super().__init__(build.nodes, node)
        self.build = build
        self.out_shape = build.nodes.shapes[node.outputs[0]]
        self._since = len(build.layers)

    def bottom(self, index: int) -> str:
        """The blob of input `index`. Raises UserError when it is a constant, which Caffe has no layer for."""
        name = self.node.inputs[index]
        if name in self.nodes.constants:
            raise self.error(f'its input "{name}" is a constant, which no Caffe layer can feed it')
        return self.build.blob_of[name]

    def room(self, shape: Sequence[int], what: str) -> None:
        """Raise UserError unless a blob of `shape`, made here, is of a bearable size."""
        if prod(shape) > _ROOM:
            raise self.error(f"its {what} would have the shape {show(tuple(shape))}", expected=f"{_ROOM:,} values")

    def layer(self, kind: str, *bottoms: str, blobs: Sequence[np.ndarray] = (), name: str = "", **params: Any) -> str:
        """Add a layer with one top; the top."""
        return self.layers(kind, *bottoms, blobs=blobs, name=name, **params)[0]

    def layers(
        self, kind: str, *bottoms: str, blobs: Sequence[np.ndarray] = (), tops: int = 1, name: str = "", **params: Any
    ) -> list[str]:
        """Add a layer; its tops.

        Args:
            name: of a layer that is not the node's first, which is called as the node; by default its type.
            params: fields of LayerParameter, `convolution_param=dict(num_output=8)`.
        """
        is_first = len(self.build.layers) == self._since
        full = self.build.layer_name(self.node.name if is_first else f"{self.node.name}/{name or kind}")
        made = [self.build.blob_name(full if tops == 1 else f"{full}:{i}") for i in range(tops)]
        proto = schema.LayerParameter(name=full, type=kind, bottom=bottoms, top=made, **params)
        self.build.add(proto, blobs, self.node)
        return made

    def blob_shape(self, blob: str) -> Shape:
        """The shape that Caffe gives a blob."""
        return self.build.shapes[blob]

    def finish(self, blobs: Sequence[str]) -> None:
        """Take the blobs for the node's outputs and give them, and the layers that make them, ONNX's names.

        Raises:
            UserError: a blob has another shape than ONNX says.
        """
        mine = self.build.layers[self._since :]
        for value, blob in zip(self.node.outputs, blobs):
            wanted = self.nodes.shapes.get(value)
            if value and self.build.shapes[blob] != wanted:
                raise self.error(f"Caffe's layer gives {show(self.build.shapes[blob])}", expected=show(wanted or ()))
            if not value:
                continue
            maker = self.build.maker(blob)
            if blob != value and maker in mine and not self.build.is_held(blob):
                self.build.rename(mine, {blob: value})
                blob = value
            self.build.hold(value, blob)
