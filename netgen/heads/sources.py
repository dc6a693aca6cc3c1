"""The maps that a head reads, and the prior boxes in each of their cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """A map that detections are read from, and the prior boxes of each of its cells.

    Attributes:
        blob: its name in the net.
        min_size: side in pixels of the input image of a square prior box.
        max_size: a second square has the side sqrt(min_size * max_size); None leaves it out.
        ratios: width to height of further boxes, each also the other way round; 1 is not listed.
        step: pixels from one cell to the next; None is the image's size over the map's.
        norm_scale: the map is first L2-normalised over its channels and multiplied by a learned scale for each,
            which starts at this value (Liu et al., ParseNet, 2015, section 3.3); None reads it as it is.
    """

    blob: str
    min_size: float
    max_size: float | None = None
    ratios: tuple[float, ...] = (2,)
    step: float | None = None
    norm_scale: float | None = None

    @property
    def name(self) -> str:
        """What the names of this source's layers begin with."""
        return self.blob if self.norm_scale is None else f"{self.blob}_norm"

    @property
    def num_priors(self) -> int:
        """Prior boxes in each cell."""
        return 1 + (self.max_size is not None) + 2 * len(self.ratios)


def sources(maps: Iterable[tuple[Any, ...]], sizes: Sequence[float]) -> tuple[Source, ...]:
    """Sources whose prior boxes reach from one of `sizes` (pixels) to the next.

    Args:
        maps: blob, ratios, step and, where the map is L2-normalised, the norm's scale.
        sizes: one more than there are maps.
    """
    return tuple(
        Source(blob, low, high, ratios, step, *norm)
        for (blob, ratios, step, *norm), low, high in zip(maps, sizes, sizes[1:], strict=False)
    )
