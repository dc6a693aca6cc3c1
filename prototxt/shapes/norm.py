"""Normalisations and the affine layers that follow them."""

from __future__ import annotations

from prototxt.shapes.table import BLOBS, SHAPES, ShapeError, axis_of, need


@SHAPES.register("BN", "BatchNorm", "LRN", "MVN")
def same(p, bottoms):
    need(bottoms, 1)
    return [bottoms[0]]


@SHAPES.register("Normalize")
def normalize(p, bottoms):  # [(N, C, H, W)]
    need(bottoms, 1)
    if len(bottoms[0]) < 2:
        raise ShapeError("it needs at least 2 axes")
    return [bottoms[0]]


@BLOBS.register("BatchNorm")
def batch_norm_blobs(p, bottoms):
    channels = bottoms[0][1] if len(bottoms[0]) > 1 else 1
    return [(channels,), (channels,), (1,)] + [(channels,)] * (2 * scales_itself(p))


def scales_itself(p) -> bool:
    """Whether a BatchNorm, NVIDIA's, has a scale and a shift of its own."""
    return p.scale_bias or p.HasField("scale_filler") or p.HasField("bias_filler")


@BLOBS.register("BN")
def bn_blobs(p, bottoms):
    return [(1, bottoms[0][1], 1, 1)] * (4 if keeps_statistics(p) else 2)


def keeps_statistics(p) -> bool:
    """Whether a BN has a running mean and variance of its own; SegNet's has none, and is known by its fields."""
    return not any(p.HasField(name) for name in ("scale_filler", "shift_filler", "bn_mode"))


@BLOBS.register("Normalize")
def normalize_blobs(p, bottoms):
    return [()] if p.channel_shared else [(bottoms[0][1],)]


@SHAPES.register("Scale", "Bias")
def scale(p, bottoms):  # [(N, C, …)] or [(N, C, …), the factors]
    need(bottoms, 1, 2)
    axis = axis_of(p.axis, bottoms[0])
    if len(bottoms) == 2:
        axis = 0 if not bottoms[1] else axis
        covered = bottoms[0][axis : axis + len(bottoms[1])]
        if covered != bottoms[1]:
            raise ShapeError(f"the second bottom must match axes {axis}… of the first, {covered}")
    return [bottoms[0]]


@BLOBS.register("Scale", "Bias")
def scale_blobs(p, bottoms):
    axis = axis_of(p.axis, bottoms[0])
    end = len(bottoms[0]) if p.num_axes == -1 else axis + p.num_axes
    if end > len(bottoms[0]):
        raise ShapeError(f"axis {axis} and num_axes {p.num_axes} reach beyond its {len(bottoms[0])} axes")
    shape = bottoms[0][axis:end] if len(bottoms) == 1 else bottoms[1]
    learned = [shape] if len(bottoms) == 1 else []
    return [*learned, shape] if getattr(p, "bias_term", False) else learned
