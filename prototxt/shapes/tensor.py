"""Layers that move, join, cut, add up or reorder values."""

from __future__ import annotations

from math import prod

from prototxt.shapes.table import SHAPES, ShapeError, axis_of, maps_hw, need


@SHAPES.register("Concat")
def concat(p, bottoms):
    if not bottoms:
        raise ShapeError("it has no bottom")
    axis = axis_of(p.concat_dim if p.HasField("concat_dim") else p.axis, bottoms[0])
    others = {(*shape[:axis], *shape[axis + 1 :]) for shape in bottoms}
    if len(others) > 1 or len({len(shape) for shape in bottoms}) > 1:
        raise ShapeError(f"the bottoms differ outside axis {axis}, along which they are joined")
    return [(*bottoms[0][:axis], sum(shape[axis] for shape in bottoms), *bottoms[0][axis + 1 :])]


@SHAPES.register("Slice")
def slice_(p, bottoms):
    need(bottoms, 1)
    axis = axis_of(p.slice_dim if p.HasField("slice_dim") else p.axis, bottoms[0])
    size = bottoms[0][axis]
    points = [0, *p.slice_point, size]
    if any(b <= a for a, b in zip(points, points[1:])):
        raise ShapeError(f"slice_point {list(p.slice_point)} must rise and stay below {size}")
    return [(*bottoms[0][:axis], b - a, *bottoms[0][axis + 1 :]) for a, b in zip(points, points[1:])]


@SHAPES.register("Split")
def split(p, bottoms):
    need(bottoms, 1)
    return [bottoms[0]] * len(p.top)


@SHAPES.register("Silence")
def silence(p, bottoms):  # reads what nobody else does, so that it is no output
    return []


@SHAPES.register("Eltwise")
def eltwise(p, bottoms):
    if len(bottoms) < 2:
        raise ShapeError(f"it has {len(bottoms)} bottoms but takes at least 2")
    if len(set(bottoms)) > 1:
        raise ShapeError("the bottoms differ; an Eltwise needs equal shapes")
    if p.coeff and len(p.coeff) != len(bottoms):
        raise ShapeError(f"{len(p.coeff)} coeff for {len(bottoms)} bottoms; give none or one for each")
    if p.coeff and p.operation == p.PROD:
        raise ShapeError("coeff has no meaning with PROD")
    return [bottoms[0]]


@SHAPES.register("Permute")
def permute(p, bottoms):
    need(bottoms, 1)
    order = permutation(p, len(bottoms[0]))
    return [tuple(bottoms[0][axis] for axis in order)]


def permutation(p, axes: int) -> list[int]:
    """The full order of a Permute: axes it does not name follow in their old order."""
    order = list(p.order)
    if len(set(order)) < len(order) or any(axis >= axes for axis in order):
        raise ShapeError(f"order {order} is no permutation of {axes} axes")
    return order + [axis for axis in range(axes) if axis not in order]


@SHAPES.register("Transpose")
def transpose(p, bottoms):
    need(bottoms, 1)
    if sorted(p.dim) != list(range(len(bottoms[0]))):
        raise ShapeError(f"dim {list(p.dim)} is no order of {len(bottoms[0])} axes")
    return [tuple(bottoms[0][axis] for axis in p.dim)]


@SHAPES.register("Reverse")
def reverse(p, bottoms):
    need(bottoms, 1)
    axis_of(p.axis, bottoms[0])
    return [bottoms[0]]


@SHAPES.register("Flatten")
def flatten(p, bottoms):
    need(bottoms, 1)
    start, end = axis_of(p.axis, bottoms[0]), axis_of(p.end_axis, bottoms[0])
    if end < start:
        raise ShapeError(f"end_axis {p.end_axis} lies before axis {p.axis}")
    return [(*bottoms[0][:start], prod(bottoms[0][start : end + 1]), *bottoms[0][end + 1 :])]


@SHAPES.register("Reshape")
def reshape(p, bottoms):
    need(bottoms, 1)
    start = axis_of(p.axis, bottoms[0], end=True)  # -1 is AFTER the last axis
    end = len(bottoms[0]) if p.num_axes == -1 else start + p.num_axes
    if end > len(bottoms[0]):
        raise ShapeError(f"axis {p.axis} and num_axes {p.num_axes} reach beyond its {len(bottoms[0])} axes")
    dims, replaced = [int(d) for d in p.shape.dim], bottoms[0][start:end]
    if dims.count(-1) > 1 or any(d < -1 for d in dims):
        raise ShapeError(f"shape {dims} may hold one -1 and no other negative number")
    for i, dim in enumerate(dims):
        if dim == 0:
            if start + i >= len(bottoms[0]):
                raise ShapeError(f"shape {dims}: 0 copies axis {start + i}, which the bottom lacks")
            dims[i] = bottoms[0][start + i]
    before, after = bottoms[0][:start], bottoms[0][end:]
    if -1 in dims:
        known = prod(d for d in dims if d != -1)
        if known == 0 or prod(replaced) % known:
            raise ShapeError(f"shape {dims}: {prod(replaced)} values do not divide by {known}")
        dims[dims.index(-1)] = prod(replaced) // known
    if prod(dims) != prod(replaced):
        raise ShapeError(f"shape {dims} holds {prod(dims)} values, the bottom {prod(replaced)}")
    return [(*before, *dims, *after)]


