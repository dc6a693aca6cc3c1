"""Table 2: the arithmetic of every layer type, in the families of `prototxt.shapes`."""

from converters.pytorch.layers.table import MODULES, CaffeLayer, Compute

from converters.pytorch.layers import activation, conv, data, detection, loss, norm, pooling, recurrent, roi, tensor  # isort: skip  # noqa: F401
from converters.pytorch.layers import yolo  # isort: skip  # noqa: F401

__all__ = ["MODULES", "CaffeLayer", "Compute"]
