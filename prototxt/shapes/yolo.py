"""YOLO's detections, as the Caffe of MobileNet-YOLO makes them."""

from __future__ import annotations

from prototxt.shapes.table import SHAPES, ShapeError, maps_hw, need

YOLO = ("YoloDetectionOutput", "Yolov3DetectionOutput")


@SHAPES.register(*YOLO)
def yolo(p, bottoms):  # [maps (1, anchors * (5 + classes), H, W), one or more] -> [(1, 1, D, 7)]
    need(bottoms, 1, 2 if p.has_one_class else len(p.anchors))
    for shape, anchors in zip(bottoms, p.anchors):
        height, width = maps_hw(shape)
        if shape[0] != 1:
            raise ShapeError(f"it takes one image, not {shape[0]}")
        if shape[1] != len(anchors) * (5 + p.num_classes):
            wanted = f"{len(anchors)} * (5 + {p.num_classes}) = {len(anchors) * (5 + p.num_classes)}"
            raise ShapeError(f"{len(anchors)} anchors and {p.num_classes} classes need {wanted} channels")
        if p.has_one_class and height != width:
            raise ShapeError(f"it takes square maps, not {height} x {width}")
    return [(1, 1, 1, 7)]
