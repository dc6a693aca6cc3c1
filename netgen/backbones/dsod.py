"""DSOD: a DenseNet with a stem, and prediction layers that are connected as densely (Shen et al., DSOD, ICCV 2017).

Its blocks name nothing, so that nets of one's own can be made of them: each takes a map, [N, C, H, W], and returns the
next. The convolutions read what BatchNorm, Scale and ReLU make of that map (Huang et al., Densely Connected
Convolutional Networks, CVPR 2017, section 3) and are themselves left raw, also where heads read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netgen.blocks import XAVIER, bn_relu, norm
from netgen.net import L, Net, Top
from prototxt.errors import UserError

# A convolution and what normalises it: (bottom, num_output, kernel_size=1, stride=1) to the next map.
Unit = Callable[..., Top]


@dataclass(frozen=True)
class Setting:
    """What the paper calls DS/A-B-k-θ, which is also how it prints (table 2).

    Attributes:
        stem: A, channels of the stem's first convolution; its last one has twice as many.
        bottleneck: B, channels between the two convolutions of a dense layer.
        growth: k, channels that a dense layer adds.
        compression: θ, the share of the channels that a transition keeps.
        layers: dense layers in each of the four blocks; no part of the name.

    Raises:
        UserError: there are not four blocks, or θ is not above 0 and at most 1.
    """

    stem: int = 64
    bottleneck: int = 192
    growth: int = 48
    compression: float = 1
    layers: tuple[int, int, int, int] = (6, 8, 8, 8)

    def __post_init__(self) -> None:
        if len(self.layers) != 4:
            raise UserError(f"{len(self.layers)} dense blocks", where=str(self), expected="layers for each of four")
        if not 0 < self.compression <= 1:
            raise UserError(f"θ is {self.compression:g}", where=str(self), expected="above 0 and at most 1")

    def __str__(self) -> str:
        return f"DS/{self.stem}-{self.bottleneck}-{self.growth}-{self.compression:g}"


FULL = Setting()
# The other two nets that are published with the release. The depths of LITE are inferred: see `dsod300_lite`.
LITE = Setting(bottleneck=256, growth=64, layers=(3, 4, 4, 4))
SMALLEST = Setting(bottleneck=64, growth=16)

# The maps behind `Second`, each half as high and wide as the one before, and the channels that a down-sampling unit
# learns for it. A 300x300 image has maps of 38, 19, 10, 5, 3 and 2 cells; a 512x512 image of 64, 32 … 1.
DSOD300_MAPS = (("Third", 256), ("Fourth", 128), ("Fifth", 128), ("Sixth", 128))
DSOD512_MAPS = (("Third", 256), ("Fourth", 128), ("Fifth_", 128), ("Sixth_", 128), ("Seventh_", 128))
# The same for the plain structure, which learns all channels: of the 1x1 and of the 3x3 convolution.
PLAIN300_MAPS = (("Third", 256, 512), ("Fourth", 128, 256), ("Fifth", 128, 256), ("Sixth", 128, 256))


def conv(bottom: Top, num_output: int, kernel_size: int = 1, stride: int = 1) -> Top:
    """Convolution without bias, Xavier, padded so that stride 1 keeps the map's size (odd kernels)."""
    return L.Convolution(
        bottom,
        num_output=num_output,
        kernel_size=kernel_size,
        stride=stride,
        pad=kernel_size // 2,
        bias_term=False,
        weight_filler=XAVIER,
    )


def bn_relu_conv(bottom: Top, num_output: int, kernel_size: int = 1, stride: int = 1) -> Top:
    """A convolution of the normalised map; the map itself stays readable as it was."""
    return conv(bn_relu(bottom, in_place=False), num_output, kernel_size, stride)


def conv_bn_relu(
    bottom: Top,
    num_output: int,
    kernel_size: int = 1,
    stride: int = 1,
    *,
    in_place: bool = False,
    eps: float | None = None,
) -> Top:
    """A convolution, normalised after itself.

    Args:
        in_place, eps: of the norm.
    """
    return bn_relu(conv(bottom, num_output, kernel_size, stride), in_place=in_place, eps=eps)


