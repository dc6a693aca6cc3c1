"""ResNet-101 in the names of its Caffe release, so that the weights pretrained on ImageNet load.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1. As released, the stride of a stage lies
in its first 1x1 convolutions, and `pool1` has no padding: Caffe rounds up, so 320x320 pixels are 80x80 cells there.
"""

from __future__ import annotations

from netgen.named_blocks import SSD_NORM, Bottleneck, Names, Norm, bottleneck, gaussian_conv, normalised
from netgen.net import L, Net

# Stage, its units, channels of their 3x3 convolutions.
_STAGES = (
    (2, ("a", "b", "c"), 64),
    (3, ("a", "b1", "b2", "b3"), 128),
    (4, ("a", *(f"b{unit}" for unit in range(1, 23))), 256),
    (5, ("a", "b", "c"), 512),
)


def resnet101(net: Net, *, dilated: bool = False, norm: Norm = SSD_NORM) -> None:
    """Add ResNet-101, up to `res5c`, on `net.data`, [N, 3, H, W].

    Detection heads read the units' sums after ReLU: `res3b3_relu` (stride 8), `res4b22_relu` (16), `res5c_relu` (32).

    Args:
        dilated: `res5c` keeps stride 16; the 3x3 convolutions of its stage are dilated instead.
    """
    stem = gaussian_conv(net["data"], 64, kernel_size=7, stride=2)
    top = normalised(net, Names("conv1", "bn_conv1", "scale_conv1"), stem, norm)
    top = net["pool1"] = L.Pooling(top, pool="MAX", kernel_size=3, stride=2)
    for stage, units, narrow in _STAGES:
        dilates = dilated and stage == 5
        for unit in units:
            first = unit == "a"
            stride = 2 if first and stage > 2 and not dilates else 1
            shape = Bottleneck(narrow, 4 * narrow, stride, dilation=2 if dilates else 1, projects=first)
            top = bottleneck(net, f"{stage}{unit}", top, shape, norm)
