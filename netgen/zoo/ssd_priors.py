"""The prior boxes of SSD300 and SSD512 (Liu et al., SSD, ECCV 2016, sections 2.2 and 3), which later nets have kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netgen.datasets import COCO, DataSet
from netgen.heads.sources import Source, sources

# Of each map: ratios and step; then the sizes, on COCO and elsewhere. These are the images' sides times 0.07 (SSD512:
# 0.04) on COCO or 0.1 (0.07) elsewhere, then shares from 0.15 (COCO; SSD512: 0.1) or 0.2 (0.15) to 0.9, evenly.
# Caffe cuts them to whole pixels when it makes the boxes; OpenCV's importer does not, half a pixel's difference in 512.
_PRIORS: dict[int, dict[str, Any]] = {
    300: {
        "ratios": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        "steps": (8, 16, 32, 64, 100, 300),
        "coco": (21, 45, 99, 153, 207, 261, 315),
        "voc": (30, 60, 111, 162, 213, 264, 315),
    },
    512: {
        "ratios": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        "steps": (8, 16, 32, 64, 128, 256, 512),
        "coco": (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
        "voc": (35.84, 76.8, 153.6, 230.4, 307.2, 384, 460.8, 537.6),
    },
}


def ssd_sources(
    blobs: Sequence[str], data: DataSet, size: int = 300, norm_scales: Sequence[float | None] = ()
) -> tuple[Source, ...]:
    """The sources of a net with SSD's maps; on COCO, whose objects are smaller, with smaller boxes.

    Args:
        blobs: the maps, six for 300x300 images, seven for 512x512.
        size: 300 or 512.
        norm_scales: of the first maps' L2 normalisation; the others have none.
    """
    priors = _PRIORS[size]
    norms = (*norm_scales, *[None] * (len(blobs) - len(norm_scales)))
    maps = zip(blobs, priors["ratios"], priors["steps"], norms, strict=True)
    return sources(maps, priors["coco" if data.name == COCO.name else "voc"])
