"""Table 1: the shape rule of every layer type, and the shapes of its learned blobs.

A rule takes the layer's resolved parameters and its bottoms' shapes: `rule(p, bottoms) -> tops`.
It raises ShapeError with the reason when they do not fit; the graph adds the layer and its line.
The families (conv, pooling, …) have the same names in the PyTorch and ONNX tables.
"""

from prototxt.shapes.table import BLOBS, SHAPES, SOURCES, Shape, ShapeError, UnknownShape

from prototxt.shapes import activation, conv, data, detection, loss, norm, pooling, recurrent, roi, tensor, yolo  # isort: skip  # noqa: F401

__all__ = ["BLOBS", "SHAPES", "SOURCES", "Shape", "ShapeError", "UnknownShape"]
