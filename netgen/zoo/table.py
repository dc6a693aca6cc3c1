"""The table that the zoo's files fill."""

from __future__ import annotations

from collections.abc import Callable

from netgen.detector import Detector
from prototxt.errors import UserError, nearest
from prototxt.registry import Registry

# Called with the DataSet; keyword parameters are the model's options.
MODELS: Registry[Callable[..., Detector]] = Registry("model", "called")


def check_option(name: str, value: str, known: tuple[str, ...]) -> str:
    """The value itself. Raises UserError with the nearest when it is not among the `known`."""
    if value not in known:
        raise UserError(f'--{name} is "{value}"{nearest(value, known)}', expected="one of " + ", ".join(known))
    return value