def max_pool(bottom: Top, times: int = 2) -> Top:
    """Max pooling to a map that is smaller by that many times, rounded up."""
    return L.Pooling(bottom, pool="MAX", kernel_size=times, stride=times)


def stem(data: Top, channels: int = 64, *, unit: Unit = conv_bn_relu) -> Top:
    """Three 3x3 convolutions, the first with stride 2: [N, 2 * channels, H/2, W/2]; the paper's, with `max_pool`."""
    return unit(unit(unit(data, channels, 3, stride=2), channels, 3), 2 * channels, 3)


def dense_layer(bottom: Top, growth: int, bottleneck: int, *, unit: Unit = bn_relu_conv) -> Top:
    """The map itself and `growth` channels more: a 1x1 convolution to `bottleneck` channels, then a 3x3 one."""
    return L.Concat(bottom, unit(unit(bottom, bottleneck), growth, 3), axis=1)


def dense_block(bottom: Top, layers: int, growth: int, bottleneck: int, *, unit: Unit = bn_relu_conv) -> Top:
    """So many dense layers, each on all channels that were there before it: [N, C + layers * growth, H, W]."""
    for _ in range(layers):
        bottom = dense_layer(bottom, growth, bottleneck, unit=unit)
    return bottom


def transition(bottom: Top, num_output: int) -> Top:
    """A 1x1 convolution of the normalised map: the paper's transition w/o pooling; with pooling, `max_pool` it."""
    return conv(L.ReLU(norm(bottom, in_place=False)), num_output)


def down_sampling(bottom: Top, channels: int, *, unit: Unit = bn_relu_conv) -> Top:
    """Half of the channels from the pooled map, half learned with stride 2: [N, 2 * channels, H/2, W/2], rounded up.

    "Learning half and reusing half": how the dense structure makes each map of the one before.
    """
    learned = unit(unit(bottom, channels), channels, 3, stride=2)
    return L.Concat(unit(max_pool(bottom), channels), learned, axis=1)


def dense_net(net: Net, setting: Setting = FULL) -> Top:
    """Add stem and dense blocks on `net.data`, [N, 3, H, W]; names `First`, the map with stride 8.

    Returns:
        the last dense block's map, with stride 16; the transition behind it depends on the prediction layers.
    """
    top, channels = max_pool(stem(net["data"], setting.stem)), 2 * setting.stem
    for number, layers in enumerate(setting.layers, start=1):
        top = dense_block(top, layers, setting.growth, setting.bottleneck)
        channels += layers * setting.growth
        if number < 4:
            channels = int(channels * setting.compression)
            top = transition(top, channels)
        if number == 2:
            net["First"] = top
        if number < 3:
            top = max_pool(top)
    return top


def dsod(net: Net, setting: Setting = FULL, maps: Iterable[tuple[str, int]] = DSOD300_MAPS) -> None:
    """Add DSOD with dense prediction layers on `net.data`; names `First`, `Second` and the `maps`.

    Args:
        maps: names of the others, and the channels that their down-sampling units learn.
    """
    last = transition(dense_net(net, setting), 256)
    top = net["Second"] = L.Concat(last, bn_relu_conv(max_pool(net["First"]), 256), axis=1)
    for name, channels in maps:
        top = net[name] = down_sampling(top, channels)


def dsod_plain(
    net: Net, setting: Setting = FULL, second: int = 1280, maps: Iterable[tuple[str, int, int]] = PLAIN300_MAPS
) -> None:
    """Add DSOD with plain prediction layers on `net.data`, each a bottleneck on the one before, as SSD's.

    Args:
        second: channels of `Second`.
        maps: names of the others, channels of the 1x1 and of the 3x3 convolution that make them.
    """
    top = net["Second"] = transition(dense_net(net, setting), second)
    for name, narrow, wide in maps:
        top = net[name] = bn_relu_conv(bn_relu_conv(top, narrow), wide, 3, stride=2)
