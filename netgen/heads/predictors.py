"""The layers between a map and a head's outputs: normalisation, predictors, flattening, prior boxes.

Their names are those of SSD's Caffe release, so that its weights load.
"""

from __future__ import annotations

from netgen.blocks import BIAS, LEARNED, XAVIER
from netgen.heads.sources import Source
from netgen.named_blocks import SSD_NORM, gaussian_conv, normalised, suffixed
from netgen.net import L, Net, Top

VARIANCE = [0.1, 0.1, 0.2, 0.2]


def source_map(net: Net, source: Source) -> Top:
    """The map of `source`, [N, C, H, W], L2-normalised when the source says so."""
    if source.norm_scale is None:
        return net[source.blob]
    scale = {"type": "constant", "value": source.norm_scale}
    normalised = L.Normalize(net[source.blob], scale_filler=scale, across_spatial=False, channel_shared=False)
    net[source.name] = normalised
    return normalised


def predictor(
    net: Net, name: str, bottom: Top, num_output: int, *, batchnorm: bool = False, kernel_size: int = 3
) -> Top:
    """A convolution that keeps the map's size: with a bias, or without and followed by BatchNorm and Scale.

    Args:
        kernel_size: 1 is written, and its weights start, as in MobileNet-SSD's release, others as in SSD's.
    """
    if batchnorm:
        top = gaussian_conv(bottom, num_output, kernel_size=kernel_size)
        return normalised(net, suffixed(name), top, SSD_NORM, relu=False)
    shape, filler = {"pad": kernel_size // 2, "stride": 1}, XAVIER
    if kernel_size == 1:
        shape, filler = {}, {"type": "msra"}
    net[name] = L.Convolution(
        bottom,
        num_output=num_output,
        kernel_size=kernel_size,
        **shape,
        weight_filler=filler,
        bias_filler={"type": "constant", "value": 0},
        param=[LEARNED, BIAS],
    )
    return net[name]


def flat(net: Net, name: str, top: Top) -> Top:
    """[N, A*V, H, W] as [N, H*W*A*V]: all values V of a prior box together, all A boxes of a cell together."""
    net[f"{name}_perm"] = L.Permute(top, order=[0, 2, 3, 1])
    flattened = net[f"{name}_flat"] = L.Flatten(net[f"{name}_perm"], axis=1)
    return flattened


def prior_boxes(net: Net, source: Source, *, clip: bool = False) -> Top:
    """The prior boxes of all cells of a source, [1, 2, P*4], corners in 0–1 of the image.

    Args:
        clip: cut them off at the image's border.
    """
    given = {"max_size": source.max_size, "step": source.step}
    boxes = L.PriorBox(
        net[source.name],
        net["data"],
        min_size=source.min_size,
        aspect_ratio=source.ratios,
        flip=True,
        clip=clip,
        variance=VARIANCE,
        offset=0.5,
        **{key: value for key, value in given.items() if value is not None},
    )
    net[f"{source.name}_mbox_priorbox"] = boxes
    return boxes
