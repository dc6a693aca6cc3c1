"""A picture of a net: one SVG file that any browser shows, drawn without other programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from prototxt import schema
from prototxt.errors import UserError
from prototxt.files import atomic_write
from prototxt.graph import Graph, Layer, show
from prototxt.layout import Layout, Point, Wire, layout
from prototxt.shapes import SHAPES

_MARGIN, _HEADER = 24, 70
_LINE, _PADDING = 15, 8
_LETTER, _BOLD_LETTER = 6.5, 7.3  # generous widths of a letter of 11 pixels

# The fill of a box by its family: the file of `prototxt/shapes` that has its type.
_COLOURS = {
    "data": "#e3e8ef",
    "conv": "#cfe3fb",
    "pooling": "#d3f0e0",
    "activation": "#fdf0c4",
    "norm": "#e9dcf7",
    "tensor": "#f1f1ee",
    "detection": "#fbdccb",
    "loss": "#f9cfd3",
}
_STYLE = """text { font: 11px "DejaVu Sans", Verdana, sans-serif; fill: #1c2733 }
.title { font-size: 17px; font-weight: bold } .name { font-weight: bold } .more { fill: #5b6876 }
.box { stroke: #66788a; stroke-width: 1 } .shape { font-size: 10px; fill: #5b6876 }
.wire { fill: none; stroke: #8a98a6; stroke-width: 1.3 } .arrow { fill: #8a98a6 }"""


@dataclass
class _Box:
    """A layer and those that only finish its work: in-place ones, and a Permute or Flatten that alone reads it."""

    layers: list[Layer]

    @property
    def family(self) -> str:
        return family(self.layers[0].type)

    def lines(self) -> list[tuple[str, str]]:
        """(CSS class, text) of each line of the box."""
        first, *rest = self.layers
        about = _ABOUT.get(first.type, lambda layer: "")(first)
        lines = [("name", first.name), ("about", f"{first.type} {about}".rstrip())]
        if rest:
            lines.append(("more", "+ " + ", ".join(layer.type for layer in rest)))
        return lines

    def size(self) -> tuple[float, float]:
        lines = self.lines()
        widths = [len(text) * (_BOLD_LETTER if style == "name" else _LETTER) for style, text in lines]
        return max(widths) + 2 * _PADDING, len(lines) * _LINE + _PADDING


def family(layer_type: str) -> str:
    """The family of a layer type ("conv"): the name of the table's file that it is in."""
    return SHAPES[layer_type].__module__.rpartition(".")[2]


def draw(graph: Graph, path: str | Path) -> None:
    """Draw `graph` into an SVG file.

    A box is a layer with its parameters; layers that work in place on its top (BatchNorm, Scale, ReLU) and
    Permute, Flatten and the like that nobody else reads around stand in the same box. A line is a blob, with
    its shape. That a PriorBox also reads the size of the image is not drawn.

    Raises:
        UserError: the path does not end in .svg or cannot be written.
    """
    if Path(path).suffix.lower() != ".svg":
        raise UserError(
            f'pictures of nets are SVG files, not "{Path(path).suffix}"', where=str(path), fix="name the file *.svg"
        )
    boxes, wires, labels = _boxes(graph)
    plan = layout([box.size() for box in boxes], wires)
    with atomic_write(path, "w") as file:
        file.write(_svg(graph, boxes, plan, labels))


def _boxes(graph: Graph) -> tuple[list[_Box], list[Wire], list[str]]:
    """The boxes, the wires between them and the label of each wire."""
    boxes: list[_Box] = []
    makers: dict[str, int] = {}  # blob: the box that made it last
    wires: dict[tuple[int, str], Wire] = {}  # (box, blob): its wire
    lone = _read_once(graph)
    for i, layer in enumerate(graph.layers):
        if _finishes(layer, i in lone) and boxes[makers[layer.bottoms[0]]].family != "data":
            box = makers[layer.bottoms[0]]
            boxes[box].layers.append(layer)
        else:
            box = len(boxes)
            boxes.append(_Box([layer]))
            for blob in layer.bottoms[:1] if layer.type == "PriorBox" else dict.fromkeys(layer.bottoms):
                wires.setdefault((makers[blob], blob), Wire(makers[blob], [])).targets.append(box)
        makers |= dict.fromkeys(layer.tops, box)
    return boxes, list(wires.values()), [_label(graph, boxes[box].layers[-1], blob) for box, blob in wires]


def _label(graph: Graph, maker: Layer, blob: str) -> str:
    shape = show(graph.shapes[blob])
    return f"{blob} {shape}" if len(maker.tops) > 1 else shape


def _read_once(graph: Graph) -> set[int]:
    """Layers that alone read the values of their one bottom."""
    versions: dict[str, tuple[str, int]] = {}
    readers: dict[tuple[str, int], list[int]] = {}
    for i, layer in enumerate(graph.layers):
        for blob in layer.bottoms:
            readers.setdefault(versions[blob], []).append(i)
        versions |= {blob: (blob, i) for blob in layer.tops}
    return {found[0] for found in readers.values() if len(found) == 1}


def _finishes(layer: Layer, alone: bool) -> bool:
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return False
    small = family(layer.type) in ("activation", "norm") or layer.type in ("Permute", "Flatten", "Reshape")
    return layer.tops == layer.bottoms or (alone and small)


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


# What a box says of its layer beside the type.
_ABOUT: dict[str, Callable[[Layer], str]] = {
    "Concat": lambda layer: f"of {len(layer.bottoms)}",
    "Convolution": _about_conv,
    "Deconvolution": _about_conv,
    "DetectionOutput": _about_detections,
    "Eltwise": lambda layer: schema.EltwiseParameter.EltwiseOp.Name(layer.p.operation),
    "InnerProduct": lambda layer: f"→ {layer.p.num_output}",
    "Pooling": lambda layer: f"{layer.p.method} {_window(layer)}",
    "PriorBox": lambda layer: f"{layer.p.per_cell} a cell",
}


def _svg(graph: Graph, boxes: list[_Box], plan: Layout, labels: list[str]) -> str:
    width = max(plan.size[0], 120 * len(_COLOURS)) + 2 * _MARGIN
    height = plan.size[1] + 2 * _MARGIN + _HEADER
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 14}">{escape(graph.name)}, phase {graph.phase}</text>',
        *_legend(boxes),
        f'<g transform="translate({_MARGIN} {_MARGIN + _HEADER})">',
    ]
    below: dict[Point, int] = {}  # labels written below each box so far
    for paths, label in zip(plan.paths, labels):
        start = paths[0][0]
        below[start] = below.get(start, 0) + 1
        parts += _wire(paths, label, below[start])
    for box, centre in zip(boxes, plan.centres):
        parts += _box(box, centre)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _legend(boxes: list[_Box]) -> list[str]:
    used = [name for name in _COLOURS if any(box.family == name for box in boxes)]
    y, parts = _MARGIN + 34, []
    for i, name in enumerate(used):
        x = _MARGIN + 110 * i
        parts.append(f'<rect class="box" x="{x}" y="{y}" width="14" height="14" rx="3" fill="{_COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 20}" y="{y + 11}">{name}</text>')
    return parts


def _box(box: _Box, centre: Point) -> list[str]:
    (width, height), lines = box.size(), box.lines()
    left, top = centre[0] - width / 2, centre[1] - height / 2
    tip = "\n".join(f"{layer.name} ({layer.type}) {', '.join(map(show, layer.top_shapes))}" for layer in box.layers)
    parts = [
        f"<g data-layers={quoteattr(' '.join(layer.name for layer in box.layers))}><title>{escape(tip)}</title>",
        f'<rect class="box" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5" '
        f'fill="{_COLOURS[box.family]}"/>',
    ]
    for i, (style, text) in enumerate(lines):
        y = top + _LINE * (i + 1)
        parts.append(
            f'<text class="{style}" x="{centre[0]:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'
        )
    return [*parts, "</g>"]


def _wire(paths: list[list[Point]], label: str, label_line: int) -> list[str]:
    parts = []
    for points in paths:
        x, y = points[-1]
        parts.append(f'<path class="wire" d="{_curve(points)}"/>')
        parts.append(f'<path class="arrow" d="M{x:.1f} {y:.1f}l-3.5 -7h7z"/>')
    x, y = paths[0][0]
    parts.append(f'<text class="shape" x="{x + 5:.1f}" y="{y + 11 * label_line:.1f}">{escape(label)}</text>')
    return parts


def _curve(points: list[Point]) -> str:
    """Straight past each row, an S between rows."""
    (x, y), *rest = points
    steps = [f"M{x:.1f} {y:.1f}"]
    for i, (to_x, to_y) in enumerate(rest):
        middle = (y + to_y) / 2
        curved = i % 2 == 0 and abs(to_x - x) > 0.1
        steps.append(
            f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
            if curved
            else f"L{to_x:.1f} {to_y:.1f}"
        )
        x, y = to_x, to_y
    return "".join(steps)
