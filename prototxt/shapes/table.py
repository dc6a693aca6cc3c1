"""The two tables that the family files fill, and what their rules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prototxt.registry import Registry

Shape = tuple[int, ...]
Rule = Callable[[Any, Sequence[Shape]], "list[Shape]"]

SHAPES: Registry[Rule] = Registry("shape rule")
BLOBS: Registry[Rule] = Registry("blob rule")

# Layers whose tops are fed from outside the net. All others without bottoms make their own values.
SOURCES = ("Input", "MemoryData", "AnnotatedData", "Data", "ImageData", "HDF5Data", "DummyData")


class ShapeError(ValueError):
    """Bottoms that do not fit a layer."""


class UnknownShape(ShapeError):
    """A shape that the data tell, not the net: whoever opens them gives it to the graph (`input_shapes`)."""


def axis_of(axis: int, shape: Shape, *, end: bool = False) -> int:
    """`axis` counted from the front; negative ones count from the end, as in Caffe.

    Args:
        end: allow the position after the last axis, too (an insertion point).
    """
    limit = len(shape) + end
    canonical = axis + limit if axis < 0 else axis
    if not 0 <= canonical < limit:
        raise ShapeError(f"axis {axis} is out of range for {len(shape)} axes")
    return canonical


def need(bottoms: Sequence[Shape], least: int, most: int | None = None) -> None:
    """Raise ShapeError unless there are `least` to `most` bottoms (exactly `least` without `most`)."""
    most = least if most is None else most
    if not least <= len(bottoms) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ShapeError(f"it has {len(bottoms)} bottoms but takes {wanted}")


def maps_hw(bottom: Shape) -> tuple[int, int]:
    """Height and width of a bottom that must be N x C x H x W."""
    if len(bottom) != 4:
        raise ShapeError(f"it takes N x C x H x W, not {len(bottom)} axes")
    return bottom[2], bottom[3]
