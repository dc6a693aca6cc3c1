"""Losses and detections: settings that Caffe aborts on or that do something odd, scores, label maps, importers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prototxt.errors import UserError, UserErrors
from prototxt.labelmap import BACKGROUND, read_labelmap
from prototxt.lint.finding import ERROR, NOTE, WARNING, Found, check
from prototxt.lint.heads import classes_of
from prototxt.lint.net import CONVOLUTIONS, FEEDS, Net, Node, find, origin
from prototxt.schema import MultiBoxLossParameter, PriorBoxParameter

# None of these changes a value.
_VIEWS = frozenset(("Concat", "Flatten", "Permute", "Reshape", "Reverse", "ShuffleChannel", "Slice", "Split"))
_VIEWS |= {"Transpose"}
_LEARNED = {"BN", "BatchNorm", "Bias", *CONVOLUTIONS, "Deconvolution", "Eltwise", "InnerProduct", "Scale"}
_PROBABILITIES = {"Sigmoid", "Softmax"}


@dataclass(frozen=True)
class _Rule:
    """A setting that is wrong or odd when `when` holds; `{p.…}` in the reason is filled in."""

    when: Callable[[Any], bool]
    reason: str
    fix: str
    severity: str = ERROR


_NONE, _HARD = MultiBoxLossParameter.NONE, MultiBoxLossParameter.HARD_EXAMPLE
_OUTPUT_RULES = (
    _Rule(lambda p: p.num_classes < 1, "num_classes is missing", "num_classes: CLASSES + 1, the background included"),
    _Rule(
        lambda p: p.background_label_id < 0 and p.share_location,
        "background_label_id: -1 with share_location: true; Caffe aborts",
        "share_location: false, or a background_label_id",
    ),
    _Rule(
        lambda p: 0 < p.num_classes <= p.background_label_id,
        "background_label_id {p.background_label_id} is no class of {p.num_classes}",
        "background_label_id: 0",
    ),
    _Rule(
        lambda p: p.nms_param.nms_threshold < 0 or not 0 < p.nms_param.eta <= 1,
        "nms_threshold {p.nms_param.nms_threshold:g} or eta {p.nms_param.eta:g} is out of range; Caffe aborts",
        "an nms_threshold of 0 or more, an eta above 0 and up to 1",
    ),
    _Rule(lambda p: p.keep_top_k == 0, "keep_top_k: 0 keeps no detection", "keep_top_k: 200; -1 keeps all", WARNING),
    _Rule(
        lambda p: p.nms_param.HasField("top_k") and p.nms_param.top_k == 0,
        "top_k: 0 lets no box into the suppression",
        "top_k: 400; -1 lets all in",
        WARNING,
    ),
    _Rule(
        lambda p: p.confidence_threshold >= 1,
        "confidence_threshold {p.confidence_threshold:g}: no score is above it",
        "confidence_threshold: 0.01",
        WARNING,
    ),
    _Rule(
        lambda p: 0 < p.nms_param.top_k * (p.num_classes - 1) < p.keep_top_k,
        "keep_top_k {p.keep_top_k} is out of reach: {p.num_classes} classes give at most {p.nms_param.top_k} each",
        "raise top_k, or lower keep_top_k",
        NOTE,
    ),
)
_LOSS_RULES = (
    _Rule(lambda p: p.num_classes < 1, "num_classes is missing", "num_classes: CLASSES + 1, the background included"),
    _Rule(
        lambda p: not p.share_location and p.mining_type != _NONE,
        "share_location: false with mining; Caffe aborts",
        "mining_type: NONE, or share_location: true",
    ),
    _Rule(
        lambda p: p.map_object_to_agnostic and p.num_classes != 2,
        "map_object_to_agnostic with num_classes {p.num_classes}; Caffe aborts",
        "num_classes: 2",
    ),
    _Rule(
        lambda p: 0 < p.num_classes <= p.background_label_id,
        "background_label_id {p.background_label_id} is no class of {p.num_classes}; Caffe aborts",
        "background_label_id: 0",
    ),
    _Rule(
        lambda p: p.HasField("do_neg_mining") and not p.do_neg_mining and p.mining_type != _NONE,
        "do_neg_mining: false contradicts its mining_type; Caffe aborts",
        "mining_type: NONE instead of do_neg_mining",
    ),
    _Rule(
        lambda p: p.mining_type == _HARD and p.sample_size <= 0,
        "HARD_EXAMPLE with sample_size {p.sample_size}; Caffe aborts",
        "sample_size: 64",
    ),
)


def _broken(rules: tuple[_Rule, ...], node: Node, p: Any) -> Iterator[Found]:
    for rule in rules:
        if rule.when(p):
            yield Found(node, rule.reason.format(p=p), rule.fix, rule.severity)


@check("output-settings", ERROR, Net)
def output_settings(net: Net) -> Iterator[Found]:
    """A DetectionOutput has settings that Caffe aborts on, or that leave no or other detections than meant."""
    for node in net.of("DetectionOutput"):
        yield from _broken(_OUTPUT_RULES, node, node.p)


@check("loss-settings", ERROR, Net)
def loss_settings(net: Net) -> Iterator[Found]:
    """A MultiBoxLoss has settings that Caffe aborts on."""
    for node in net.of("MultiBoxLoss"):
        yield from _broken(_LOSS_RULES, node, node.p.multibox_loss_param)


# Layer type: the bottoms that must be probabilities, the bottoms that must not be.
_SCORES = {
    "DetectionOutput": ((1, 3), ()),
    "MultiBoxLoss": ((4,), (1,)),
    "SigmoidCrossEntropyLoss": ((), (0,)),
    "SoftmaxWithLoss": ((), (0,)),
}


@check("scores", WARNING, Net)
def scores(net: Net) -> Iterator[Found]:
    """Scores lack their softmax where probabilities are read, or have one where the loss takes it itself."""
    for node in net.of(*_SCORES):
        wanted, unwanted = _SCORES[node.type]
        for i, blob in enumerate(node.bottoms):
            maker = origin(blob, _VIEWS)
            if maker and i in wanted and maker.type in _LEARNED:
                reason = (
                    f'its bottom "{blob.name}" holds raw scores of layer "{maker.name}", where it needs probabilities'
                )
                yield Found(node, reason, "put a Softmax over the classes in between")
            elif maker and i in unwanted and maker.type in _PROBABILITIES:
                reason = (
                    f'its bottom "{blob.name}" went through {maker.type} "{maker.name}" already; it takes raw scores'
                )
                yield Found(node, reason, f'read the bottom of "{maker.name}"')


@check("label-source", WARNING, Net)
def label_source(net: Net) -> Iterator[Found]:
    """What a loss or an evaluation takes for ground truth does not come from the data."""
    for node in net.of("MultiBoxLoss", "DetectionEvaluate"):
        at = 3 if node.type == "MultiBoxLoss" else 1
        maker = origin(node.bottoms[at], _VIEWS) if at < len(node.bottoms) else None
        if maker and maker.type not in FEEDS:
            reason = f'its ground truth "{node.layer.bottoms[at]}" is made by layer "{maker.name}" ({maker.type})'
            yield Found(node, reason, "read the label of the data layer")


@dataclass(frozen=True)
class LabelMapFile:
    """A label map on disk, as a subject of checks."""

    path: str


@check("labelmap", ERROR, LabelMapFile)
def labelmap(file: LabelMapFile) -> Iterator[Found]:
    """A label map has items without a name or a label, two classes with one label, or one class twice."""
    try:
        read_labelmap(file.path)
    except UserError as error:
        for each in error.errors if isinstance(error, UserErrors) else [error]:
            expected = f"; expected {each.expected}" if each.expected else ""
            yield Found(each.where, each.found + expected, each.fix or "correct the label map")


@check("labelmap-background", WARNING, LabelMapFile)
def labelmap_background(file: LabelMapFile) -> Iterator[Found]:
    """A label map gives 0, which nets take for the background, to a class or to nothing."""
    items = _items(file.path)
    fix = f'item {{ name: "{BACKGROUND[0]}" label: 0 display_name: "{BACKGROUND[1]}" }}, and classes from 1'
    if items and 0 not in items:
        yield Found(file.path, "no item has label 0, the background", fix)
    elif items and items[0].name not in BACKGROUND:
        yield Found(file.path, f'label 0, the background, is called "{items[0].name}"', fix)


def _items(path: str) -> dict[int, Any]:
    """A label map's items by label; none when it is not as it should be, which `labelmap` reports."""
    try:
        return read_labelmap(path)
    except UserError:
        return {}


