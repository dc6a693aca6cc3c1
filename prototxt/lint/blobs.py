"""Learned blobs: how many `param` a layer gives, who shares them, how they start, whether anything trains them."""

from __future__ import annotations

from collections.abc import Iterator

from prototxt.graph import show
from prototxt.lint.finding import ERROR, WARNING, Found, check
from prototxt.lint.net import CONVOLUTIONS, Blob, Net, Node
from prototxt.shapes import BLOBS
from prototxt.shapes.detection import DETECTORS
from prototxt.shapes.roi import PROPOSALS

# Layers through which no gradient passes, and those that hand it to some of their bottoms only.
_NO_GRADIENT = {"Accuracy", "ArgMax", "DetectionEvaluate", "PriorBox", "Silence", "Threshold", *DETECTORS, *PROPOSALS}
_GRADIENT_TO = {
    "Crop": (0,),
    "HingeLoss": (0,),
    "Interp": (0,),
    "MultiBoxLoss": (0, 1),
    "PSROIPooling": (0,),
    "ROIPooling": (0,),
    "SigmoidCrossEntropyLoss": (0,),
    "SoftmaxWithLoss": (0,),
    "Upsample": (0,),
}
_FILLED = (*CONVOLUTIONS, "Deconvolution", "InnerProduct")


@check("param-count", ERROR, Net)
def param_count(net: Net) -> Iterator[Found]:
    """A layer has more `param` than learned blobs: Caffe aborts ("Too many params specified")."""
    for node in net.nodes:
        given, blobs = len(node.proto.param), len(node.layer.blob_shapes)
        if given > blobs and (node.type not in BLOBS or node.layer.top_shapes):
            reason = f"it has {given} `param` but {blobs} learned {'blob' if blobs == 1 else 'blobs'}"
            yield Found(node, reason, f"keep {blobs} of them" if blobs else "remove them")


@check("propagate-down", ERROR, Net)
def propagate_down(net: Net) -> Iterator[Found]:
    """`propagate_down` is not given once for each bottom (or not at all): Caffe aborts."""
    for node in net.nodes:
        given, bottoms = len(node.proto.propagate_down), len(node.layer.bottoms)
        if given and given != bottoms:
            reason = f"it has {given} propagate_down but {bottoms} {'bottom' if bottoms == 1 else 'bottoms'}"
            yield Found(node, reason, "give one for each bottom, or none")


@check("loss-weight", ERROR, Net)
def loss_weight(net: Net) -> Iterator[Found]:
    """`loss_weight` is not given once for each top (or not at all): Caffe aborts."""
    for node in net.nodes:
        given, tops = len(node.proto.loss_weight), len(node.layer.tops)
        if given and given != tops:
            reason = f"it has {given} loss_weight but {tops} {'top' if tops == 1 else 'tops'}"
            yield Found(node, reason, "give one for each top, or none")


@check("shared-blob", ERROR, Net)
def shared_blob(net: Net) -> Iterator[Found]:
    """Layers that share a blob by its name in `param` disagree on its shape or multipliers: Caffe aborts."""
    owners: dict[str, tuple[Node, int]] = {}
    for node in net.nodes:
        for i, (spec, shape) in enumerate(zip(node.proto.param, node.layer.blob_shapes)):
            if not spec.name:
                continue
            owner, at = owners.setdefault(spec.name, (node, i))
            theirs = owner.layer.blob_shapes[at]
            if shape != theirs and spec.share_mode == spec.STRICT:
                reason = (
                    f'blob {i}, shared as "{spec.name}", is {show(shape)} here but {show(theirs)} in "{owner.name}"'
                )
                yield Found(node, reason, "give both layers the same shape, or the blob another name")
            for field in ("lr_mult", "decay_mult"):
                first = owner.proto.param[at]
                if spec.HasField(field) and first.HasField(field) and getattr(spec, field) != getattr(first, field):
                    reason = f'{field} of the shared blob "{spec.name}" differs from that in layer "{owner.name}"'
                    yield Found(node, reason, "give it once, or twice alike")


@check("no-filler", WARNING, Net)
def no_filler(net: Net) -> Iterator[Found]:
    """In training, weights have no filler: Caffe starts them at 0, so that the layers before them get no gradient."""
    for node in net.of(*_FILLED) if net.phase == "TRAIN" else ():
        parameters = node.proto.inner_product_param if node.type == "InnerProduct" else node.proto.convolution_param
        if not parameters.HasField("weight_filler"):
            reason = "it has no weight_filler: its weights start at 0 unless a caffemodel brings them"
            yield Found(node, reason, 'weight_filler { type: "xavier" }')


@check("untrained", WARNING, Net)
def untrained(net: Net) -> Iterator[Found]:
    """In training, no loss depends on a layer's weights: they stay as they start."""
    if net.phase != "TRAIN" or not net.has_loss:
        return
    trained = _under_loss(net)
    for node in net.of(*BLOBS):
        learns = any(
            i >= len(node.proto.param) or node.proto.param[i].lr_mult for i in range(len(node.layer.blob_shapes))
        )
        if node.type != "BatchNorm" and learns and node not in trained:
            yield Found(node, "no loss depends on its weights, so they never train", "remove it, or lead it to a loss")


def _under_loss(net: Net) -> set[Node]:
    """The layers that a gradient reaches."""
    reached: set[Blob] = set()
    nodes: set[Node] = set()
    for node in reversed(net.nodes):
        if not any(node.loss_weight(top.index) or top in reached for top in node.tops) or node.type in _NO_GRADIENT:
            continue
        nodes.add(node)
        stops = node.proto.propagate_down
        for i in _GRADIENT_TO.get(node.type, range(len(node.bottoms))):
            if i < len(node.bottoms) and node.bottoms[i] and not (i < len(stops) and not stops[i]):
                reached.add(node.bottoms[i])
    return nodes


@check("no-loss", WARNING, Net)
def no_loss(net: Net) -> Iterator[Found]:
    """A net has layers for training and no loss, so nothing can train."""
    if net.phase == "TRAIN" and not net.has_loss:
        yield Found(net.file.path, "the net of phase TRAIN has no loss", "add a loss layer, or a loss_weight")
