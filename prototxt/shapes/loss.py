"""Losses (one number, so no axis at all) and Accuracy."""

from __future__ import annotations

from prototxt.shapes.detection import check_predictions
from prototxt.shapes.table import SHAPES, ShapeError, axis_of, need


@SHAPES.register("SoftmaxWithLoss")
def softmax_with_loss(p, bottoms):  # [(N, C, …), labels]; a second top is the softmax
    need(bottoms, 2)
    axis_of(p.softmax_param.axis, bottoms[0])
    return [(), bottoms[0]]


@SHAPES.register("SigmoidCrossEntropyLoss")
def sigmoid_cross_entropy_loss(p, bottoms):
    need(bottoms, 2)
    _same_count(bottoms)
    return [()]


@SHAPES.register("EuclideanLoss", "SmoothL1Loss")
def difference_loss(p, bottoms):
    need(bottoms, 2)
    _same_count(bottoms)
    return [()]


@SHAPES.register("HingeLoss")
def hinge_loss(p, bottoms):
    need(bottoms, 2)
    return [()]


def _same_count(bottoms):
    if bottoms[0] != bottoms[1]:
        raise ShapeError("the prediction and its target differ")


@SHAPES.register("MultiBoxLoss")
def multi_box_loss(p, bottoms):  # [loc (N, 4P), conf (N, P*classes), priors (1, 2, 4P), labels (1, 1, G, 8)]
    need(bottoms, 4, 6)
    check_predictions(p.multibox_loss_param, bottoms)
    if bottoms[3][-1] != 8:
        raise ShapeError(f"ground truths have 8 values, not {bottoms[3][-1]}")
    return [()]


@SHAPES.register("Accuracy")
def accuracy(p, bottoms):  # [(N, C, …), labels]; a second top is the accuracy of each class
    need(bottoms, 2)
    return [(), (bottoms[0][axis_of(p.axis, bottoms[0])],)]
