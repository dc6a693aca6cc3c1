"""Layers that move, join, cut, add up or reorder values."""

from __future__ import annotations

from functools import reduce
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.pytorch.layers.table import MODULES, Compute
from prototxt.graph import Layer
from prototxt.shapes.table import axis_of
from prototxt.shapes.tensor import crop_offsets, interp_hw, permutation


@MODULES.register("Concat")
def concat(layer: Layer) -> Compute:
    axis = layer.p.concat_dim if layer.p.HasField("concat_dim") else layer.p.axis
    return lambda *bottoms: torch.cat(bottoms, axis)


@MODULES.register("Slice")
def slice_(layer: Layer) -> Compute:
    axis = layer.p.slice_dim if layer.p.HasField("slice_dim") else layer.p.axis
    axis = axis_of(axis, layer.bottom_shapes[0])
    sizes = [shape[axis] for shape in layer.top_shapes]
    return lambda x: x.split(sizes, axis)


@MODULES.register("Split")
def split(layer: Layer) -> Compute:
    return lambda x: (x,) * len(layer.tops)


@MODULES.register("Silence")
def silence(layer: Layer) -> Compute:
    return lambda *bottoms: ()


@MODULES.register("Eltwise")
def eltwise(layer: Layer) -> Compute:
    p = layer.p
    if p.operation == p.PROD:
        return lambda *bottoms: reduce(torch.mul, bottoms)
    if p.operation == p.MAX:
        return _maximum
    if not p.coeff:
        return lambda *bottoms: reduce(torch.add, bottoms)
    return lambda *bottoms: reduce(torch.add, (x * factor for x, factor in zip(bottoms, p.coeff)))


def _maximum(first: Tensor, second: Tensor, *others: Tensor) -> Tensor:
    """The largest. At a tie the gradient goes to one bottom alone: the second before the first before the others."""
    top = torch.where(first > second, first, second)
    return reduce(lambda top, other: torch.where(other > top, other, top), others, top)


@MODULES.register("Permute")
def permute(layer: Layer) -> Compute:
    order = permutation(layer.p, len(layer.bottom_shapes[0]))
    return lambda x: x.permute(order).contiguous()


@MODULES.register("Transpose")
def transpose(layer: Layer) -> Compute:
    return lambda x: x.permute(*layer.p.dim).contiguous()


@MODULES.register("Reverse")
def reverse(layer: Layer) -> Compute:
    return lambda x: x.flip(layer.p.axis)


@MODULES.register("Flatten")
def flatten(layer: Layer) -> Compute:
    return lambda x: x.flatten(layer.p.axis, layer.p.end_axis)


@MODULES.register("Reshape")
def reshape(layer: Layer) -> Compute:
    p = layer.p
    start = axis_of(p.axis, layer.bottom_shapes[0], end=True)
    end = len(layer.bottom_shapes[0]) if p.num_axes == -1 else start + p.num_axes

    def forward(x: Tensor) -> Tensor:  # 0 copies a size; -1 is what is left
        dims = [dim or x.shape[start + i] for i, dim in enumerate(p.shape.dim)]
        return x.reshape(*x.shape[:start], *dims, *x.shape[end:])

    return forward


@MODULES.register("Crop")
def crop(layer: Layer) -> Compute:
    offsets = crop_offsets(layer.p, layer.bottom_shapes[0])
    first = axis_of(layer.p.axis, layer.bottom_shapes[0])

    def forward(x: Tensor, reference: Tensor) -> Tensor:
        for axis in range(first, x.dim()):
            x = x.narrow(axis, offsets[axis], reference.shape[axis])
        return x

    return forward


@MODULES.register("Tile")
def tile(layer: Layer) -> Compute:
    axis = axis_of(layer.p.axis, layer.bottom_shapes[0])
    if layer.p.tiles < 1:
        raise layer.error("tiles is missing or 0", expected="at least 1")
    return lambda x: torch.cat([x] * layer.p.tiles, axis)