def label_maps(net: Net) -> dict[str, Node]:
    """The label maps that a net names and that exist: their paths, and the first layer that names each."""
    found: dict[str, Node] = {}
    for node in net.of("AnnotatedData", "DetectionOutput"):
        parameters = node.p.annotated_data_param if node.type == "AnnotatedData" else node.p.save_output_param
        path = find(parameters.label_map_file, net.file.path) if parameters.label_map_file else None
        if path:
            found.setdefault(str(path), node)
    return found


@check("labelmap-classes", ERROR, Net)
def labelmap_classes(net: Net) -> Iterator[Found]:
    """The label map's classes and the net's are not as many: a label beyond them makes Caffe abort or read astray."""
    refined = any(len(node.bottoms) == 6 for node in net.of("MultiBoxLoss"))
    for path in label_maps(net):
        classes = max(_items(path), default=-1) + 1
        for node in net.of("MultiBoxLoss", "DetectionOutput") if classes else ():
            agnostic = node.type == "MultiBoxLoss" and (refined or node.p.multibox_loss_param.map_object_to_agnostic)
            if agnostic and classes_of(node) == 2:
                continue  # one class for all objects: the first stage of RefineDet, or asked for
            if classes_of(node) != classes:
                reason = f"num_classes is {classes_of(node)}, but the labels of {path} go up to {classes - 1}"
                yield Found(node, reason, f"num_classes: {classes} and heads to match, or another label map")


