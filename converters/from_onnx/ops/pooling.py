"""Pooling: Caffe rounds up and pads both ends alike, so what it makes too much is cut off where the windows agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from converters.from_onnx.builder import Step
from converters.from_onnx.ops.common import as_maps, cut, reshape, scale_by
from converters.from_onnx.ops.conv import pick
from converters.from_onnx.ops.table import LAYERS
from converters.from_onnx.ops.windows import Windows, windows
from prototxt.params import Pool
from prototxt.shapes import ShapeError
from prototxt.shapes.pooling import pooled_hw

_MOST_SKIPPED = 4  # windows of Caffe's before ONNX's first one


@LAYERS.register("MaxPool", "AveragePool")
def pool(step: Step) -> list[str]:
    if len([name for name in step.node.outputs if name]) > 1:
        raise step.error("its indices are read", expected="the maxima alone")
    kernel = tuple(step.attribute("kernel_shape") or ())
    sides = windows(step, kernel)
    if any(side.dilation != 1 for side in sides):
        raise step.error(f"dilations is {step.attribute('dilations')}", expected="1: Caffe's windows have no gaps")
    x = as_maps(step, step.bottom(0))
    if all(side.kernel == 1 and not side.begin for side in sides):
        return [reshape(step, pick(step, x, sides), step.out_shape)]
    method = "MAX" if step.node.op == "MaxPool" else "AVE"
    skipped, pads = _place(step, sides)
    y = step.layer("Pooling", x, pooling_param={"pool": method, **_short(sides, pads)})
    for axis, (side, first) in enumerate(zip(sides, skipped), 2):
        y = cut(step, y, axis, first, side.out)
    if method == "AVE":
        step.room([side.out for side in sides], "factors")
        factor = np.outer(*[_counts(step, side, pad) for side, pad in zip(sides, pads)])
        if (factor != 1).any():
            y = scale_by(step, y, factor[None, None])
    return [reshape(step, y, step.out_shape)]


def _place(step: Step, sides: tuple[Windows, Windows]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many of Caffe's windows lie before ONNX's first one, along each side, and Caffe's padding."""
    for skipped, pads in _places(sides):
        method = Pool("MAX", (sides[0].kernel, sides[1].kernel), (sides[0].stride, sides[1].stride), pads)
        try:
            made = pooled_hw((sides[0].size, sides[1].size), method)
        except ShapeError:
            continue
        if all(count >= first + side.out for count, first, side in zip(made, skipped, sides)):
            return skipped, pads
    raise step.error(
        f"Caffe's windows cannot be laid as its pads {step.attribute('pads')} ask",
        expected="padding smaller than the kernel",
    )


def _places(sides: tuple[Windows, Windows]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for skipped in sorted(product(range(_MOST_SKIPPED), repeat=2), key=sum):
        pads = [side.begin + first * side.stride for side, first in zip(sides, skipped)]
        if all(pad < side.kernel for side, pad in zip(sides, pads)):
            yield skipped, (pads[0], pads[1])


def _short(sides: tuple[Windows, Windows], pads: tuple[int, ...]) -> dict[str, int]:
    """Pooling's parameters: one number where both sides agree, no defaults."""
    named = {
        "kernel": ([side.kernel for side in sides], 0),
        "stride": ([side.stride for side in sides], 1),
        "pad": (pads, 0),
    }
    param = {}
    for name, ((height, width), default) in named.items():
        if height != width:
            param |= {f"{name}_h": height, f"{name}_w": width}
        elif height != default:
            param["kernel_size" if name == "kernel" else name] = height
    return param


def _counts(step: Step, side: Windows, pad: int) -> np.ndarray:
    """[H'], for each window what Caffe divides by over what ONNX divides by."""
    starts = np.arange(side.out) * side.stride - side.begin
    ends = starts + side.kernel
    caffe = np.minimum(ends, side.size + pad) - starts
    if step.attribute("count_include_pad", 0):
        onnx = np.minimum(ends, side.size + side.end) - starts
        if step.node.version < 19 and ends[-1] > side.size + side.end:
            raise step.error(
                "its last window reaches beyond the padding that it counts: until operator set 18 runtimes disagree",
                fix="export the model with operator set 19 or above",
            )
    else:
        onnx = np.minimum(ends, side.size) - np.maximum(starts, 0)
    if (onnx < 1).any() or (caffe < 1).any():
        raise step.error("one of its windows lies wholly in the padding")
    return caffe / onnx


@LAYERS.register("GlobalAveragePool", "GlobalMaxPool")
def global_pool(step: Step) -> list[str]:
    y = global_pooling(step, as_maps(step, step.bottom(0)), "AVE" if step.node.op == "GlobalAveragePool" else "MAX")
    return [reshape(step, y, step.out_shape)]


def global_pooling(step: Step, x: str, method: str) -> str:
    """Mean or maximum of each channel's map: [N, C, H, W] -> [N, C, 1, 1]."""
    return step.layer("Pooling", x, pooling_param={"pool": method, "global_pooling": True})
