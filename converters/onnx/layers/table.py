"""The table that the family files fill."""

from __future__ import annotations

from collections.abc import Callable

from converters.onnx.builder import Builder
from prototxt.graph import Layer
from prototxt.registry import Registry

# NODES[type](build, layer, bottoms) adds the layer's nodes and returns the values of its tops.
NODES: Registry[Callable[[Builder, Layer, list[str]], list[str]]] = Registry("ONNX form")
