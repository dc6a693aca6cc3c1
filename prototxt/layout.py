"""Layered layout of a directed acyclic graph: rows from top to bottom, few crossings, straight lines.

The method of Sugiyama, Tagawa and Toda (1981) with wires instead of edges: all readers of one blob
hang on one line that runs down past the rows between. Units are pixels; y grows downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Size = tuple[float, float]  # width, height
Point = tuple[float, float]  # x, y
Key = TypeVar("Key", int, tuple[int, int])  # a wire, or a wire and one of its targets

_GAP_X, _GAP_Y = 24.0, 32.0
_SLOPE = 18.0  # a line that travels far sideways between two rows gets a pixel of height for each of these
_WIRE_GAP = 12.0
_SWEEPS, _STRAIGHTENINGS = 12, 6
# Who gives way when two want one place: the longest path stays straight, then wires, then all else.
_SPINE, _WIRE, _OTHER = 400.0, 20.0, 1.0


@dataclass
class Wire:
    """One source and everything that reads it, as indices of boxes.

    Attributes:
        leave: where it leaves the lower edge of its source, in pixels from the centre; None leaves it to the layout.
        enter: the same for the upper edge of each target; empty when all are left to the layout.
    """

    source: int
    targets: list[int]
    leave: float | None = None
    enter: list[float | None] = field(default_factory=list)


@dataclass
class _Item:
    """A box, or the place where a wire passes a row; `above` and `below` are what it is joined to, and where."""

    width: float
    weight: float
    x: float = 0.0
    above: list[_Join] = field(default_factory=list)
    below: list[_Join] = field(default_factory=list)


@dataclass(frozen=True)
class _Join:
    """A line to another item: `near` and `far` are where it meets this one and that one, from their centres."""

    to: int
    near: float
    far: float


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
    depth = _ranks(len(sizes), wires)
    spine = _longest_path(depth, wires)
    items = [_Item(width, _SPINE if i in spine else _OTHER) for i, (width, _) in enumerate(sizes)]
    rows: list[list[int]] = [[] for _ in range(max(depth, default=0) + 1)]
    for i, rank in enumerate(depth):
        rows[rank].append(i)
    passes = [_lay_wire(wire, depth, items, rows) for wire in wires]
    _arrange(rows, items)
    _straighten(rows, items, passes)
    _shift_to_origin(items, mirror=all(wire.leave is None and not any(wire.enter) for wire in wires))
    tops, height = _row_tops(rows, sizes, items)
    centres = [(items[i].x, tops[depth[i]] + size[1] / 2) for i, size in enumerate(sizes)]
    bottoms = [top + max((sizes[i][1] for i in row if i < len(sizes)), default=0.0) for top, row in zip(tops, rows)]
    leaves, enters = _leaves(wires, passes, items, sizes), _enters(wires, passes, items, sizes)
    paths = []
    for w, (wire, places) in enumerate(zip(wires, passes)):
        start = (leaves[w], centres[wire.source][1] + sizes[wire.source][1] / 2)
        paths.append([])
        for at, target in enumerate(wire.targets):
            points = [start]
            for rank in range(depth[wire.source] + 1, depth[target]):
                x = items[places[rank]].x
                points += [(x, tops[rank]), (x, bottoms[rank])]
            paths[-1].append([*points, (enters[w, at], tops[depth[target]])])
    width = max((item.x + item.width / 2 for item in items), default=0.0)
    return Layout(centres, paths, (width, height))


def _ranks(count: int, wires: Sequence[Wire]) -> list[int]:
    """The row of each box: as low as its readers allow."""
    below = [0] * count
    for wire in sorted(wires, key=lambda wire: -wire.source):
        for target in wire.targets:
            below[wire.source] = max(below[wire.source], below[target] + 1)
    last = max(below, default=0)
    return [last - rows for rows in below]


def _longest_path(depth: Sequence[int], wires: Sequence[Wire]) -> set[int]:
    """One path from the top row to the bottom row; where it could go several ways, it takes a middle one."""
    after: dict[int, list[int]] = {}
    for wire in wires:
        after.setdefault(wire.source, []).extend(t for t in wire.targets if depth[t] == depth[wire.source] + 1)
    path = [depth.index(0)] if depth else []
    while path and after.get(path[-1]):
        ways = sorted(set(after[path[-1]]))
        path.append(ways[len(ways) // 2])
    return set(path)


def _lay_wire(wire: Wire, depth: Sequence[int], items: list[_Item], rows: list[list[int]]) -> dict[int, int]:
    """Add an item for each row that a wire passes, link neighbours, and return the items by row."""
    places: dict[int, int] = {}
    previous, leave = wire.source, wire.leave or 0.0
    for rank in range(depth[wire.source] + 1, max((depth[t] for t in wire.targets), default=0)):
        places[rank] = len(items)
        rows[rank].append(len(items))
        items.append(_Item(0.0, _WIRE))
        _link(items, previous, places[rank], 0.0 if len(places) > 1 else leave, 0.0)
        previous = places[rank]
    for at, target in enumerate(wire.targets):
        upper = places.get(depth[target] - 1, wire.source)
        enter = wire.enter[at] if wire.enter else None
        _link(items, upper, target, leave if upper == wire.source else 0.0, enter or 0.0)
    return places


def _link(items: list[_Item], upper: int, lower: int, leave: float, enter: float) -> None:
    items[upper].below.append(_Join(lower, leave, enter))
    items[lower].above.append(_Join(upper, enter, leave))


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


def _shift_to_origin(items: list[_Item], *, mirror: bool) -> None:
    """Make the least x 0. Where it may be mirrored, the longest path, at x = 0 so far, comes to the left half."""
    left = min((item.x - item.width / 2 for item in items), default=0.0)
    right = max((item.x + item.width / 2 for item in items), default=0.0)
    mirrored = mirror and -left > right
    for item in items:
        item.x = right - item.x if mirrored else item.x - left


def _wish(items: list[_Item], i: int, side: str) -> float:
    """Where item `i` would like to be, given the row on one side. The longest path stays at 0."""
    if items[i].weight == _SPINE:
        return 0.0
    joins = getattr(items[i], side)
    return sum(items[j.to].x + j.far - j.near for j in joins) / len(joins) if joins else items[i].x


def _crossings(rows: list[list[int]], items: list[_Item]) -> int:
    count = 0
    for row, lower in zip(rows, rows[1:]):
        place = {i: at for at, i in enumerate(lower)}
        lines = sorted(((at, j.near), (place[j.to], j.far)) for at, i in enumerate(row) for j in items[i].below)
        for n, (start, end) in enumerate(lines):
            count += sum(first < start and other > end for first, other in lines[:n])
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
        farthest = max(
            (abs(items[i].x + j.near - items[j.to].x - j.far) for i in row for j in items[i].below), default=0.0
        )
        gap = _GAP_Y + max(0.0, farthest - 100) / _SLOPE
        y += max((sizes[i][1] for i in row if i < len(sizes)), default=0.0) + gap
    return tops, y - gap


def _leaves(
    wires: Sequence[Wire], passes: Sequence[dict[int, int]], items: list[_Item], sizes: Sequence[Size]
) -> dict[int, float]:
    """Where each wire leaves its source: side by side along the lower edge, in the order they go to."""
    starting: dict[tuple[int, float | None], list[tuple[float, int]]] = {}
    for w, (wire, places) in enumerate(zip(wires, passes)):
        near = [j.to for j in items[wire.source].below if j.to in wire.targets or j.to in places.values()]
        goal = sum(items[i].x for i in near) / len(near)
        starting.setdefault((wire.source, wire.leave), []).append((goal, w))
    return _spread(starting, items, sizes)


def _enters(
    wires: Sequence[Wire], passes: Sequence[dict[int, int]], items: list[_Item], sizes: Sequence[Size]
) -> dict[tuple[int, int], float]:
    """Where each wire enters its targets: side by side along the upper edge, in the order they come from."""
    arriving: dict[tuple[int, float | None], list[tuple[float, tuple[int, int]]]] = {}
    for w, (wire, places) in enumerate(zip(wires, passes)):
        for at, target in enumerate(wire.targets):
            near = [j.to for j in items[target].above if j.to == wire.source or j.to in places.values()]
            offset = wire.enter[at] if wire.enter else None
            arriving.setdefault((target, offset), []).append((items[near[0]].x, (w, at)))
    return _spread(arriving, items, sizes)


def _spread(
    groups: dict[tuple[int, float | None], list[tuple[float, Key]]], items: list[_Item], sizes: Sequence[Size]
) -> dict[Key, float]:
    """The x of wires that meet a box at one place, or anywhere on its edge."""
    result = {}
    for (box, offset), entries in groups.items():
        step = min(16.0, sizes[box][0] / (len(entries) + 1)) if offset is None else 6.0
        for k, (_, key) in enumerate(sorted(entries)):
            result[key] = items[box].x + (offset or 0.0) + step * (k - (len(entries) - 1) / 2)
    return result
