"""Prior boxes as constants; decoding and non-maximum suppression in standard operators."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from converters.detection_check import check_detection
from converters.onnx.boxes import decode
from converters.onnx.builder import Builder, LayerBuilder
from converters.onnx.layers.table import NODES
from converters.priors import prior_boxes
from prototxt.graph import Layer
from prototxt.schema import PriorBoxParameter

_LOWEST = np.finfo(np.float32).min
_LAST = np.iinfo(np.int64).max


@NODES.register("PriorBox")
def prior_box(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    features, image = layer.bottom_shapes
    return [build.constant(prior_boxes(layer.p, features[2:], image[2:]), layer.name)]


@NODES.register("DetectionOutput")
def detection_output(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    """Rows [1, 1, D, 7] as Caffe orders them: by image, class, descending score.

    When D would be 0, a row of -1 for each image.
    """
    check(build, layer, bottoms[2])
    loc, conf, priors, *first_stage = bottoms
    detections = Detections(build, layer)
    boxes = detections.boxes(loc, build.array(priors), *first_stage[1:])
    scores = detections.scores(conf, *first_stage[:1])
    return [detections.rows(boxes, scores, detections.select(boxes, scores))]


def check(build: Builder, layer: Layer, priors: str) -> None:
    check_detection(layer)
    if layer.p.nms_param.eta != 1:
        raise layer.error(f"eta is {layer.p.nms_param.eta:g}: NonMaxSuppression has one threshold", expected="1")
    if build.array(priors) is None:
        raise layer.error(f'its prior boxes "{priors}" are computed', expected="PriorBox layers and their Concat")


class Detections(LayerBuilder):
    """The steps of one DetectionOutput.

    N images, P priors, K classes without the background, M boxes selected. NonMaxSuppression takes S sets of boxes,
    each with the scores of Q classes: where classes share their boxes S is N and Q is K, else S is N·K and Q is 1.
    """

    def __init__(self, build: Builder, layer: Layer) -> None:
        super().__init__(build, layer)
        self.p = layer.p
        self.images = layer.bottom_shapes[0][0]
        self._batch_is_open = build.is_open.batch
        self.priors = layer.bottom_shapes[2][2] // 4
        self.labels = [c for c in range(self.p.num_classes) if c != self.p.background_label_id]

    def boxes(self, loc: str, priors: np.ndarray, arm_loc: str | None = None) -> str:
        """Boxes [S, P, 4] of the offsets [N, 4PL], L sets of them for an image."""
        corners, variances = priors.reshape(2, self.priors, 4)
        variance = None if self.p.variance_encoded_in_target else self.floats(variances, "variances")
        boxes = self.floats(corners, "priors")
        for offsets in [self._offsets(loc)] if arm_loc is None else [self._offsets(arm_loc), self._offsets(loc)]:
            scaled = offsets if variance is None else self.node("Mul", offsets, variance)
            boxes = decode(self, self.p.code_type, boxes, scaled)
        return boxes

    def _offsets(self, loc: str) -> str:
        """Offsets [S, P, 4] of [N, 4PL]."""
        if self.p.share_location:
            return self.node("Reshape", loc, self.ints([0, self.priors, 4], "offsets_shape"))
        shape = self.ints([0, self.priors, self.p.num_classes, 4], "offsets_shape")
        by_class = self.node("Transpose", self.node("Reshape", loc, shape), perm=[0, 2, 1, 3])
        foreground = self.node("Gather", by_class, self.ints(self.labels, "foreground"), axis=1)
        return self.node("Reshape", foreground, self.ints([-1, self.priors, 4], "sets_shape"))

    def scores(self, conf: str, arm_conf: str | None = None) -> str:
        """Scores [S, Q, P]; those that are not among a class's best `top_k` are lower than any threshold."""
        by_class = self.node("Transpose", self.table(conf, arm_conf), perm=[0, 2, 1])
        scores = self.node("Gather", by_class, self.ints(self.labels, "foreground"), axis=1)
        if self._top_k() < self.priors:
            best, at = self.node("TopK", scores, self.ints([self._top_k()], "top_k"), outputs=2, axis=2)
            nothing = self.node("Expand", self.floats(_LOWEST, "nothing"), self._candidates_shape(scores))
            scores = self.node("ScatterElements", nothing, at, best, axis=2)
        if self.p.share_location:
            return scores
        return self.node("Reshape", scores, self.ints([-1, 1, self.priors], "sets_of_one_shape"))

    def table(self, conf: str, arm_conf: str | None = None) -> str:
        """Scores [N, P, classes], the background's included."""
        table = self.node("Reshape", conf, self.ints([0, self.priors, self.p.num_classes], "scores_shape"))
        return table if arm_conf is None else self._objects_only(table, arm_conf)

    def _candidates_shape(self, scores: str) -> str:
        if self._batch_is_open:
            return self.node("Shape", scores)
        return self.ints([self.images, len(self.labels), self.priors], "candidates_shape")

    def _count_images(self, scores: str) -> str:
        """N, [1], of scores [S, Q, P]."""
        sets = self.node("Shape", scores, start=0, end=1)
        if self.p.share_location:
            return sets
        return self.node("Div", sets, self.ints([len(self.labels)], "sets_of_an_image"))

    def _image_numbers(self, scores: str) -> str:
        """0 … N - 1, [N, 1]."""
        if not self._batch_is_open:
            return self.ints(np.arange(self.images)[:, None], "images")
        count = self.node("Squeeze", self._count_images(scores), self.ints([0], "count_axis"))
        numbers = self.node("Range", self.ints(0, "first_image"), count, self.ints(1, "image_step"))
        return self.node("Unsqueeze", numbers, self.ints([1], "number_axis"))

    def _rows_of_none(self, scores: str) -> tuple[str, str]:
        """The rows [N, 7] of a batch without detections, and N."""
        if not self._batch_is_open:
            none = np.full((self.images, 7), -1)
            none[:, 0] = np.arange(self.images)
            return self.floats(none, "none"), self.ints([self.images], "none_count")
        numbers = self.node("Cast", self._image_numbers(scores), to=TensorProto.FLOAT)
        pads = self.ints([0, 0, 0, 6], "none_pads")
        return self.node("Pad", numbers, pads, self.floats(-1, "none")), self._count_images(scores)

    def _objects_only(self, table: str, arm_conf: str) -> str:
        """`table` [N, P, classes], where a prior that is no object to the first stage is sure to be of class 0."""
        pairs = self.node("Reshape", arm_conf, self.ints([0, self.priors, 2], "objectness_shape"))
        _, objectness = self.node("Split", pairs, self.ints([1, 1], "objectness_halves"), outputs=2, axis=2)
        is_nothing = self.node("Less", objectness, self.floats(self.p.objectness_score, "objectness_score"))
        nothing = np.eye(1, self.p.num_classes, dtype=np.float32)[0]
        return self.node("Where", is_nothing, self.floats(nothing, "class_0"), table)

    def _top_k(self) -> int:
        nms = self.p.nms_param
        return min(nms.top_k, self.priors) if nms.HasField("top_k") and nms.top_k > -1 else self.priors

    def select(self, boxes: str, scores: str) -> str:
        """(set of S, class of Q, prior) of the detections [M, 3], the best `keep_top_k` of each image."""
        p = self.p
        # Where no threshold is given every score passes but those that were struck out.
        threshold = p.confidence_threshold if p.HasField("confidence_threshold") else _LOWEST / 2
        if p.code_type != PriorBoxParameter.CENTER_SIZE:
            boxes = self._without_swapped(boxes)
        selected = self.node(
            "NonMaxSuppression",
            boxes,
            scores,
            self.ints([self._top_k()], "most_of_a_class"),
            self.floats([min(p.nms_param.nms_threshold, 1.0)], "nms_threshold"),  # no overlap is above 1
            self.floats([threshold], "confidence_threshold"),
        )
        return selected if p.keep_top_k < 0 else self._best_of_images(selected, scores)

    def _without_swapped(self, boxes: str) -> str:
        """Boxes whose corners are swapped, made empty: so they overlap nothing in Caffe, while ONNX swaps them back."""
        low, high = self.node("Split", boxes, self.ints([2, 2], "corners"), outputs=2, axis=2)
        return self.node("Concat", low, self.node("Max", low, high), axis=2)

    def _best_of_images(self, selected: str, scores: str) -> str:
        """Those of `selected` [M, 3] that are among the best `keep_top_k` of their image, in the same order."""
        image, _ = self._image_and_class(selected)
        numbers = self._image_numbers(scores)
        is_own = self.node("Equal", self.node("Transpose", image, perm=[1, 0]), numbers)  # [N, M]
        own = self.node("Where", is_own, self.node("GatherND", scores, selected), self.floats(_LOWEST, "not_own"))
        limit = self.node("Min", self.ints([self.p.keep_top_k], "keep_top_k"), self._count(selected))
        best, at = self.node("TopK", own, limit, outputs=2, axis=1)
        # An image of fewer detections fills up with those of others: they go behind all and are cut off.
        is_best = self.node("Greater", best, self.floats(_LOWEST, "lowest"))
        order = self.node("Where", is_best, at, self.ints(_LAST, "last"))
        kept = self.node("ReduceSum", self._flat(self.node("Cast", is_best, to=TensorProto.INT64)))
        in_order, _ = self.node("TopK", self._flat(order), self._flat(kept), outputs=2, axis=0, largest=0)
        return self.node("Gather", selected, in_order, axis=0)

    def _flat(self, values: str) -> str:
        return self.node("Reshape", values, self.ints([-1], "flat"))

    def _count(self, selected: str) -> str:
        return self.node("Shape", selected, start=0, end=1)

    def _image_and_class(self, selected: str) -> list[str]:
        """Number of the image and class of K of each of `selected`, [M, 1] both."""
        of, kind, _ = self.node("Split", selected, self.ints([1, 1, 1], "columns"), outputs=3, axis=1)
        if self.p.share_location:
            return [of, kind]
        kinds = self.ints(len(self.labels), "kinds")
        return [self.node("Div", of, kinds), self.node("Mod", of, kinds)]

    def rows(self, boxes: str, scores: str, selected: str) -> str:
        """The detections as Caffe's rows [1, 1, D, 7]."""
        image, kind = self._image_and_class(selected)
        score = self.node("Unsqueeze", self.node("GatherND", scores, selected), self.ints([1], "score_axis"))
        place = self.node("Gather", selected, self.ints([0, 2], "set_and_prior"), axis=1)
        found = self.node(
            "Concat",
            self.node("Cast", image, to=TensorProto.FLOAT),
            self.node("Gather", self.floats(self.labels, "labels"), kind),
            score,
            self.node("GatherND", boxes, place),
            axis=1,
        )
        # Behind them the rows of a batch without any, which are cut off again when there are some.
        none, images = self._rows_of_none(scores)
        count = self._count(selected)
        has_some = self.node("Cast", count, to=TensorProto.BOOL)
        count = self.node("Where", has_some, count, images)
        padded = self.node("Concat", found, none, axis=0)
        cut = self.node("Slice", padded, self.ints([0], "first"), count, self.ints([0], "row_axis"))
        return self.node("Unsqueeze", cut, self.ints([0, 1], "outer_axes"))
