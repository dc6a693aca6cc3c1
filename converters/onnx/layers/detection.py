"""Prior boxes as constants; decoding and non-maximum suppression in standard operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.onnx.builder import Builder
from converters.onnx.layers.table import NODES
from converters.priors import prior_boxes
from prototxt.graph import Layer
from prototxt.schema import PriorBoxParameter

_LOWEST = np.finfo(np.float32).min


@NODES.register("PriorBox")
def prior_box(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    features, image = layer.bottom_shapes
    return [build.constant(prior_boxes(layer.p, features[2:], image[2:]), layer.name)]


@NODES.register("DetectionOutput")
def detection_output(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    """Rows [1, 1, D, 7] as Caffe orders them: by class, then by descending score; one row of -1 when D would be 0."""
    detections = _Detections(build, layer)
    priors = build.array(bottoms[2])
    if priors is None:
        raise layer.error(f'its prior boxes "{bottoms[2]}" are computed', expected="PriorBox layers and their Concat")
    boxes = detections.decode(bottoms[0], priors)
    scores = detections.candidates(bottoms[1])
    return [detections.rows(boxes, scores, detections.select(boxes, scores))]


def _check(layer: Layer) -> None:
    p = layer.p
    if layer.bottom_shapes[0][0] != 1:
        raise layer.error(
            f"its batch is {layer.bottom_shapes[0][0]}", expected="1", fix="set the input's first dim to 1"
        )
    if len(layer.bottoms) > 3:
        raise layer.error("RefineDet's further bottoms have no ONNX form yet")
    if not p.share_location:
        raise layer.error("share_location: false has no ONNX form yet")
    if p.background_label_id == -1:
        raise layer.error("background_label_id: -1 with share_location: true", expected="share_location: false")
    if p.nms_param.nms_threshold < 0:
        raise layer.error(f"nms_threshold is {p.nms_param.nms_threshold:g}", expected="0 or more")
    if p.nms_param.eta != 1:
        raise layer.error(f"eta is {p.nms_param.eta:g}: NonMaxSuppression has one threshold", expected="1")


class _Detections:
    """The steps of one DetectionOutput. P priors, K classes without the background, M boxes selected."""

    def __init__(self, build: Builder, layer: Layer) -> None:
        _check(layer)
        self.build, self.layer, self.p = build, layer, layer.p
        self.priors = layer.bottom_shapes[2][2] // 4
        self.labels = [c for c in range(self.p.num_classes) if c != self.p.background_label_id]

    def node(self, op: str, *inputs: str, **attributes: Any) -> Any:
        return self.build.node(op, inputs, self.layer, **attributes)

    def floats(self, array: Any, name: str) -> str:
        return self.build.constant(array, f"{self.layer.name}/{name}")

    def ints(self, array: Any, name: str) -> str:
        return self.build.constant(array, f"{self.layer.name}/{name}", np.int64)

    def decode(self, loc: str, priors: np.ndarray) -> str:
        """Boxes [P, 4], corners 0–1, of the offsets [1, 4P]."""
        boxes, variances = priors.reshape(2, self.priors, 4)
        if self.p.variance_encoded_in_target:
            variances = np.ones_like(variances)
        offsets = self.node("Reshape", loc, self.ints([self.priors, 4], "offsets_shape"))
        size = boxes[:, 2:] - boxes[:, :2]
        if self.p.code_type != PriorBoxParameter.CENTER_SIZE:
            unit = np.tile(size, 2) if self.p.code_type == PriorBoxParameter.CORNER_SIZE else 1.0
            moved = self.node("Mul", offsets, self.floats(variances * unit, "unit"))
            return self.node("Add", moved, self.floats(boxes, "priors"))
        to_centre, to_size = self.node("Split", offsets, self.ints([2, 2], "halves"), outputs=2, axis=1)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        centre = self.node("Add", self.node("Mul", to_centre, self.floats(variances[:, :2] * size, "centre_unit")),
                           self.floats(centre, "centres"))  # fmt: skip
        grown = self.node("Exp", self.node("Mul", to_size, self.floats(variances[:, 2:], "size_variance")))
        half = self.node("Mul", grown, self.floats(size / 2, "half_sizes"))
        return self.node("Concat", self.node("Sub", centre, half), self.node("Add", centre, half), axis=1)

    def candidates(self, conf: str) -> str:
        """Scores [1, K, P]; those that are not among a class's best `top_k` are lower than any threshold."""
        table = self.node("Reshape", conf, self.ints([self.priors, self.p.num_classes], "scores_shape"))
        by_class = self.node("Transpose", table, perm=[1, 0])
        scores = self.node("Gather", by_class, self.ints(self.labels, "foreground"), axis=0)
        if self._top_k() < self.priors:
            best, at = self.node("TopK", scores, self.ints([self._top_k()], "top_k"), outputs=2, axis=1)
            nothing = self.floats(np.full((len(self.labels), self.priors), _LOWEST), "nothing")
            scores = self.node("ScatterElements", nothing, at, best, axis=1)
        return self.node("Unsqueeze", scores, self.ints([0], "batch_axis"))

    def _top_k(self) -> int:
        nms = self.p.nms_param
        return min(nms.top_k, self.priors) if nms.HasField("top_k") and nms.top_k > -1 else self.priors

    def select(self, boxes: str, scores: str) -> str:
        """(image, class of K, prior) of the detections [M, 3], the best `keep_top_k` over all classes."""
        p = self.p
        # Where no threshold is given every score passes but those that were struck out.
        threshold = p.confidence_threshold if p.HasField("confidence_threshold") else _LOWEST / 2
        if p.code_type != PriorBoxParameter.CENTER_SIZE:
            boxes = self._without_swapped(boxes)
        selected = self.node(
            "NonMaxSuppression",
            self.node("Unsqueeze", boxes, self.ints([0], "batch_axis")),
            scores,
            self.ints([self._top_k()], "most_of_a_class"),
            self.floats([min(p.nms_param.nms_threshold, 1.0)], "nms_threshold"),  # no overlap is above 1
            self.floats([threshold], "confidence_threshold"),
        )
        if p.keep_top_k < 0:
            return selected
        limit = self.ints([p.keep_top_k], "keep_top_k")
        count = self.node("Min", limit, self.node("Shape", selected, start=0, end=1))
        _, best = self.node("TopK", self.node("GatherND", scores, selected), count, outputs=2, axis=0)
        # Caffe keeps the best of all classes, yet leaves them in the order of the classes.
        in_order, _ = self.node("TopK", best, count, outputs=2, axis=0, largest=0)
        return self.node("Gather", selected, in_order, axis=0)

    def _without_swapped(self, boxes: str) -> str:
        """Boxes whose corners are swapped, made empty: so they overlap nothing in Caffe, while ONNX swaps them back."""
        low, high = self.node("Split", boxes, self.ints([2, 2], "corners"), outputs=2, axis=1)
        return self.node("Concat", low, self.node("Max", low, high), axis=1)

    def rows(self, boxes: str, scores: str, selected: str) -> str:
        """The detections as Caffe's rows [1, 1, D, 7]."""
        _, kind, prior = self.node("Split", selected, self.ints([1, 1, 1], "columns"), outputs=3, axis=1)
        label = self.node("Gather", self.floats(self.labels, "labels"), kind)
        image = self.node("Mul", label, self.floats(0.0, "image"))
        score = self.node("Unsqueeze", self.node("GatherND", scores, selected), self.ints([1], "score_axis"))
        corners = self.node("Gather", boxes, self.node("Squeeze", prior, self.ints([1], "prior_axis")), axis=0)
        found = self.node("Concat", image, label, score, corners, axis=1)
        # One row of -1 behind them all is cut off again, unless it is the only one.
        padded = self.node("Concat", found, self.floats([[0, -1, -1, -1, -1, -1, -1]], "none"), axis=0)
        count = self.node("Max", self.node("Shape", selected, start=0, end=1), self.ints([1], "one"))
        cut = self.node("Slice", padded, self.ints([0], "first"), count, self.ints([0], "row_axis"))
        return self.node("Unsqueeze", cut, self.ints([0, 1], "outer_axes"))