@SHAPES.register("Crop")
def crop(p, bottoms):  # [(N, C, H, W), the reference]
    need(bottoms, 2)
    axis = axis_of(p.axis, bottoms[0])
    offsets = crop_offsets(p, bottoms[0])
    out = list(bottoms[0])
    for i in range(axis, len(out)):
        if offsets[i] + bottoms[1][i] > out[i]:
            raise ShapeError(f"axis {i}: offset {offsets[i]} and size {bottoms[1][i]} reach beyond {out[i]}")
        out[i] = bottoms[1][i]
    return [tuple(out)]


def crop_offsets(p, bottom) -> list[int]:
    """Where a Crop starts on each axis (0 on the axes before `p.axis`)."""
    axis = axis_of(p.axis, bottom)
    count = len(bottom) - axis
    if len(p.offset) not in (0, 1, count):
        raise ShapeError(f"{len(p.offset)} offsets for {count} axes; give none, one or one for each")
    offsets = list(p.offset) if len(p.offset) == count else list(p.offset or [0]) * count
    return [0] * axis + offsets


@SHAPES.register("Tile")
def tile(p, bottoms):
    need(bottoms, 1)
    axis = axis_of(p.axis, bottoms[0])
    return [(*bottoms[0][:axis], bottoms[0][axis] * p.tiles, *bottoms[0][axis + 1 :])]


@SHAPES.register("Reduction")
def reduction(p, bottoms):
    need(bottoms, 1)
    return [bottoms[0][: axis_of(p.axis, bottoms[0])]]


@SHAPES.register("ArgMax")
def arg_max(p, bottoms):
    need(bottoms, 1)
    axis = axis_of(p.axis, bottoms[0]) if p.HasField("axis") else None
    values = prod(bottoms[0][1:]) if axis is None else bottoms[0][axis]
    if not 1 <= p.top_k <= values:
        raise ShapeError(f"top_k {p.top_k} is not in 1 to {values}, the values that it picks from")
    if axis is not None:
        return [(*bottoms[0][:axis], p.top_k, *bottoms[0][axis + 1 :])]
    return [(bottoms[0][0], 2 if p.out_max_val else 1, p.top_k)]


@SHAPES.register("ShuffleChannel")
def shuffle_channel(p, bottoms):  # [(N, C, …)]
    need(bottoms, 1)
    if p.group < 1 or bottoms[0][1] % p.group:
        raise ShapeError(f"group {p.group} does not divide its {bottoms[0][1]} channels")
    return [bottoms[0]]


@SHAPES.register("Reorg")
def reorg(p, bottoms):  # [(N, C, H, W)] -> [(N, C * s * s, H / s, W / s)]; reverse: [(N, C / (s * s), H * s, W * s)]
    need(bottoms, 1)
    (height, width), channels, cells = maps_hw(bottoms[0]), bottoms[0][1], p.stride * p.stride
    if p.stride < 1 or channels % cells:
        raise ShapeError(f"the {cells} cells of stride {p.stride} do not divide its {channels} channels")
    if p.reverse:
        return [(bottoms[0][0], channels // cells, height * p.stride, width * p.stride)]
    if height % p.stride or width % p.stride:
        raise ShapeError(f"stride {p.stride} does not divide its height {height} and width {width}")
    return [(bottoms[0][0], channels * cells, height // p.stride, width // p.stride)]


@SHAPES.register("Axpy")
def axpy(p, bottoms):  # [factors (N, C) or (N, C, 1, 1), x (N, C, …), y like x]
    need(bottoms, 3)
    factors, x, y = bottoms
    if x != y:
        raise ShapeError("the second and the third bottom differ")
    if factors[:2] != x[:2] or any(size != 1 for size in factors[2:]) or len(factors) not in (2, len(x)):
        raise ShapeError("the first bottom must have one factor for each channel of the second")
    return [x]


@SHAPES.register("Interp")
def interp(p, bottoms):  # [(N, C, H, W)]
    need(bottoms, 1 + p.by_blob)
    cut_hw = [size + p.pad_beg + p.pad_end for size in maps_hw(bottoms[0])]
    if min(cut_hw) < 1:
        raise ShapeError("pad_beg and pad_end leave nothing of the bottom")
    return [(*bottoms[0][:2], *interp_hw(p, cut_hw, bottoms))]


def interp_hw(p, cut_hw, bottoms):
    """The size that an Interp gives maps of `cut_hw`, what is left of the bottom's."""
    if p.by_blob:
        return maps_hw(bottoms[1])
    return p.size_hw or tuple((size - 1) // p.shrink * p.zoom + 1 for size in cut_hw)


@SHAPES.register("Upsample")
def upsample(p, bottoms):  # [(N, C, H, W)], and the mask of a pooling
    need(bottoms, 1, 2)
    size_hw = maps_hw(bottoms[0])
    if p.by_mask and bottoms[1] != bottoms[0]:
        raise ShapeError("the mask must have the shape of the first bottom")
    out_hw = p.size_hw or [size * factor - less for size, factor, less in zip(size_hw, p.factor_hw, p.less_hw)]
    return [(*bottoms[0][:2], *out_hw)]
