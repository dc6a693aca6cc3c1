"""Prior boxes and what moves them, as other code bases have them, in their own units and orders of computation.

Written from what these compute; nothing of this toolkit is used. Boxes come out as corners in 0-1 of the image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATIOS = {300: [[2], [2, 3], [2, 3], [2, 3], [2], [2]], 512: [[2], [2, 3], [2, 3], [2, 3], [2, 3], [2], [2]]}
STEPS = {300: [8, 16, 32, 64, 100, 300], 512: [8, 16, 32, 64, 128, 256, 512]}
DEVIATIONS = torch.tensor([0.1, 0.1, 0.2, 0.2])


def torchvision_boxes(maps: list[int], offsets: Tensor) -> Tensor:
    """Default boxes as shares of the image, with sides cut to 1, moved by offsets [N, P, 4] of weights 10, 10, 5, 5."""
    shares = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
    centres, sides = [], []
    for k, cells in enumerate(maps):
        pairs = [(shares[k],) * 2, (math.sqrt(shares[k] * shares[k + 1]),) * 2]
        for ratio in RATIOS[300][k]:
            wide, high = shares[k] * math.sqrt(ratio), shares[k] / math.sqrt(ratio)
            pairs += [(wide, high), (high, wide)]
        for y in range(cells):
            for x in range(cells):
                middle = [(i + 0.5) * STEPS[300][k] / 300 for i in (x, y)]
                centres += [middle] * len(pairs)
                sides += [[min(side, 1.0) for side in pair] for pair in pairs]
    centre, side = torch.tensor(centres), torch.tensor(sides)
    x = offsets / torch.tensor([10.0, 10, 5, 5])
    middle, half = x[..., :2] * side + centre, x[..., 2:].exp() * side / 2
    return torch.cat([middle - half, middle + half], -1)


def mmdetection_sizes(side: int) -> list[tuple[int, int]]:
    """Smallest and largest size of each map, in whole pixels, from the ratio range of the COCO configurations."""
    first, low = {300: (7, 15), 512: (4, 10)}[side]
    step = math.floor((90 - low) / (len(STEPS[side]) - 2))
    shares = [(first, low), *((share, share + step) for share in range(low, 91, step))]
    return [(int(side * a / 100), int(side * b / 100)) for a, b in shares]


def mmdetection_anchors(side: int, maps: list[int], legacy: bool) -> Tensor:
    """Corners [P, 4] in pixels; in 1.x (`legacy`) whole ones, and the last pixel belongs to the box."""
    one, found = float(legacy), []
    for (low, high), step, wide_ratios, cells in zip(mmdetection_sizes(side), STEPS[side], RATIOS[side], maps):
        ratios = [1.0, *(r for wide in wide_ratios for r in (1 / wide, wide))]  # of height to width
        shapes = [(low / math.sqrt(r), low * math.sqrt(r)) for r in ratios]
        shapes.insert(1, (math.sqrt(low * high),) * 2)
        shape, middle = torch.tensor(shapes), (step - one) / 2
        base = torch.cat([middle - (shape - one) / 2, middle + (shape - one) / 2], 1)
        base = base.round() if legacy else base
        y, x = torch.meshgrid(*[torch.arange(cells) * float(step)] * 2, indexing="ij")
        found.append((torch.stack([x, y, x, y], -1).reshape(-1, 1, 4) + base).reshape(-1, 4))
    return torch.cat(found)


def mmdetection_boxes(side: int, maps: list[int], offsets: Tensor, legacy: bool = False) -> Tensor:
    """Anchors moved by offsets [N, P, 4]."""
    one = float(legacy)
    low, high = mmdetection_anchors(side, maps, legacy).split(2, -1)
    x, size = offsets * DEVIATIONS, high - low + one
    middle, length = (low + high) / 2 + size * x[..., :2], size * x[..., 2:].exp()
    corners = torch.cat([middle - length / 2 + one / 2, middle + length / 2 - one / 2], -1)
    return (corners + torch.tensor([0, 0, one, one])) / side
