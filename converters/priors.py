"""Prior boxes (default boxes, anchors): fixed by the sizes of the map and of the image, so plain arrays."""

from __future__ import annotations

import numpy as np

from prototxt.params import Pair, PriorBox


def prior_boxes(p: PriorBox, map_hw: Pair, image_hw: Pair) -> np.ndarray:
    """The output of a PriorBox layer.

    Args:
        p: the layer's resolved parameters; its `image_hw`, where given, wins over the argument.
        map_hw: size of the feature map (first bottom).
        image_hw: size of the net's input in pixels (second bottom).

    Returns:
        float32 [1, 2, 4P]: boxes as xmin, ymin, xmax, ymax in 0–1 of the image, row by row, cell by cell and in a
        cell as `_sizes_wh` orders them; then their variances. P = rows * columns * `p.per_cell`.

    Source: Liu et al., SSD (2016), section 2.2; Caffe's PriorBox. Centres and sizes are rounded to float32 on the
    way as there, so the bits are the same.
    """
    image_wh = np.array((p.image_hw or image_hw)[::-1], np.float64)
    map_wh = np.array(map_hw[::-1])
    step_wh = np.array(p.step_hw[::-1] if p.step_hw else image_wh / map_wh, np.float32)
    offset = np.float32(p.offset)
    x, y = (((np.arange(size, dtype=np.float32) + offset) * step) for size, step in zip(map_wh, step_wh))
    centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None].astype(np.float64)  # [rows, columns, 1, 2]
    half_wh = _sizes_wh(p).astype(np.float64) / 2
    corners = np.concatenate([(centres - half_wh) / image_wh, (centres + half_wh) / image_wh], axis=-1)
    boxes = corners.astype(np.float32)
    if p.clip:
        boxes = boxes.clip(0, 1)
    variances = np.broadcast_to(np.array(p.variances, np.float32), boxes.shape)
    return np.stack([boxes.reshape(-1), variances.reshape(-1)])[None]


def _sizes_wh(p: PriorBox) -> np.ndarray:
    """Width and height in pixels of the priors of one cell, float32 [per_cell, 2].

    For each min size: the square of that size, the square of sqrt(min * max), then the ratios.
    """
    ratios = np.array(p.ratios, np.float32)
    sizes: list[tuple[float, float]] = []
    for i, low in enumerate(p.min_sizes):
        sizes.append((low, low))
        if p.max_sizes:
            square = np.sqrt(low * p.max_sizes[i])
            sizes.append((square, square))
        sizes += [(low * root, low / root) for root in np.sqrt(ratios)]
    return np.array(sizes, np.float32)
