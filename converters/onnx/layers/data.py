"""Inputs become inputs of the ONNX graph (`converters.onnx.export`); a data layer that reads a database has no form."""

from __future__ import annotations

from converters.onnx.builder import Builder
from converters.onnx.layers.table import NODES
from prototxt.graph import Layer


@NODES.register("Input")
def input_(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return [build.unique(top) for top in layer.tops]
