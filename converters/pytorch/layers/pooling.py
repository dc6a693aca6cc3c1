"""Pooling. Caffe rounds the output size up; PyTorch's ceil_mode mostly agrees, and where it does not we pad."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.pytorch.layers.table import MODULES, Compute
from prototxt.graph import Layer
from prototxt.shapes.pooling import pooled_hw

_LOWEST = torch.finfo(torch.float32).min  # what Caffe starts a maximum with; an empty window keeps it, at index -1


@MODULES.register("Pooling")
def pooling(layer: Layer) -> Compute:  # [N, C, H, W] -> [N, C, H', W']; a second top is where each maximum stood
    p = layer.p
    if p.method == "STOCHASTIC":
        raise layer.error("stochastic pooling is not supported", expected="MAX or AVE")
    mask = len(layer.tops) == 2
    if p.kernel_hw is None:
        if p.method == "AVE":
            return lambda x: x.mean((2, 3), keepdim=True)
        return lambda x: _tops(F.max_pool2d(x, x.shape[2:], return_indices=mask), mask)
    if p.method == "AVE":
        return lambda x: _average(x, p)
    # max_pool2d pads at most half a kernel, and drops an empty last window that Caffe keeps.
    if all(2 * pad <= kernel for pad, kernel in zip(p.pad_hw, p.kernel_hw)) and all(
        stride <= kernel for stride, kernel in zip(p.stride_hw, p.kernel_hw)
    ):
        return lambda x: _tops(
            F.max_pool2d(x, p.kernel_hw, p.stride_hw, p.pad_hw, ceil_mode=p.rounds_up, return_indices=mask), mask
        )
    return lambda x: _tops(_maximum(x, p, mask), mask)


def _tops(result, mask: bool) -> Tensor | tuple[Tensor, Tensor]:
    """The maxima alone or, with a mask, their flat index in the plane as well, as Caffe's float."""
    return (result[0], result[1].to(result[0].dtype)) if mask else result


def _padded(x: Tensor, p, value: float) -> Tensor:
    """`x` with its padding, and with as much after it as the last windows need."""
    sides = []
    for out, size, kernel, stride, pad in zip(
        pooled_hw(x.shape[2:], p), x.shape[2:], p.kernel_hw, p.stride_hw, p.pad_hw
    ):
        sides = [pad, max((out - 1) * stride + kernel - size - pad, 0), *sides]
    return F.pad(x, sides, value=value)


def _maximum(x: Tensor, p, mask: bool):
    padded = _padded(x, p, _LOWEST)
    height, width = pooled_hw(x.shape[2:], p)
    top, at = F.max_pool2d(padded, p.kernel_hw, p.stride_hw, return_indices=True)
    top, at = top[..., :height, :width], at[..., :height, :width]
    rows, columns = at // padded.shape[3] - p.pad_hw[0], at % padded.shape[3] - p.pad_hw[1]
    return (top, torch.where(top == _LOWEST, -1, rows * x.shape[3] + columns)) if mask else top


def _average(x: Tensor, p) -> Tensor:
    """Means over each window's part inside the padded image: its zeros count, what lies beyond it does not."""
    sums = F.avg_pool2d(_padded(x, p, 0.0), p.kernel_hw, p.stride_hw, divisor_override=1)
    height, width = pooled_hw(x.shape[2:], p)
    rows, columns = (
        torch.tensor([min(i * stride + kernel, size + 2 * pad) - i * stride for i in range(out)], dtype=x.dtype)
        for out, size, kernel, stride, pad in zip((height, width), x.shape[2:], p.kernel_hw, p.stride_hw, p.pad_hw)
    )
    return sums[..., :height, :width] / (rows[:, None] * columns).to(x.device)
