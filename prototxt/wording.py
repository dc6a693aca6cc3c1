"""What a picture says of many layers at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from os.path import commonprefix

from prototxt.boxes import Net
from prototxt.cluster import Run
from prototxt.graph import Shape, show

_MOST = 6  # values that are listed; of more, the different ones
_TOKEN = re.compile(r"\d+|[A-Za-z]+|.")


def span(texts: Iterable[str], between: str = "…") -> str:
    """First and last of a series, `128…416`, or one text when they are the same."""
    texts = list(texts)
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]}{between}{texts[-1]}"


def span_of_shapes(shapes: Sequence[Shape]) -> str:
    """The shapes of a series: `1×128…368×75×75`."""
    if len({len(shape) for shape in shapes}) > 1:
        return span((show(shape) for shape in shapes), " … ")
    return "×".join(span(map(str, sizes)) for sizes in zip(*shapes)) or show(())


def braced(first: str, last: str) -> str:
    """The names of a series by its first and last: `conv{4_3…9_2}_loc`."""
    if first == last:
        return first
    a, b = _TOKEN.findall(first), _TOKEN.findall(last)
    head = len(commonprefix([a, b]))
    tail = len(commonprefix([a[head:][::-1], b[head:][::-1]]))
    middle = ("".join(tokens[head : len(tokens) - tail]) for tokens in (a, b))
    return f"{''.join(a[:head])}{{{'…'.join(middle)}}}{''.join(a[len(a) - tail :])}"


def common(texts: Sequence[str]) -> str:
    """One text for several that differ in some words: `→ 16, 24, 16`."""
    rows = [text.split() for text in texts]
    if len({len(row) for row in rows}) > 1:
        return " | ".join(dict.fromkeys(texts))
    words = []
    for column in zip(*rows):
        different = list(dict.fromkeys(column))
        words.append(column[0] if len(different) == 1 else ", ".join(column if len(column) <= _MOST else different))
    return " ".join(words)


def title(net: Net, run: Run) -> list[str]:
    """The head of a cluster: how many of what; which layers, and how the channels grow."""
    first, last = net.boxes[run.start], net.boxes[run.stop - 1]
    order = "one after the other" if run.carried else "side by side"
    return [f"{run.count} × {_kind(net, run)}, {order}", f"{first.name} … {last.layers[-1].name}{_growth(net, run)}"]


def _kind(net: Net, run: Run) -> str:
    """What people call such a block, told from its wiring."""
    boxes = net.boxes[run.start : run.start + run.length]
    ends = {boxes[place].types[0] for place, slot in run.carried if _reads_entry(run, place)}
    if ends & {"Eltwise"}:
        return "residual block"
    if ends & {"Concat"}:
        return "dense layer"
    if any(box.types[-1] == "Flatten" for box in boxes):
        return "prediction head"
    return boxes[0].types[0] if run.length == 1 else "block"


def _reads_entry(run: Run, place: int) -> bool:
    return any(place == at for ports in run.entries for at, _ in ports)


def _growth(net: Net, run: Run) -> str:
    """How many channels go into a chain and come out of it."""
    if len(run.entries) != 1 or not run.carried:
        return ""
    (place, slot), *_ = run.entries[0]
    into = net.blobs[net.boxes[run.start + place].reads[slot]].shape
    place, slot = run.carried[0]
    out = net.blobs[net.boxes[run.stop - run.length + place].makes[slot]].shape
    return f"; {span((str(shape[1]) for shape in (into, out)), ' → ')} channels" if len(into) > 1 < len(out) else ""
