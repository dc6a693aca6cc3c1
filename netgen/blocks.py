"""The blocks that nets trained from scratch are made of: convolution, normalisation, residual sum.

They name nothing: what is worth a name, the caller names; the rest is numbered by the net.
"""

from __future__ import annotations

from netgen.net import L, Net, Top

XAVIER = {"type": "xavier"}
LEARNED = {"lr_mult": 1, "decay_mult": 1}
BIAS = {"lr_mult": 2, "decay_mult": 0}
# BatchNorm's three blobs (mean, variance, their weight) are statistics: no solver may touch them.
STATISTICS = [{"lr_mult": 0, "decay_mult": 0}] * 3


def conv(
    bottom: Top, num_output: int, *, kernel_size: int = 3, stride: int | None = None, pad: int | None = None
) -> Top:
    """Convolution without bias, Xavier.

    Args:
        stride: None is 1, left unwritten.
        pad: None is what keeps the map's size at stride 1 (odd kernels).
    """
    return L.Convolution(
        bottom,
        num_output=num_output,
        kernel_size=kernel_size,
        pad=kernel_size // 2 if pad is None else pad,
        stride=[] if stride is None else [stride],
        bias_term=False,
        weight_filler=XAVIER,
        param=LEARNED,
    )


def bn_relu(bottom: Top, *, in_place: bool) -> Top:
    """BatchNorm, Scale with bias, ReLU.

    Args:
        in_place: normalise `bottom` itself; otherwise only Scale and ReLU work in place, on BatchNorm's top,
            and `bottom` stays readable as it was.
    """
    norm = L.BatchNorm(bottom, in_place=in_place, param=STATISTICS)
    scale = L.Scale(norm, in_place=True, bias_term=True, filler={"value": 1}, bias_filler={"value": 0})
    return L.ReLU(scale, in_place=True)


def residual(
    net: Net,
    names: tuple[str, str],
    active: Top,
    shortcut: Top,
    channels: int,
    stride: int | None = None,
    *,
    in_place: bool = True,
) -> Top:
    """Two 3x3 convolutions with BN-ReLU between them, plus a shortcut: ResNet's basic block.

    Args:
        names: of the two convolutions; the second is the residual branch as it is before the sum.
        active: the block's input, already normalised (pre-activation), [N, C, H, W].
        shortcut: what is added, [N, channels, ceil(H / stride), ceil(W / stride)].
        in_place: whether the norm between the convolutions overwrites the first one's top.

    Returns:
        the sum, shaped as `shortcut`.
    """
    first = net[names[0]] = conv(active, channels, stride=stride)
    second = net[names[1]] = conv(bn_relu(first, in_place=in_place), channels)
    return L.Eltwise(shortcut, second)
