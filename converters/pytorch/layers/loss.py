"""Losses (each the mean that Caffe reports; `loss_weight` is the net's business) and Accuracy."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.pytorch.layers.table import MODULES
from converters.pytorch.losses import divisor, half_square, normalization, sigmoid_nll, smooth_l1, softmax_nll
from converters.pytorch.multibox import MultiBoxLoss
from prototxt.graph import Layer

MODULES.register("MultiBoxLoss")(MultiBoxLoss)


@MODULES.register("SoftmaxWithLoss")
def softmax_with_loss(layer: Layer) -> Callable:  # (scores [N, C, …], labels) -> loss, or (loss, softmax)
    param, axis = layer.p.loss_param, layer.p.softmax_param.axis % len(layer.bottom_shapes[0])
    _check_labels(layer, axis)
    mode = normalization(param)

    def forward(scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        columns = scores.movedim(axis, -1)
        wanted = labels.reshape(-1).long()
        counted = _counted(layer, wanted, columns.shape[-1], param)
        total = softmax_nll(columns.reshape(len(wanted), -1)[counted], wanted[counted]).sum()
        outer = prod(scores.shape[:axis])
        loss = total / divisor(mode, outer, len(wanted) // outer, int(counted.sum()))
        return (loss, scores.softmax(axis)) if len(layer.tops) > 1 else loss

    return forward


@MODULES.register("SigmoidCrossEntropyLoss")
def sigmoid_cross_entropy_loss(layer: Layer) -> Callable:  # (scores [N, …], targets of that shape) -> loss
    param = layer.p.loss_param
    mode = normalization(param, default="BATCH_SIZE")

    def forward(scores: Tensor, targets: Tensor) -> Tensor:
        counted = torch.ones_like(targets, dtype=torch.bool)
        if param.HasField("ignore_label"):
            counted = targets.long() != param.ignore_label
        total = sigmoid_nll(scores[counted], targets[counted]).sum()
        return total / divisor(mode, len(scores), scores[0].numel(), int(counted.sum()))

    return forward


_DIFFERENCES = {"EuclideanLoss": half_square, "SmoothL1Loss": smooth_l1}


@MODULES.register(*_DIFFERENCES)
def difference_loss(layer: Layer) -> Callable:  # (prediction [N, …], target of that shape) -> loss
    each = _DIFFERENCES[layer.type]
    return lambda predicted, target: each(predicted, target).sum() / len(predicted)


@MODULES.register("HingeLoss")
def hinge_loss(layer: Layer) -> Callable:  # (scores [N, C], labels [N]) -> loss
    images = layer.bottom_shapes[0][0]
    if prod(layer.bottom_shapes[1]) != images:
        raise layer.error(f"{prod(layer.bottom_shapes[1])} labels", expected=f"one for each of {images} images")
    power = layer.p.norm  # L1 = 1, L2 = 2

    def forward(scores: Tensor, labels: Tensor) -> Tensor:
        rows, wanted = scores.flatten(1), labels.reshape(-1).long()
        _counted(layer, wanted, rows.shape[1], None)
        sign = 1 - 2 * F.one_hot(wanted, rows.shape[1])
        return F.relu(1 + sign * rows).pow(power).sum() / len(rows)

    return forward


@MODULES.register("Accuracy")
def accuracy(layer: Layer) -> Callable:  # (scores [N, C, …], labels) -> accuracy, or (accuracy, that of each class)
    p, axis = layer.p, layer.p.axis % len(layer.bottom_shapes[0])
    classes = layer.bottom_shapes[0][axis]
    _check_labels(layer, axis)
    if not 1 <= p.top_k <= classes:
        raise layer.error(f"top_k is {p.top_k}", expected=f"1 to {classes}, the number of classes")

    @torch.no_grad()
    def forward(scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        rows, wanted = scores.movedim(axis, -1).reshape(-1, classes), labels.reshape(-1).long()
        counted = _counted(layer, wanted, classes, p)
        rows, wanted = rows[counted], wanted[counted, None]
        own = rows.gather(1, wanted)
        # Of equal scores Caffe ranks the higher class first.
        later = torch.arange(classes, device=rows.device) > wanted
        right = ((rows > own) | ((rows == own) & later)).sum(dim=1) < p.top_k
        total = right.float().mean()
        if len(layer.tops) == 1:
            return total
        members = torch.bincount(wanted[:, 0], minlength=classes)
        return total, torch.bincount(wanted[right, 0], minlength=classes) / members.clamp(min=1)

    return forward


def _check_labels(layer: Layer, axis: int) -> None:
    """Raise UserError unless there is one label for each position of the scores."""
    scores, labels = layer.bottom_shapes
    positions = prod(scores) // scores[axis]
    if prod(labels) != positions:
        raise layer.error(f"{prod(labels)} labels", expected=f"{positions}, one for each position of the scores")


def _counted(layer: Layer, labels: Tensor, classes: int, param: object | None) -> Tensor:
    """Mask of the labels [K] that are not to be ignored. Raises UserError for one that is no class."""
    counted = torch.ones_like(labels, dtype=torch.bool)
    if param is not None and param.HasField("ignore_label"):
        counted = labels != param.ignore_label
    wrong = counted & ((labels < 0) | (labels >= classes))
    if wrong.any():
        label = int(labels[wrong][0])
        raise layer.error(f"a label is {label}", expected=f"0 to {classes - 1}")
    return counted
