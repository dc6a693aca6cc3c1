"""What a program feeds becomes an input of the ONNX graph (`converters.onnx.export`); what reads a file has no form."""

from __future__ import annotations

from converters.onnx.builder import Builder
from converters.onnx.layers.table import NODES
from prototxt.graph import Layer


@NODES.register("Input", "MemoryData")
def input_(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return [build.unique(top) for top in layer.tops]
