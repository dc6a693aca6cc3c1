"""VGG-16 as a fully convolutional net, and the layers that SSD adds behind it.

Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, net D. `fc6` and `fc7` are the reduced ones of
Chen et al., Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs, ICLR 2015: 1024
channels of the 4096, and holes in the kernel of `fc6`. Names are those of the Caffe releases of SSD and RefineDet.

Norms, where they are, stand between a convolution and its ReLU, as in VGGNetBNBody of ScratchDet's Caffe release.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from netgen.blocks import BIAS, LEARNED, XAVIER, bn_relu
from netgen.net import L, Net, Top

# Channels and convolutions of the stages 1 to 5.
_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_HALVING = {"kernel_size": 2, "stride": 2}
_KEEPING = {"kernel_size": 3, "stride": 1, "pad": 1}


class Extra(NamedTuple):
    """A pair of extra layers: 1x1 to `narrow` channels, then a kernel that makes a smaller map of `wide` channels."""

    narrow: int
    wide: int
    kernel_size: int = 3
    stride: int = 1
    pad: int = 0


# After the 19x19 cells of a 300x300 image: 10, 5, 3 and 1.
SSD300_EXTRAS = (Extra(256, 512, stride=2, pad=1), Extra(128, 256, stride=2, pad=1), Extra(128, 256), Extra(128, 256))
# After the 32x32 cells of a 512x512 image: 16, 8, 4, 2 and 1.
SSD512_EXTRAS = (
    Extra(256, 512, stride=2, pad=1),
    *(Extra(128, 256, stride=2, pad=1),) * 3,
    Extra(128, 256, kernel_size=4, pad=1),
)


def vgg16(net: Net, *, dilated: bool = False, batchnorm: bool = False, pool_norms: bool = False) -> Top:
    """Add VGG-16 up to `fc7` on `net.data`, [N, 3, H, W]. Detection heads read `conv4_3` (stride 8) and `fc7`.

    Args:
        dilated: `pool5` keeps stride 16 for `fc7`, and the holes of `fc6` are twice as wide; otherwise it is 32.
        batchnorm: a norm after each convolution, which then has no bias.
        pool_norms: with norms, another one and a ReLU after each pooling.

    Returns:
        `fc7` after its ReLU, [N, 1024, H/16, W/16] (dilated), halves rounded up.
    """
    top = net["data"]
    for stage, (channels, convolutions) in enumerate(_STAGES, start=1):
        # The releases write a dilation for the last stage: it is 2 in nets that keep stride 8, which are not theirs.
        shape = {"num_output": channels, "kernel_size": 3, "pad": 1, "dilation": [1] if stage == 5 else []}
        for number in range(1, convolutions + 1):
            name = f"{stage}_{number}"
            top = _unit(net, f"conv{name}", top, shape, relu=f"relu{name}", batchnorm=batchnorm)
        window = _KEEPING if dilated and stage == 5 else _HALVING
        top = net[f"pool{stage}"] = L.Pooling(top, pool="MAX", **window)
        if batchnorm and pool_norms:
            top = bn_relu(top, in_place=True)
    holes = 6 if dilated else 3
    shape = {"num_output": 1024, "kernel_size": 3, "pad": holes, "dilation": holes}
    top = _unit(net, "fc6", top, shape, relu="relu6", batchnorm=batchnorm)
    return _unit(net, "fc7", top, {"num_output": 1024, "kernel_size": 1}, relu="relu7", batchnorm=batchnorm)


def ssd_extras(net: Net, top: Top, extras: Iterable[Extra] = SSD300_EXTRAS, *, batchnorm: bool = False) -> Top:
    """Add SSD's extra layers on `top`: `conv6_1`, `conv6_2`, `conv7_1` … Detection heads read the second of a pair.

    Args:
        batchnorm: as for `vgg16`. The last layer's norm is then not named, so that it is only written when a layer
            is added on what is returned: the release reads `conv9_2` as it is before the norm.

    Returns:
        the last layer after its ReLU, [N, wide, h, w].
    """
    for number, extra in enumerate(extras, start=6):
        # A stride of 1 is written by SSD, and is left out by the release that has norms.
        shape = {"num_output": extra.narrow, "kernel_size": 1, "pad": 0, "stride": [] if batchnorm else 1}
        top = _unit(net, f"conv{number}_1", top, shape, batchnorm=batchnorm)
        window = {"kernel_size": extra.kernel_size, "stride": extra.stride, "pad": extra.pad}
        top = _unit(net, f"conv{number}_2", top, {"num_output": extra.wide, **window}, batchnorm=batchnorm)
    return top


def _unit(net: Net, name: str, bottom: Top, shape: dict[str, Any], *, relu: str = "", batchnorm: bool = False) -> Top:
    """Convolution with bias and ReLU, or convolution without bias, BatchNorm, Scale and ReLU; all in place.

    Args:
        shape: fields of ConvolutionParameter.
        relu: its name, by default `{name}_relu`; layers of a norm are numbered by the net instead.
    """
    if batchnorm:
        net[name] = L.Convolution(bottom, **shape, bias_term=False, weight_filler=XAVIER, param=LEARNED)
        return bn_relu(net[name], in_place=True)
    zero = {"type": "constant", "value": 0}
    net[name] = L.Convolution(bottom, **shape, weight_filler=XAVIER, bias_filler=zero, param=[LEARNED, BIAS])
    active = net[relu or f"{name}_relu"] = L.ReLU(net[name], in_place=True)
    return active
