"""YoloDetectionOutput and Yolov3DetectionOutput in standard operators."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from converters.onnx.builder import Builder, LayerBuilder
from converters.onnx.layers.table import NODES
from converters.yolo import limits
from prototxt.fork_params import Yolo
from prototxt.graph import Layer
from prototxt.shapes.yolo import YOLO


@NODES.register(*YOLO)
def yolo(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    """Rows [1, 1, D, 7] by descending score; when D would be 0, one row of -1."""
    step, p = LayerBuilder(build, layer), layer.p
    maps = [_decode(step, *each, p) for each in zip(bottoms, layer.bottom_shapes, p.anchors)]
    boxes, scores = (step.node("Concat", *parts, axis=1) for parts in zip(*maps))
    # All classes of a box are one place: the best of them drops the others.
    best, label = step.node("TopK", scores, step.ints([1], "best"), outputs=2, axis=2)
    best_of_all = step.node("Transpose", best, perm=[0, 2, 1])
    places = step.node("NonMaxSuppression", boxes, best_of_all, *_limits(step, layer), center_point_box=1)
    return [_rows(step, boxes, best, label, step.node("Gather", places, step.ints([2], "place"), axis=1))]


def _decode(
    step: LayerBuilder, bottom: str, shape: tuple[int, ...], sides: tuple[tuple[float, float], ...], p: Yolo
) -> tuple[str, str]:
    """Boxes [1, HWA, 4], centre and size in 0–1, and scores [1, HWA, C] of a map [1, A(5 + C), H, W].

    Args:
        sides: width and height of each anchor of a cell, in cells.
    """
    _, _, height, width = shape
    by_anchor = step.node("Reshape", bottom, step.ints([len(sides), 5 + p.num_classes, height * width], "by_anchor"))
    by_cell = step.node("Transpose", by_anchor, perm=[2, 0, 1])
    boxes = step.node("Reshape", by_cell, step.ints([1, -1, 5 + p.num_classes], "by_box"))
    parts = step.ints([2, 2, 1, p.num_classes], "parts")
    centre, size, is_object, classes = step.node("Split", boxes, parts, outputs=4, axis=2)
    rows, columns = np.mgrid[:height, :width]
    cells = np.stack([columns, rows], -1).reshape(-1, 1, 2).repeat(len(sides), 1).reshape(1, -1, 2)
    anchors = np.tile(np.array(sides, np.float32), (height * width, 1))[None]
    map_wh = step.floats([width, height], "map")
    centre = step.node("Div", step.node("Add", step.node("Sigmoid", centre), step.floats(cells, "cells")), map_wh)
    size = step.node("Div", step.node("Mul", step.node("Exp", size), step.floats(anchors, "anchors")), map_wh)
    classes = step.node("Softmax", classes, axis=2) if p.has_one_class else step.node("Sigmoid", classes)
    scores = step.node("Mul", step.node("Sigmoid", is_object), classes)
    return step.node("Concat", centre, size, axis=2), scores


def _limits(step: LayerBuilder, layer: Layer) -> list[str]:
    """How many boxes may stay, and above which overlap and score."""
    boxes = sum(h * w * len(anchors) for (_, _, h, w), anchors in zip(layer.bottom_shapes, layer.p.anchors))
    lowest, overlap = limits(layer.p)
    return [
        step.ints([boxes], "boxes"),
        step.floats([overlap], "nms_threshold"),
        step.floats([lowest], "confidence_threshold"),
    ]


def _rows(step: LayerBuilder, boxes: str, best: str, label: str, places: str) -> str:
    """The rows of the boxes at `places` [D, 1]."""
    flat = step.node("Squeeze", places, step.ints([1], "place_axis"))
    of_boxes, of_scores, of_labels = (
        step.node("Squeeze", step.node("Gather", values, flat, axis=1), step.ints([0], "image_axis"))
        for values in (boxes, best, label)
    )
    centre, size = step.node("Split", of_boxes, step.ints([2, 2], "halves"), outputs=2, axis=1)
    half = step.node("Div", size, step.floats(2, "two"))
    labels = step.node("Add", step.node("Cast", of_labels, to=TensorProto.FLOAT), step.floats(1, "first_label"))
    image = step.node("Mul", of_scores, step.floats(0, "image"))
    corners = step.node("Sub", centre, half), step.node("Add", centre, half)
    found = step.node("Concat", image, labels, of_scores, *corners, axis=1)
    # Behind them the row of a picture without any, which is cut off again when there are some.
    padded = step.node("Concat", found, step.floats([[0] + [-1] * 6], "none"), axis=0)
    count = step.node("Max", step.node("Shape", flat), step.ints([1], "least"))
    cut = step.node("Slice", padded, step.ints([0], "first"), count, step.ints([0], "row_axis"))
    return step.node("Unsqueeze", cut, step.ints([0, 1], "outer_axes"))
