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


def norm(bottom: Top, *, in_place: bool, eps: float | None = None) -> Top:
    """BatchNorm, Scale with bias.

    Args:
        in_place: normalise `bottom` itself; otherwise only Scale works in place, on BatchNorm's top, and `bottom`
            stays readable as it was.
        eps: added to the variance; None leaves it to Caffe, which takes 1e-5.
    """
    given = {} if eps is None else {"eps": eps}
    normalised = L.BatchNorm(bottom, in_place=in_place, param=STATISTICS, **given)
    return L.Scale(normalised, in_place=True, bias_term=True, filler={"value": 1}, bias_filler={"value": 0})


def bn_relu(bottom: Top, *, in_place: bool, eps: float | None = None) -> Top:
    """BatchNorm, Scale with bias, ReLU, which works in place; the arguments are those of `norm`."""
    return L.ReLU(norm(bottom, in_place=in_place, eps=eps), in_place=True)


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
