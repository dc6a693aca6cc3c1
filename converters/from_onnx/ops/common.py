"""Steps that many operators are made of."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from converters.from_onnx.builder import Step
from prototxt.graph import Shape


def affine(step: Step, x: str, scale: float, shift: float) -> str:
    """scale · x + shift with two numbers."""
    if scale == 1 and shift == 0:
        return x
    return step.layer("Power", x, power_param={"scale": scale, "shift": shift})


def power(step: Step, x: str, exponent: float) -> str:
    """x to the power of a number."""
    return x if exponent == 1 else step.layer("Power", x, power_param={"power": exponent})


def at_least(step: Step, x: str, low: float) -> str:
    """max(x, low), without rounding."""
    if low == 0:
        return step.layer("ReLU", x)
    limit = step.layer("Power", x, name="low", power_param={"scale": 0, "shift": low})
    return step.layer("Eltwise", x, limit, eltwise_param={"operation": "MAX"})


def at_most(step: Step, x: str, high: float) -> str:
    """min(x, high), without rounding: −max(−x, −high)."""
    return affine(step, at_least(step, affine(step, x, -1, 0), -high), -1, 0)


def eltwise(step: Step, operation: str, blobs: Sequence[str], coeff: Sequence[float] = ()) -> str:
    """SUM, PROD or MAX of blobs of one shape."""
    return step.layer("Eltwise", *blobs, eltwise_param={"operation": operation, "coeff": coeff})


def reshape(step: Step, x: str, shape: Sequence[int]) -> str:
    """The same values in another shape; the batch is copied, so that the net can be given another."""
    before, shape = step.blob_shape(x), tuple(shape)
    if before == shape:
        return x
    if len(shape) == 2 < len(before) and before[0] == shape[0]:
        return step.layer("Flatten", x)
    dims = [0 if before and i == 0 and size == before[0] else size for i, size in enumerate(shape)]
    return step.layer("Reshape", x, reshape_param={"shape": {"dim": dims}})


def permute(step: Step, x: str, order: Sequence[int]) -> str:
    """The axes in another order."""
    return x if list(order) == list(range(len(order))) else step.layer("Permute", x, permute_param={"order": order})


def tile(step: Step, x: str, shape: Shape) -> str:
    """`x` repeated until it has `shape`, as ONNX broadcasts."""
    before = step.blob_shape(x)
    x = reshape(step, x, (1,) * (len(shape) - len(before)) + before)
    for axis, (size, wanted) in enumerate(zip(step.blob_shape(x), shape)):
        if size != wanted:
            x = step.layer("Tile", x, tile_param={"axis": axis, "tiles": wanted})
    return x


def slices(step: Step, x: str, axis: int, sizes: Sequence[int]) -> list[str]:
    """`x` cut along an axis; pieces that nobody reads are silenced when the net is complete."""
    if len(sizes) == 1:
        return [x]
    points = np.cumsum(sizes)[:-1].tolist()
    return step.layers("Slice", x, tops=len(sizes), slice_param={"axis": axis, "slice_point": points})


def cut(step: Step, x: str, axis: int, start: int, size: int) -> str:
    """The part of `x` from `start` on along an axis."""
    before = step.blob_shape(x)[axis]
    sizes = [start, size, before - start - size]
    pieces = slices(step, x, axis, [part for part in sizes if part])
    return pieces[1 if start else 0]


def core(shape: Shape, whole: Shape) -> tuple[int, Shape] | None:
    """Where a shape that broadcasts to `whole` says something: the first axis, and `whole` from there to the last one.

    None when all its sizes are 1.
    """
    aligned = (1,) * (len(whole) - len(shape)) + tuple(shape)
    own = [axis for axis, size in enumerate(aligned) if size != 1]
    return (own[0], whole[own[0] : own[-1] + 1]) if own else None


def multiply(step: Step, a: str, b: str) -> str:
    """The product of two blobs, which broadcast as in ONNX."""
    return _joined(step, "Scale", "PROD", a, b)


def add(step: Step, a: str, b: str) -> str:
    """The sum of two blobs, which broadcast as in ONNX."""
    return _joined(step, "Bias", "SUM", a, b)


def _joined(step: Step, kind: str, operation: str, a: str, b: str) -> str:
    """Eltwise where the shapes are the same; a layer with two bottoms where one repeats the other along some axes."""
    shapes = [step.blob_shape(a), step.blob_shape(b)]
    whole = np.broadcast_shapes(*shapes)
    if shapes[1] == whole != shapes[0]:
        a, b, shapes = b, a, shapes[::-1]
    place = core(shapes[1], whole)
    if shapes[0] == whole != shapes[1] and place is not None and prod(place[1]) == prod(shapes[1]):
        axis, part = place
        if not any(size > 1 for size in whole[:axis]):  # Caffe's own nets and most importers join from axis 0 on
            axis, part = 0, whole[: axis + len(part)]
        return step.layer(kind, a, reshape(step, b, part), **{f"{kind.lower()}_param": {"axis": axis}})
    return eltwise(step, operation, [tile(step, a, whole), tile(step, b, whole)])


def scale_by(step: Step, x: str, factor: np.ndarray) -> str:
    """`x` times a constant that broadcasts to its shape."""
    place = core(factor.shape, step.blob_shape(x))
    if place is None:
        return affine(step, x, float(factor.item()), 0)
    return step.layer("Scale", x, blobs=[_spread(step, factor, x)], scale_param=_axes(place))


def shift_by(step: Step, x: str, term: np.ndarray) -> str:
    """`x` plus a constant that broadcasts to its shape."""
    place = core(term.shape, step.blob_shape(x))
    if place is None:
        return affine(step, x, 1, float(term.item()))
    blob = _spread(step, term, x)
    # Not a Bias layer, which few importers know.
    return step.layer("Scale", x, blobs=[np.ones_like(blob), blob], scale_param=_axes(place) | {"bias_term": True})


def _axes(place: tuple[int, Shape]) -> dict[str, int]:
    return {"axis": place[0], "num_axes": len(place[1])}


def _spread(step: Step, array: np.ndarray, x: str) -> np.ndarray:
    """A constant as the blob of a Scale or Bias: without the axes along which it only repeats."""
    whole = step.blob_shape(x)
    axis, part = core(array.shape, whole) or (0, ())
    step.room(part, "factors")
    aligned = array.reshape((1,) * (len(whole) - array.ndim) + array.shape)
    inner = aligned.reshape(aligned.shape[axis : axis + len(part)])
    return np.broadcast_to(inner, part)


def as_maps(step: Step, x: str) -> str:
    """A blob of three axes as N x C x 1 x L; one of four as it is. Raises UserError for others."""
    shape = step.blob_shape(x)
    if len(shape) not in (3, 4):
        raise step.error(f"its input has {len(shape)} axes", expected="N x C x H x W or N x C x L")
    return x if len(shape) == 4 else reshape(step, x, (*shape[:2], 1, shape[2]))
