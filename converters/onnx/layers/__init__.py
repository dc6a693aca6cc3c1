"""Table 3: every layer type in standard ONNX operators, in the families of `prototxt.shapes`."""

from converters.onnx.layers.table import NODES

from converters.onnx.layers import activation, conv, data, detection, norm, pooling, recurrent, roi, tensor, yolo  # isort: skip  # noqa: F401

__all__ = ["NODES"]
