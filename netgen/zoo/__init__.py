"""Named models: a file per paper, a function per model, registered under its name on the command line."""

from __future__ import annotations

from dataclasses import replace

from netgen.datasets import VOC0712, DataSet
from netgen.detector import Detector
from netgen.zoo.table import MODELS

from netgen.zoo import scratchdet  # isort: skip  # noqa: F401

__all__ = ["MODELS", "build"]


def build(model: str, data: DataSet = VOC0712) -> Detector:
    """The model of that name for a data set. Raises UserError with the nearest name when there is none."""
    name = f"{model}_{data.name}" if data.name else model
    return replace(MODELS[model](data), name=name)