@MODULES.register("Reduction")
def reduction(layer: Layer) -> Compute:
    p = layer.p
    axis = axis_of(p.axis, layer.bottom_shapes[0])
    reduced = {
        p.SUM: lambda x: x.sum(-1),
        p.ASUM: lambda x: x.abs().sum(-1),
        p.SUMSQ: lambda x: x.square().sum(-1),
        p.MEAN: lambda x: x.mean(-1),
    }[p.operation]
    return lambda x: reduced(x.reshape(*x.shape[:axis], -1)) * p.coeff


def _largest(x: Tensor, count: int, axis: int) -> tuple[Tensor, Tensor]:
    """The `count` largest values along `axis` and where they stand; of equal values Caffe takes the last first."""
    values, order = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    return values.narrow(axis, 0, count), x.shape[axis] - 1 - order.narrow(axis, 0, count)


@MODULES.register("ArgMax")
def arg_max(layer: Layer) -> Compute:
    p = layer.p

    def forward(x: Tensor) -> Tensor:
        x = x.detach()
        if p.HasField("axis"):
            values, indices = _largest(x, p.top_k, p.axis)
            return values if p.out_max_val else indices.to(x.dtype)
        values, indices = _largest(x.flatten(1), p.top_k, 1)
        pair = (indices.to(x.dtype), values) if p.out_max_val else (indices.to(x.dtype),)
        return torch.stack(pair, 1)

    return forward


@MODULES.register("ShuffleChannel")
def shuffle_channel(layer: Layer) -> Compute:  # channels 0…5 of 2 groups: 0 3 1 4 2 5
    return lambda x: x.unflatten(1, (layer.p.group, -1)).transpose(1, 2).flatten(1, 2)


@MODULES.register("Reorg")
def reorg(layer: Layer) -> Compute:  # Source: darknet's reorg, in YOLO9000 (2017) the passthrough layer
    stride, (channels, height, width) = layer.p.stride, layer.bottom_shapes[0][1:]
    inner, top = channels // stride**2, layer.top_shapes[0][1:]

    def forward(x: Tensor) -> Tensor:  # the bottom's values as maps of inner x H·s x W·s, whose cells become channels
        maps = x.reshape(-1, inner, height, stride, width, stride)
        return maps.permute(0, 3, 5, 1, 2, 4).reshape(-1, *top)

    def backward(x: Tensor) -> Tensor:
        maps = x.reshape(-1, stride, stride, inner, height, width)
        return maps.permute(0, 3, 4, 1, 5, 2).reshape(-1, *top)

    return backward if layer.p.reverse else forward


@MODULES.register("Axpy")
def axpy(layer: Layer) -> Compute:  # factor · x + y, a factor for each channel
    return lambda factor, x, y: factor.reshape(*factor.shape[:2], *[1] * (x.dim() - 2)) * x + y


@MODULES.register("Interp")
def interp(layer: Layer) -> Compute:  # [N, C, H, W] -> [N, C, H', W']; the corners stay the corners
    p = layer.p

    def forward(x: Tensor, *others: Tensor) -> Tensor:
        x = x[:, :, -p.pad_beg : x.shape[2] + p.pad_end, -p.pad_beg : x.shape[3] + p.pad_end]
        size_hw = interp_hw(p, x.shape[2:], [bottom.shape for bottom in (x, *others)])
        return F.interpolate(x, tuple(size_hw), mode="bilinear", align_corners=True)

    return forward


@MODULES.register("Upsample")
def upsample(layer: Layer) -> Compute:  # [N, C, H, W] -> [N, C, H', W']
    p = layer.p
    if not p.by_mask:
        down, right = p.factor_hw
        return lambda x: x.repeat_interleave(down, 2).repeat_interleave(right, 3)

    def forward(x: Tensor, mask: Tensor) -> Tensor:
        out_hw = p.size_hw or [s * f - less for s, f, less in zip(x.shape[2:], p.factor_hw, p.less_hw)]
        places = mask.detach().flatten(2).long()
        if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < prod(out_hw):
            raise layer.error(
                f"its mask points at value {int(places.max())} of planes of {prod(out_hw)}",
                expected="the mask of a pooling whose bottom has the size of this top",
            )
        planes = x.new_zeros(*x.shape[:2], prod(out_hw))
        return planes.scatter(2, places, x.flatten(2)).unflatten(2, tuple(out_hw))

    return forward
