"""The table that the family files fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from converters.onnx.builder import Builder
from prototxt.graph import Layer
from prototxt.registry import Registry

# NODES[type](build, layer, bottoms) adds the layer's nodes and returns the values of its tops.
NODES: Registry[Callable[[Builder, Layer, list[str]], list[str]]] = Registry("ONNX form")


def like_bottom(shape: Sequence[int], layer: Layer) -> list[int]:
    """The shape of a Reshape of the layer's first bottom, with 0, "as it is", for a first axis that does not change."""
    is_same = bool(shape) and shape[:1] == tuple(layer.bottom_shapes[0][:1])
    return [0, *shape[1:]] if is_same else list(shape)
