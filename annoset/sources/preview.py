"""What an AnnotatedData layer makes of its records, for people: pictures with boxes and how they came about."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from annoset.augment.expand import Window
from annoset.augment.transform import BOX, LABEL
from annoset.classes import Labels
from annoset.database import printable
from annoset.sheet import Mark, tile
from annoset.sources.annotated_data import AnnotatedDataSource, Sample
from prototxt.schema import BatchSampler, LayerParameter

_INTERPOLATION = {
    cv2.INTER_LINEAR: "linear",
    cv2.INTER_AREA: "area",
    cv2.INTER_NEAREST: "nearest",
    cv2.INTER_CUBIC: "cubic",
    cv2.INTER_LANCZOS4: "lanczos4",
}
_AMOUNT = {
    "brightness": "brightness {:+.0f}",
    "contrast": "contrast ×{:.2f}",
    "saturation": "saturation ×{:.2f}",
    "hue": "hue {:+.1f}",
    "order": "channels {}",
}


def draw_samples(source: AnnotatedDataSource, labels: Labels, count: int) -> list[np.ndarray]:
    """The first `count` images of a run as tiles for `annoset.sheet`, each uint8 [H, W, 3] BGR.

    Boxes are drawn and named; below stand the sampler, what else was drawn, and the record's key.

    Raises:
        UserError: a record that cannot be used, as `AnnotatedDataSource.next_batch` raises it.
    """
    return [_tile(source.sample(number), source.layer.proto, labels) for number in range(count)]


def describe_sampler(number: int | None, samplers: Sequence[BatchSampler]) -> str:
    """Which sampler cut a crop, and what it asked for: `batch_sampler[3]: min_jaccard_overlap 0.5`."""
    if number is None:
        return "no sampler: all of it" if samplers else "no batch_sampler"
    constraint = samplers[number].sample_constraint
    bounds = ", ".join(f"{field.name} {value:g}" for field, value in constraint.ListFields())
    return f"batch_sampler[{number}]: {bounds or 'no constraint'}"


def describe_changes(sample: Sample, resized: bool) -> list[str]:
    """What else was drawn for a sample: a line on places, then one on colours."""
    plan, places = sample.plan, []
    if plan.canvas != Window(0, 0, *sample.image_hw):
        places.append(f"expand ×{plan.canvas.width / sample.image_hw[1]:.2f}")
    if resized:
        places.append(_INTERPOLATION[plan.interpolation])
    if plan.mirror:
        places.append("mirror")
    colours = [_AMOUNT[name].format(amount) for name, amount in plan.changes]
    return [", ".join(places) or "as it is", ", ".join(colours) or "no distortion"]


def _tile(sample: Sample, layer: LayerParameter, labels: Labels) -> np.ndarray:
    marks = [
        Mark(row[BOX].tolist(), int(row[LABEL]), labels.display(int(row[LABEL])), thin=bool(row[-1]))
        for row in sample.plan.rows
    ]
    caption = [
        describe_sampler(sample.plan.sampler, layer.annotated_data_param.batch_sampler),
        *describe_changes(sample, layer.transform_param.HasField("resize_param")),
        printable(sample.key),
    ]
    return tile(sample.image, marks, "\n".join(caption), side=300)
