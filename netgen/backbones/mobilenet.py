"""MobileNet: convolutions of each channel by itself, then 1x1 convolutions across channels.

Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, 2017, table 1; names
and extra layers are those of MobileNet-SSD's Caffe release, which has ReLU where later MobileNets have ReLU6.
"""

from __future__ import annotations

from netgen.blocks import LEARNED, STATISTICS
from netgen.net import L, Net, Top

_MSRA = {"type": "msra"}
# Channels and stride of the separable convolutions `conv1` to `conv13`.
_SEPARABLE = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)
# Channels of the 1x1 and of the 3x3 convolution, which has stride 2: after 10x10 cells 5, 3, 2 and 1.
_EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))


def mobilenet(net: Net, *, width: float = 1.0) -> Top:
    """Add MobileNet up to `conv13` on `net.data`, [N, 3, H, W]. Detection heads read `conv11` (stride 16) and `conv13`.

    Args:
        width: share of the published channels (the paper's width multiplier: 1, 0.75, 0.5 or 0.25).

    Returns:
        `conv13` after its ReLU, [N, 1024 * width, H/32, W/32], halves rounded up.
    """
    channels = int(32 * width)
    top = _unit(net, "conv0", net["data"], channels, kernel_size=3, stride=2)
    for number, (num_output, stride) in enumerate(_SEPARABLE, start=1):
        top = _unit(net, f"conv{number}/dw", top, channels, kernel_size=3, stride=stride, group=channels)
        channels = int(num_output * width)
        top = _unit(net, f"conv{number}", top, channels)
    return top


def mobilenet_extras(net: Net, top: Top) -> Top:
    """Add MobileNet-SSD's extra layers on `top`: heads read `conv14_2`, `conv15_2`, `conv16_2` and `conv17_2`.

    Returns:
        `conv17_2` after its ReLU, [N, 128, h, w].
    """
    for number, (narrow, wide) in enumerate(_EXTRAS, start=14):
        top = _unit(net, f"conv{number}_1", top, narrow)
        top = _unit(net, f"conv{number}_2", top, wide, kernel_size=3, stride=2)
    return top


def _unit(
    net: Net, name: str, bottom: Top, num_output: int, *, kernel_size: int = 1, stride: int = 1, group: int = 1
) -> Top:
    """Convolution without bias, BatchNorm, Scale and ReLU, all in place; what is Caffe's default is not written."""
    shape = {"pad": kernel_size // 2 or None, "stride": stride if stride > 1 else None}
    if group > 1:  # cuDNN runs the groups one after the other, which is far slower than Caffe itself
        shape |= {"group": group, "engine": "CAFFE"}
    net[name] = L.Convolution(
        bottom,
        num_output=num_output,
        kernel_size=kernel_size,
        bias_term=False,
        weight_filler=_MSRA,
        param=LEARNED,
        **{key: value for key, value in shape.items() if value is not None},
    )
    top = net[f"{name}/bn"] = L.BatchNorm(net[name], in_place=True, param=STATISTICS)
    top = net[f"{name}/scale"] = L.Scale(
        top,
        in_place=True,
        bias_term=True,
        filler={"value": 1},
        bias_filler={"value": 0},
        param=[{"lr_mult": 1, "decay_mult": 0}, {"lr_mult": 2, "decay_mult": 0}],
    )
    top = net[f"{name}/relu"] = L.ReLU(top, in_place=True)
    return top
