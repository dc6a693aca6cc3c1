"""The layers between a map and a head's outputs: normalisation, predictors, flattening, prior boxes.

Their names are those of SSD's Caffe release, so that its weights load.
"""

from __future__ import annotations

from netgen.blocks import BIAS, LEARNED, STATISTICS, XAVIER
from netgen.heads.sources import Source
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
    """A convolution that keeps the map's size: with a bias, or without and followed by BatchNorm and Scale."""
    shape = {"num_output": num_output, "kernel_size": kernel_size, "pad": kernel_size // 2, "stride": 1}
    if not batchnorm:
        zero = {"type": "constant", "value": 0}
        net[name] = L.Convolution(bottom, **shape, weight_filler=XAVIER, bias_filler=zero, param=[LEARNED, BIAS])
        return net[name]
    gaussian = {"type": "gaussian", "std": 0.01}
    net[name] = L.Convolution(bottom, **shape, bias_term=False, weight_filler=gaussian, param=LEARNED)
    norm = net[f"{name}_bn"] = L.BatchNorm(
        net[name], in_place=True, eps=0.001, moving_average_fraction=0.999, param=STATISTICS
    )
    net[f"{name}_scale"] = L.Scale(
        norm,
        in_place=True,
        bias_term=True,
        filler={"value": 1},
        bias_filler={"value": 0},
        param=[{"lr_mult": 1, "decay_mult": 0}] * 2,
    )
    return net[f"{name}_scale"]


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
