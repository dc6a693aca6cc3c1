"""Layers that change values and not shapes."""

from __future__ import annotations

from prototxt.shapes.table import BLOBS, SHAPES, axis_of, need


@SHAPES.register(
    "AbsVal", "BNLL", "Dropout", "ELU", "Exp", "Log", "PReLU", "Power", "ReLU", "Sigmoid", "TanH", "Threshold"
)
def elementwise(p, bottoms):
    need(bottoms, 1)
    return [bottoms[0]]


@SHAPES.register("Softmax")
def softmax(p, bottoms):
    need(bottoms, 1)
    axis_of(p.axis, bottoms[0])
    return [bottoms[0]]


@BLOBS.register("PReLU")
def prelu_blobs(p, bottoms):
    return [()] if p.channel_shared else [(bottoms[0][1],)]
