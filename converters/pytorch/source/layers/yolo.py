"""YoloDetectionOutput and Yolov3DetectionOutput."""

from __future__ import annotations

from converters.pytorch.source.layers.table import FORMS, Form, call, number, numbers
from prototxt.graph import Layer
from prototxt.shapes.yolo import YOLO


@FORMS.register(*YOLO)
def yolo(layer: Layer) -> Form:
    p = layer.p
    groups = (f"({', '.join(map(numbers, sides))},)" for sides in p.anchors)
    module = call(
        "YoloDetections",
        num_classes=(str(p.num_classes), ""),
        anchors=(f"({', '.join(groups)},)", ""),
        confidence_threshold=(number(p.confidence_threshold), ""),
        nms_threshold=(number(p.nms_threshold), ""),
        has_one_class=(str(p.has_one_class), "False"),
    )
    return Form(f"{{me}}({', '.join(f'{{{i}}}' for i in range(len(layer.bottoms)))})", module, opens=True)
