"""Layers that move, join, cut, add up or reorder values."""

from __future__ import annotations

from functools import reduce

from converters.pytorch.source.layers.table import FORMS, Form, number
from prototxt.graph import Layer
from prototxt.shapes.table import axis_of
from prototxt.shapes.tensor import crop_offsets, permutation


@FORMS.register("Concat")
def concat(layer: Layer) -> Form:
    axis = layer.p.concat_dim if layer.p.HasField("concat_dim") else layer.p.axis
    return Form("{0}" if len(layer.bottoms) == 1 else f"torch.cat([{{all}}], {axis})")


@FORMS.register("Slice")
def slice_(layer: Layer) -> Form:
    axis = axis_of(layer.p.slice_dim if layer.p.HasField("slice_dim") else layer.p.axis, layer.bottom_shapes[0])
    sizes = [shape[axis] for shape in layer.top_shapes]
    return Form("{0}" if len(sizes) == 1 else f"{{0}}.split({sizes}, {axis})")


@FORMS.register("Split")
def split(layer: Layer) -> Form:
    return Form("{0}")  # a copy for each reader, which PyTorch does without


@FORMS.register("Silence")
def silence(layer: Layer) -> Form:
    return Form("")  # takes what nobody reads


@FORMS.register("ShuffleChannel")
def shuffle_channel(layer: Layer) -> Form:
    return Form(f"F.channel_shuffle({{0}}, {layer.p.group})")


@FORMS.register("Axpy")
def axpy(layer: Layer) -> Form:  # factor · x + y
    return Form("scale({1}, {0}.flatten(1), 0) + {2}")


@FORMS.register("Interp")
def interp(layer: Layer) -> Form:
    p, size_hw = layer.p, tuple(layer.top_shapes[0][2:])
    cut = f"[:, :, {_cut(p)}, {_cut(p)}]" if p.pad_beg or p.pad_end else ""
    return Form(f'F.interpolate({{0}}{cut}, {size_hw}, mode="bilinear", align_corners=True)')


def _cut(p) -> str:
    return f"{-p.pad_beg or ''}:{p.pad_end or ''}"


@FORMS.register("Upsample")
def upsample(layer: Layer) -> Form:
    p = layer.p
    if p.by_mask:
        return Form(f"put({{0}}, {{1}}, {tuple(layer.top_shapes[0][2:])})")
    down, right = p.factor_hw
    return Form(f"{{0}}.repeat_interleave({down}, 2).repeat_interleave({right}, 3)")


@FORMS.register("Eltwise")
def eltwise(layer: Layer) -> Form:
    p, bottoms = layer.p, [f"{{{i}}}" for i in range(len(layer.bottoms))]
    if p.operation == p.PROD:
        return Form(" * ".join(bottoms))
    if p.operation == p.MAX:
        return Form(reduce(lambda text, bottom: f"torch.maximum({text}, {bottom})", bottoms))
    text = ""
    for bottom, factor in zip(bottoms, p.coeff or [1] * len(bottoms)):
        sign = (" - " if text else "-") if factor < 0 else " + " if text else ""
        text += sign + (bottom if abs(factor) == 1 else f"{number(abs(factor))} * {bottom}")
    return Form(text)


@FORMS.register("Permute")
def permute(layer: Layer) -> Form:
    order = permutation(layer.p, len(layer.bottom_shapes[0]))
    return Form(f"{{0}}.permute({', '.join(map(str, order))})")


@FORMS.register("Transpose")
def transpose(layer: Layer) -> Form:
    return Form(f"{{0}}.permute({', '.join(map(str, layer.p.dim))})")


@FORMS.register("Reverse")
def reverse(layer: Layer) -> Form:
    return Form(f"{{0}}.flip({layer.p.axis})")


@FORMS.register("Reorg")
def reorg(layer: Layer) -> Form:
    stride, (channels, height, width) = layer.p.stride, layer.bottom_shapes[0][1:]
    inner, top = channels // stride**2, ", ".join(map(str, layer.top_shapes[0][1:]))
    if layer.p.reverse:
        cells = f"{{0}}.reshape(-1, {stride}, {stride}, {inner}, {height}, {width}).permute(0, 3, 4, 1, 5, 2)"
    else:
        cells = f"{{0}}.reshape(-1, {inner}, {height}, {stride}, {width}, {stride}).permute(0, 3, 5, 1, 2, 4)"
    return Form(f"{cells}.reshape(-1, {top})")


@FORMS.register("Flatten")
def flatten(layer: Layer) -> Form:
    p = layer.p
    return Form(f"{{0}}.flatten({p.axis})" if p.end_axis == -1 else f"{{0}}.flatten({p.axis}, {p.end_axis})")


@FORMS.register("Reshape")
def reshape(layer: Layer) -> Form:  # sizes that are copied may be written out; that of the batch stays free
    p, shape = layer.p, layer.bottom_shapes[0]
    start = axis_of(p.axis, shape, end=True)
    given = list(p.shape.dim)
    sizes = list(layer.top_shapes[0])
    keeps_batch = start > 0 or (given and given[0] == 0)
    if keeps_batch:
        sizes[0] = -1
    elif -1 in given:
        sizes[start + given.index(-1)] = -1
    return Form(f"{{0}}.reshape({', '.join(map(str, sizes))})")


@FORMS.register("Crop")
def crop(layer: Layer) -> Form:
    axis = axis_of(layer.p.axis, layer.bottom_shapes[0])
    offsets = tuple(crop_offsets(layer.p, layer.bottom_shapes[0])[axis:])
    return Form(f"crop({{0}}, {{1}}, {axis}, {offsets})")


@FORMS.register("Tile")
def tile(layer: Layer) -> Form:
    axis = axis_of(layer.p.axis, layer.bottom_shapes[0])
    return Form(f"torch.cat([{{0}}] * {layer.p.tiles}, {axis})")


_REDUCTIONS = {"SUM": ".sum(-1)", "ASUM": ".abs().sum(-1)", "SUMSQ": ".square().sum(-1)", "MEAN": ".mean(-1)"}


@FORMS.register("Reduction")
def reduction(layer: Layer) -> Form:
    p, shape = layer.p, layer.bottom_shapes[0]
    axis = axis_of(p.axis, shape)
    text = "{0}" if axis == len(shape) - 1 else f"{{0}}.flatten({axis})"
    text += _REDUCTIONS[p.ReductionOp.Name(p.operation)]
    return Form(text if p.coeff == 1 else f"{text} * {number(p.coeff)}")


@FORMS.register("ArgMax")
def arg_max(layer: Layer) -> Form:
    p = layer.p
    if not p.HasField("axis"):
        return Form(f"largest_of_image({{0}}, {p.top_k}, {p.out_max_val})")
    return Form(f"largest({{0}}, {p.top_k}, {p.axis})[{0 if p.out_max_val else 1}]")
