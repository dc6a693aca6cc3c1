"""Choosing the hard examples of MultiBoxLoss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.pytorch.boxes import areas
from converters.pytorch.nms import greedy_nms

_SMALLEST_AREA = 1e-5  # Caffe's: smaller boxes neither stay nor drop others


def hardest(loss: Tensor, eligible: Tensor, wanted: Tensor) -> Tensor:
    """The `wanted` [N] eligible priors of largest loss in each image, as a mask [N, P]; of equals the first ones.

    Args:
        loss: loss of each prior [N, P], without a gradient.
        eligible: mask [N, P].
    """
    wanted = torch.minimum(wanted, eligible.sum(dim=1))
    order = loss.masked_fill(~eligible, -torch.inf).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(loss.shape[1], device=loss.device) < wanted[:, None]
    return torch.zeros_like(eligible).scatter_(1, order, first)


def hardest_apart(loss: Tensor, eligible: Tensor, wanted: Tensor, boxes: np.ndarray, nms: Any) -> Tensor:
    """As `hardest`, but none of the chosen overlaps a harder one.

    Args:
        boxes: the priors' boxes [N, P, 4], or what is decoded from them.
        nms: a NonMaximumSuppressionParameter. Only its `top_k` hardest priors are looked at (-1: all); as in Caffe
            an absent `top_k` is 0, which chooses none.
    """
    chosen = np.zeros(eligible.shape, bool)
    losses, allowed = loss.cpu().numpy(), eligible.cpu().numpy()
    for i, count in enumerate(wanted.tolist()):
        candidates = np.flatnonzero(allowed[i])
        candidates = candidates[np.argsort(-losses[i, candidates], kind="stable")]
        if nms.top_k > -1:
            candidates = candidates[: nms.top_k]
        candidates = candidates[areas(boxes[i, candidates]) >= _SMALLEST_AREA]
        kept = greedy_nms(boxes[i, candidates], nms.nms_threshold, count)
        chosen[i, candidates[kept]] = True
    return torch.from_numpy(chosen).to(eligible.device)
