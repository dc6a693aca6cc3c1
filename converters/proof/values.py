"""Every value that a net computes on its way, and what it is called.

Layers change blobs in place, so a blob has several values. Only the last has the blob's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converters.fold import fold
from prototxt.graph import Graph, Layer
from prototxt.shapes import SOURCES
from prototxt.shapes.detection import DETECTORS

Weights = Mapping[str, Sequence[np.ndarray]]
Prepare = Callable[[Graph, Weights], "tuple[Graph, Weights]"]


@dataclass(frozen=True)
class Value:
    """What one layer leaves in one of its tops.

    Attributes:
        name: that of the blob; `<blob>@<layer>` where a later layer changes it or the blob is an input of the net. So
            an ONNX model of `converters.onnx` calls it, too.
        layer, place: who makes it, and which of its tops it is.
        is_first, is_last: whether no layer before, none after makes a value of this blob.
    """

    name: str
    layer: Layer
    place: int
    is_first: bool
    is_last: bool

    @property
    def blob(self) -> str:
        return self.layer.tops[self.place]


def values_of(graph: Graph) -> tuple[Value, ...]:
    """The values of a net in the order in which they are computed, without its inputs.

    Those that share a name, which takes two layers of one name, are left out: nobody can tell them apart.
    """
    still_made = Counter(top for layer in graph.layers for top in layer.tops)
    made = set(graph.inputs)
    found: list[Value] = []
    for layer in graph.layers:
        still_made.subtract(layer.tops)
        if layer.type in SOURCES:
            continue
        for place, top in enumerate(layer.tops):
            is_last = not still_made[top]
            name = top if is_last and top not in graph.inputs else f"{top}@{layer.name}"
            found.append(Value(name, layer, place, top not in made, is_last))
            made.add(top)
    count = Counter(value.name for value in found)
    return tuple(value for value in found if count[value.name] == 1)


def ends_of(graph: Graph) -> tuple[Value, ...]:
    """The outputs, and what the detections among them are made of: an input without objects proves little else."""
    predictions = {name for layer in graph.layers if layer.type in DETECTORS for name in layer.bottoms}
    return tuple(v for v in values_of(graph) if v.is_last and (v.name in predictions or v.name in graph.outputs))


@dataclass(frozen=True)
class Folding:
    """What a net's values are called once BatchNorm and its like are folded into other layers.

    Attributes:
        names: value of the net -> its name in the folded net; those that are gone are not among them.
        into: layer -> the layer whose value is its own now.
        is_folded: whether anything is folded.
    """

    names: Mapping[str, str]
    into: Mapping[str, str]
    is_folded: bool


def folding_of(graph: Graph, weights: Weights, first: Prepare | None = None) -> Folding:
    """How `converters.fold` changes the values of a net.

    Args:
        first: what is done to the net before it is folded.
    """
    folded = fold(*(first(graph, weights) if first else (graph, weights)))
    position = {layer.name: i for i, layer in enumerate(graph.layers)}
    into = {}
    for name, taker in folded.into.items():
        # What goes into a layer after it leaves that layer's value as it was.
        if position[name] > position.get(taker, -1):
            into[name] = taker
    last = {taker: name for name, taker in sorted(into.items(), key=lambda pair: position[pair[0]])}
    of_layer = {(value.layer.name, value.place): value.name for value in values_of(graph)}
    names = {}
    for value in values_of(folded.graph):
        name = value.layer.name
        own = of_layer.get((last.get(name, name), value.place))
        if own is not None:
            names[own] = value.name
    return Folding(names, into, bool(folded.into))
