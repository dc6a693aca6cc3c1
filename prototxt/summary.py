"""What a net costs: shapes, parameters, multiply-accumulates and memory of each layer."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from prototxt.graph import Graph, Layer

_FLOAT_BYTES = 4
# Caffe lets the tops of these share their bottom's memory.
_VIEWS = ("Flatten", "Reshape", "Split")
# Which blobs of a layer are not learned.
_STATISTICS = {"BatchNorm": slice(0, 3), "BN": slice(2, 4)}


def _convolution(layer: Layer) -> int:
    return sum(prod(top) for top in layer.top_shapes) * prod(layer.blob_shapes[0][1:])


def _deconvolution(layer: Layer) -> int:
    return sum(prod(bottom) for bottom in layer.bottom_shapes) * prod(layer.blob_shapes[0][1:])


def _inner_product(layer: Layer) -> int:
    return prod(layer.top_shapes[0][:-1]) * prod(layer.blob_shapes[0])


def _recurrent(layer: Layer) -> int:
    return prod(layer.top_shapes[0][:2]) * sum(prod(blob) for blob in layer.blob_shapes if len(blob) == 2)


# Layers that multiply matrices. What others compute is small beside them and is left out, as papers do.
_MACS: dict[str, Callable[[Layer], int]] = {
    "Convolution": _convolution,
    "ConvolutionDepthwise": _convolution,
    "Deconvolution": _deconvolution,
    "DepthwiseConvolution": _convolution,
    "InnerProduct": _inner_product,
    "LSTM": _recurrent,
    "Lstm": _recurrent,
}


def summarize(graph: Graph) -> dict[str, Any]:
    """Costs of every layer and of the whole net, ready for JSON.

    Returns:
        `name`, `phase`, `layers` (file order) and `total`. Of each layer: `name`, `type`, `tops`,
        `shapes` (a list of sizes for each top) and these numbers, which `total` has summed up:

        - `parameters`: values that are learned. A blob that several layers share counts once, at the first.
        - `statistics`: values of BatchNorm's three blobs (running mean, variance and their scale), BN's last two.
        - `macs`: multiply-accumulates of convolutions, Deconvolution, InnerProduct and LSTM in one forward
          pass of the whole batch; biases are not counted.
        - `activation_bytes`: float32 memory of the tops that need their own: not of those computed
          in place, nor of views (Flatten, Reshape, Split).

        `total` also has `layers`, their count.
    """
    shared: set[str] = set()
    layers = [_costs(layer, shared) for layer in graph.layers]
    numbers = ("parameters", "statistics", "macs", "activation_bytes")
    total = {"layers": len(layers)} | {number: sum(layer[number] for layer in layers) for number in numbers}
    return {"name": graph.name, "phase": graph.phase, "layers": layers, "total": total}


def _costs(layer: Layer, shared: set[str]) -> dict[str, Any]:
    values = _own_values(layer, shared)
    statistics = sum(values[_STATISTICS[layer.type]]) if layer.type in _STATISTICS else 0
    return {
        "name": layer.name,
        "type": layer.type,
        "tops": list(layer.tops),
        "shapes": [list(shape) for shape in layer.top_shapes],
        "parameters": sum(values) - statistics,
        "statistics": statistics,
        "macs": _MACS[layer.type](layer) if layer.type in _MACS else 0,
        "activation_bytes": _activation_bytes(layer),
    }


def _own_values(layer: Layer, shared: set[str]) -> list[int]:
    """Values in each blob of `layer`; 0 for those in `shared` (names of blobs seen before, which grows)."""
    counts = []
    for i, shape in enumerate(layer.blob_shapes):
        name = layer.proto.param[i].name if i < len(layer.proto.param) else ""
        counts.append(0 if name and name in shared else prod(shape))
        if name:
            shared.add(name)
    return counts


def _activation_bytes(layer: Layer) -> int:
    if layer.type in _VIEWS:
        return 0
    return _FLOAT_BYTES * sum(
        prod(shape) for name, shape in zip(layer.tops, layer.top_shapes) if name not in layer.bottoms
    )


def weight_bytes(graph: Graph) -> int:
    """Memory of all learned blobs and statistics."""
    return _FLOAT_BYTES * sum(prod(shape) for layer in graph.layers for shape in layer.blob_shapes)


def forward_bytes(graph: Graph, *, keeps_all: bool = False) -> int:
    """The most memory that blobs take at once when the net is computed layer by layer.

    Args:
        keeps_all: for a backward, which needs them all; otherwise a blob goes with its last reader.
    """
    last = {name: i for i, layer in enumerate(graph.layers) for name in layer.bottoms}
    alive: dict[str, int] = {}
    now = most = 0
    for i, layer in enumerate(graph.layers):
        for name, shape in zip(layer.tops, layer.top_shapes):
            now += prod(shape) - alive.get(name, 0)
            alive[name] = prod(shape)
        most = max(most, now)
        if not keeps_all:
            now -= sum(alive.pop(name, 0) for name in set(layer.bottoms) if last[name] == i)
    return _FLOAT_BYTES * most
