"""Batch samplers: which part of an image a training crop shows (SSD, section 2.2; SSD-Caffe's sampler.cpp).

Boxes are corners (xmin, ymin, xmax, ymax) in 0–1 of the image, float32, one a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from prototxt.errors import UserError
from prototxt.schema import BatchSampler, SampleConstraint, Sampler

# Trials drawn at once: most samplers find their box among the first few, SSD's own stop at 50.
_TRIALS_AT_ONCE = 64


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


def pick_crop(samplers: Sequence[BatchSampler], objects: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """One box [4] drawn evenly from all that the samplers found, or None (the whole image) when they found none."""
    found = [sample_boxes(sampler, objects, rng) for sampler in samplers if sampler.use_original_image]
    boxes = np.concatenate(found) if found else np.empty((0, 4), np.float32)
    return boxes[rng.integers(len(boxes))] if len(boxes) else None


def sample_boxes(batch_sampler: BatchSampler, objects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The boxes [S, 4] of one sampler that satisfy its constraint towards `objects` [N, 4].

    At most `max_trials` boxes are drawn and, where the sampler says so, at most `max_sample` are kept.
    """
    wanted = batch_sampler.max_sample if batch_sampler.HasField("max_sample") else batch_sampler.max_trials
    found = np.empty((0, 4), np.float32)
    for drawn in range(0, batch_sampler.max_trials, _TRIALS_AT_ONCE):
        if len(found) >= wanted:
            break
        boxes = draw_boxes(batch_sampler.sampler, min(_TRIALS_AT_ONCE, batch_sampler.max_trials - drawn), rng)
        good = boxes[satisfies(boxes, objects, batch_sampler.sample_constraint)]
        found = np.concatenate((found, good))
    return found[:wanted]


def draw_boxes(sampler: Sampler, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random boxes [count, 4] inside the image.

    The scale is even between its bounds; so is the aspect ratio, held to [scale², 1/scale²], between
    which both sides fit into the image.
    """
    if sampler.min_scale == 1:  # the whole image, whatever the aspect ratio
        return np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1))
    scale_draw, ratio_draw, left, top = rng.random((4, count), dtype=np.float32)
    scale = sampler.min_scale + scale_draw * (sampler.max_scale - sampler.min_scale)
    ratio = sampler.min_aspect_ratio + ratio_draw * (sampler.max_aspect_ratio - sampler.min_aspect_ratio)
    root = np.sqrt(np.minimum(np.maximum(ratio, scale**2), scale**-2))
    # A side can round to just above 1, on which SSD-Caffe aborts ("a <= b").
    width, height = np.minimum(scale * root, 1), np.minimum(scale / root, 1)
    left, top = left * (1 - width), top * (1 - height)
    return np.minimum(np.stack((left, top, left + width, top + height), axis=1), 1)


def satisfies(boxes: np.ndarray, objects: np.ndarray, constraint: SampleConstraint) -> np.ndarray:
    """Which of `boxes` [T, 4] satisfy the constraint with at least one of `objects` [N, 4]: bool [T].

    Of several kinds of constraint in one sampler SSD-Caffe heeds the first only, in the order jaccard
    overlap, sample coverage, object coverage: what the first let pass is never taken back. So do we.
    """
    for kind, measure in _MEASURES.items():
        low, high = f"min_{kind}", f"max_{kind}"
        if constraint.HasField(low) or constraint.HasField(high):
            values = measure(boxes, objects)
            good = np.ones(values.shape, bool)
            if constraint.HasField(low):
                good &= values >= getattr(constraint, low)
            if constraint.HasField(high):
                good &= values <= getattr(constraint, high)
            return good.any(axis=1)
    return np.ones(len(boxes), bool)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas [T] of boxes [T, 4]; 0 where a corner pair is the wrong way round."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def intersections(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Areas [T, N] of what each of `boxes` [T, 4] shares with each of `objects` [N, 4]."""
    sides = np.minimum(boxes[:, None, 2:], objects[None, :, 2:]) - np.maximum(boxes[:, None, :2], objects[None, :, :2])
    np.maximum(sides, 0, out=sides)
    return sides[..., 0] * sides[..., 1]


def jaccard(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Intersection over union [T, N]; 0 where nothing is shared."""
    shared = intersections(boxes, objects)
    union = areas(boxes)[:, None] + areas(objects)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def coverage(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The part [T, N] of each of `boxes` that lies in each of `objects`; 0 where nothing is shared."""
    shared = intersections(boxes, objects)
    return np.divide(shared, areas(boxes)[:, None], out=np.zeros_like(shared), where=shared > 0)


_MEASURES = {
    "jaccard_overlap": jaccard,
    "sample_coverage": coverage,
    "object_coverage": lambda boxes, objects: coverage(objects, boxes).T,
}