@check("opencv-import", NOTE, Net)
def opencv_import(net: Net) -> Iterator[Found]:
    """OpenCV 4's Caffe importer does not know Caffe's defaults: it refuses the net, or clips prior boxes."""
    for node in net.of("DetectionOutput", "PriorBox") if net.phase == "TEST" else ():
        spec = node.proto.prior_box_param if node.type == "PriorBox" else node.p
        fields = (
            ("clip",)
            if node.type == "PriorBox"
            else ("share_location", "background_label_id", "code_type", "keep_top_k")
        )
        absent = [name for name in fields if not spec.HasField(name)]
        absent += ["variance"] * (node.type == "PriorBox" and not spec.variance)
        absent += ["nms_threshold"] * (node.type == "DetectionOutput" and not spec.nms_param.HasField("nms_threshold"))
        if absent == ["clip"]:
            yield Found(node, "without clip, OpenCV 4 clips the prior boxes and Caffe does not", "clip: false")
        elif absent:
            reason = f"OpenCV 4 cannot import it without {', '.join(absent)}"
            yield Found(node, reason, "write Caffe's defaults out")


def coding(node: Node) -> dict[str, Any]:
    """How a MultiBoxLoss or DetectionOutput tells a box relative to its prior, in words that compare."""
    p = node.p.multibox_loss_param if node.type == "MultiBoxLoss" else node.p
    variance = p.encode_variance_in_target if node.type == "MultiBoxLoss" else p.variance_encoded_in_target
    return {
        "code_type": PriorBoxParameter.CodeType.Name(p.code_type),
        "variance in the target": variance,
        "share_location": p.share_location,
        "background_label_id": p.background_label_id,
    }
