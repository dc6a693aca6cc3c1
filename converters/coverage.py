"""Which ground truths some prior box covers: what a detector can be trained on before any weight is chosen.

A ground truth that no prior overlaps enough has one forced match at best (SSD, 2016, section 2.2); a head whose
priors miss the data is lost before training begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from converters.priors import prior_boxes
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.params import Pair, PriorBox

THRESHOLDS = (0.5, 0.7)  # the IoU that makes a match in SSD, and the one that Faster R-CNN's anchors need
# COCO's bounds of small, medium and large objects: areas, here in pixels of the net's input.
SIZES = (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, np.inf))
_MOST_PAIRS = 1 << 19  # of boxes and cells, held in memory at a time
Watch = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class PriorLayer:
    """The priors of one map.

    Attributes:
        name: the PriorBox layer's.
        p: its resolved parameters.
        flip: whether `p.ratios` are pairs of a ratio and its inverse.
        map_hw: size of the map in cells.
        image_hw: size in pixels of the image that `p` measures by.
    """

    name: str
    p: PriorBox
    flip: bool
    map_hw: Pair
    image_hw: Pair

    @property
    def count(self) -> int:
        """Priors in all."""
        return prod(self.map_hw) * self.p.per_cell

    @property
    def step_hw(self) -> tuple[float, float]:
        """Pixels from one cell to the next."""
        return self.p.step_hw or (self.image_hw[0] / self.map_hw[0], self.image_hw[1] / self.map_hw[1])

    @property
    def ratios(self) -> tuple[float, ...]:
        """Width to height of the boxes that are no squares; with `flip`, one of each pair."""
        return self.p.ratios[::2] if self.flip else self.p.ratios

    @cached_property
    def grid(self) -> np.ndarray:
        """Corner boxes in 0–1, [rows, columns, priors of a cell, 4] float64."""
        blob = prior_boxes(self.p, self.map_hw, self.image_hw)
        return blob[0, 0].reshape(*self.map_hw, self.p.per_cell, 4).astype(np.float64)

    @property
    def sizes_wh(self) -> np.ndarray:
        """Width and height in pixels of the priors of a cell, uncut, [priors of a cell, 2]."""
        corners = replace(self, p=replace(self.p, clip=False)).grid[0, 0]
        return (corners[:, 2:] - corners[:, :2]) * self.image_hw[::-1]


def prior_layers(graph: Graph) -> list[PriorLayer]:
    """The PriorBox layers of a net, in its order.

    Raises:
        UserError: it has none, or two of one name.
    """
    layers = [
        PriorLayer(
            layer.name,
            layer.p,
            layer.proto.prior_box_param.flip,
            layer.bottom_shapes[0][2:],
            layer.p.image_hw or layer.bottom_shapes[1][2:],
        )
        for layer in graph.layers
        if layer.type == "PriorBox"
    ]
    if not layers:
        found = "the net has no PriorBox layer, so no prior boxes"
        raise UserError(found, where=graph.net.path, expected="a detector's train, test or deploy net")
    names = [layer.name for layer in layers]
    for name in names:
        if names.count(name) > 1:
            found = f'{names.count(name)} PriorBox layers are called "{name}"'
            raise UserError(found, where=graph.net.path, fix="give each layer a name of its own")
    return layers


def best_overlaps(layer: PriorLayer, boxes: np.ndarray) -> np.ndarray:
    """The largest IoU of each box with a prior of the layer, float64 [G].

    Priors of one shape differ by their centres alone, and an intersection can only shrink as two centres part, along
    each axis by itself. So the prior of the nearest cell is the best of its shape, and no other is looked at. Only
    cut priors (`clip`), whose own areas differ, are all compared.

    Args:
        boxes: corners in 0–1, [G, 4], each with an area.
    """
    best = np.zeros(len(boxes))
    for part in _parts(len(boxes), prod(layer.map_hw) if layer.p.clip else 1):
        some = boxes[part].astype(np.float64)
        area = np.prod(some[:, 2:] - some[:, :2], axis=1)[:, None, None]
        for shape in range(layer.p.per_cell):
            across, width = _shared(layer.grid[0, :, shape, ::2], some[:, ::2], layer.p.clip)
            down, height = _shared(layer.grid[:, 0, shape, 1::2], some[:, 1::2], layer.p.clip)
            inside = down[:, :, None] * across[:, None]
            union = area + height[:, :, None] * width[:, None] - inside
            np.maximum(best[part], (inside / union).max(axis=(1, 2)), out=best[part])
    return best


def _parts(count: int, cells: int) -> Iterator[slice]:
    size = max(1, _MOST_PAIRS // cells)
    return (slice(start, start + size) for start in range(0, count, size))


def _shared(priors: np.ndarray, boxes: np.ndarray, every: bool) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: lengths that boxes share with priors, [G, C], and lengths of those priors, [G or 1, C].

    Args:
        priors: from where to where the prior of each cell reaches, [cells, 2].
        boxes: the same of the boxes, [G, 2].
        every: compare with every cell; otherwise with the one whose centre is nearest, and C is 1.
    """
    if every:
        near = priors[None]
    else:
        centres = priors.mean(axis=1)
        near = priors[np.searchsorted((centres[1:] + centres[:-1]) / 2, boxes.mean(axis=1))][:, None]
    shared = np.minimum(near[..., 1], boxes[:, 1:]) - np.maximum(near[..., 0], boxes[:, :1])
    return np.maximum(shared, 0), near[..., 1] - near[..., 0]


