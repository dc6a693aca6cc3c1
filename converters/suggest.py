"""Sizes and ratios of prior boxes from the data, for the maps and the priors per cell that a net has.

Sizes are usually set by hand, or by clustering widths and heights (YOLO9000, 2017, section 2), which knows nothing
of the cells that boxes fall into. What counts is coverage, and that is cheap to compute; so it is climbed itself: one
size or ratio after the other takes the value that covers most, until a round gains little. No chance is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from google.protobuf import text_format

from converters.coverage import THRESHOLDS, Coverage, PriorLayer, best_overlaps
from prototxt.schema import LayerParameter, NetParameter, PriorBoxParameter

_MOST_BOXES = 10_000  # that values are tried on; the figures of the result are those of all boxes
_MOST_ROUNDS = 10
_LEAST_GAIN = 1e-3  # of the score, for another round
_TRIED_SIZES = 40
_TRIED_RATIOS = 16
# Sizes in steps of the map. A prior smaller than a step leaves out what lies between cells; a fine map has too small
# a receptive field for long ones. Published heads lie between 0.9 (SSD300's last map) and 9.6 (SSD512's first).
_REACH = (1, 10)
Watch = Callable[[Sequence[Any], str], Iterable[Any]]


def suggest(
    layers: Sequence[PriorLayer],
    boxes: np.ndarray,
    label: np.ndarray,
    watch: Watch = lambda items, _: items,
) -> list[PriorLayer]:
    """The layers with the min and max sizes and the ratios that cover the boxes best, as far as climbing finds them.

    Every layer keeps its number of priors in a cell, so heads fit as they are; sizes rise with the steps of the maps.
    The score is the mean of the shares covered at 0.5 and 0.7 and of the best IoU, half of it over boxes alike and
    half over classes alike, so that a rare class is not given up for the sake of a frequent one. Where a net cuts its
    priors at the image's border (`clip`), values are tried without that, which is much faster, and only the result is
    judged with it.

    Args:
        layers: where to start; they are returned unchanged when nothing better is found.
        boxes: corners in 0–1, [G, 4], each with an area.
        label: class of each box, [G].
        watch: passes items on and shows how far they are; called with the layers and what is done with them.
    """
    # Every n-th box of each class: in the order of the classes, so that a rare one keeps its part.
    few = np.argsort(label, kind="stable")[:: -(-len(boxes) // _MOST_BOXES)]
    search = _Search(layers, boxes[few], label[few])
    for number in range(1, _MOST_ROUNDS + 1):
        before = search.score
        for index in watch(range(len(layers)), f"trying sizes, round {number}"):
            search.improve(index)
        if search.score - before < _LEAST_GAIN:
            break
    return search.layers if search.cut_score(search.layers) > search.cut_score(layers) else list(layers)


class _Search:
    """The best layers so far, their overlaps with the boxes [G, L] and their score."""

    def __init__(self, layers: Sequence[PriorLayer], boxes: np.ndarray, label: np.ndarray) -> None:
        self.layers, self.boxes = list(layers), boxes
        self.weight = _weights(label)
        self.overlaps = np.stack([self._uncut(layer) for layer in layers], axis=1)
        self.score = self._score(self.overlaps.max(axis=1))
        side_wh = (boxes[:, 2:] - boxes[:, :2]) * layers[0].image_hw[::-1]
        ratio = side_wh[:, 0] / side_wh[:, 1]
        # Beyond the sides of the boxes, as a max size is above the square it makes.
        self.sizes = _spread(np.sqrt(side_wh.prod(axis=1)) * np.array([[0.8], [1.5]]), _TRIED_SIZES, digits=0)
        self.ratios = _spread(ratio, _TRIED_RATIOS, digits=1)
        self.elongations = _spread(np.maximum(ratio, 1 / ratio), _TRIED_RATIOS, digits=1)

    def improve(self, index: int) -> None:
        """Give each size and ratio of a layer, one after the other, the value that scores best."""
        rest = [*self.layers[:index], *self.layers[index + 1 :]]
        others = np.delete(self.overlaps, index, axis=1).max(axis=1, initial=0)
        for field, places in _fields(self.layers[index]):
            for place in range(places):
                for trial in self._trials(self.layers[index], field, place):
                    if not (_valid(trial) and all(_ordered(trial, other) for other in rest)):
                        continue
                    overlaps = self._uncut(trial)
                    score = self._score(np.maximum(others, overlaps))
                    if score > self.score + 1e-9:  # a gain, not noise
                        self.layers[index], self.overlaps[:, index], self.score = trial, overlaps, score

    def cut_score(self, layers: Sequence[PriorLayer]) -> float:
        """The score of layers as they are, cut at the image's border where they say so."""
        return self._score(Coverage.of(layers, self.boxes).best)

    def _trials(self, layer: PriorLayer, field: str, place: int) -> Iterator[PriorLayer]:
        """The layer with other values at a place of `min_sizes`, `max_sizes` or `ratios`."""
        if field != "ratios":
            values, step = getattr(layer.p, field), min(layer.step_hw)
            for size in self.sizes:
                if max(1, _REACH[0] * step) <= size <= _REACH[1] * step:
                    changed = (*values[:place], int(size), *values[place + 1 :])
                    yield replace(layer, p=replace(layer.p, **{field: changed}))
            return
        for ratio in self.elongations if layer.flip else self.ratios:
            changed = (*layer.ratios[:place], ratio, *layer.ratios[place + 1 :])
            pairs = tuple(each for one in changed for each in (one, 1 / one)) if layer.flip else changed
            yield replace(layer, p=replace(layer.p, ratios=pairs))

    def _uncut(self, layer: PriorLayer) -> np.ndarray:
        return best_overlaps(replace(layer, p=replace(layer.p, clip=False)), self.boxes)

    def _score(self, best: np.ndarray) -> float:
        shares = [self.weight @ (best >= threshold) for threshold in THRESHOLDS]
        return float(np.mean([*shares, self.weight @ best]))


