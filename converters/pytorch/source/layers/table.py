"""The table that the family files fill, and how numbers are written in the code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prototxt.graph import Layer
from prototxt.registry import Registry

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Form:
    """A layer as PyTorch code.

    Attributes:
        call: what gives its top or, with a comma, its tops. `{0}`, `{1}` … stand for its bottoms, `{all}` for the list
            of them, `{me}` for the attribute of the net that bears its name.
        module: what that attribute is in `__init__`; empty when the layer needs none.
        buffer: a tensor that the attribute is instead, computed once in `__init__`.
        names: the tensors of its state_dict, one for each blob.
        save, load: blobs -> state_dict and back where they are more than a name each.
        ignored: what its state_dict holds besides and says nothing.
        opens: whether it begins a line: a reader looks for it.
    """

    call: str
    module: str = ""
    buffer: str = ""
    names: tuple[str, ...] = ()
    save: Callable[[Sequence[np.ndarray]], State] | None = None
    load: Callable[[State], Sequence[np.ndarray]] | None = None
    ignored: tuple[str, ...] = ()
    opens: bool = False


# FORMS[type](layer) gives its code.
FORMS: Registry[Callable[[Layer], Form]] = Registry("stand-alone PyTorch form")


def number(value: float) -> str:
    """The shortest text that rounds to the float32 `value`: 2, 0.05, 1e-05."""
    value = np.float32(value)
    if not np.isfinite(value):
        return f'float("{value}")'
    return str(int(value)) if value == int(value) and abs(value) < 1e9 else repr(float(str(value)))


def pair(values: Sequence[int]) -> str:
    """A (height, width): `3` when both are equal, else `(3, 1)`."""
    return str(values[0]) if values[0] == values[1] else str(tuple(values))


def numbers(values: Sequence[float]) -> str:
    """A tuple of numbers."""
    return f"({', '.join(map(number, values))}{',' if len(values) == 1 else ''})"


def call(function: str, *arguments: str, **options: tuple[str, str]) -> str:
    """A call with its keyword arguments, each (text, text of the default), without those that are the default."""
    given = [f"{name}={text}" for name, (text, default) in options.items() if text != default]
    return f"{function}({', '.join([*arguments, *given])})"
