"""The table that the families of operators fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prototxt.registry import Registry

# OPERATORS[name](model, *arguments) adds the ONNX nodes of one of PyTorch's operators; the arguments are its own, the
# tensors among them `Value`s or, where they do not depend on the inputs, tensors. It returns its value or values.
OPERATORS: Registry[Callable[..., Any]] = Registry("rule", "for operator")
