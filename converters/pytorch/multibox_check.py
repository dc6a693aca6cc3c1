"""What Caffe aborts on in the parameters of MultiBoxLoss, as messages."""

from __future__ import annotations

from math import prod

from prototxt import schema
from prototxt.graph import Layer

_Param = schema.MultiBoxLossParameter


def check_multibox(layer: Layer) -> None:
    """Raise UserError for parameters or bottoms of a MultiBoxLoss that contradict each other."""
    for check in (_check_classes, _check_mining, _check_bottoms, _check_arm):
        check(layer)


def _check_classes(layer: Layer) -> None:
    p = layer.proto.multibox_loss_param
    if p.num_classes < 1:
        raise layer.error("num_classes is missing or 0", fix="count the background as a class, too")
    if p.background_label_id >= p.num_classes:
        raise layer.error(
            f"background_label_id is {p.background_label_id}, but num_classes is {p.num_classes}",
            expected="a class below num_classes, mostly 0",
        )
    if p.map_object_to_agnostic and (p.num_classes, p.background_label_id) != (2, 0):
        raise layer.error(
            f"map_object_to_agnostic with num_classes {p.num_classes} and background_label_id {p.background_label_id}",
            expected="num_classes: 2 (background and object) and background_label_id: 0",
        )


def _check_mining(layer: Layer) -> None:
    p = layer.proto.multibox_loss_param
    name = _Param.MiningType.Name(p.mining_type)
    if p.HasField("do_neg_mining") and p.do_neg_mining != (name != "NONE"):
        raise layer.error(
            f"do_neg_mining: {str(p.do_neg_mining).lower()} contradicts mining_type: {name}",
            fix="drop do_neg_mining, and give mining_type: NONE or MAX_NEGATIVE",
        )
    if name != "NONE" and not p.share_location:
        raise layer.error(
            f"mining_type: {name} with share_location: false",
            expected="shared locations, or mining_type: NONE",
        )
    if name == "HARD_EXAMPLE" and p.sample_size < 1:
        raise layer.error(f"sample_size is {p.sample_size}", expected="at least 1 with mining_type: HARD_EXAMPLE")


def _check_bottoms(layer: Layer) -> None:
    loc, conf = (shape[0] for shape in layer.bottom_shapes[:2])
    if loc != conf:
        raise layer.error(f"its locations are of {loc} images, its scores of {conf}")
    flags = list(layer.proto.propagate_down)
    if flags and len(flags) != len(layer.bottoms):
        raise layer.error(f"{len(flags)} values of propagate_down for {len(layer.bottoms)} bottoms")
    if any(flags[2:]):
        raise layer.error(
            "propagate_down is true for a bottom without a gradient",
            expected="false from the third bottom on",
        )


def _check_arm(layer: Layer) -> None:
    """The bottoms of RefineDet's first stage (the anchor refinement module)."""
    p, shapes = layer.proto.multibox_loss_param, layer.bottom_shapes
    if len(shapes) < 5:
        return
    priors = shapes[2][2] // 4
    for i, values in enumerate((2, 4)[: len(shapes) - 4], start=4):
        if prod(shapes[i]) != shapes[0][0] * priors * values:
            raise layer.error(
                f'bottom "{layer.bottoms[i]}" has {prod(shapes[i])} values',
                expected=f"{values} for each of {priors} priors and {shapes[0][0]} images",
            )
    if len(shapes) > 5 and not p.share_location:
        raise layer.error("locations of a first stage need share_location: true")
    if p.mining_type != _Param.NONE and p.HasField("nms_param") and p.nms_param.nms_threshold > 0:
        raise layer.error(
            "nms_param cannot be combined with the scores of a first stage",
            fix="drop nms_param: Caffe would mix up the priors that are left",
        )
