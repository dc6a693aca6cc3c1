"""prototxt and caffemodel as one ONNX model: standard operators only, post-processing inside."""

from converters.onnx.export import OPSET, to_onnx, write_onnx

__all__ = ["OPSET", "to_onnx", "write_onnx"]
