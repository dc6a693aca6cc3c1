"""The codes in which nets predict boxes, in standard operators. A box is xmin, ymin, xmax, ymax in 0–1."""

from __future__ import annotations

from collections.abc import Callable

from converters.onnx.builder import LayerBuilder
from prototxt.schema import PriorBoxParameter as Code


def decode(build: LayerBuilder, code_type: int, priors: str, offsets: str) -> str:
    """The boxes [S, P, 4] that a net means by `offsets` [S, P, 4], their variances multiplied in.

    Args:
        code_type: CORNER, CORNER_SIZE or CENTER_SIZE.
        priors: boxes [P, 4], constant, or [S, P, 4], which a first stage has moved.
    """
    return _DECODE[code_type](build, priors, offsets)


def _corner(build: LayerBuilder, priors: str, offsets: str) -> str:
    return build.node("Add", priors, offsets)


def _corner_size(build: LayerBuilder, priors: str, offsets: str) -> str:
    _, size = _centre_size(build, priors)
    return build.node("Add", priors, build.node("Mul", offsets, build.node("Concat", size, size, axis=-1)))


def _center_size(build: LayerBuilder, priors: str, offsets: str) -> str:
    to_centre, to_size = _halves(build, offsets)
    centre, size = _centre_size(build, priors)
    centre = build.node("Add", build.node("Mul", to_centre, size), centre)
    half = build.node("Mul", build.node("Mul", build.node("Exp", to_size), size), build.floats(0.5, "half"))
    return build.node("Concat", build.node("Sub", centre, half), build.node("Add", centre, half), axis=-1)


_DECODE: dict[int, Callable[[LayerBuilder, str, str], str]] = {
    Code.CORNER: _corner,
    Code.CORNER_SIZE: _corner_size,
    Code.CENTER_SIZE: _center_size,
}


def _centre_size(build: LayerBuilder, boxes: str) -> tuple[str, str]:
    """Centres and sizes [..., 2] of boxes [..., 4]; constants where the boxes are."""
    array = build.array(boxes)
    if array is not None:
        low, high = array[..., :2], array[..., 2:]
        return build.floats((low + high) / 2, "centres"), build.floats(high - low, "sizes")
    low, high = _halves(build, boxes)
    centre = build.node("Mul", build.node("Add", low, high), build.floats(0.5, "half"))
    return centre, build.node("Sub", high, low)


def _halves(build: LayerBuilder, values: str) -> list[str]:
    """The first and the last two of the last axis."""
    return build.node("Split", values, build.ints([2, 2], "halves"), outputs=2, axis=-1)
