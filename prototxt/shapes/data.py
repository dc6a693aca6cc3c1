"""Layers that feed a net."""

from __future__ import annotations

from prototxt.shapes.table import SHAPES, ShapeError, need


@SHAPES.register("Input")
def input_(p, bottoms):
    need(bottoms, 0)
    if not p.shape:
        raise ShapeError("it gives no shape")
    return [tuple(int(d) for d in shape.dim) for shape in p.shape]


@SHAPES.register("AnnotatedData")
def annotated_data(p, bottoms):  # -> [data (N, C, H, W), label (1, 1, boxes, 8)]
    need(bottoms, 0)
    transform, channels = p.transform_param, 1 if p.transform_param.force_gray else 3
    if p.data_param.batch_size < 1:
        raise ShapeError("data_param needs a batch_size of at least 1")
    if transform.crop_size:
        size_hw = (transform.crop_size, transform.crop_size)
    elif transform.resize_param.height and transform.resize_param.width:
        size_hw = (transform.resize_param.height, transform.resize_param.width)
    else:
        raise ShapeError("transform_param gives neither resize_param with height and width nor crop_size")
    return [(p.data_param.batch_size, channels, *size_hw), (1, 1, 1, 8)]