def _weights(label: np.ndarray) -> np.ndarray:
    """Weights of the boxes, which add up to 1: half of it shared by all boxes, half by the classes."""
    _, index, counts = np.unique(label, return_inverse=True, return_counts=True)
    return 0.5 / len(label) + 0.5 / (len(counts) * counts[index])


def _spread(values: np.ndarray, count: int, digits: int) -> list[float]:
    """Round numbers at even ratios from the smallest to the largest of `values`, but for a two-hundredth each."""
    low, high = np.quantile(values, (0.005, 0.995))
    return sorted(set(np.geomspace(low, high, count).round(digits).tolist()))


def _fields(layer: PriorLayer) -> tuple[tuple[str, int], ...]:
    """What can be changed of a layer, and how many values each has."""
    return ("min_sizes", len(layer.p.min_sizes)), ("max_sizes", len(layer.p.max_sizes)), ("ratios", len(layer.ratios))


def _valid(layer: PriorLayer) -> bool:
    """Whether Caffe takes the layer and makes as many priors of it as its values say."""
    p = layer.p
    rising = all(low < high for low, high in zip(p.min_sizes, p.min_sizes[1:]))
    return rising and all(low < high for low, high in zip(p.min_sizes, p.max_sizes)) and _distinct(p.ratios)


def _distinct(ratios: Sequence[float]) -> bool:
    return min(ratios, default=1) > 0 and len({round(ratio, 4) for ratio in (1, *ratios)}) == 1 + len(ratios)


def _ordered(layer: PriorLayer, other: PriorLayer) -> bool:
    """Whether the sizes of two layers are in the order of their steps; of equal steps any order will do."""
    fine, coarse = sorted((layer, other), key=lambda each: each.step_hw)
    if fine.step_hw == coarse.step_hw:
        return True
    maxes = fine.p.max_sizes, coarse.p.max_sizes
    return fine.p.min_sizes[-1] < coarse.p.min_sizes[0] and (not all(maxes) or maxes[0][-1] <= maxes[1][-1])


def with_sizes(message: NetParameter, layers: Sequence[PriorLayer]) -> NetParameter:
    """A copy of the net in which the PriorBox layers called as `layers` have their sizes and ratios; all else stays."""
    changed = NetParameter()
    changed.CopyFrom(message)
    named = {layer.name: layer for layer in layers}
    for proto in changed.layer:
        if proto.type == "PriorBox" and proto.name in named:
            _set_sizes(proto.prior_box_param, named[proto.name])
    return changed


def snippet(message: NetParameter, layers: Sequence[PriorLayer]) -> str:
    """The `prior_box_param` of each of `layers` as prototxt, each below a comment that names its layer."""
    protos = {proto.name: proto for proto in with_sizes(message, layers).layer}
    parts = []
    for layer in layers:
        param = LayerParameter(prior_box_param=protos[layer.name].prior_box_param)
        parts.append(f"# {layer.name}\n{text_format.MessageToString(param)}")
    return "".join(parts)


def _set_sizes(param: PriorBoxParameter, layer: PriorLayer) -> None:
    for field, values in (
        ("min_size", layer.p.min_sizes),
        ("max_size", layer.p.max_sizes),
        ("aspect_ratio", layer.ratios),
    ):
        param.ClearField(field)
        getattr(param, field).extend(values)
