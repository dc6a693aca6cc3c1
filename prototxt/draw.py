"""A picture of a net that a person can read: SVG, which any browser shows, or PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prototxt import svg
from prototxt.boxes import Blob, Box, Net, net_of
from prototxt.cluster import Port, Run, find_runs
from prototxt.errors import UserError
from prototxt.files import atomic_write
from prototxt.graph import Graph, show
from prototxt.layout import Layout, Point, Size, Wire, layout
from prototxt.wording import braced, common, span_of_shapes, title

_MARGIN, _HEADER = 24, 70
# Around the inside of a cluster; how far the card behind it looks out; width of a place on its lower edge.
_FRAME, _CARD, _EXIT = 12, 4, 40.0

Detail = Literal["blocks", "full"]


def draw(graph: Graph, path: str | Path, detail: Detail = "blocks", scale: float = 1.0) -> None:
    """Draw `graph` into an SVG or PNG file.

    A box is a layer with its parameters; layers that work in place on its top (BatchNorm, Scale, ReLU) and
    Permute, Flatten and the like that nobody else reads around stand in the same box. A line is a blob, with its
    shape. That a PriorBox also reads the size of the image is not drawn.

    Args:
        detail: "blocks" folds repeated structure: one frame for all passes of a loop, with the inside of a pass
            shown once (see `prototxt.cluster`). "full" has every layer.
        scale: pixels of a PNG for each pixel of the SVG.

    Raises:
        UserError: the path does not end in .svg or .png or cannot be written; PNG without its extra.
    """
    kind = Path(path).suffix.lower()
    if kind not in (".svg", ".png"):
        raise UserError(
            f'pictures of nets are SVG or PNG files, not "{Path(path).suffix}"',
            where=str(path),
            fix="name the file *.svg or *.png",
        )
    text = picture(graph, detail)
    if kind == ".svg":
        with atomic_write(path, "w") as file:
            file.write(text)
        return
    from prototxt.raster import png

    data = png(text, scale)
    with atomic_write(path) as file:
        file.write(data)


def picture(graph: Graph, detail: Detail = "blocks") -> str:
    """The SVG text of a picture of `graph`; `detail` as for `draw`."""
    net = net_of(graph)
    panel = _Folded(net, find_runs(net) if detail == "blocks" else []).panel()
    used = [name for name in svg.COLOURS if any(box.family == name for box in net.boxes)]
    width = max(panel.size[0] + _CARD, 120 * len(svg.COLOURS)) + 2 * _MARGIN
    height = panel.size[1] + 2 * _MARGIN + _HEADER
    body = [
        svg.text("title", (_MARGIN, _MARGIN + 14), f"{graph.name}, phase {graph.phase}"),
        *svg.legend(used, (_MARGIN, _MARGIN + 34)),
        *panel.svg((_MARGIN, _MARGIN + _HEADER)),
    ]
    return svg.document((width, height), body)


@dataclass
class _Leaf:
    """A box of layers: one, or those at one place of all passes of a run."""

    boxes: list[Box]

    def __post_init__(self) -> None:
        about = zip(*(box.about() for box in self.boxes))
        self.lines = [("name", braced(self.boxes[0].name, self.boxes[-1].name))]
        self.lines += [(style, common(texts)) for style, texts in zip(("about", "more"), about)]
        self.size = svg.text_size(self.lines)

    def svg(self, centre: Point) -> list[str]:
        layers = [layer for box in self.boxes for layer in box.layers]
        tip = "\n".join(f"{layer.name} ({layer.type}) {', '.join(map(show, layer.top_shapes))}" for layer in layers)
        shown = svg.box(centre, self.size, self.lines, svg.COLOURS[self.boxes[0].family])
        return svg.group([layer.name for layer in layers], tip, shown)


@dataclass
class _Edge:
    """The upper edge of a cluster, or a place on its lower edge: where its inner wires begin and end."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    @property
    def size(self) -> Size:
        return svg.text_size(self.lines) if self.lines else (_EXIT, 0.0)

    def svg(self, centre: Point) -> list[str]:
        return []


@dataclass
class _Panel:
    """Parts and the wires between them, laid out."""

    parts: Sequence[_Leaf | _Edge | _Cluster]
    wires: list[Wire]
    labels: list[str]

    def __post_init__(self) -> None:
        self.plan: Layout = layout([part.size for part in self.parts], self.wires)
        self.written: list[tuple[Point, str]] = []  # where each label begins
        rows: dict[tuple[int, float | None], int] = {}  # labels written below one place so far
        for wire, paths, label in zip(self.wires, self.plan.paths, self.labels):
            if label:
                row = rows[wire.source, wire.leave] = rows.get((wire.source, wire.leave), 0) + 1
                x, y = paths[0][0]
                y += _CARD if isinstance(self.parts[wire.source], _Cluster) else 0
                self.written.append(((x + 5, y + 11 * row), label))

    @property
    def size(self) -> Size:
        width, height = self.plan.size
        return max([width, *(at[0] + svg.label_width(label) for at, label in self.written)]), height

    def svg(self, corner: Point) -> list[str]:
        def move(point: Point) -> Point:
            return corner[0] + point[0], corner[1] + point[1]

        lines: list[str] = []
        for wire, paths in zip(self.wires, self.plan.paths):
            for path, target in zip(paths, wire.targets):
                lines += svg.wire([move(point) for point in path], arrow=not isinstance(self.parts[target], _Edge))
        lines += [svg.text("shape", move(at), label) for at, label in self.written]
        for part, centre in zip(self.parts, self.plan.centres):
            lines += part.svg(move(centre))
        return lines


