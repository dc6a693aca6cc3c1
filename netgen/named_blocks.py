"""Blocks whose layers have names of their own: `conv1`, its norm `conv1_bn` and `conv1_scale`, `conv1_relu`.

So SSD's Caffe release names them, and those that descend from it; their weights load by these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from netgen.blocks import LEARNED, STATISTICS
from netgen.net import L, Net, Top

GAUSSIAN = {"type": "gaussian", "std": 0.01}


@dataclass(frozen=True)
class Norm:
    """What is written of BatchNorm and Scale beside their types; what is not is left to Caffe.

    Attributes:
        batch_norm, scale: fields of these layers.
    """

    batch_norm: Mapping[str, Any] = field(default_factory=dict)
    scale: Mapping[str, Any] = field(default_factory=dict)


# As SSD's Caffe release trains: a slower mean, a wider eps, no decay of the Scale.
SSD_NORM = Norm(
    batch_norm={"eps": 0.001, "moving_average_fraction": 0.999, "param": STATISTICS},
    scale={
        "filler": {"type": "constant", "value": 1},
        "bias_filler": {"type": "constant", "value": 0},
        "param": [{"lr_mult": 1, "decay_mult": 0}] * 2,
    },
)
# As RefineDet's Caffe release trains: everything is left to Caffe. Builds that then apply weight decay to the three
# statistics shrink them alike, so mean and variance, which are divided by the third, stay.
PLAIN_NORM = Norm()


class Names(NamedTuple):
    """Of a convolution, its BatchNorm and its Scale."""

    conv: str
    batch_norm: str
    scale: str


def suffixed(name: str) -> Names:
    """The names of a convolution outside of a residual unit."""
    return Names(name, f"{name}_bn", f"{name}_scale")


def gaussian_conv(bottom: Top, num_output: int, *, kernel_size: int = 1, stride: int = 1, dilation: int = 1) -> Top:
    """Convolution without bias, Gaussian, padded so that stride 1 keeps the map's size (odd kernels)."""
    return L.Convolution(
        bottom,
        num_output=num_output,
        kernel_size=kernel_size,
        pad=kernel_size // 2 * dilation,
        stride=stride,
        dilation=[] if dilation == 1 else [dilation],
        bias_term=False,
        weight_filler=GAUSSIAN,
        param=LEARNED,
    )


def normalised(net: Net, names: Names, top: Top, norm: Norm, *, relu: bool = True) -> Top:
    """Name a convolution and normalise it in place: BatchNorm, Scale with bias and, named `{conv}_relu`, ReLU."""
    net[names.conv] = top
    net[names.batch_norm] = top = L.BatchNorm(top, in_place=True, **norm.batch_norm)
    net[names.scale] = top = L.Scale(top, in_place=True, bias_term=True, **norm.scale)
    if relu:
        net[f"{names.conv}_relu"] = top = L.ReLU(top, in_place=True)
    return top


@dataclass(frozen=True)
class Bottleneck:
    """The shape of a residual unit: 1x1 to `narrow` channels, 3x3, 1x1 to `wide` channels.

    Attributes:
        stride: of the first 1x1 convolution.
        dilation: of the 3x3 convolution.
        projects: whether the shortcut is a 1x1 convolution; otherwise the input has `wide` channels and is added.
    """

    narrow: int
    wide: int
    stride: int = 1
    dilation: int = 1
    projects: bool = False


def bottleneck(net: Net, block: str, bottom: Top, shape: Bottleneck, norm: Norm = SSD_NORM) -> Top:
    """Add a residual unit on `bottom`, [N, C, H, W]; its sum is named `res{block}`.

    Returns:
        the sum after ReLU (named `res{block}_relu`), [N, wide, ceil(H / stride), ceil(W / stride)].
    """

    def branch(name: str, top: Top, *, relu: bool) -> Top:
        names = Names(*(f"{kind}{block}_{name}" for kind in ("res", "bn", "scale")))
        return normalised(net, names, top, norm, relu=relu)

    shortcut = bottom
    if shape.projects:
        shortcut = branch("branch1", gaussian_conv(bottom, shape.wide, stride=shape.stride), relu=False)
    top = branch("branch2a", gaussian_conv(bottom, shape.narrow, stride=shape.stride), relu=True)
    top = branch("branch2b", gaussian_conv(top, shape.narrow, kernel_size=3, dilation=shape.dilation), relu=True)
    top = branch("branch2c", gaussian_conv(top, shape.wide), relu=False)
    net[f"res{block}"] = L.Eltwise(shortcut, top)
    active = net[f"res{block}_relu"] = L.ReLU(net[f"res{block}"], in_place=True)
    return active
