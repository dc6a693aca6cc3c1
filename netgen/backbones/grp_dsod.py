"""GRP-DSOD: DSOD with a recurrent feature pyramid and a gate before each prediction layer.

Shen et al., Learning Object Detectors from Scratch with Gated Recurrent Feature Pyramids, 2017, later Improving Object
Detection from Scratch via Gated Feature Reuse, BMVC 2019. The wiring is that of its Caffe release, which normalises
convolutions after themselves, in place, where DSOD normalises before them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from netgen.backbones.dsod import FULL, conv_bn_relu, dense_block, down_sampling, max_pool, stem
from netgen.blocks import XAVIER, bn_relu
from netgen.net import L, Net, Top

_EPS = 1e-4
UNIT = partial(conv_bn_relu, in_place=True, eps=_EPS)
_FIRST_BRANCH, _SECOND_HALF = 128, 171  # channels of each branch that `First` adds, and of both halves of `Second`
# The maps behind `Second`, and the channels that a down-sampling unit learns for each.
_MAPS = (("Third", 86), ("Fourth", 86), ("Fifth", 86), ("Sixth", 128))
# The pyramid's levels: a map, the next map and the channels that it gives to the level, and the kernel of the release's
# deconvolution, which is as large as the sizes need: 2 doubles the next map's, 1 gives a row and a column less.
_LEVELS = (
    ("Recurrent1", "First", "Second", 128, 2),
    ("Recurrent2", "Second", "Third", 171, 2),
    ("Recurrent3", "Third", "Fourth", 86, 2),
    ("Recurrent4", "Fourth", "Fifth", 86, 1),
    ("Recurrent5", "Fifth", "Sixth", 86, 1),
)


def grp_dsod(net: Net, *, corrected: bool = False) -> None:
    """Add GRP-DSOD on `net.data`, [N, 3, 320, 320]: six gated maps `Recurrent1_gate` … of 40, 20, 10, 5, 3, 2 cells.

    The maps of the released pyramid only meet for images whose sides are 320, 576, 832 … pixels, or up to 7 less.

    Args:
        corrected: up-sampled and gated as the paper of 2019 says, not as released; see `released_up` and `gate`.
            Then all sizes fit for which no map vanishes.
    """
    _maps(net)
    channels = {"First": 800 + 2 * _FIRST_BRANCH, "Second": 2 * _SECOND_HALF}
    channels |= {name: 2 * learned for name, learned in _MAPS}
    for level, blob, coarser, given, kernel_size in _LEVELS:
        if corrected:
            upper = bilinear_up(net[coarser], net[blob], channels[coarser], given)
        else:
            upper = released_up(net[coarser], given, kernel_size)
        net[level] = L.Concat(upper, net[blob], axis=1)
        channels[level] = given + channels[blob]
    net["Recurrent6"], channels["Recurrent6"] = net["Sixth"], channels["Sixth"]
    for level in (*(row[0] for row in _LEVELS), "Recurrent6"):
        gate(net, level, channels[level], filler=XAVIER if corrected else None)


def _maps(net: Net) -> None:
    """Stem, dense blocks and down-sampling units; names `First` to `Sixth`."""
    root = stem(net["data"], FULL.stem, unit=UNIT)
    top, channels, blocks = max_pool(root), 2 * FULL.stem, []
    for number, layers in enumerate(FULL.layers, start=1):
        top = dense_block(top, layers, FULL.growth, FULL.bottleneck, unit=UNIT)
        channels += layers * FULL.growth
        top = UNIT(top, channels if number < 4 else _SECOND_HALF)
        blocks.append(top)
        if number < 3:
            top = max_pool(top)
    branches = max_pool(root, 4), max_pool(blocks[0])
    net["First"] = L.Concat(blocks[1], *(UNIT(branch, _FIRST_BRANCH) for branch in branches), axis=1)
    top = L.Concat(blocks[3], UNIT(max_pool(net["First"]), _SECOND_HALF), axis=1)
    net["Second"] = top
    for name, learned in _MAPS:
        top = net[name] = down_sampling(top, learned, unit=UNIT)


def released_up(bottom: Top, num_output: int, kernel_size: int) -> Top:
    """The up-sampling of the release: a deconvolution that is never trained, normalised.

    It has one group, so before the norm all its output channels are the same sum of all input channels; and in so small
    a kernel the bilinear filler is 1 at the first tap and 0 elsewhere, so it puts zeros between the cells.
    """
    top = _deconvolution(bottom, num_output, kernel_size=kernel_size)
    return bn_relu(top, in_place=True, eps=_EPS)


def bilinear_up(bottom: Top, like: Top, channels: int, num_output: int) -> Top:
    """The up-sampling of the paper of 2019: bilinear interpolation of each channel, then a 1x1 convolution.

    Args:
        like: the map whose size it has, which is twice that of `bottom`, or a row or a column less.
        channels: of `bottom`.
    """
    top = _deconvolution(bottom, channels, group=channels, kernel_size=4, pad=1)
    return UNIT(L.Crop(top, like, axis=2, offset=0), num_output)


def _deconvolution(bottom: Top, num_output: int, **shape: int) -> Top:
    return L.Deconvolution(
        bottom,
        num_output=num_output,
        stride=2,
        bias_term=False,
        weight_filler={"type": "bilinear"},
        param={"lr_mult": 0, "decay_mult": 0},
        **shape,
    )


def gate(net: Net, blob: str, channels: int, *, filler: dict[str, Any] | None = XAVIER) -> None:
    """Add a gate on a map, [N, channels, H, W]; names `{blob}_gate`, the map plus what its gates let through of it.

    Both gates are numbers in 0–1 that are learned from the means of all channels: one for each channel, and one for
    the whole map.

    Args:
        filler: of the fully connected layers' weights; None leaves it to Caffe, which starts from 0, as released.
            Then no gate ever depends on the image: of its layers only the last biases are trained.
    """
    given = {} if filler is None else {"weight_filler": filler}
    net[f"{blob}_pool"] = L.Pooling(net[blob], pool="AVE", global_pooling=True)
    net[f"{blob}_fc"] = L.InnerProduct(net[f"{blob}_pool"], num_output=channels // 16, **given)
    squeezed = net[f"{blob}_relu"] = L.ReLU(net[f"{blob}_fc"], in_place=True)
    each = L.Sigmoid(L.InnerProduct(squeezed, num_output=channels, **given), in_place=True)
    scaled = net[f"{blob}_att"] = L.ReLU(L.Scale(net[blob], each, axis=0), in_place=True)
    whole = L.Sigmoid(L.InnerProduct(squeezed, num_output=1, **given), in_place=True)
    let_through = L.Scale(scaled, L.Reshape(whole, shape={"dim": [-1]}), axis=0)
    net[f"{blob}_gate"] = L.Eltwise(net[blob], let_through)
