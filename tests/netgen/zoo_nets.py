"""What tests of the model zoo measure of a net."""

from __future__ import annotations

from math import prod

from prototxt.graph import Graph
from prototxt.io import net_file


def graph_of(detector, key: str = "deploy") -> Graph:
    return Graph(net_file(detector.net(key)), "TRAIN" if key == "train" else "TEST")


def counts(graph: Graph) -> tuple[int, ...]:
    """(learned, statistics): values in the blobs of all layers."""
    numbers = [0, 0]
    for layer in graph.layers:
        numbers[layer.type == "BatchNorm"] += sum(prod(shape) for shape in layer.blob_shapes)
    return tuple(numbers)


def maps(graph: Graph) -> list[tuple[int, ...]]:
    """(channels, size) of the maps that prior boxes stand on."""
    return [layer.bottom_shapes[0][1:3] for layer in graph.layers if layer.type == "PriorBox"]
