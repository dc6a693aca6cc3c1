"""Pooling: the output size rounds UP, unlike everybody else's; later Caffes and forks let a net choose."""

from __future__ import annotations

from prototxt.params import Pair, Pool
from prototxt.shapes.table import SHAPES, ShapeError, maps_hw, need


def pooled_hw(size_hw: Pair, p: Pool) -> Pair:
    """Windows along each side. When either side is padded, a last window that would start beyond it is dropped."""
    out = []
    for size, kernel, stride, pad in zip(size_hw, p.kernel_hw, p.stride_hw, p.pad_hw):
        room = size + 2 * pad - kernel
        count = (-(room // -stride) if p.rounds_up else room // stride) + 1
        if count < 1:  # one window may be larger than the input, when rounding up gives it
            raise ShapeError(f"the kernel {kernel} is larger than the padded input {size + 2 * pad}")
        out.append(count - (any(p.pad_hw) and (count - 1) * stride >= size + pad))
    return out[0], out[1]


@SHAPES.register("Pooling")
def pooling(p, bottoms):  # [(N, C, H, W)] -> [(N, C, H', W')]; a second top is the mask of MAX
    need(bottoms, 1)
    size_hw = maps_hw(bottoms[0])
    out = (1, 1) if p.kernel_hw is None else pooled_hw(size_hw, p)
    return [(*bottoms[0][:2], *out)] * (2 if p.method == "MAX" else 1)