class _Cluster:
    """The passes of a run: a frame with a head, and one pass inside.

    Attributes:
        enters: for each entry of the run, where its wires enter the head, in pixels from the centre.
        leaves: for each exit, where its wires leave the lower edge.
    """

    def __init__(self, net: Net, run: Run) -> None:
        self.head = _Edge([("name", line) if i == 0 else ("more", line) for i, line in enumerate(title(net, run))])
        boxes = [_Leaf([net.boxes[i] for i in run.boxes(place)]) for place in range(run.length)]
        wires, labels, keys = _inside(net, run)
        exits = sorted({*run.exits, *run.carried})
        self.inside = _Panel([self.head, *boxes, *(_Edge() for _ in exits)], wires, labels)
        inner_width, height = self.inside.size
        self.size = (inner_width + 2 * _FRAME, height)
        self.enters: dict[int, float] = {}
        for key, paths in zip(keys, self.inside.plan.paths):
            if isinstance(key, int):
                self.enters[key] = paths[0][0][0] - inner_width / 2
        ends = self.inside.plan.centres[run.length + 1 :]
        self.leaves = {port: end[0] - inner_width / 2 for port, end in zip(exits, ends)}

    def svg(self, centre: Point) -> list[str]:
        width, height = self.size
        x, y = centre[0] - width / 2, centre[1] - height / 2
        cards = [svg.rectangle("frame", (x + shift, y + shift), self.size) for shift in (_CARD, 0)]
        head = [svg.rectangle("head", (x, y), (width, self.head.size[1]))]
        rows = [
            svg.text(style, (x + _FRAME, y + svg.LINE * (i + 1)), words)
            for i, (style, words) in enumerate(self.head.lines)
        ]
        inside = self.inside.svg((x + _FRAME, y))
        return svg.frame(self.head.lines[0][1], [*cards, *inside, *head, *rows])


def _inside(net: Net, run: Run) -> tuple[list[Wire], list[str], list[int | Port]]:
    """Wires of one pass, their labels, and of each the entry or port that it belongs to.

    Part 0 is the head, then come the boxes and, for each exit, its place on the lower edge.
    """
    wires, labels, keys = [], [], []
    exits = sorted({*run.exits, *run.carried})
    for entry, ports in enumerate(run.entries):
        wires.append(Wire(0, [place + 1 for place, _ in ports]))
        labels.append("")
        keys.append(entry)
    second = run.start + run.length  # the first pass may read one blob where the others read two
    for place in range(run.length):
        for slot, blob in enumerate(net.boxes[second + place].makes):
            readers = [reader - second + 1 for reader in net.blobs[blob].readers if reader < second + run.length]
            if (place, slot) in exits:
                readers.append(run.length + 1 + exits.index((place, slot)))
            if not readers:
                continue
            wires.append(Wire(place + 1, readers))
            labels.append(_label(net, [net.blobs[net.boxes[i].makes[slot]] for i in run.boxes(place)]))
            keys.append((place, slot))
    return wires, labels, keys


def _label(net: Net, blobs: Sequence[Blob]) -> str:
    shapes = span_of_shapes([blob.shape for blob in blobs])
    several = len(net.boxes[blobs[0].maker].makes) > 1
    return f"{braced(blobs[0].name, blobs[-1].name)} {shapes}" if several else shapes


class _Folded:
    """A net with its runs folded: which part of the picture stands for a box, and how wires meet it."""

    def __init__(self, net: Net, runs: Sequence[Run]) -> None:
        self.net = net
        self.parts: list[_Leaf | _Cluster] = []
        self.runs: dict[int, Run] = {}  # part: the run that it stands for
        self.part_of: list[int] = []  # box: its part
        starts = {run.start: run for run in runs}
        while len(self.part_of) < len(net.boxes):
            at = len(self.part_of)
            run = starts.get(at)
            if run:
                self.runs[len(self.parts)] = run
            self.part_of += [len(self.parts)] * (run.stop - at if run else 1)
            self.parts.append(_Cluster(net, run) if run else _Leaf([net.boxes[at]]))

    def panel(self) -> _Panel:
        """The whole picture."""
        wires: dict[tuple[int, Port], Wire] = {}
        labels: list[str] = []
        for number, blob in enumerate(self.net.blobs):
            source = self.part_of[blob.maker]
            readers = [reader for reader in blob.readers if self.part_of[reader] != source]
            if not readers:
                continue
            port = self._port(blob.maker, self.net.boxes[blob.maker].makes.index(number))
            if (source, port) not in wires:
                wires[source, port] = Wire(source, [], self._leave(source, port))
                labels.append(self._label(source, port, blob))
            wire = wires[source, port]
            for reader in readers:
                end = self.part_of[reader], self._enter(reader, self.net.boxes[reader].reads.index(number))
                if end not in zip(wire.targets, wire.enter):
                    wire.targets.append(end[0])
                    wire.enter.append(end[1])
        return _Panel(self.parts, list(wires.values()), labels)

    def _port(self, box: int, slot: int) -> Port:
        run = self.runs.get(self.part_of[box])
        return ((box - run.start) % run.length if run else 0, slot)

    def _leave(self, part: int, port: Port) -> float | None:
        return self.parts[part].leaves[port] if part in self.runs else None

    def _enter(self, box: int, slot: int) -> float | None:
        part = self.part_of[box]
        if part not in self.runs:
            return None
        port = self._port(box, slot)
        entry = next(n for n, ports in enumerate(self.runs[part].entries) if port in ports)
        return self.parts[part].enters[entry]

    def _label(self, part: int, port: Port, blob: Blob) -> str:
        """Of a cluster, whose inside has the shapes: how many blobs, or which one when it has no other way out."""
        run = self.runs.get(part)
        if run is None:
            return _label(self.net, [blob])
        if port in run.loose:
            return f"{run.count} blobs"
        return "" if port in run.carried else blob.name
