"""Proposal, and what is pooled from its regions [R, 5]: image, xmin, ymin, xmax, ymax, in pixels of the net's input."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from converters.anchors import anchors
from converters.onnx.builder import Builder, LayerBuilder
from converters.onnx.layers.table import NODES
from prototxt.graph import Layer
from prototxt.shapes.roi import PROPOSALS

_LOWEST = np.finfo(np.float32).min


@NODES.register(*PROPOSALS)
def proposal(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    """Regions [R, 5] by descending score, and their scores [R, 1]."""
    step = _Proposal(build, layer)
    low, high = step.boxes(*bottoms[1:])
    best, order = step.candidates(bottoms[0], step.is_large(low, high, bottoms[2]))
    low, high = (step.node("Gather", corner, order, axis=0) for corner in (low, high))
    return step.regions(low, high, best)[: len(layer.tops)]


class _Proposal(LayerBuilder):
    """The steps of one Proposal. There are K anchors; M of them go into the suppression."""

    def __init__(self, build: Builder, layer: Layer) -> None:
        super().__init__(build, layer)
        self.p, self.maps = layer.p, layer.bottom_shapes[0]
        self.count = self.p.per_cell * self.maps[2] * self.maps[3]

    def _by_cell(self, maps: str, values: int) -> str:
        """[1, C, H, W] as [K, values]."""
        cells = self.node("Transpose", maps, perm=[0, 2, 3, 1])
        return self.node("Reshape", cells, self.ints([-1, values], "by_anchor"))

    def boxes(self, offsets: str, image: str) -> tuple[str, str]:
        """Near and far corners [K, 2] of the anchors, moved by their offsets and cut to the image."""
        low, high = np.split(anchors(self.p, self.maps[2:]), 2, axis=1)
        sides = self.floats(high - low + 1, "anchor_sides")
        moves = self.node("Split", self._by_cell(offsets, 4), self.ints([2, 2], "halves"), outputs=2, axis=1)
        centre = self.node("Mul", moves[0], sides)
        centre = self.node("Add", centre, self.floats(low + 0.5 * (high - low + 1), "anchor_centres"))
        half = self.node("Mul", self.node("Mul", self.node("Exp", moves[1]), sides), self.floats(0.5, "half"))
        limit = self.node("Sub", self._of_image(image, [1, 0]), self.floats(1, "one"))
        zero = self.floats(0, "zero")
        corners = (self.node(op, centre, half) for op in ("Sub", "Add"))
        near, far = (self.node("Max", self.node("Min", corner, limit), zero) for corner in corners)
        return near, far

    def _of_image(self, image: str, columns: list[int]) -> str:
        """[1, n], some of height, width and scale."""
        flat = self.node("Reshape", image, self.ints([1, -1], "image_row"))
        return self.node("Gather", flat, self.ints(columns, "image_columns"), axis=1)

    def is_large(self, low: str, high: str, image: str) -> str:
        """Which boxes have both sides of at least `min_size`, [K]."""
        sides = self.node("Add", self.node("Sub", high, low), self.floats(1, "last_pixel"))
        least = self.node("Mul", self._of_image(image, [2]), self.floats(self.p.min_size, "min_size"))
        return self._flat(self.node("GreaterOrEqual", self.node("ReduceMin", sides, axes=[1], keepdims=1), least))

    def _flat(self, values: str) -> str:
        return self.node("Reshape", values, self.ints([-1], "flat"))

    def candidates(self, scores: str, is_large: str) -> tuple[str, str]:
        """The scores [M] of the best boxes, and which they are; small ones are lower than any threshold."""
        halves = self.ints([self.p.per_cell] * 2, "background_and_objects")
        objects = self.node("Split", scores, halves, outputs=2, axis=1)[1]
        found = self.node("Where", is_large, self._flat(self._by_cell(objects, 1)), self.floats(_LOWEST, "small"))
        most = self.ints([min(self.p.most_before, self.count)], "pre_nms_topn")
        best, order = self.node("TopK", found, most, outputs=2, axis=0)
        return best, order

    def regions(self, low: str, high: str, best: str) -> list[str]:
        """The regions and their scores, of boxes [M, 2] and scores [M] by descending score."""
        # The last pixel belongs to a box, so its far corner is one pixel on.
        boxes = self.node("Concat", low, self.node("Add", high, self.floats(1, "next_pixel")), axis=1)
        selected = self.node(
            "NonMaxSuppression",
            self.node("Unsqueeze", boxes, self.ints([0], "image_axis")),
            self.node("Unsqueeze", best, self.ints([0, 1], "image_and_class_axes")),
            self.ints([self.p.most], "post_nms_topn"),
            self.floats([min(self.p.nms_threshold, 1.0)], "nms_threshold"),  # no overlap is above 1
            self.floats([_LOWEST / 2], "score_threshold"),
        )
        image, _, place = self.node("Split", selected, self.ints([1, 1, 1], "columns"), outputs=3, axis=1)
        place = self._flat(place)
        corners = (self.node("Gather", corner, place, axis=0) for corner in (low, high))
        regions = self.node("Concat", self.node("Cast", image, to=TensorProto.FLOAT), *corners, axis=1)
        scores = self.node("Gather", best, place, axis=0)
        return [regions, self.node("Unsqueeze", scores, self.ints([1], "score_axis"))]


def _rows(step: LayerBuilder, layer: Layer, regions: str) -> str:
    """Regions as [R, 5]."""
    if len(layer.bottom_shapes[1]) == 2:
        return regions
    return step.node("Reshape", regions, step.ints([-1, 5], "rows_shape"))


@NODES.register("ROIPooling")
def roi_pooling(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    p, step = layer.p, LayerBuilder(build, layer)
    regions = _rows(step, layer, bottoms[1])
    how = {"pooled_shape": [p.pooled_h, p.pooled_w], "spatial_scale": p.spatial_scale}
    return [step.node("MaxRoiPool", bottoms[0], regions, **how)]


@NODES.register("PSROIPooling")
def psroi_pooling(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    """Means [R, output_dim, G, G]: each bin is summed by two products with what is 1 inside it and 0 outside."""
    step = _PositionSensitive(build, layer)
    image, corners = step.split(_rows(step, layer, bottoms[1]))
    rows, columns = step.masks(corners)
    return [step.means(bottoms[0], step.of_image(rows, image), rows, columns)]


class _PositionSensitive(LayerBuilder):
    """The steps of one PSROIPooling of R regions, G bins along a side, maps [N, D·G·G, H, W]."""

    def __init__(self, build: Builder, layer: Layer) -> None:
        super().__init__(build, layer)
        self.p, (self.images, _, *self.size_hw) = layer.p, layer.bottom_shapes[0]

    def split(self, regions: str) -> tuple[str, str]:
        """The image [R, 1] of each region, and its corners [R, 4] rounded, halves away from zero."""
        image, corners = self.node("Split", regions, self.ints([1, 4], "image_and_corners"), outputs=2, axis=1)
        size = self.node("Abs", corners)
        whole = self.node("Floor", size)
        up = self.node("GreaterOrEqual", self.node("Sub", size, whole), self.floats(0.5, "half"))
        rounded = self.node("Add", whole, self.node("Cast", up, to=TensorProto.FLOAT))
        return image, self.node("Mul", self.node("Sign", corners), rounded)

    def masks(self, corners: str) -> tuple[str, str]:
        """Which rows [R, G, H] and which columns [R, G, W] each bin covers, as 1 and 0."""
        near, far = self.node("Split", corners, self.ints([2, 2], "near_and_far"), outputs=2, axis=1)
        scale, one = self.floats(self.p.spatial_scale, "spatial_scale"), self.floats(1, "last_pixel")
        near, far = self.node("Mul", near, scale), self.node("Mul", self.node("Add", far, one), scale)
        length = self.node("Max", self.node("Sub", far, near), self.floats(0.1, "least_length"))
        step = self.node("Div", length, self.floats(self.p.group_size, "bins"))
        starts, steps = (self.node("Split", v, self.ints([1, 1], "x_and_y"), outputs=2, axis=1) for v in (near, step))
        rows, columns = (self._mask(starts[axis], steps[axis], self.size_hw[1 - axis]) for axis in (1, 0))
        return rows, columns

    def _mask(self, start: str, step: str, size: int) -> str:
        """[R, G, size] of intervals that begin at `start` [R, 1] and have bins of `step` [R, 1]."""
        bins = np.arange(self.p.group_size + 1)
        first, last = (
            self.node("Add", self.node("Mul", step, self.floats(part, "bin_edges")), start)
            for part in (bins[:-1], bins[1:])
        )
        axis, places = self.ints([2], "place_axis"), self.floats(np.arange(size), "places")
        low = self.node("Unsqueeze", self.node("Floor", first), axis)
        high = self.node("Unsqueeze", self.node("Ceil", last), axis)
        inside = self.node("And", self.node("GreaterOrEqual", places, low), self.node("Less", places, high))
        return self.node("Cast", inside, to=TensorProto.FLOAT)

    def of_image(self, rows: str, image: str) -> str:
        """`rows` [R, G, H] over all images, [R, G, N·H], 0 in those that are not a region's own."""
        if self.images == 1:
            return rows
        is_own = self.node("Equal", image, self.floats(np.arange(self.images), "images"))  # [R, N]
        own = self.node("Unsqueeze", self.node("Cast", is_own, to=TensorProto.FLOAT), self.ints([1, 3], "own_axes"))
        spread = self.node("Mul", own, self.node("Unsqueeze", rows, self.ints([2], "own_axis")))  # [R, G, N, H]
        shape = self.ints([0, 0, -1], "rows_of_all_shape")
        return self.node("Reshape", spread, shape)

    def means(self, maps: str, rows_of_all: str, rows: str, columns: str) -> str:
        """[R, D, G, G]."""
        p, (height, width) = self.p, self.size_hw
        shape = [self.images, p.output_dim, p.group_size, p.group_size, height, width]
        maps = self.node("Reshape", maps, self.ints(shape, "maps_shape"))
        maps = self.node("Transpose", maps, perm=[3, 1, 2, 0, 4, 5])  # columns' bin, D, rows' bin, N, H, W
        maps = self.node("Reshape", maps, self.ints([p.group_size, -1, width], "lines_shape"))
        sums = self.node("MatMul", maps, self.node("Transpose", columns, perm=[1, 2, 0]))  # columns' bin, lines, R
        lines = self.images * height
        sums = self.node(
            "Reshape", sums, self.ints([p.group_size, p.output_dim, p.group_size, lines, -1], "sums_shape")
        )
        own = self.node("Transpose", rows_of_all, perm=[1, 2, 0])  # rows' bin, lines, R
        sums = self.node("ReduceSum", self.node("Mul", sums, own), self.ints([3], "line_axis"), keepdims=0)
        sums = self.node("Transpose", sums, perm=[3, 1, 2, 0])
        return self.node("Div", sums, self._areas(rows, columns))

    def _areas(self, rows: str, columns: str) -> str:
        """[R, 1, G, G], at least 1."""
        high, wide = (self.node("ReduceSum", v, self.ints([2], "area_axis"), keepdims=0) for v in (rows, columns))
        high = self.node("Unsqueeze", high, self.ints([1, 3], "high_axes"))
        wide = self.node("Unsqueeze", wide, self.ints([1, 2], "wide_axes"))
        return self.node("Max", self.node("Mul", high, wide), self.floats(1, "least_area"))
