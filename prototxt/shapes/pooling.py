"""Pooling: the output size rounds UP, unlike everybody else's."""

from __future__ import annotations

from prototxt.shapes.table import SHAPES, ShapeError, maps_hw, need


def pooled(size: int, kernel: int, stride: int, pad: int) -> int:
    """Windows along one side. With padding, a last window that would start beyond it is dropped."""
    if kernel > size + 2 * pad:
        raise ShapeError(f"the kernel {kernel} is larger than the padded input {size + 2 * pad}")
    out = -((size + 2 * pad - kernel) // -stride) + 1
    return out - 1 if pad and (out - 1) * stride >= size + pad else out


@SHAPES.register("Pooling")
def pooling(p, bottoms):  # [(N, C, H, W)] -> [(N, C, H', W')]; a second top is the mask of MAX
    need(bottoms, 1)
    height_width = maps_hw(bottoms[0])
    if p.kernel_hw is None:
        out = (1, 1)
    else:
        out = tuple(pooled(*side) for side in zip(height_width, p.kernel_hw, p.stride_hw, p.pad_hw))
    return [(*bottoms[0][:2], *out)] * (2 if p.method == "MAX" else 1)
