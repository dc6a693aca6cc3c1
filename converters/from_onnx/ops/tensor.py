"""Operators that move, join, cut or repeat values."""

from __future__ import annotations

from converters.from_onnx.builder import Step
from converters.from_onnx.ops.common import cut, permute, reshape, slices, tile
from converters.from_onnx.ops.conv import pick
from converters.from_onnx.ops.table import LAYERS
from converters.from_onnx.ops.windows import Windows

_MOST_PIECES = 64


@LAYERS.register("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape_(step: Step) -> list[str]:
    return [reshape(step, step.bottom(0), step.out_shape)]


@LAYERS.register("Transpose")
def transpose(step: Step) -> list[str]:
    return [permute(step, step.bottom(0), step.attribute("perm") or range(len(step.shape(0)))[::-1])]


@LAYERS.register("Concat")
def concat(step: Step) -> list[str]:
    axis = step.axis(1)
    blobs = [step.bottom(i) for i in range(len(step.node.inputs))]
    return [step.layer("Concat", *blobs, concat_param={"axis": axis}) if len(blobs) > 1 else blobs[0]]


@LAYERS.register("Split")
def split(step: Step) -> list[str]:
    axis = step.axis(0)
    sizes = [step.build.nodes.shapes[name][axis] if name else 0 for name in step.node.outputs]
    if not all(sizes):
        raise step.error("one of its outputs has no name or no values", expected="named outputs of at least one")
    return slices(step, step.bottom(0), axis, sizes)


@LAYERS.register("Expand", "Tile")
def expand(step: Step) -> list[str]:
    x, before = step.bottom(0), step.shape(0)
    if step.node.op == "Tile":
        for axis, (size, wanted) in enumerate(zip(before, step.out_shape)):
            if size != wanted:
                x = step.layer("Tile", x, tile_param={"axis": axis, "tiles": wanted // size})
        return [x]
    return [tile(step, x, step.out_shape)]


@LAYERS.register("Slice")
def slice_(step: Step) -> list[str]:
    shape, x = step.shape(0), step.bottom(0)
    starts, ends = step.setting("starts", 1), step.setting("ends", 2)
    axes = step.setting("axes", 3) or range(len(starts))
    steps = step.setting("steps", 4) or [1] * len(starts)
    strided = {}
    for start, end, axis, by in zip(starts, ends, axes, steps):
        axis %= len(shape)
        if by < 1:
            raise step.error(f"it goes backwards along axis {axis}", expected="steps of at least 1")
        first, last, _ = slice(start, end).indices(shape[axis])
        if by == 1:
            x = cut(step, x, axis, first, last - first)
        else:
            strided[axis] = (first, last, by)
    return [_every(step, x, strided) if strided else x]


def _every(step: Step, x: str, strided: dict[int, tuple[int, int, int]]) -> str:
    """Every n-th row or column: first, the end, and n for each axis."""
    shape = step.blob_shape(x)
    if len(shape) != 4 or not strided.keys() <= {2, 3}:
        raise step.error("its step is above 1", expected="that only along height and width")
    sides, at = [], []
    for axis in (2, 3):
        first, last, by = strided.get(axis, (0, shape[axis], 1))
        x = cut(step, x, axis, 0, last)
        sides.append(Windows(last, step.out_shape[axis], first + 1, by, 1, 0, 0))
        at.append(first)
    return pick(step, x, (sides[0], sides[1]), (at[0], at[1]))


@LAYERS.register("Gather")
def gather(step: Step) -> list[str]:
    axis = step.axis(0)
    indices, size = step.constant(1, "indices"), step.shape(0)[axis]
    flat = [int(index) % size for index in indices.reshape(-1)]
    first, x = flat[0], step.bottom(0)
    if flat == list(range(first, first + len(flat))):
        y = cut(step, x, axis, first, len(flat))
    elif size <= _MOST_PIECES and len(flat) <= _MOST_PIECES:
        pieces = slices(step, x, axis, [1] * size)
        y = step.layer("Concat", *[pieces[index] for index in flat], concat_param={"axis": axis})
    else:
        raise step.error(f"it takes {len(flat)} of {size} values in an order of their own", expected="a range of them")
    return [reshape(step, y, step.out_shape)]


@LAYERS.register("Pad")
def pad(step: Step) -> list[str]:
    shape, (begin, end) = step.shape(0), step.pads()
    mode, value = step.attribute("mode", "constant"), step.setting("value", 2, 0.0)
    if mode != "constant" or value not in (0, None):
        raise step.error(f"it pads with {value if mode == 'constant' else mode}", expected="zeros")
    if len(shape) != 4 or any([*begin[:2], *end[:2]]) or min(begin + end) < 0:
        raise step.error(f"pads is {begin + end}", expected="rows and columns added to maps N x C x H x W")
    if not any(begin + end):
        return [step.bottom(0)]
    sides = [Windows(shape[i], step.out_shape[i], 1, 1, 1, begin[i], end[i]) for i in (2, 3)]
    return [pick(step, step.bottom(0), (sides[0], sides[1]))]


@LAYERS.register("DepthToSpace")
def depth_to_space(step: Step) -> list[str]:
    block, (n, c, h, w) = step.attribute("blocksize"), step.shape(0)
    inner = c // block**2
    if step.attribute("mode", "DCR") == "DCR":
        shape, order = (n, block, block, inner, h, w), [0, 3, 4, 1, 5, 2]
    else:
        shape, order = (n, inner, block, block, h, w), [0, 1, 4, 2, 5, 3]
    return [reshape(step, permute(step, reshape(step, step.bottom(0), shape), order), step.out_shape)]


@LAYERS.register("SpaceToDepth")
def space_to_depth(step: Step) -> list[str]:
    block, (n, c, h, w) = step.attribute("blocksize"), step.shape(0)
    shape = (n, c, h // block, block, w // block, block)
    return [reshape(step, permute(step, reshape(step, step.bottom(0), shape), [0, 3, 5, 1, 2, 4]), step.out_shape)]
