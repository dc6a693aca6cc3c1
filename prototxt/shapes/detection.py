"""Prior boxes, detections and their evaluation."""

from __future__ import annotations

from math import prod

from prototxt.shapes.table import SHAPES, ShapeError, maps_hw, need
from prototxt.shapes.yolo import YOLO

DETECTORS = ("DetectionOutput", *YOLO)  # types whose top is rows of detections


@SHAPES.register("PriorBox")
def prior_box(p, bottoms):  # [(N, C, H, W), the image] -> [(1, 2, 4 * priors)]
    need(bottoms, 2)
    height, width = maps_hw(bottoms[0])
    maps_hw(bottoms[1])
    return [(1, 2, height * width * p.per_cell * 4)]


@SHAPES.register("DetectionOutput")
def detection_output(p, bottoms):  # [loc (N, 4P), conf (N, P*classes), priors (1, 2, 4P)] -> [(1, 1, D, 7)]
    need(bottoms, 3, 5)
    check_predictions(p, bottoms)
    return [(1, 1, 1, 7)]  # the number of detections is known only after the forward


def check_predictions(p, bottoms) -> None:
    """Raise ShapeError unless locations and scores are as many as the prior boxes of the third bottom ask for."""
    priors = bottoms[2][2] // 4
    wanted = priors * (1 if p.share_location else p.num_classes) * 4
    locations, scores = (prod(shape[1:]) for shape in bottoms[:2])
    if locations != wanted:
        raise ShapeError(f"{priors} priors need {wanted} location values an image, not {locations}")
    if scores != priors * p.num_classes:
        raise ShapeError(
            f"{priors} priors of {p.num_classes} classes need {priors * p.num_classes} scores an image, not {scores}"
        )


@SHAPES.register("DetectionEvaluate")
def detection_evaluate(p, bottoms):  # [detections (1, 1, D, 7), ground truth (1, 1, G, 8)] -> [(1, 1, E, 5)]
    need(bottoms, 2)
    if bottoms[0][-1] != 7 or bottoms[1][-1] != 8:
        raise ShapeError("it takes detections of 7 values and ground truths of 8")
    return [(1, 1, 1, 5)]
