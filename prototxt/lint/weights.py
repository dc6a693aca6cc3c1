"""Nets of one model, a train net and others: do they share the weights, and compute the same with them?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prototxt.errors import nearest
from prototxt.graph import show
from prototxt.lint.detection import coding
from prototxt.lint.finding import ERROR, WARNING, Found, check
from prototxt.lint.net import CONVOLUTIONS, Net, Node
from prototxt.shapes import Shape
from prototxt.shapes.roi import PROPOSALS


@dataclass(frozen=True)
class Pair:
    """A train net and a net (test, deploy) that takes its weights."""

    train: Net
    other: Net


def learned(net: Net) -> dict[str, Node]:
    """The layers with weights, by name."""
    return {node.name: node for node in net.nodes if node.layer.blob_shapes}


@check("shared-weights", ERROR, Pair)
def shared_weights(pair: Pair) -> Iterator[Found]:
    """A test or deploy net has weights that the train net does not have under that name, or of other shapes.

    Caffe copies weights by the names of layers: what has no namesake silently keeps its filler, and other shapes abort.
    """
    train, other = {node.name: node for node in pair.train.nodes}, learned(pair.other)
    left_over = [name for name in learned(pair.train) if name not in other]
    for name, node in other.items():
        twin = train.get(name)
        if twin is None or (twin.layer.top_shapes and not twin.layer.blob_shapes):
            hint = nearest(name, left_over)
            reason = f"the train net ({pair.train.file.path}) has no weights of this name{hint}; they keep their filler"
            yield Found(node, reason, "give the layer its name in the train net")
        elif twin.layer.blob_shapes and node.layer.blob_shapes != twin.layer.blob_shapes:
            mine, theirs = _shapes(node.layer.blob_shapes), _shapes(twin.layer.blob_shapes)
            reason = f"its blobs are {mine}, but {theirs} in the train net ({twin.where}); Caffe aborts"
            yield Found(node, reason, "make the two layers alike, or load weights that were converted for this net")


def _shapes(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(map(show, shapes))


def _fields(*names: str) -> Callable[[Node], dict[str, Any]]:
    """The values of these parameters."""

    def values(node: Node) -> dict[str, Any]:
        given = {name.removesuffix("_hw"): getattr(node.p, name) for name in names}
        return {name: tuple(value) if hasattr(value, "append") else value for name, value in given.items()}

    return values


def _pooling(node: Node) -> dict[str, Any]:
    shape = node.bottom_shape(0)
    is_global = node.p.kernel_hw is None or (shape and node.p.kernel_hw == shape[2:] and not any(node.p.pad_hw))
    windows = {"kernel": "all"} if is_global else _fields("kernel_hw", "stride_hw", "pad_hw")(node)
    return {"pool": node.p.method, **windows}


def _step_hw(node: Node) -> Any:
    """The step in use: the one given, or the image's size by the map's; None when that is not known."""
    maps, image_hw = node.bottom_shape(0), node.p.image_hw or _image_hw(node)
    if node.p.step_hw or not maps or not image_hw:
        return node.p.step_hw
    return tuple(image / cells for image, cells in zip(image_hw, maps[2:]))


_WINDOWS = _fields("kernel_hw", "stride_hw", "pad_hw", "dilation_hw", "group")
# What must be the same for the same weights to mean the same, by layer type.
_ARITHMETIC: dict[str, Callable[[Node], dict[str, Any]]] = {
    "BN": _fields("eps"),
    "BatchNorm": _fields("eps"),
    "Clip": _fields("min", "max"),
    **dict.fromkeys((*CONVOLUTIONS, "Deconvolution"), _WINDOWS),
    "Eltwise": _fields("operation", "coeff"),
    "Interp": _fields("shrink", "zoom", "pad_beg", "pad_end"),
    "Normalize": _fields("across_spatial", "channel_shared", "eps"),
    "PSROIPooling": _fields("output_dim", "group_size", "spatial_scale"),
    "Permute": _fields("order"),
    "Pooling": _pooling,
    "PriorBox": _fields("min_sizes", "max_sizes", "ratios", "variances", "clip", "offset"),
    **dict.fromkeys(PROPOSALS, _fields("feat_stride", "base_size", "ratios", "scales")),
    "ROIPooling": _fields("pooled_h", "pooled_w", "spatial_scale"),
    "ReLU": _fields("negative_slope"),
    "Reorg": _fields("stride", "reverse"),
    "Reverse": _fields("axis"),
    "ShuffleChannel": _fields("group"),
    "Swish": _fields("beta"),
    "Transpose": _fields("dim"),
    "Upsample": _fields("by_mask", "factor_hw"),
}


def _differing(node: Node, twin: Node) -> list[str]:
    """The parameters in which two layers of one type differ."""
    mine, theirs = _ARITHMETIC[node.type](node), _ARITHMETIC[node.type](twin)
    names = [name for name in mine if mine[name] != theirs.get(name)]
    # A net for another input size may have other steps.
    if node.type == "PriorBox" and _image_hw(node) == _image_hw(twin) and _step_hw(node) != _step_hw(twin):
        names.append("step")
    return names


def _image_hw(node: Node) -> Any:
    shape = node.bottom_shape(1)
    return shape[2:] if shape else None


@check("same-arithmetic", WARNING, Pair)
def same_arithmetic(pair: Pair) -> Iterator[Found]:
    """A layer and its namesake in the train net compute different things: other strides, prior boxes or eps."""
    train = {node.name: node for node in pair.train.of(*_ARITHMETIC)}
    for node in pair.other.of(*_ARITHMETIC):
        twin = train.get(node.name)
        names = _differing(node, twin) if twin and twin.type == node.type else []
        if names:
            reason = f"other {', '.join(names)} than in the train net ({twin.where})"
            yield Found(node, reason, "make the two alike")


@check("same-code", ERROR, Pair)
def same_code(pair: Pair) -> Iterator[Found]:
    """Boxes are decoded otherwise than they were encoded in training: every detection is off."""
    losses = list(pair.train.of("MultiBoxLoss"))
    for output in pair.other.of("DetectionOutput"):
        mine = coding(output)
        for loss in losses[-1:]:  # of RefineDet's two, the second is the one whose boxes come out
            theirs = coding(loss)
            for field in mine:
                if mine[field] != theirs[field]:
                    reason = f'{field} is {mine[field]}, but {theirs[field]} in the loss "{loss.name}" ({loss.where})'
                    yield Found(output, reason, f"make the two alike: {theirs[field]}")
