"""ONNX → Caffe: a model of operators that have a Caffe form as deploy prototxt and caffemodel."""

from converters.from_onnx.convert import to_caffe
from converters.from_onnx.file import OnnxFile, read_onnx

__all__ = ["OnnxFile", "read_onnx", "to_caffe"]
