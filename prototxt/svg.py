"""SVG elements of a picture of a net, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from prototxt.layout import Point, Size

LINE, PADDING = 15, 8
_LETTER, _BOLD_LETTER, _SMALL_LETTER = 6.5, 7.3, 7.0  # generous widths of letters of 11, 11 and 10 pixels

# The fill of a box by its family: the file of `prototxt/shapes` that has its type.
COLOURS = {
    "data": "#e3e8ef",
    "conv": "#cfe3fb",
    "pooling": "#d3f0e0",
    "activation": "#fdf0c4",
    "norm": "#e9dcf7",
    "tensor": "#f1f1ee",
    "recurrent": "#e2efc9",
    "roi": "#fbe6cb",
    "detection": "#fbdccb",
    "yolo": "#f7d6bf",
    "loss": "#f9cfd3",
    "plugin": "#d9f0f2",
}
_STYLE = """text { font-family: "DejaVu Sans", Verdana, sans-serif; font-size: 11px; fill: #1c2733 }
.title { font-size: 17px; font-weight: bold } .name { font-weight: bold } .more { fill: #5b6876 }
.box { stroke: #66788a; stroke-width: 1 }
.shape { font-size: 10px; fill: #5b6876; paint-order: stroke; stroke: white; stroke-width: 3px }
.frame { fill: #f8fafc; stroke: #66788a; stroke-width: 1 } .head { fill: #dfe6ee; stroke: #66788a; stroke-width: 1 }
.wire { fill: none; stroke: #8a98a6; stroke-width: 1.3 } .arrow { fill: #8a98a6 }"""

Lines = Sequence[tuple[str, str]]  # class of its style, text


def document(size: Size, body: Sequence[str]) -> str:
    """A whole SVG file."""
    width, height = (f"{length:.0f}" for length in size)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}">',
            f"<style>{_STYLE}</style>",
            '<rect width="100%" height="100%" fill="white"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def text_size(lines: Lines) -> Size:
    """Width and height of a box around lines of text."""
    widths = [len(text) * (_BOLD_LETTER if style == "name" else _LETTER) for style, text in lines]
    return max(widths) + 2 * PADDING, len(lines) * LINE + PADDING


def label_width(words: str) -> float:
    """Width of the label of a wire."""
    return len(words) * _SMALL_LETTER


def rectangle(style: str, corner: Point, size: Size, fill: str = "") -> str:
    """A rectangle with round corners, from its upper left corner."""
    colour = f' fill="{fill}"' if fill else ""
    return (
        f'<rect class="{style}" x="{corner[0]:.1f}" y="{corner[1]:.1f}" width="{size[0]:.1f}" '
        f'height="{size[1]:.1f}" rx="5"{colour}/>'
    )


def text(style: str, at: Point, words: str, anchor: str = "start") -> str:
    """One line of text; `at` is on its base line."""
    side = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{style}" x="{at[0]:.1f}" y="{at[1]:.1f}"{side}>{escape(words)}</text>'


def box(centre: Point, size: Size, lines: Lines, fill: str) -> list[str]:
    """A box with centred lines of text."""
    corner = centre[0] - size[0] / 2, centre[1] - size[1] / 2
    rows = [
        text(style, (centre[0], corner[1] + LINE * (i + 1)), words, "middle") for i, (style, words) in enumerate(lines)
    ]
    return [rectangle("box", corner, size, fill), *rows]


def group(names: Sequence[str], tip: str, parts: Sequence[str]) -> list[str]:
    """Elements that stand for layers; `tip` is shown when the mouse rests on them."""
    return [f"<g data-layers={quoteattr(' '.join(names))}><title>{escape(tip)}</title>", *parts, "</g>"]


def frame(title: str, parts: Sequence[str]) -> list[str]:
    """Elements that stand for a block of boxes."""
    return [f"<g data-block={quoteattr(title)}>", *parts, "</g>"]


def legend(families: Sequence[str], at: Point) -> list[str]:
    """What the colours mean, in one row."""
    parts = []
    for i, name in enumerate(families):
        x = at[0] + 110 * i
        parts += [rectangle("box", (x, at[1]), (14, 14), COLOURS[name]), text("key", (x + 20, at[1] + 11), name)]
    return parts


def wire(points: Sequence[Point], arrow: bool = True) -> list[str]:
    """A line through points: straight past each row, an S between rows."""
    parts = [f'<path class="wire" d="{_curve(points)}"/>']
    if arrow:
        x, y = points[-1]
        parts.append(f'<path class="arrow" d="M{x:.1f} {y:.1f}l-3.5 -7h7z"/>')
    return parts


def _curve(points: Sequence[Point]) -> str:
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
