"""Named models: a file per paper, a function per model, registered under its name on the command line."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from netgen.datasets import VOC0712, DataSet
from netgen.detector import Detector
from netgen.zoo.table import MODELS
from prototxt.errors import UserError

# isort: off
from netgen.zoo import dsod  # noqa: F401
from netgen.zoo import grp_dsod  # noqa: F401
from netgen.zoo import mobilenet  # noqa: F401
from netgen.zoo import refinedet  # noqa: F401
from netgen.zoo import scratchdet  # noqa: F401
from netgen.zoo import scratchdet_mmdet  # noqa: F401
from netgen.zoo import ssd  # noqa: F401

__all__ = ["MODELS", "build", "options"]


def options(model: str) -> dict[str, Any]:
    """The options of a model and their defaults: the keyword parameters of its function."""
    parameters = inspect.signature(MODELS[model]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(model: str, data: DataSet = VOC0712, **given: Any) -> Detector:
    """The model of that name for a data set.

    Args:
        given: options of the model, as `options` lists them. `corrected` builds the net that the paper describes
            where the release differs, so it is understood by every model: where nothing differs, nothing changes.

    Raises:
        UserError: no such model, with the nearest name; an option that it does not have.
    """
    known = options(model)
    for name in given:
        if name not in known and name != "corrected":
            others = [other for other in MODELS if name in options(other)]
            raise UserError(
                f'"{model}" has no option --{name.replace("_", "-")}',
                expected="one of the models that have it: " + ", ".join(others) if others else "",
            )
    name = f"{model}_{data.name}" if data.name else model
    return replace(MODELS[model](data, **{key: value for key, value in given.items() if key in known}), name=name)