@dataclass(frozen=True)
class Coverage:
    """How well the priors of a net cover a data set.

    Attributes:
        layers: the net's.
        boxes: corners in 0–1, [G, 4], each with an area.
        overlaps: the largest IoU of each box with a prior of each layer, [G, L].
    """

    layers: Sequence[PriorLayer]
    boxes: np.ndarray
    overlaps: np.ndarray

    @classmethod
    def of(cls, layers: Sequence[PriorLayer], boxes: np.ndarray, watch: Watch = lambda items, _: items) -> Coverage:
        """Compare all; `watch` passes the layers on and shows how far they are."""
        watched = watch(layers, "comparing boxes with priors")
        return cls(layers, boxes, np.stack([best_overlaps(layer, boxes) for layer in watched], axis=1))

    @property
    def best(self) -> np.ndarray:
        """The largest IoU of each box with any prior, [G]."""
        return self.overlaps.max(axis=1)

    @property
    def sizes_wh(self) -> np.ndarray:
        """Width and height of each box in pixels of the net's input, [G, 2]."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]) * self.layers[0].image_hw[::-1]

    def report(self, label: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """The shares that are covered, as JSON can hold them.

        Args:
            label: position of each box's class in `names`, [G].

        Returns:
            `all`, a row over all boxes; `classes`, `sizes` and `layers`, lists of rows. A row has a `name`, its
            `boxes`, their mean best IoU (`mean_iou`) and the share `covered` at each threshold; None where it has no
            box. The row of a layer says what that layer would cover alone; it has the layer's parameters, too, and
            `best_here`, the number of boxes whose best prior is one of its (of equals the first layer's, as Caffe
            matches).
        """
        best, area = self.best, self.sizes_wh.prod(axis=1)
        best_here = np.bincount(self.overlaps.argmax(axis=1), minlength=len(self.layers)).tolist()
        return {
            "all": _row("all", best),
            "classes": [_row(name, best[label == index]) for index, name in enumerate(names)],
            "sizes": [_row(name, best[(low <= area) & (area < high)]) for name, low, high in SIZES],
            "layers": [
                {**_row(layer.name, alone), "best_here": here, **_parameters(layer)}
                for layer, alone, here in zip(self.layers, self.overlaps.T, best_here)
            ],
        }


def _row(name: str, best: np.ndarray) -> dict[str, Any]:
    if not len(best):
        return {"name": name, "boxes": 0, "mean_iou": None, "covered": {str(t): None for t in THRESHOLDS}}
    covered = {str(threshold): float((best >= threshold).mean()) for threshold in THRESHOLDS}
    return {"name": name, "boxes": len(best), "mean_iou": float(best.mean()), "covered": covered}


def _parameters(layer: PriorLayer) -> dict[str, Any]:
    return {
        "priors": layer.count,
        "map_hw": list(layer.map_hw),
        "step_hw": list(layer.step_hw),
        "min_sizes": list(layer.p.min_sizes),
        "max_sizes": list(layer.p.max_sizes),
        "ratios": [round(ratio, 4) for ratio in layer.p.ratios],
        "sizes_wh": layer.sizes_wh.round(2).tolist(),
    }
