"""ResNets for training from scratch, Root-ResNet above all: its stem keeps the image's resolution.

Zhu et al., ScratchDet, CVPR 2019, section 4 and figure 3; the wiring is that of its Caffe release: pre-activation
blocks (He et al., Identity Mappings in Deep Residual Networks, 2016) without a norm on the projections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netgen.blocks import bn_relu, conv, residual
from netgen.net import L, Net, Top


@dataclass(frozen=True)
class Stage:
    """Residual blocks of one width; the first block has the stride.

    Attributes:
        stride: None keeps the map as 1 does, but is not written into the file.
    """

    channels: int
    blocks: int = 1
    stride: int | None = 2


@dataclass(frozen=True)
class Wiring:
    """Where norms stand, in which the two nets of the release differ, and what heads can read.

    Attributes:
        in_place: norms that follow a convolution overwrite its top.
        norm_first: the first block normalises the stem's map, although the stem has just done so.
        named_maps: name each stage's sum after its norm and ReLU (`conv4`, `conv5` …). The releases do not: their
            heads read `conv4_12` and the like, the second convolution of a stage's last block before the sum.
    """

    in_place: bool = True
    norm_first: bool = False
    named_maps: bool = False


_ROOT_RESNET34_WIRING = Wiring()
ROOT_RESNET18 = (Stage(64, 2, None), Stage(128, 2), Stage(256, 2), Stage(512, 2))
ROOT_RESNET34 = (Stage(64, 3, None), Stage(128, 4), Stage(256, 6), Stage(512, 3))
# After the 19x19 map of a 300x300 image: 10, 5, and twice 5 again, because the last two have stride 1.
RESIDUAL_EXTRAS = (Stage(128), Stage(128), Stage(128, stride=1), Stage(128, stride=1))


def root_stem(net: Net, channels: int = 64, *, in_place: bool = True) -> None:
    """Three 3x3 convolutions at full resolution, then 2x2 max pooling: [N, 3, H, W] to [N, C, H/2, W/2], `pool1`."""
    net.stem_1 = conv(net.data, channels, stride=1)
    net.stem_2 = conv(bn_relu(net.stem_1, in_place=in_place), channels)
    net.stem_3 = conv(bn_relu(net.stem_2, in_place=in_place), channels)
    net.pool1 = L.Pooling(bn_relu(net.stem_3, in_place=in_place), pool="MAX", kernel_size=2, stride=2)


def resnet_stem(net: Net, channels: int = 64, *, in_place: bool = True, stride: int = 2, pool: bool = True) -> None:
    """ResNet's 7x7 convolution and 2x2 max pooling; the last map is named `pool1`, also without the pooling.

    Args:
        stride: of the convolution: 2 is ResNet, 1 keeps the first of its two down-samplings out.
        pool: whether the second one is there.
    """
    net.stem_1 = conv(net.data, channels, kernel_size=7, stride=stride)
    active = bn_relu(net.stem_1, in_place=in_place)
    net.pool1 = L.Pooling(active, pool="MAX", kernel_size=2, stride=2) if pool else active


def root_resnet(
    net: Net,
    stages: Sequence[Stage] = ROOT_RESNET34 + RESIDUAL_EXTRAS,
    *,
    stem: Callable[..., None] = root_stem,
    wiring: Wiring = _ROOT_RESNET34_WIRING,
    extras: Callable[[Net, Top, int, Wiring], None] | None = None,
) -> None:
    """Add a Root-ResNet on `net.data`, [N, 3, H, W].

    The convolutions of stage `s` (counted from 2) are named `conv{s}_1`, `conv{s}_2` …

    Args:
        stem: called with the net, the first stage's channels and `in_place`; names `pool1`.
        extras: adds layers on the last stage's map after norm and ReLU; gets the next stage's number.
    """
    stem(net, stages[0].channels, in_place=wiring.in_place)
    active = bn_relu(net.pool1, in_place=False) if wiring.norm_first else net.pool1
    top, channels = net.pool1, stages[0].channels
    for number, stage in enumerate(stages, start=2):
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else None
            same_shape = stride in (None, 1) and stage.channels == channels
            shortcut = top if same_shape else conv(active, stage.channels, kernel_size=1, stride=stride)
            names = f"conv{number}_{2 * block + 1}", f"conv{number}_{2 * block + 2}"
            top = residual(net, names, active, shortcut, stage.channels, stride, in_place=wiring.in_place)
            active, channels = bn_relu(top, in_place=False), stage.channels
        if wiring.named_maps:
            net[f"conv{number}"] = active
    if extras is not None:
        extras(net, active, len(stages) + 2, wiring)


# Channels of the 1x1 and of the 3x3 convolution, stride; no stride is no padding either: 10, 5, 3, 1.
_SSD_EXTRAS = ((256, 512, 2), (128, 256, 2), (128, 256, None), (128, 256, None))


def ssd_extras(net: Net, active: Top, number: int, wiring: Wiring) -> None:
    """SSD's extra layers with norms: pairs of a 1x1 and a 3x3 convolution (`conv6_1`, `conv6_2` …)."""
    for index, (narrow, wide, stride) in enumerate(_SSD_EXTRAS, start=number):
        first = net[f"conv{index}_1"] = conv(active, narrow, kernel_size=1)
        pad = 0 if stride is None else 1
        second = conv(bn_relu(first, in_place=wiring.in_place), wide, stride=stride or 1, pad=pad)
        net[f"conv{index}_2"] = second
        active = bn_relu(second, in_place=wiring.in_place and not wiring.named_maps)
        if wiring.named_maps:
            net[f"conv{index}"] = active
