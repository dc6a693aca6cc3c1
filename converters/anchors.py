"""The anchors of Proposal layers: boxes of fixed shapes at each cell of a map, in pixels of the net's input."""

from __future__ import annotations

import numpy as np

from prototxt.fork_params import Proposal
from prototxt.param_error import Pair


def anchors(p: Proposal, map_hw: Pair) -> np.ndarray:
    """Corners [H·W·A, 4] of the anchors, cell by cell in rows; xmax and ymax are pixels that belong to the box.

    Source: Ren et al., Faster R-CNN (2015), section 3.1.1; py-faster-rcnn rounds the sides of each ratio to whole
    pixels, halves to even ones, before it scales them.
    """
    middle = 0.5 * (p.base_size - 1)
    widths = np.round(np.sqrt(p.base_size**2 / np.array(p.ratios)))
    heights = np.round(widths * p.ratios)
    sides = np.array([[w * scale, h * scale] for w, h in zip(widths, heights) for scale in p.scales])
    shapes = np.hstack([middle - 0.5 * (sides - 1), middle + 0.5 * (sides - 1)])  # [A, 4]
    rows, columns = (np.arange(size) * p.feat_stride for size in map_hw)
    shifts = np.stack([*np.meshgrid(columns, rows)] * 2, axis=-1).reshape(-1, 1, 4)
    return (shapes + shifts).reshape(-1, 4).astype(np.float32)
