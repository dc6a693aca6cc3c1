"""Operators that move, join, cut, repeat or resize."""

from __future__ import annotations

from collections.abc import Sequence

from converters.pytorch.trace.model import Model, Value, refuse
from converters.pytorch.trace.table import OPERATORS


def _reshape(m: Model, x, shape: Sequence[int]) -> Value:
    return m.add("Reshape", x, list(shape), shape=shape)


@OPERATORS.register("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze")
def reshape(m: Model, x, *_) -> Value:
    return _reshape(m, x, m.shape)


@OPERATORS.register("permute")
def permute(m: Model, x, order) -> Value:
    return m.add("Transpose", x, perm=[axis % len(x.shape) for axis in order])


@OPERATORS.register("transpose")
def transpose(m: Model, x, first, second) -> Value:
    order = list(range(len(x.shape)))
    order[first], order[second] = order[second], order[first]
    return m.add("Transpose", x, perm=order)


@OPERATORS.register("t")
def t(m: Model, x) -> Value:
    return m.add("Transpose", x, perm=list(range(len(x.shape)))[::-1])


@OPERATORS.register("expand", "expand_as", "broadcast_to")
def expand(m: Model, x, *_, **__) -> Value:
    return m.add("Expand", x, list(m.shape))


@OPERATORS.register("repeat")
def repeat(m: Model, x, counts) -> Value:
    if len(counts) > len(x.shape):
        x = _reshape(m, x, (*[1] * (len(counts) - len(x.shape)), *x.shape))
    return m.add("Tile", x, list(counts))


@OPERATORS.register("cat")
def cat(m: Model, tensors, axis=0) -> Value:
    return m.add("Concat", *tensors, axis=axis % len(m.shape))


@OPERATORS.register("stack")
def stack(m: Model, tensors, axis=0) -> Value:
    axis %= len(m.shape)
    one = (*m.shape[:axis], 1, *m.shape[axis + 1 :])
    return m.add("Concat", *[_reshape(m, tensor, one) for tensor in tensors], axis=axis)


@OPERATORS.register("split", "split_with_sizes", "chunk")
def split(m: Model, x, _, axis=0) -> list[Value]:
    return _split(m, x, axis)


def _split(m: Model, x: Value, axis: int) -> list[Value]:
    axis %= len(x.shape)
    return m.add_several("Split", x, [shape[axis] for shape in m.shapes], shapes=m.shapes, axis=axis)


@OPERATORS.register("unbind")
def unbind(m: Model, x, axis=0) -> list[Value]:
    axis %= len(x.shape)
    one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    pieces = m.add_several("Split", x, [1] * len(m.shapes), shapes=[one] * len(m.shapes), axis=axis)
    return [_reshape(m, piece, shape) for piece, shape in zip(pieces, m.shapes)]


@OPERATORS.register("slice")
def slice_(m: Model, x, axis=0, start=None, end=None, step=1) -> Value:
    first, last, by = slice(start, end, step).indices(x.shape[axis])
    if (first, last, by) == (0, x.shape[axis], 1):
        return m.add("Identity", x)
    return m.add("Slice", x, [first], [last], [axis % len(x.shape)], [by])


@OPERATORS.register("select")
def select(m: Model, x, axis, index) -> Value:
    axis, index = axis % len(x.shape), index % x.shape[axis]
    one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    return _reshape(m, m.add("Slice", x, [index], [index + 1], [axis], shape=one), m.shape)


@OPERATORS.register("index_select")
def index_select(m: Model, x, axis, index) -> Value:
    return m.add("Gather", x, index, axis=axis % len(x.shape))


@OPERATORS.register("constant_pad_nd", "pad")
def pad(m: Model, x, amounts, *rest) -> Value:
    mode, value = rest if len(rest) == 2 else ("constant", rest[0] if rest else 0)
    if mode != "constant" or value:
        raise refuse(f"it pads with {mode if mode != 'constant' else value}", "zeros")
    before, after = list(amounts[::2]), list(amounts[1::2])  # of the last axis first
    none = [0] * (len(x.shape) - len(before))
    return m.add("Pad", x, [*none, *before[::-1], *none, *after[::-1]], mode="constant")


@OPERATORS.register("upsample_nearest2d")
def upsample_nearest(m: Model, x, size=None, *scales) -> Value:
    return _resize(m, x, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@OPERATORS.register("upsample_bilinear2d")
def upsample_bilinear(m: Model, x, size, align_corners, *scales) -> Value:
    mode = "align_corners" if align_corners else "pytorch_half_pixel"
    return _resize(m, x, scales, mode="linear", coordinate_transformation_mode=mode)


def _resize(m: Model, x: Value, scales: Sequence, **attributes: str) -> Value:
    """A resize by the factors that the module was given, as PyTorch takes these and not the quotient of the sizes."""
    given = scales[0] if scales and isinstance(scales[0], (list, tuple)) else scales
    if given and None not in given:
        import torch

        return m.add("Resize", x, None, torch.tensor([1.0, 1.0, *given]), **attributes)
    return m.add("Resize", x, None, None, list(m.shape), **attributes)


@OPERATORS.register("pixel_shuffle")
def pixel_shuffle(m: Model, x, factor) -> Value:
    return m.add("DepthToSpace", x, blocksize=factor, mode="CRD")


@OPERATORS.register("pixel_unshuffle")
def pixel_unshuffle(m: Model, x, factor) -> Value:
    n, c, h, w = x.shape
    parts = _reshape(m, x, (n, c, h // factor, factor, w // factor, factor))
    moved = (n, c, factor, factor, h // factor, w // factor)
    return _reshape(m, m.add("Transpose", parts, perm=[0, 1, 3, 5, 2, 4], shape=moved), m.shape)


@OPERATORS.register("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(m: Model, x, groups) -> Value:
    n, c, h, w = x.shape
    parts = _reshape(m, x, (n, groups, c // groups, h, w))
    moved = m.add("Transpose", parts, perm=[0, 2, 1, 3, 4], shape=(n, c // groups, groups, h, w))
    return _reshape(m, moved, m.shape)
