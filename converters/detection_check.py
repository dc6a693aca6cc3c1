"""What a DetectionOutput may ask for, whatever computes it."""

from __future__ import annotations

from math import prod

from prototxt.graph import Layer


def check_detection(layer: Layer) -> None:
    """Raise UserError where Caffe's DetectionOutput would abort, or read beyond a bottom."""
    p, shapes = layer.p, layer.bottom_shapes
    if p.num_classes < 1 + (p.background_label_id == 0):
        raise layer.error(f"num_classes is missing or too small: {p.num_classes}", fix="count the background, too")
    if p.background_label_id == -1 and p.share_location:
        raise layer.error("background_label_id: -1 with share_location: true", expected="share_location: false")
    if p.nms_param.nms_threshold < 0:
        raise layer.error(f"nms_threshold is {p.nms_param.nms_threshold:g}", expected="0 or more")
    if not 0 < p.nms_param.eta <= 1:
        raise layer.error(f"eta of nms_param is {p.nms_param.eta:g}", expected="above 0 and at most 1")
    if p.nms_param.soft_nms:
        raise layer.error("soft_nms is not supported", fix="drop it; boxes are then kept or dropped")
    if p.visualize:
        raise layer.error("visualize opens windows, which is not supported", fix="drop it, and draw the detections")
    if shapes[0][0] != shapes[1][0]:
        raise layer.error(f"its locations are of {shapes[0][0]} images, its scores of {shapes[1][0]}")
    priors = shapes[2][2] // 4
    for i, values in enumerate((2, 4)[: len(shapes) - 3], start=3):
        if prod(shapes[i]) != shapes[0][0] * priors * values:
            raise layer.error(
                f'bottom "{layer.bottoms[i]}" (of a first stage) has {prod(shapes[i])} values',
                expected=f"{values} for each of {priors} priors and {shapes[0][0]} images",
            )
    if len(shapes) > 4 and not p.share_location:
        raise layer.error("locations of a first stage need share_location: true")
