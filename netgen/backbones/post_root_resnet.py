"""Root-ResNet-34 with norm and ReLU behind the convolutions, as ScratchDet's mmdetection release wires it.

Zhu et al., ScratchDet, CVPR 2019; blocks as in He et al., Deep Residual Learning for Image Recognition, CVPR 2016:
shortcuts that change the shape have a norm, and each block ends with a ReLU. The Caffe release has other blocks, those
of `root_resnet`.
"""

from __future__ import annotations

from collections.abc import Sequence

from netgen.backbones.root_resnet import ROOT_RESNET34, Stage
from netgen.blocks import conv
from netgen.named_blocks import PLAIN_NORM, normalised, suffixed
from netgen.net import L, Net, Top

# Behind the four stages of ResNet-34: maps of 10, 5, 3 and 3 after the 19x19 of a 300x300 image.
STAGES_300 = (*ROOT_RESNET34, Stage(128), Stage(128), Stage(128), Stage(128, stride=1))
# 16, 8, 4 and 2 after the 32x32 of a 512x512 image.
STAGES_512 = (*ROOT_RESNET34, *(Stage(128),) * 4)


def post_root_resnet(net: Net, stages: Sequence[Stage] = STAGES_300, *, last: bool = False) -> None:
    """Add the body on `net.data`, [N, 3, H, W].

    Stage `s`, counted from 2, ends with the map `conv{s}`. The convolutions of its block `b` are `conv{s}_{b}_1`,
    `conv{s}_{b}_2` and, where the shape changes, `conv{s}_{b}_shortcut`.

    Args:
        last: add `conv10`, 3x3, and `conv11`, 4x4 with padding 1, which makes a map of 1x1 out of 2x2.
    """
    top, channels = net["data"], stages[0].channels
    for number in (1, 2, 3):
        top = _unit(net, f"stem_{number}", conv(top, channels))
    top = net["pool1"] = L.Pooling(top, pool="MAX", kernel_size=2, stride=2)
    for number, stage in enumerate(stages, start=2):
        for block in range(1, stage.blocks + 1):
            stride = stage.stride if block == 1 else None
            projects = stride not in (None, 1) or stage.channels != channels
            top = L.ReLU(_sum(net, f"conv{number}_{block}", top, stage.channels, stride, projects), in_place=True)
            channels = stage.channels
        net[f"conv{number}"] = top
    if last:
        top = _unit(net, "conv10", conv(top, channels))
        _unit(net, "conv11", conv(top, channels, kernel_size=4, pad=1))


def _sum(net: Net, name: str, bottom: Top, channels: int, stride: int | None, projects: bool) -> Top:
    """A block without its last ReLU, [N, channels, ceil(H / stride), ceil(W / stride)]."""
    shortcut = bottom
    if projects:
        shortcut = conv(bottom, channels, kernel_size=1, stride=stride)
        shortcut = _unit(net, f"{name}_shortcut", shortcut, relu=False)
    top = _unit(net, f"{name}_1", conv(bottom, channels, stride=stride))
    return L.Eltwise(shortcut, _unit(net, f"{name}_2", conv(top, channels), relu=False))


def _unit(net: Net, name: str, top: Top, *, relu: bool = True) -> Top:
    return normalised(net, suffixed(name), top, PLAIN_NORM, relu=relu)
