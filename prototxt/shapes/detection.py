"""Prior boxes, detections and their evaluation."""

from __future__ import annotations

from prototxt.shapes.table import SHAPES, ShapeError, maps_hw, need


@SHAPES.register("PriorBox")
def prior_box(p, bottoms):  # [(N, C, H, W), the image] -> [(1, 2, 4 * priors)]
    need(bottoms, 2)
    height, width = maps_hw(bottoms[0])
    maps_hw(bottoms[1])
    return [(1, 2, height * width * p.per_cell * 4)]


@SHAPES.register("DetectionOutput")
def detection_output(p, bottoms):  # [loc (N, 4P), conf (N, P*classes), priors (1, 2, 4P)] -> [(1, 1, D, 7)]
    need(bottoms, 3, 5)
    priors = bottoms[2][2] // 4
    locations = priors * (1 if p.share_location else p.num_classes) * 4
    if _values(bottoms[0]) != locations:
        raise ShapeError(f"{priors} priors need {locations} location values an image, not {_values(bottoms[0])}")
    if _values(bottoms[1]) != priors * p.num_classes:
        raise ShapeError(
            f"{priors} priors of {p.num_classes} classes need {priors * p.num_classes} scores an image, "
            f"not {_values(bottoms[1])}"
        )
    return [(1, 1, 1, 7)]  # the number of detections is known only after the forward


def _values(shape) -> int:
    count = 1
    for size in shape[1:]:
        count *= size
    return count


@SHAPES.register("DetectionEvaluate")
def detection_evaluate(p, bottoms):  # [detections (1, 1, D, 7), ground truth (1, 1, G, 8)] -> [(1, 1, E, 5)]
    need(bottoms, 2)
    if bottoms[0][-1] != 7 or bottoms[1][-1] != 8:
        raise ShapeError("it takes detections of 7 values and ground truths of 8")
    return [(1, 1, 1, 5)]
