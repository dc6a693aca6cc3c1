"""PriorBox and DetectionOutput."""

from __future__ import annotations

import math

from converters.detection_check import check_detection
from converters.pytorch.source.layers.table import FORMS, Form, call, number, numbers
from prototxt import schema
from prototxt.graph import Layer


@FORMS.register("PriorBox")
def prior_box(layer: Layer) -> Form:
    p = layer.p
    map_hw, image_hw = layer.bottom_shapes[0][2:], p.image_hw or layer.bottom_shapes[1][2:]
    made = call(
        "PriorBox",
        str(tuple(map_hw)),
        str(tuple(image_hw)),
        min_sizes=(numbers(p.min_sizes), ""),
        max_sizes=(numbers(p.max_sizes), "()"),
        ratios=(numbers(p.ratios), "()"),
        variances=(numbers(p.variances), "(0.1, 0.1, 0.2, 0.2)"),
        step_hw=(numbers(p.step_hw) if p.step_hw else "None", "None"),
        offset=(number(p.offset), "0.5"),
        clip=(str(p.clip), "False"),
    )
    return Form("{me}", buffer=f"{made}.boxes()")


@FORMS.register("DetectionOutput")
def detection_output(layer: Layer) -> Form:
    check_detection(layer)
    p, nms = layer.p, layer.p.nms_param
    module = call(
        "DetectionOutput",
        num_classes=(str(p.num_classes), ""),
        nms_threshold=(number(nms.nms_threshold), ""),
        top_k=(str(nms.top_k if nms.HasField("top_k") else -1), "-1"),
        keep_top_k=(str(p.keep_top_k), "-1"),
        confidence_threshold=(
            number(p.confidence_threshold if p.HasField("confidence_threshold") else -math.inf),
            _ANY,
        ),
        code=(f'"{schema.PriorBoxParameter.CodeType.Name(p.code_type)}"', '"CENTER_SIZE"'),
        background=(str(p.background_label_id), "0"),
        share_location=(str(p.share_location), "True"),
        variance_in_target=(str(p.variance_encoded_in_target), "False"),
        eta=(number(nms.eta), "1"),
        objectness_score=(number(p.objectness_score), "0.01"),
    )
    bottoms = ", ".join(f"{{{i}}}" for i in range(len(layer.bottoms)))
    return Form(f"{{me}}({bottoms})", module, opens=True)


_ANY = number(-math.inf)
