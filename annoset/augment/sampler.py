"""Batch samplers: which part of an image a training crop shows (SSD, section 2.2; SSD-Caffe's sampler.cpp).

Boxes are corners (xmin, ymin, xmax, ymax) in 0–1 of the image, float32, one a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from prototxt.errors import UserError
from prototxt.schema import BatchSampler, SampleConstraint, Sampler

# Trials of a sampler drawn at once: as many as SSD's own samplers may make.
_TRIALS_AT_ONCE = 50
_TINY = np.finfo(np.float32).tiny  # instead of an area of 0


def check_samplers(samplers: Iterable[BatchSampler], where: str) -> None:
    """Raises UserError for bounds from which no box can be drawn; `where` names the layer."""
    for index, batch_sampler in enumerate(samplers):
        sampler, field = batch_sampler.sampler, f"annotated_data_param.batch_sampler[{index}].sampler"
        if not 0 < sampler.min_scale <= sampler.max_scale <= 1:
            raise UserError(
                f"{field} has min_scale {sampler.min_scale:g} and max_scale {sampler.max_scale:g}",
                where=where,
                expected="0 < min_scale <= max_scale <= 1",
            )
        if not 0 < sampler.min_aspect_ratio <= sampler.max_aspect_ratio < float("inf"):
            raise UserError(
                f"{field} has min_aspect_ratio {sampler.min_aspect_ratio:g}"
                f" and max_aspect_ratio {sampler.max_aspect_ratio:g}",
                where=where,
                expected="0 < min_aspect_ratio <= max_aspect_ratio",
            )


class CropSamplers:
    """An AnnotatedData layer's batch samplers. They draw together, which costs a tenth of drawing one by one.

    Args:
        samplers: what `check_samplers` accepts. One with `use_original_image: false` never finds a box, as in Caffe.
    """

    def __init__(self, samplers: Sequence[BatchSampler]) -> None:
        self.active = [index for index, one in enumerate(samplers) if one.use_original_image]
        used = [samplers[index] for index in self.active]
        self._trials = [one.max_trials for one in used]
        self._wanted = [one.max_sample if one.HasField("max_sample") else one.max_trials for one in used]
        self._bounds = np.array([scale_and_ratio(one.sampler) for one in used], np.float32).reshape(-1, 4)
        rules = [heeded(one.sample_constraint) for one in used]
        self._kinds = np.array([kind for kind, _, _ in rules])
        self._limits = np.array([limits for _, *limits in rules], np.float32).reshape(-1, 2)

    def pick(self, objects: np.ndarray, rng: np.random.Generator) -> tuple[int, np.ndarray] | None:
        """Which sampler found it and a box [4], drawn evenly from all that were found; None when none was found."""
        found = self.sample(objects, rng)
        makers = np.repeat(self.active, [len(boxes) for boxes in found])
        if not len(makers):
            return None
        place = rng.integers(len(makers))
        return int(makers[place]), np.concatenate(found)[place]

    def sample(self, objects: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """For each active sampler the boxes [S, 4] that satisfy its constraint towards `objects` [N, 4].

        Of each at most `max_trials` boxes are drawn and, where it says so, at most `max_sample` are kept.
        """
        found, drawn = [np.empty((0, 4), np.float32) for _ in self.active], 0
        while True:
            counts = [
                min(trials - drawn, _TRIALS_AT_ONCE) if trials > drawn and len(boxes) < wanted else 0
                for trials, wanted, boxes in zip(self._trials, self._wanted, found, strict=True)
            ]
            if not any(counts):
                return found
            owners = np.repeat(np.arange(len(counts)), counts)
            boxes = draw_boxes(self._bounds[owners], rng)
            good = self.satisfied(boxes, owners, objects)
            boxes, owners = boxes[good], owners[good]
            edges = np.searchsorted(owners, np.arange(len(counts) + 1)).tolist()
            for index, wanted in enumerate(self._wanted):
                good = boxes[edges[index] : edges[index + 1]]
                found[index] = (np.concatenate((found[index], good)) if len(found[index]) else good)[:wanted]
            drawn += _TRIALS_AT_ONCE

    def satisfied(self, boxes: np.ndarray, owners: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Which of `boxes` [T, 4] satisfy the constraint of their own sampler with at least one object: bool [T]."""
        good, kinds, limits = np.ones(len(boxes), bool), self._kinds[owners], self._limits[owners]
        for kind, measure in _MEASURES.items():
            rows = kinds == kind
            if rows.any():
                overlaps = measure(boxes[rows], objects)
                low, high = limits[rows, :1], limits[rows, 1:]
                good[rows] = ((overlaps >= low) & (overlaps <= high)).any(axis=1)
        return good


