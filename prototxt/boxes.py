"""What a picture of a net shows: boxes of layers, and the blobs between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prototxt import schema
from prototxt.graph import Graph, Layer, Shape
from prototxt.shapes import SHAPES

_TIDYING = ("Permute", "Flatten", "Reshape")  # types that only order numbers anew


@dataclass
class Box:
    """A layer and those that only finish its work: in-place ones, and a Permute or Flatten that alone reads it.

    Attributes:
        layers: at least one, in the order of the file.
        reads: the blobs that it reads, as indices of `Net.blobs`.
        makes: the blobs that it leaves behind.
    """

    layers: list[Layer]
    reads: list[int] = field(default_factory=list)
    makes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.layers[0].name

    @property
    def family(self) -> str:
        return family(self.layers[0].type)

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(layer.type for layer in self.layers)

    def about(self) -> list[str]:
        """What the box says below its name: the type with its parameters, then what finishes its work."""
        first, *rest = self.layers
        lines = [f"{first.type} {_ABOUT.get(first.type, lambda layer: '')(first)}".rstrip()]
        return [*lines, "+ " + ", ".join(layer.type for layer in rest)] if rest else lines


@dataclass
class Blob:
    """A blob as it leaves a box.

    Attributes:
        name, shape: as in the graph.
        maker: index of its box.
        readers: indices of the boxes that read it.
    """

    name: str
    shape: Shape
    maker: int
    readers: list[int] = field(default_factory=list)


@dataclass
class Net:
    """Boxes in the order of the file, and the blobs that join them."""

    boxes: list[Box]
    blobs: list[Blob]


def family(layer_type: str) -> str:
    """The family of a layer type ("conv"): the name of the table's file that it is in, or "plugin"."""
    package, _, name = SHAPES[layer_type].__module__.rpartition(".")
    return name if package == "prototxt.shapes" else "plugin"


def net_of(graph: Graph) -> Net:
    """The boxes and blobs of a graph. That a PriorBox also reads the size of the image is left out."""
    boxes: list[Box] = []
    tops: list[dict[str, None]] = []  # of each box, as its last layer leaves them
    reads: list[tuple[int, tuple[int, str]]] = []  # (box, (its maker, blob))
    makers: dict[str, int] = {}  # blob: the box that wrote it last
    lone = _read_once(graph)
    for i, layer in enumerate(graph.layers):
        if layer.bottoms and _finishes(layer, boxes[makers[layer.bottoms[0]]], i in lone):
            at = makers[layer.bottoms[0]]
            boxes[at].layers.append(layer)
            tops[at].pop(layer.bottoms[0])
        else:
            at = len(boxes)
            boxes.append(Box([layer]))
            tops.append({})
            bottoms = layer.bottoms[:1] if layer.type == "PriorBox" else dict.fromkeys(layer.bottoms)
            reads += ((at, (makers[name], name)) for name in bottoms)
        tops[at] |= dict.fromkeys(layer.tops)
        makers |= dict.fromkeys(layer.tops, at)
    keys = [(maker, name) for maker, names in enumerate(tops) for name in names]
    net = Net(boxes, [Blob(name, graph.shapes[name], maker) for maker, name in keys])
    numbers = {key: number for number, key in enumerate(keys)}
    for key, number in numbers.items():
        boxes[key[0]].makes.append(number)
    for reader, key in reads:
        boxes[reader].reads.append(numbers[key])
        net.blobs[numbers[key]].readers.append(reader)
    return net


def _read_once(graph: Graph) -> set[int]:
    """Layers that alone read the values of their one bottom."""
    versions: dict[str, tuple[str, int]] = {}
    readers: dict[tuple[str, int], list[int]] = {}
    for i, layer in enumerate(graph.layers):
        for blob in layer.bottoms:
            readers.setdefault(versions[blob], []).append(i)
        versions |= {blob: (blob, i) for blob in layer.tops}
    return {found[0] for found in readers.values() if len(found) == 1}


def _finishes(layer: Layer, box: Box, alone: bool) -> bool:
    """Whether `layer`, which reads `box`, only finishes its work."""
    if len(layer.bottoms) != 1 or len(layer.tops) != 1 or box.family == "data":
        return False
    if layer.tops == layer.bottoms:
        return True
    # A norm after a sum or Concat begins the next block; every block shall look the same, the last one too.
    begins = family(layer.type) == "norm" and len(box.layers[0].bottoms) > 1
    return alone and not begins and (family(layer.type) in ("activation", "norm") or layer.type in _TIDYING)


def _hw(pair: Sequence[int]) -> str:
    return f"{pair[0]}×{pair[1]}"


def _window(layer: Layer) -> str:
    """Kernel and stride of a convolution or pooling: `3×3 /2`."""
    kernel_hw, (down, right) = layer.p.kernel_hw, layer.p.stride_hw
    text = _hw(kernel_hw) if kernel_hw else "global"
    if (down, right) == (1, 1):
        return text
    return f"{text} /{down}" if down == right else f"{text} /{down}×{right}"


def _about_conv(layer: Layer) -> str:
    dilation = f" dilation {_hw(layer.p.dilation_hw)}" if max(layer.p.dilation_hw) > 1 else ""
    group = f" group {layer.p.group}" if layer.p.group > 1 else ""
    return f"{_window(layer)}{dilation}{group} → {layer.p.num_output}"


def _about_detections(layer: Layer) -> str:
    return f"{layer.p.num_classes} classes, NMS {layer.p.nms_param.nms_threshold:g}, top {layer.p.keep_top_k}"


def _about_yolo(layer: Layer) -> str:
    return f"{layer.p.num_classes} classes, NMS {layer.p.nms_threshold:g}"


# What a box says of its layer beside the type.
_ABOUT: dict[str, Callable[[Layer], str]] = {
    "Concat": lambda layer: f"of {len(layer.bottoms)}",
    "Convolution": _about_conv,
    "ConvolutionDepthwise": _about_conv,
    "Deconvolution": _about_conv,
    "DepthwiseConvolution": _about_conv,
    "DetectionOutput": _about_detections,
    "Eltwise": lambda layer: schema.EltwiseParameter.EltwiseOp.Name(layer.p.operation),
    "InnerProduct": lambda layer: f"→ {layer.p.num_output}",
    "Pooling": lambda layer: f"{layer.p.method} {_window(layer)}",
    "PriorBox": lambda layer: f"{layer.p.per_cell} a cell",
    "YoloDetectionOutput": _about_yolo,
    "Yolov3DetectionOutput": _about_yolo,
}
