"""Pooling: PyTorch's own where it agrees with Caffe's rounding."""

from __future__ import annotations

from converters.pytorch.source.layers.table import FORMS, Form, call, pair
from prototxt.graph import Layer


@FORMS.register("Pooling")
def pooling(layer: Layer) -> Form:
    p = layer.p
    if p.method == "STOCHASTIC":
        raise layer.error("stochastic pooling has no stand-alone form", expected="MAX or AVE")
    indices = len(layer.tops) == 2
    if p.kernel_hw is None and p.method == "AVE":
        return Form("{0}.mean((2, 3), keepdim=True)")
    if p.kernel_hw is None and not indices:
        return Form("{0}.amax((2, 3), keepdim=True)")
    kernel_hw = p.kernel_hw or layer.bottom_shapes[0][2:]
    name = {"MAX": "Max", "AVE": "Avg"}[p.method]
    if indices or not _agrees(p):
        sizes = [str(tuple(values)) for values in (kernel_hw, p.stride_hw, p.pad_hw)]
        return Form("{me}({0})", call(f"{name}Pool", *sizes, indices=(str(indices), "False")), opens=True)
    module = call(
        f"nn.{name}Pool2d",
        pair(kernel_hw),
        stride=(pair(p.stride_hw), pair(kernel_hw)),
        padding=(pair(p.pad_hw), "0"),
        ceil_mode=("True", "False"),
    )
    return Form("{me}({0})", module, opens=True)


def _agrees(p) -> bool:
    """Whether PyTorch takes the padding, and Caffe keeps no window that lies wholly beyond the input."""
    return all(
        2 * pad <= kernel and stride <= kernel for kernel, stride, pad in zip(p.kernel_hw, p.stride_hw, p.pad_hw)
    )
