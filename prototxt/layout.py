"""Layered layout of a directed acyclic graph: rows from top to bottom, few crossings, straight lines.

The method of Sugiyama, Tagawa and Toda (1981) with wires instead of edges: all readers of one blob
hang on one line that runs down past the rows between. Units are pixels; y grows downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Size = tuple[float, float]  # width, height
Point = tuple[float, float]  # x, y

_GAP_X, _GAP_Y = 24.0, 36.0
_SLOPE = 18.0  # a line that travels far sideways between two rows gets a pixel of height for each of these
_WIRE_GAP = 12.0
_SWEEPS, _STRAIGHTENINGS = 12, 6
# Who gives way when two want one place: the longest path stays straight, then wires, then all else.
_SPINE, _WIRE, _OTHER = 400.0, 20.0, 1.0


@dataclass
class Wire:
    """One source and everything that reads it, as indices of boxes."""

    source: int
    targets: list[int]


@dataclass
class _Item:
    """A box, or the place where a wire passes a row."""

    width: float
    weight: float
    x: float = 0.0
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)


@dataclass
class Layout:
    """Where everything is: the centre of each box and, for each wire, one path of points a target.

    A path starts at the lower edge of its source and ends at the upper edge of its target; between, it
    has two points for each row that it passes.
    """

    centres: list[Point]
    paths: list[list[list[Point]]]
    size: Size


def layout(sizes: Sequence[Size], wires: Sequence[Wire]) -> Layout:
    """Place boxes of the given sizes. Every wire must lead to boxes with higher indices."""
    depth, slack = _ranks(len(sizes), wires)
    items = [_Item(width, _OTHER if slack[i] else _SPINE) for i, (width, _) in enumerate(sizes)]
    rows: list[list[int]] = [[] for _ in range(max(depth, default=0) + 1)]
    for i, rank in enumerate(depth):
        rows[rank].append(i)
    passes = [_lay_wire(wire, depth, items, rows) for wire in wires]
    _arrange(rows, items)
    _straighten(rows, items, passes)
    _shift_to_origin(items)
    tops, height = _row_tops(rows, sizes, items)
    centres = [(items[i].x, tops[depth[i]] + size[1] / 2) for i, size in enumerate(sizes)]
    bottoms = [top + max((sizes[i][1] for i in row if i < len(sizes)), default=0.0) for top, row in zip(tops, rows)]
    ports = _ports(wires, passes, items, sizes)
    paths = []
    for w, (wire, places) in enumerate(zip(wires, passes)):
        start = (centres[wire.source][0], centres[wire.source][1] + sizes[wire.source][1] / 2)
        paths.append([])
        for target in wire.targets:
            points = [start]
            for rank in range(depth[wire.source] + 1, depth[target]):
                x = items[places[rank]].x
                points += [(x, tops[rank]), (x, bottoms[rank])]
            paths[-1].append([*points, (ports[w, target], tops[depth[target]])])
    width = max((item.x + item.width / 2 for item in items), default=0.0)
    return Layout(centres, paths, (width, height))


def _ranks(count: int, wires: Sequence[Wire]) -> tuple[list[int], list[int]]:
    """The row of each box (as low as its readers allow) and its slack (0 on a longest path)."""
    earliest, below = [0] * count, [0] * count
    in_order = sorted(wires, key=lambda wire: wire.source)
    for wire in in_order:
        for target in wire.targets:
            earliest[target] = max(earliest[target], earliest[wire.source] + 1)
    for wire in reversed(in_order):
        for target in wire.targets:
            below[wire.source] = max(below[wire.source], below[target] + 1)
    last = max(below, default=0)
    depth = [last - rows for rows in below]
    return depth, [late - early for late, early in zip(depth, earliest)]


def _lay_wire(wire: Wire, depth: Sequence[int], items: list[_Item], rows: list[list[int]]) -> dict[int, int]:
    """Add an item for each row that a wire passes, link neighbours, and return the items by row."""
    places: dict[int, int] = {}
    previous = wire.source
    for rank in range(depth[wire.source] + 1, max((depth[t] for t in wire.targets), default=0)):
        places[rank] = len(items)
        rows[rank].append(len(items))
        items.append(_Item(0.0, _WIRE))
        _link(items, previous, places[rank])
        previous = places[rank]
    for target in wire.targets:
        _link(items, places.get(depth[target] - 1, wire.source), target)
    return places


def _link(items: list[_Item], upper: int, lower: int) -> None:
    items[upper].below.append(lower)
    items[lower].above.append(upper)


def _arrange(rows: list[list[int]], items: list[_Item]) -> None:
    """Sort and place each row by the mean of its neighbours, downwards and upwards by turns; keep the best order."""
    for row in rows:
        _place(row, items, [0.0] * len(row))
    best, fewest = [list(row) for row in rows], _crossings(rows, items)
    for sweep in range(_SWEEPS):
        side = "above" if sweep % 2 == 0 else "below"
        for row in rows if side == "above" else reversed(rows):
            row.sort(key=lambda i: _wish(items, i, side))  # stable: ties keep their order
            _place(row, items, [_wish(items, i, side) for i in row])
        crossings = _crossings(rows, items)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    for row, order in zip(rows, best):
        row[:] = order


def _straighten(rows: list[list[int]], items: list[_Item], passes: Sequence[dict[int, int]]) -> None:
    """Move every wire to one x all the way down, and every box between its neighbours."""
    for side in ("below", "above"):
        for row in rows if side == "above" else reversed(rows):
            _place(row, items, [_wish(items, i, side) for i in row])
    for _ in range(_STRAIGHTENINGS):
        columns = {}
        for places in passes:
            farthest = max((items[i].x for i in places.values()), key=abs, default=0.0)  # clear of the widest box
            columns |= dict.fromkeys(places.values(), farthest)
        for row in rows:
            wishes = [(_wish(items, i, "above") + _wish(items, i, "below")) / 2 for i in row]
            _place(row, items, [columns.get(i, wish) for i, wish in zip(row, wishes)])


def _shift_to_origin(items: list[_Item]) -> None:
    """Make the least x 0. The longest path, which is at x = 0 so far, comes to the left half."""
    left = min((item.x - item.width / 2 for item in items), default=0.0)
    right = max((item.x + item.width / 2 for item in items), default=0.0)
    mirrored = -left > right
    for item in items:
        item.x = right - item.x if mirrored else item.x - left


def _wish(items: list[_Item], i: int, side: str) -> float:
    """Where item `i` would like to be, given the row on one side. The longest path stays at 0."""
    if items[i].weight == _SPINE:
        return 0.0
    neighbours = getattr(items[i], side)
    return sum(items[n].x for n in neighbours) / len(neighbours) if neighbours else items[i].x


def _crossings(rows: list[list[int]], items: list[_Item]) -> int:
    count = 0
    for row, lower in zip(rows, rows[1:]):
        place = {i: at for at, i in enumerate(lower)}
        ends = [sorted(place[b] for b in items[i].below) for i in row]
        seen: list[int] = []
        for targets in ends:
            count += sum(other > target for target in targets for other in seen)
            seen += targets
    return count


def _place(row: list[int], items: list[_Item], wishes: Sequence[float]) -> None:
    """Set the x of a row, in its order, as near to the wishes as gaps allow (least squares, by pooling)."""
    offsets, at = [], 0.0
    for previous, i in zip([None, *row], row):
        if previous is not None:
            both_wires = items[previous].width == items[i].width == 0
            at += (items[previous].width + items[i].width) / 2 + (_WIRE_GAP if both_wires else _GAP_X)
        offsets.append(at)
    pools: list[list[float]] = []  # [mean, weight, members]
    for i, wish, offset in zip(row, wishes, offsets):
        pools.append([wish - offset, items[i].weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight, members = pools.pop()
            before = pools[-1]
            before[0] = (before[0] * before[1] + mean * weight) / (before[1] + weight)
            before[1] += weight
            before[2] += members
    means = [mean for mean, _, members in pools for _ in range(int(members))]
    for i, mean, offset in zip(row, means, offsets):
        items[i].x = mean + offset


def _row_tops(rows: list[list[int]], sizes: Sequence[Size], items: list[_Item]) -> tuple[list[float], float]:
    tops, y, gap = [], 0.0, 0.0
    for row in rows:
        tops.append(y)
        farthest = max((abs(items[i].x - items[b].x) for i in row for b in items[i].below), default=0.0)
        gap = _GAP_Y + max(0.0, farthest - 100) / _SLOPE
        y += max((sizes[i][1] for i in row if i < len(sizes)), default=0.0) + gap
    return tops, y - gap


def _ports(
    wires: Sequence[Wire], passes: Sequence[dict[int, int]], items: list[_Item], sizes: Sequence[Size]
) -> dict[tuple[int, int], float]:
    """Where each wire enters its targets: side by side along the upper edge, in the order they come from."""
    arriving: dict[int, list[tuple[float, int]]] = {}
    for w, (wire, places) in enumerate(zip(wires, passes)):
        for target in wire.targets:
            near = [i for i in items[target].above if i == wire.source or i in places.values()]
            arriving.setdefault(target, []).append((items[near[0]].x, w))
    ports = {}
    for target, entries in arriving.items():
        step = min(16.0, sizes[target][0] / (len(entries) + 1))
        for k, (_, w) in enumerate(sorted(entries)):
            ports[w, target] = items[target].x + step * (k - (len(entries) - 1) / 2)
    return ports
