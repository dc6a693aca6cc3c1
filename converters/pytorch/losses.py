"""Losses that both the loss layers and MultiBoxLoss are made of, and Caffe's rules for dividing them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from prototxt import schema

LARGEST_NLL = -math.log(float(np.finfo(np.float32).tiny))  # Caffe takes no logarithm below the smallest float


def softmax_nll(scores: Tensor, labels: Tensor) -> Tensor:
    """-log of the softmax of `scores` [K, C, …] at `labels` [K, …], of the labels' shape.

    The value stops growing at -log(FLT_MIN), about 87.3; the gradient does not, as in Caffe.
    """
    loss = F.cross_entropy(scores, labels, reduction="none")
    return loss + (loss.clamp(max=LARGEST_NLL) - loss).detach()


def sigmoid_nll(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of sigmoid(`scores`) and `targets`, of their shape; targets outside 0–1 are taken as they are."""
    return F.binary_cross_entropy_with_logits(scores, targets, reduction="none")


def smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """d² / 2 where the difference d is below 1, else |d| - 1/2; of the inputs' shape (Girshick, Fast R-CNN)."""
    return F.smooth_l1_loss(predicted, target, reduction="none")


def half_square(predicted: Tensor, target: Tensor) -> Tensor:
    """d² / 2 of the difference d, of the inputs' shape."""
    return F.mse_loss(predicted, target, reduction="none") / 2


def normalization(loss_param: Any, default: str = "VALID") -> str:
    """The name of the mode that a LossParameter asks for; the old `normalize` counts when the new field is absent."""
    if loss_param.HasField("normalization"):
        return schema.LossParameter.NormalizationMode.Name(loss_param.normalization)
    if loss_param.HasField("normalize"):
        return "VALID" if loss_param.normalize else "BATCH_SIZE"
    return default


def divisor(mode: str, images: int, positions: int, valid: int) -> int:
    """What the sum of a loss is divided by, at least 1.

    Args:
        mode: FULL (all positions of all images), VALID (`valid`), BATCH_SIZE (images) or NONE (1).
        images: the batch, or all axes before that of the classes.
        positions: positions an image.
        valid: positions that count.
    """
    return max(1, {"FULL": images * positions, "VALID": valid, "BATCH_SIZE": images, "NONE": 1}[mode])
