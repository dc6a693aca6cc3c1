"""The table that the zoo's files fill."""

from __future__ import annotations

from collections.abc import Callable

from netgen.datasets import DataSet
from netgen.detector import Detector
from prototxt.registry import Registry

MODELS: Registry[Callable[[DataSet], Detector]] = Registry("model", "called")
