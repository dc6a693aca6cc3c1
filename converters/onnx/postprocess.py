"""What stands at a detector's end: nothing, standard operators, or TensorRT's plug-in node."""

from __future__ import annotations

from onnx import TensorProto, helper

from converters.onnx.builder import Builder
from converters.onnx.export import Form
from converters.onnx.layers.detection import Detections, check
from prototxt.errors import UserError
from prototxt.graph import Graph, Layer
from prototxt.io import NetFile
from prototxt.phase import kept
from prototxt.schema import NetParameter
from prototxt.shapes.detection import DETECTORS
from prototxt.shapes.yolo import YOLO

# TensorRT finds a plug-in by the operator's name; a domain of its own keeps the model one that checkers accept.
_TENSORRT = "TRT"


def raw_head(graph: Graph) -> Graph:
    """The net without its DetectionOutput or its like: what that reads are the outputs, prior boxes included."""
    detections = detection_layers(graph)
    if len(detections) == len(graph.layers):
        raise UserError("the net is nothing but its DetectionOutput", where=graph.net.path)
    old, state = graph.net, graph.state
    left = [i for i in kept(old.message.layer, state) if old.message.layer[i].type not in DETECTORS]
    message = NetParameter(name=old.message.name, layer=[old.message.layer[i] for i in left])
    origins = [("layer", i) if old.origins is None else old.origins[i] for i in left]
    net = NetFile(message, old.path, old.lines, origins)
    head = Graph(net, state.phase, state.level, state.stages, graph.inputs)
    for layer in detections:
        for name in set(layer.bottoms) - set(head.outputs):
            raise layer.error(f'its bottom "{name}" is no output without it, as another layer reads that, too')
    return head


def detection_layers(graph: Graph) -> list[Layer]:
    """The layers of a net that make detections. Raises UserError when there is none."""
    found = [layer for layer in graph.layers if layer.type in DETECTORS]
    if not found:
        raise UserError("--postprocess is for detectors; this net has no DetectionOutput", where=graph.net.path)
    return found


def efficient_nms(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    """TensorRT's EfficientNMS_TRT on boxes [N, P, 4], corners in 0–1, and scores [N, P, classes].

    Its outputs take the place of the layer's: `num_detections` [N, 1], `detection_boxes` [N, D, 4],
    `detection_scores` [N, D] and `detection_classes` [N, D], where D is the layer's keep_top_k. Its labels are
    Caffe's. The layer's `top_k`, the most boxes of a class before the suppression, has no place in it: its own is 4096.
    """
    check(build, layer, bottoms[2])
    p = layer.p
    if p.keep_top_k < 1:
        raise layer.error("its keep_top_k is not set, and EfficientNMS_TRT has room for so many", fix="set keep_top_k")
    loc, conf, priors, *first_stage = bottoms
    step = Detections(build, layer)
    boxes = step.boxes(loc, build.array(priors), *first_stage[1:])
    if not p.share_location:
        raise layer.error("its classes have boxes of their own (share_location: false)", expected="boxes they share")
    names = ["num_detections", "detection_boxes", "detection_scores", "detection_classes"]
    node = helper.make_node(
        "EfficientNMS_TRT",
        [boxes, step.table(conf, *first_stage[:1])],
        [build.unique(name) for name in names],
        name=build.unique(f"{layer.name}/EfficientNMS_TRT"),
        domain=_TENSORRT,
        doc_string=layer.type,
        **plugin_attributes(layer),
    )
    build.nodes.append(node)
    batch = "batch" if build.is_open.batch else layer.bottom_shapes[0][0]
    kinds = [TensorProto.INT32, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32]
    shapes = [(batch, 1), (batch, p.keep_top_k, 4), (batch, p.keep_top_k), (batch, p.keep_top_k)]
    values = zip(node.output, kinds, shapes)
    build.outputs[layer.tops[0]] = [helper.make_tensor_value_info(*value) for value in values]
    return []


def _no_efficient_nms(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    raise layer.error("EfficientNMS_TRT suppresses class by class; this layer does so across classes",
                      expected="--postprocess none or nms")  # fmt: skip


def plugin_attributes(layer: Layer) -> dict[str, int | float | str]:
    """What a DetectionOutput is for EfficientNMS_TRT."""
    p = layer.p
    return {
        "plugin_version": "1",
        "background_class": p.background_label_id,
        "max_output_boxes": p.keep_top_k,
        "score_threshold": float(p.confidence_threshold),
        "iou_threshold": float(p.nms_param.nms_threshold),
        "score_activation": 0,
        "class_agnostic": 0,
        "box_coding": 0,
    }


# What --postprocess may be: forms that take the place of those in the table.
FORMS: dict[str, dict[str, Form]] = {
    "none": {},
    "nms": {},
    "efficient-nms": {"DetectionOutput": efficient_nms, **dict.fromkeys(YOLO, _no_efficient_nms)},
}
