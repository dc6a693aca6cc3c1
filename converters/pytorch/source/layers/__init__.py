"""Table 2b: the stand-alone PyTorch code of every layer type that a deployed net may hold."""

from converters.pytorch.source.layers.table import FORMS, Form

from converters.pytorch.source.layers import activation, conv, detection, norm, pooling, recurrent, roi, tensor, yolo  # isort: skip  # noqa: F401

__all__ = ["FORMS", "Form"]
