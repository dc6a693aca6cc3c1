"""Root-ResNet: a ResNet for training from scratch whose stem keeps the image's resolution.

Three 3x3 convolutions of stride 1 replace ResNet's 7x7 of stride 2. (Zhu et al., ScratchDet, CVPR 2019; the
wiring is that of the "_res" net of its Caffe release.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netgen.blocks import bn_relu, conv, residual
from netgen.net import L, Net


@dataclass(frozen=True)
class Stage:
    """Residual blocks of one width; the first block has the stride.

    Attributes:
        stride: None keeps the map as 1 does, but is not written into the file.
    """

    channels: int
    blocks: int = 1
    stride: int | None = 2


# Maps of a 300x300 image: 150, 75, 38, 19; then the residual extra layers: 10, 5, 5, 5.
# The last two keep their map because they have stride 1.
ROOT_RESNET34 = (
    Stage(64, blocks=3, stride=None),
    Stage(128, blocks=4),
    Stage(256, blocks=6),
    Stage(512, blocks=3),
    Stage(128),
    Stage(128),
    Stage(128, stride=1),
    Stage(128, stride=1),
)


def root_resnet(net: Net, stages: Sequence[Stage] = ROOT_RESNET34) -> None:
    """Add a Root-ResNet on `net.data`, [N, 3, H, W].

    The convolutions of stage `s` (counted from 2) are named `conv{s}_1`, `conv{s}_2` … Detection heads read the
    raw second convolution of a stage's last block (`conv4_12`, `conv5_6` …), before the shortcut is added.
    """
    channels = stages[0].channels
    net.stem_1 = conv(net.data, channels, stride=1)
    net.stem_2 = conv(bn_relu(net.stem_1, in_place=True), channels)
    net.stem_3 = conv(bn_relu(net.stem_2, in_place=True), channels)
    top = net.pool1 = L.Pooling(bn_relu(net.stem_3, in_place=True), pool="MAX", kernel_size=2, stride=2)
    for number, stage in enumerate(stages, start=2):
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else None
            # The first block needs no norm: the stem has just been normalised.
            active = top if top is net.pool1 else bn_relu(top, in_place=False)
            same_shape = stride in (None, 1) and stage.channels == channels
            shortcut = top if same_shape else conv(active, stage.channels, kernel_size=1, stride=stride)
            names = f"conv{number}_{2 * block + 1}", f"conv{number}_{2 * block + 2}"
            top = residual(net, names, active, shortcut, stage.channels, stride)
            channels = stage.channels
