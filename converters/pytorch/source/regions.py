"""Parts of two-stage detectors, copied as those of `parts.py` are into the files of nets that need them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from converters.pytorch.source.parts import suppress


def anchors(map_hw: tuple[int, int], stride: int, base_size: int, shapes: tuple[tuple[float, ...], ...]) -> Tensor:
    """Boxes [HWA, 4] in pixels at each cell: a square in the shapes (ratios of height to width, scales)."""
    ratios, scales = (torch.tensor(values, dtype=torch.float64) for values in shapes)
    wide = (base_size**2 / ratios).sqrt().round()
    sides = torch.stack([wide, (wide * ratios).round()], -1)[:, None] * scales[:, None]
    middle, half = (base_size - 1) / 2, (sides.flatten(0, 1) - 1) / 2
    y, x = torch.meshgrid(*(torch.arange(size) * stride for size in map_hw), indexing="ij")
    cells = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (cells + torch.cat([middle - half, middle + half], 1)).flatten(0, 1).float()


@dataclass(frozen=True)
class Proposal:
    """Regions of one image that may hold an object: anchors, moved, cut to the image, without those that overlap.

    `ratios` are height / width; sides are in pixels, and the last pixel belongs to a box.
    """

    stride: int
    base_size: int
    ratios: tuple[float, ...]
    scales: tuple[float, ...]
    min_size: float
    most_before: int
    most: int
    nms_threshold: float

    def __call__(self, scores: Tensor, offsets: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Regions [R, 5] (0, xmin, ymin, xmax, ymax) and scores [R, 1] by descending score.

        From scores [1, 2A, H, W], offsets [1, 4A, H, W] and the image's height, width and scale [1, 3].
        """
        scores, offsets = scores.detach().cpu(), offsets.detach().cpu()
        height, width, scale = image.flatten()[:3].tolist()
        boxes = anchors(tuple(scores.shape[2:]), self.stride, self.base_size, (self.ratios, self.scales))
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        moves = offsets[0].permute(1, 2, 0).reshape(-1, 4)
        centre = moves[:, :2] * sides + (boxes[:, :2] + sides / 2)
        half = moves[:, 2:].exp() * sides / 2
        last = torch.tensor([width - 1, height - 1] * 2)
        boxes = torch.minimum(torch.cat([centre - half, centre + half], 1), last).clamp(min=0)
        best = scores[0, scores.shape[1] // 2 :].permute(1, 2, 0).flatten()
        large = (boxes[:, 2:] - boxes[:, :2] + 1 >= self.min_size * scale).all(1).nonzero()[:, 0]
        order = large[best[large].argsort(descending=True, stable=True)][: self.most_before]
        ends = boxes[order] + torch.tensor([0.0, 0.0, 1.0, 1.0])
        kept = order[suppress(ends, self.nms_threshold, most=self.most)]
        return torch.cat([torch.zeros(len(kept), 1), boxes[kept]], 1), best[kept, None]


def nearest(x: Tensor) -> Tensor:
    """The nearest whole numbers, halves away from zero."""
    return x.sign() * (x.abs().floor() + (x.abs().frac() >= 0.5))


def bins(edges: Tensor, start: Tensor | float, size: int) -> list[list[tuple[int, int]]]:
    """First index, and the one behind the last, of each region's bins between `edges` [R, G + 1], cut to 0-`size`."""
    low, high = edges[:, :-1].floor() + start, edges[:, 1:].ceil() + start
    low, high = (side.clamp(0, size).long().tolist() for side in (low, high))
    return [list(zip(*pair)) for pair in zip(low, high)]


def roi_pool(x: Tensor, regions: Tensor, size_hw: tuple[int, int], scale: float) -> Tensor:
    """Maxima [R, C, *size_hw] of the bins of regions [R, 5], rounded to whole cells; 0 for a bin outside the map."""
    regions = regions.detach().flatten(1)
    corners = nearest(regions[:, 1:] * scale)
    sides = []
    for side, count in ((1, size_hw[0]), (0, size_hw[1])):
        length = (corners[:, side + 2] - corners[:, side] + 1).clamp(min=1) / count
        edges = torch.arange(count + 1, device=x.device) * length[:, None]
        sides.append(bins(edges, corners[:, side, None], x.shape[3 - side]))
    top = x.new_zeros(len(regions), x.shape[1], *size_hw)
    for n, image in enumerate(regions[:, 0].long().tolist()):
        for i, (above, below) in enumerate(sides[0][n]):
            for j, (left, right) in enumerate(sides[1][n]):
                if above < below and left < right:
                    top[n, :, i, j] = x[image, :, above:below, left:right].amax((1, 2))
    return top


def psroi_pool(x: Tensor, regions: Tensor, outputs: int, group: int, scale: float) -> Tensor:
    """Means [R, outputs, group, group] of regions' bins, each of its own channel of x; 0 for a bin outside the map."""
    regions = regions.detach().flatten(1)
    low = nearest(regions[:, 1:3]) * scale
    length = ((nearest(regions[:, 3:]) + 1) * scale - low).clamp(min=0.1) / group
    steps = torch.arange(group + 1, device=x.device)
    rows, columns = (bins(steps * length[:, k, None] + low[:, k, None], 0, x.shape[3 - k]) for k in (1, 0))
    maps = x.unflatten(1, (outputs, group, group))
    top = x.new_zeros(len(regions), outputs, group, group)
    for n, image in enumerate(regions[:, 0].long().tolist()):
        for i, (above, below) in enumerate(rows[n]):
            for j, (left, right) in enumerate(columns[n]):
                if above < below and left < right:
                    top[n, :, i, j] = maps[image, :, i, j, above:below, left:right].mean((1, 2))
    return top