def scale_and_ratio(sampler: Sampler) -> tuple[float, float, float, float]:
    """What bounds a sampler's boxes: smallest and largest scale, smallest and largest aspect ratio."""
    return sampler.min_scale, sampler.max_scale, sampler.min_aspect_ratio, sampler.max_aspect_ratio


def heeded(constraint: SampleConstraint) -> tuple[str, float, float]:
    """The overlap that a sampler bounds ("" when it bounds none), and the smallest and the largest that will do.

    Of several kinds of constraint in one sampler SSD-Caffe heeds the first only, in the order jaccard
    overlap, sample coverage, object coverage: what the first let pass is never taken back. So do we.
    """
    for kind in _MEASURES:
        low, high = f"min_{kind}", f"max_{kind}"
        if constraint.HasField(low) or constraint.HasField(high):
            return (
                kind,
                getattr(constraint, low) if constraint.HasField(low) else -np.inf,
                getattr(constraint, high) if constraint.HasField(high) else np.inf,
            )
    return "", -np.inf, np.inf


def draw_boxes(bounds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random boxes [T, 4] inside the image, one for each row of `bounds` ([T, 4], as `scale_and_ratio` gives them).

    The scale is even between its bounds; so is the aspect ratio, held to [scale², 1/scale²], between
    which both sides fit into the image; so is the place among those where the box lies in the image.
    """
    min_scale, max_scale, min_ratio, max_ratio = bounds.T
    scale_draw, ratio_draw, left, top = rng.random((4, len(bounds)), dtype=np.float32)
    scale = min_scale + scale_draw * (max_scale - min_scale)
    ratio = min_ratio + ratio_draw * (max_ratio - min_ratio)
    square = scale * scale
    root = np.sqrt(np.minimum(np.maximum(ratio, square), 1 / square))
    # A side can round to just above 1, on which SSD-Caffe aborts ("a <= b").
    width, height = np.minimum(scale * root, 1), np.minimum(scale / root, 1)
    left, top = left * (1 - width), top * (1 - height)
    return np.minimum(np.stack((left, top, left + width, top + height), axis=1), 1)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas [T] of boxes [T, 4]; 0 where a corner pair is the wrong way round."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def intersections(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Areas [T, N] of what each of `boxes` [T, 4] shares with each of `objects` [N, 4]."""
    # Computed as [N, T]: there are more boxes than objects, and long rows are what NumPy is fast at.
    (left, top, right, bottom), (x0, y0, x1, y1) = boxes.T.copy(), objects.T[:, :, None]
    width = np.maximum(np.minimum(right, x1) - np.maximum(left, x0), 0)
    height = np.maximum(np.minimum(bottom, y1) - np.maximum(top, y0), 0)
    return (width * height).T


def jaccard(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Intersection over union [T, N]; 0 where nothing is shared."""
    shared = intersections(boxes, objects)
    union = areas(boxes)[:, None] + areas(objects)[None, :] - shared
    return shared / np.maximum(union, _TINY)


def coverage(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The part [T, N] of each of `boxes` that lies in each of `objects`; 0 where nothing is shared."""
    shared = intersections(boxes, objects)
    return shared / np.maximum(areas(boxes)[:, None], _TINY)


_MEASURES = {
    "jaccard_overlap": jaccard,
    "sample_coverage": coverage,
    "object_coverage": lambda boxes, objects: coverage(objects, boxes).T,
}
