"""ONNX's operators as Caffe layers, in families."""

from converters.from_onnx.ops.table import LAYERS

from converters.from_onnx.ops import activation, arithmetic, conv, norm, pooling, reduction, resize, tensor  # isort: skip  # noqa: F401

__all__ = ["LAYERS"]
