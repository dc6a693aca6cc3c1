"""How the layers of a net are joined: blobs nobody makes, blobs nobody reads, blobs overwritten in place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from prototxt.errors import nearest
from prototxt.lint.finding import ERROR, NOTE, WARNING, Found, check
from prototxt.lint.heads import explained
from prototxt.lint.net import CAFFE_TYPES, CONVOLUTIONS, FEEDS, Blob, Net, Node, WrittenNet, sentence
from prototxt.shapes import BLOBS, SHAPES, UnknownShape
from prototxt.shapes.detection import DETECTORS

# Layers that a net ends with. A net with one of them has no use for any other blob that nobody reads.
_ENDS = {"Accuracy", "DetectionEvaluate", *DETECTORS, "HDF5Output"}
# Their tops are the memory of their bottom, under another name.
_VIEWS = {"Flatten", "Reshape", "Split"}
# Layers whose gradient is computed from the values they read.
_READS_BOTTOM = {"AbsVal", "Axpy", "BN", "BNLL", "Clip", "Deconvolution", "ELU", "InnerProduct", "LRN", "Log", "MVN"}
_READS_BOTTOM |= {*CONVOLUTIONS, "Mish", "Normalize", "PReLU", "ReLU", "ReLU6", "Scale"}
# Layers whose gradient is computed from the values they made; a ReLU in place has no others.
_READS_TOP = {"ELU", "Exp", "LRN", "MVN", "ReLU", "ReLU6", "Sigmoid", "Softmax", "Swish", "TanH"}
_RELUS = ("ReLU", "ReLU6")
# Pairs of layers of which the second, in place, leaves what the gradient of the first needs.
_HARMLESS = {("ReLU", "ReLU"), ("ReLU", "Dropout"), ("Sigmoid", "ReLU"), ("Softmax", "ReLU"), ("Exp", "ReLU")}
_HARMLESS |= {("ReLU", "ReLU6"), ("ReLU6", "ReLU6"), ("ReLU6", "ReLU"), ("Sigmoid", "ReLU6"), ("Softmax", "ReLU6")}


@check("phase-rules", ERROR, WrittenNet)
def phase_rules(net: WrittenNet) -> Iterator[Found]:
    """A layer has include and exclude rules at once (Caffe aborts), or a rule that no state can meet."""
    for i, layer in enumerate(net.message.layer):
        at = _Place(net.where_layer(i), layer.name, layer.type)
        if layer.include and layer.exclude:
            yield Found(at, "it has both include and exclude rules", "keep one kind")
        for rule in (*layer.include, *layer.exclude):
            both = sorted(set(rule.stage) & set(rule.not_stage))
            if both:
                reason = f'a rule asks for the stage "{both[0]}" and for its absence'
                yield Found(at, reason + "; it never holds", "give it in stage or in not_stage", WARNING)
            if rule.HasField("min_level") and rule.HasField("max_level") and rule.min_level > rule.max_level:
                reason = f"a rule has min_level {rule.min_level} above max_level {rule.max_level}; it never holds"
                yield Found(at, reason, "swap the two", WARNING)


class _Place:
    """A layer of a file that is in no net yet."""

    def __init__(self, where: str, name: str, type_name: str) -> None:
        self.where, self.name, self.type = where, name, type_name


@check("wiring", ERROR, Net)
def wiring(net: Net) -> Iterator[Found]:
    """A layer reads a blob that no layer before it makes, or makes one that exists already: Caffe aborts."""
    for layer, error in net.wiring:
        yield Found(layer or error.where, sentence(layer, error), error.fix or "correct the name")


@check("unknown-type", ERROR, Net)
def unknown_type(net: Net) -> Iterator[Found]:
    """Caffe has no layer of this type; or it has one that this toolkit does not know, so what follows is unchecked."""
    for node in net.nodes:
        if node.type in SHAPES:
            continue
        if node.proto.type in CAFFE_TYPES:
            reason = "this toolkit cannot compute this type: shapes behind it are not checked"
            yield Found(node, reason, "none needed for Caffe", NOTE)
        else:
            reason = f"Caffe has no layer of this type{nearest(node.type, CAFFE_TYPES)}"
            yield Found(node, reason, "correct the type; a layer of your own needs a Caffe build that has it")


@check("shapes", ERROR, Net)
def shapes(net: Net) -> Iterator[Found]:
    """Parameters contradict each other, or do not fit the shapes of the bottoms: Caffe aborts."""
    for node, error in net.unfit:
        if isinstance(error.__cause__, UnknownShape):
            reason = f"{sentence(node, error)}: shapes behind it are not checked"
            yield Found(node, reason, "none needed: they are known once the data are opened", NOTE)
        elif node.type in SHAPES and node not in explained(net):
            yield Found(node, sentence(node, error), error.fix or "correct the parameters, or the layers before it")


@check("dangling-top", WARNING, Net)
def dangling_top(net: Net) -> Iterator[Found]:
    """A layer computes a top that nobody reads, in a net whose results are others (a loss, detections)."""
    if not net.has_loss and not any(node.type in _ENDS for node in net.nodes):
        return
    for node, blob in _unread(net):
        if node.type in FEEDS or node.type in _ENDS or node.type not in SHAPES:
            continue
        if node.type.endswith("Loss") or node.loss_weight(blob.index):
            continue
        if blob.index and node.tops[0].readers:
            continue  # a second top, such as the mask of a pooling, is made anyway
        yield Found(node, f'nobody reads its top "{blob.name}"', f'read "{blob.name}", or remove the layer')


_LABELLED = ("ImageData", "MemoryData")  # cannot do without a second top


@check("unused-blob", WARNING, Net)
def unused_blob(net: Net) -> Iterator[Found]:
    """A blob is fed into the net and nobody reads it: a label without its loss, an input left over."""
    for node, blob in _unread(net):
        if node.type in FEEDS and not (node.type in _LABELLED and blob.index):
            fix = f'remove it, or let a Silence layer read "{blob.name}"'
            yield Found(node, f'nobody reads the blob "{blob.name}" that it feeds', fix)


def _unread(net: Net) -> Iterator[tuple[Node, Blob]]:
    if not net.wiring:  # a misspelt bottom leaves its blob unread; one finding is enough
        yield from ((node, blob) for node in net.nodes for blob in node.tops if not blob.readers)


@check("in-place-branch", ERROR, Net)
def in_place_branch(net: Net) -> Iterator[Found]:
    """A layer works in place on a blob that other layers read, too.

    Caffe splits such a blob into one for each reader; the top then no longer is the bottom but the name of a blob
    that exists, and Caffe aborts ("produced by multiple sources").
    """
    for node in net.nodes:
        for top, blob in zip(node.tops, node.bottoms):
            if blob is None or blob.name != top.name:
                continue
            others = [f'layer "{other.name}"' for other, _ in blob.readers if other is not node]
            others += ["the loss"] if blob.maker.proto.loss_weight and blob.maker.loss_weight(blob.index) else []
            if others:
                reason = (
                    f'it works in place on "{blob.name}", which {_list(others)} read{"s" * (len(others) == 1)}, too'
                )
                fix = "give its top a name of its own, or let the others read what it makes"
                yield Found(node, reason, fix)


@check("in-place-view", ERROR, Net)
def in_place_view(net: Net) -> Iterator[Found]:
    """A layer works in place on a view (Flatten, Reshape, Split) of a blob that others need unchanged.

    A view is the memory of its bottom: Caffe overwrites that, too, and says nothing.
    """
    order = {node: i for i, node in enumerate(net.nodes)}
    for node in net.nodes:
        if not node.in_place or not node.bottoms[0] or node.type in _VIEWS:
            continue
        blob, viewed = node.bottoms[0], False
        while blob and blob.maker.type in _VIEWS and blob.maker.bottoms:
            blob, viewed = blob.maker.bottoms[0], True
        if not blob or not viewed:
            continue
        for other in _readers_of_memory(blob):
            later = order[other] > order[node]
            if other is not node and (later or (net.phase == "TRAIN" and other.type in _READS_BOTTOM)):
                reason = (
                    f'it overwrites "{blob.name}", of which its bottom is a view and which layer "{other.name}" needs'
                )
                yield Found(node, reason, "give its top a name of its own")


def _readers_of_memory(blob: Blob) -> Iterator[Node]:
    """Layers that read the memory of a blob, under whatever name, before something is made of it in place."""
    for reader, _ in blob.readers:
        if reader.type not in _VIEWS:
            yield reader
        for top in reader.tops if reader.type in _VIEWS else ():
            yield from _readers_of_memory(top)


@check("in-place-gradient", WARNING, Net)
def in_place_gradient(net: Net) -> Iterator[Found]:
    """In training, a layer overwrites in place what the layer before needs for its gradient.

    A ReLU in place, for one, tells by the sign of its blob where the gradient passes; a BatchNorm in place behind
    it puts other values there, and Caffe trains on a wrong gradient without a word.
    """
    for node in net.nodes if net.phase == "TRAIN" else ():
        maker = node.bottoms[0].maker if node.in_place and node.bottoms[0] else None
        if maker is None or maker.type not in _READS_TOP or (maker.type, node.type) in _HARMLESS:
            continue
        if maker.type not in _RELUS or maker.in_place:
            reason = f'it overwrites in place what layer "{maker.name}" ({maker.type}) needs for its gradient'
            yield Found(node, reason, "give its top a name of its own")


@check("duplicate-name", ERROR, Net)
def duplicate_name(net: Net) -> Iterator[Found]:
    """Layers with weights have one name: a caffemodel tells weights apart by the names of layers."""
    named = defaultdict(list)
    for node in net.nodes:
        if node.type in BLOBS:
            named[node.name].append(node)
    for nodes in named.values():
        for node in nodes[1:]:
            reason = f"another layer with weights has this name ({nodes[0].where}); a caffemodel cannot hold both"
            yield Found(node, reason, "give each layer a name of its own")


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
