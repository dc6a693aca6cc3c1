"""Layers that change values and not shapes."""

from __future__ import annotations

from prototxt.shapes.table import BLOBS, SHAPES, ShapeError, axis_of, need


@SHAPES.register(
    *("AbsVal", "BNLL", "Dropout", "ELU", "Exp", "Log", "Mish", "PReLU", "Power", "ReLU", "ReLU6", "Sigmoid", "Swish"),
    *("TanH", "Threshold", "spatial_dropout.SpatialDropoutLayer"),
)
def elementwise(p, bottoms):
    need(bottoms, 1)
    return [bottoms[0]]


@SHAPES.register("Clip")
def clip(p, bottoms):
    need(bottoms, 1)
    if not (p.HasField("min") and p.HasField("max") and p.min <= p.max):
        raise ShapeError("clip_param needs a min and a max that is not below it")
    return [bottoms[0]]


@SHAPES.register("Softmax")
def softmax(p, bottoms):
    need(bottoms, 1)
    axis_of(p.axis, bottoms[0])
    return [bottoms[0]]


@BLOBS.register("PReLU")
def prelu_blobs(p, bottoms):
    return [()] if p.channel_shared else [(bottoms[0][1],)]
