"""Regions of an image, and what is pooled from them. A region is the number of its image and its corners, in pixels."""

from __future__ import annotations

from prototxt.shapes.table import SHAPES, ShapeError, maps_hw, need

# The type in C++, and py-faster-rcnn's in Python.
PROPOSALS = ("Proposal", "rpn.proposal_layer.ProposalLayer")


@SHAPES.register(*PROPOSALS)
def proposal(p, bottoms):  # [scores (1, 2A, H, W), offsets (1, 4A, H, W), image (1, 3)] -> [(R, 5), scores (R, 1)]
    need(bottoms, 3)
    scores, offsets, image = bottoms
    maps_hw(scores)
    if scores[0] != 1:
        raise ShapeError(f"it takes one image, not {scores[0]}")
    for bottom, each in ((scores, 2), (offsets, 4)):
        if bottom != (1, each * p.per_cell, *scores[2:]):
            raise ShapeError(f"{p.per_cell} anchors a cell need {each * p.per_cell} channels of scores or offsets")
    if len(image) < 2 or image[0] != 1 or image[1] < 3:
        raise ShapeError("the third bottom holds height, width and scale of the image")
    return [(p.most, 5), (p.most, 1)]  # the number of regions is known only after the forward


def _regions(bottoms) -> int:
    """How many regions there are: the second bottom is (R, 5)."""
    need(bottoms, 2)
    maps_hw(bottoms[0])
    if bottoms[1][1:2] != (5,) or any(size != 1 for size in bottoms[1][2:]):
        raise ShapeError("regions have five numbers: image, xmin, ymin, xmax and ymax")
    return bottoms[1][0]


@SHAPES.register("ROIPooling")
def roi_pooling(p, bottoms):  # [(N, C, H, W), regions (R, 5)] -> [(R, C, pooled_h, pooled_w)]
    regions = _regions(bottoms)
    if min(p.pooled_h, p.pooled_w) < 1:
        raise ShapeError("pooled_h and pooled_w must be at least 1")
    return [(regions, bottoms[0][1], p.pooled_h, p.pooled_w)]


@SHAPES.register("PSROIPooling")
def psroi_pooling(p, bottoms):  # [(N, output_dim * G * G, H, W), regions (R, 5)] -> [(R, output_dim, G, G)]
    regions = _regions(bottoms)
    if not p.HasField("spatial_scale") or min(p.output_dim, p.group_size) < 1:
        raise ShapeError("it needs spatial_scale, output_dim and group_size")
    if bottoms[0][1] != p.output_dim * p.group_size**2:
        raise ShapeError(
            f"output_dim {p.output_dim} and group_size {p.group_size} need "
            f"{p.output_dim * p.group_size**2} channels, not {bottoms[0][1]}"
        )
    return [(regions, p.output_dim, p.group_size, p.group_size)]
