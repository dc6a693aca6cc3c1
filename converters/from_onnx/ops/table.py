"""The table that the family files fill."""

from __future__ import annotations

from collections.abc import Callable

from converters.from_onnx.builder import Step
from prototxt.registry import Registry

# LAYERS[op](step) adds the layers of one node and returns the blobs of its outputs.
LAYERS: Registry[Callable[[Step], list[str]]] = Registry("Caffe form", "for operator")
