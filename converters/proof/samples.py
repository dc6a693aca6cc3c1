"""What a net is run on when implementations of it are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Sample:
    """One input of a net, in the forms that its implementations take.

    Attributes:
        name: what reports call it: a picture's path, or "random 0".
        arrays: input blob -> float32, of the shape that the net says or of another.
        pixels: of inputs that are made from pictures, what they are made from: uint8 [N, H, W, C], channels B, G, R or
            grey.
        path: the picture's file, if it comes from one.
    """

    name: str
    arrays: Arrays
    pixels: Arrays = field(default_factory=dict)
    path: Path | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.arrays.items()}


def as_samples(inputs: Iterable[Sample | Arrays]) -> list[Sample]:
    """Samples of samples or of mere arrays."""
    return [one if isinstance(one, Sample) else Sample(f"input {i}", one) for i, one in enumerate(inputs)]
