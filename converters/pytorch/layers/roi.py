"""Proposal, and what is pooled from its regions [R, 5]: image, xmin, ymin, xmax, ymax, in pixels of the net's input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from converters.anchors import anchors
from converters.pytorch.layers.table import MODULES, Compute
from converters.pytorch.nms import greedy_nms
from prototxt.graph import Layer
from prototxt.shapes.roi import PROPOSALS


@MODULES.register(*PROPOSALS)
class Proposal(nn.Module):
    """Regions of one image that may hold an object, by descending score. Runs on the CPU, without gradients.

    Source: Ren et al., Faster R-CNN (2015), section 3; py-faster-rcnn's ProposalLayer. Of equal scores the first
    anchor comes first.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.p, self.with_scores = layer.p, len(layer.tops) == 2
        self._anchors = (None, np.empty(0))

    @torch.no_grad()
    @np.errstate(over="ignore", invalid="ignore")  # an untrained net's boxes may be infinite
    def forward(self, scores: Tensor, offsets: Tensor, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Regions [R, 5], and their scores [R, 1] when the layer has two tops.

        Args:
            scores: [1, 2A, H, W], first those of no object, then those of an object, of each anchor.
            offsets: [1, 4A, H, W]; centre differences divided by the anchor's sides, logarithms of the ratios of sides.
            image: [1, 3], height, width and the factor by which the image was resized.
        """
        p, map_hw = self.p, tuple(scores.shape[2:])
        height, width, scale = image.reshape(-1)[:3].tolist()
        boxes = self._decode(_by_cell(offsets[0]).reshape(-1, 4), map_hw)
        boxes = np.maximum(np.minimum(boxes, np.array([width - 1, height - 1] * 2, np.float32)), 0)
        best = _by_cell(scores[0, p.per_cell :]).reshape(-1)
        large = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] + 1 >= p.min_size * scale).all(axis=1))
        order = large[np.argsort(-best[large], kind="stable")][: p.most_before]
        # The last pixel belongs to a box, so its far corner is one pixel on.
        kept = order[greedy_nms(boxes[order] + np.array([0, 0, 1, 1], np.float32), p.nms_threshold, p.most)]
        regions = np.insert(boxes[kept], 0, 0, axis=1)
        tops = [torch.from_numpy(array).to(scores.device) for array in (regions, best[kept, None])]
        return tuple(tops) if self.with_scores else tops[0]

    def _decode(self, offsets: np.ndarray, map_hw: tuple[int, int]) -> np.ndarray:
        if self._anchors[0] != map_hw:
            self._anchors = map_hw, anchors(self.p, map_hw)
        low, high = np.split(self._anchors[1], 2, axis=1)
        sides = high - low + 1
        centre = offsets[:, :2] * sides + (low + 0.5 * sides)
        half = 0.5 * np.exp(offsets[:, 2:]) * sides
        return np.hstack([centre - half, centre + half])


def _by_cell(maps: Tensor) -> np.ndarray:
    """[C, H, W] as [H, W, C]."""
    return np.ascontiguousarray(maps.permute(1, 2, 0).cpu().numpy())


def _round(x: Tensor) -> Tensor:
    """To the nearest whole number, halves away from zero."""
    return x.sign() * (x.abs().floor() + (x.abs().frac() >= 0.5))


def _bins(edges: Tensor, shift: Tensor | float, size: int) -> tuple[Tensor, Tensor]:
    """First index [R, G], and the one behind the last, of the bins between `edges` [R, G + 1], cut to 0…`size`."""
    low, high = edges[:, :-1].floor() + shift, edges[:, 1:].ceil() + shift
    return low.clamp(0, size).long(), high.clamp(0, size).long()


def _images(layer: Layer, regions: Tensor, images: int) -> list[int]:
    """The image of each region. Raises UserError when there is none of that number."""
    found = regions[:, 0].long().tolist()
    if lost := [number for number in found if not 0 <= number < images]:
        raise layer.error(
            f"a region is of image {lost[0]}", expected=f"0 to {images - 1}, as many as the first bottom has"
        )
    return found


@MODULES.register("ROIPooling")
def roi_pooling(layer: Layer) -> Compute:
    """Maxima [R, C, pooled_h, pooled_w] of a region's bins; 0 for a bin outside the map.

    Source: Girshick, Fast R-CNN (2015), section 2.1. Corners are rounded to whole cells; a region has one at least.
    """
    p = layer.p

    def forward(x: Tensor, regions: Tensor) -> Tensor:
        regions = regions.detach().flatten(1)
        corners = _round(regions[:, 1:] * p.spatial_scale)
        bins = []
        for side, count in ((1, p.pooled_h), (0, p.pooled_w)):
            length = (corners[:, side + 2] - corners[:, side] + 1).clamp(min=1) / count
            edges = torch.arange(count + 1, device=x.device) * length[:, None]
            bins.append(_bins(edges, corners[:, side, None], x.shape[3 - side]))
        rows, columns = (list(zip(*ends)) for ends in bins)
        tops = [
            _maxima(_maxima(x[image], 1, *rows[n]), 2, *columns[n])
            for n, image in enumerate(_images(layer, regions, len(x)))
        ]
        is_empty = [low >= high for low, high in bins]
        is_empty = (is_empty[0][:, :, None] | is_empty[1][:, None])[:, None]
        return torch.stack(tops).masked_fill(is_empty, 0) if tops else x.new_zeros(0, *layer.top_shapes[0][1:])

    return forward


def _maxima(x: Tensor, axis: int, low: Tensor, high: Tensor) -> Tensor:
    """The maximum of each bin along `axis`; any value for an empty one."""
    steps = torch.arange(max(int((high - low).max()), 1), device=x.device)
    inside = torch.minimum(low[:, None] + steps, high[:, None] - 1).clamp(0, x.shape[axis] - 1)
    return x.index_select(axis, inside.flatten()).unflatten(axis, inside.shape).max(axis + 1).values


@MODULES.register("PSROIPooling")
def psroi_pooling(layer: Layer) -> Compute:
    """Means [R, output_dim, G, G] of a region's bins, each in a channel of its own; 0 for a bin outside the map.

    Source: Dai et al., R-FCN (2016), section 2. Corners are rounded to whole pixels, not to cells.
    """
    p = layer.p

    def forward(x: Tensor, regions: Tensor) -> Tensor:
        regions = regions.detach().flatten(1)
        low = _round(regions[:, 1:3]) * p.spatial_scale
        length = ((_round(regions[:, 3:]) + 1) * p.spatial_scale - low).clamp(min=0.1) / p.group_size
        masks = []
        for side in (1, 0):  # rows, columns
            steps = torch.arange(p.group_size + 1, device=x.device)
            first, end = _bins(steps * length[:, side, None] + low[:, side, None], 0, x.shape[3 - side])
            places = torch.arange(x.shape[3 - side], device=x.device)
            masks.append(((places >= first[..., None]) & (places < end[..., None])).to(x.dtype))
        maps = x.unflatten(1, (p.output_dim, p.group_size, p.group_size))
        images = torch.tensor(_images(layer, regions, len(x)), device=x.device)
        top = x.new_zeros(len(regions), p.output_dim, p.group_size, p.group_size)
        for image in images.unique().tolist():
            own = images == image
            sums = torch.einsum("cijhw,rjw->rcijh", maps[image], masks[1][own])
            top[own] = torch.einsum("rcijh,rih->rcij", sums, masks[0][own])
        area = masks[0].sum(2)[:, :, None] * masks[1].sum(2)[:, None]
        return top / area.clamp(min=1)[:, None]

    return forward
