"""Which layer of one net is which layer of another: by name where weights are loaded by it, else by wiring.

Nets are walked as files, with the layers of all phases. A bottom is followed to the layers that last wrote its
blob and may be in one net with its reader, so that in-place layers and a data layer for each phase are kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prototxt.io import NetFile
from prototxt.meaning import Table, table
from prototxt.shapes import BLOBS

# Fields of a layer that tell its place in the net, not what it computes.
_PLACE = frozenset(("name", "type", "bottom", "top"))
_RULES = ("include", "exclude")

Link = tuple[int, int]  # a layer and which of its tops


@dataclass
class Node:
    """A layer of a net to be compared.

    Attributes:
        index: its place among the net's nodes.
        proto, where: its LayerParameter and `FILE:LINE`.
        origin: its path in the file.
        table: what it says apart from name, type, bottoms and tops (see `prototxt.meaning.table`).
        feeds: for each bottom, the links it comes from.
        readers: (node, which bottom) of all that read its tops.
    """

    index: int
    proto: Any
    where: str
    origin: tuple[str | int, ...]
    table: Table
    feeds: list[tuple[Link, ...]] = field(default_factory=list)
    readers: list[Link] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.proto.name

    @property
    def type(self) -> str:
        return self.proto.type

    @cached_property
    def rules(self) -> tuple[tuple[Any, str], ...]:
        """Its include and exclude rules."""
        return tuple((path, value) for path, value in sorted(self.table.items(), key=str) if path[0] in _RULES)

    def writes_in_place(self, top: int) -> bool:
        return top < len(self.proto.bottom) and self.proto.bottom[top] == self.proto.top[top]


def nodes_of(net: NetFile, *, places: bool, names: bool) -> list[Node]:
    """The layers of a net with their wiring.

    Args:
        places: whether paths on disk count.
        names: whether the names of shared parameters count.
    """
    nodes: list[Node] = []
    for i, proto in enumerate(net.message.layer):
        origin = net.origins[i] if net.origins else ("layer", i)
        content = table(proto, places=places, skip=_PLACE)
        if not names:
            content = {path: value for path, value in content.items() if path[0] != "param" or path[-1] != "name"}
        for part in _inputs(proto) if origin[0] == "input" else [proto]:
            nodes.append(Node(len(nodes), part, net.where_layer(i), origin, content))
            if part is not proto:
                nodes[-1].table = table(part, skip=_PLACE)
    _wire(nodes)
    return nodes


def _inputs(layer: Any) -> Iterator[Any]:
    """A layer for each input of an old file: that their one Input layer has a name is not the file's doing."""
    for top, shape in zip(layer.top, layer.input_param.shape):
        part = type(layer)(name=top, type="Input", top=[top])
        part.input_param.shape.add().CopyFrom(shape)
        yield part


def _wire(nodes: Sequence[Node]) -> None:
    writers: dict[str, list[Link]] = {}
    for node in nodes:
        for bottom, blob in enumerate(node.proto.bottom):
            links = tuple(_sources(nodes, node, writers.get(blob, [])))
            node.feeds.append(links)
            for maker, _ in links:
                nodes[maker].readers.append((node.index, bottom))
        for top, blob in enumerate(node.proto.top):
            writers.setdefault(blob, []).append((node.index, top))


def _sources(nodes: Sequence[Node], reader: Node, writers: Sequence[Link]) -> Iterator[Link]:
    """The links a bottom may come from: the last writer of each phase that the reader is in."""
    for link in reversed(writers):
        rules = nodes[link[0]].rules
        if not rules or not reader.rules or rules == reader.rules:
            yield link
            if not rules or rules == reader.rules:
                return


class Pairing:
    """The pairs of layers of two nets.

    Args:
        a, b: the nodes of the two nets.
        names: layers of one name are a pair if they hold weights, which are loaded by name, or are inputs. For all
            others, and without `names`, place and type decide first: a builder's counters (ReLU9) move with every
            layer that it inserts.

    Attributes:
        to_b: node of A: its node of B.
        to_a: the reverse.
    """

    def __init__(self, a: list[Node], b: list[Node], *, names: bool) -> None:
        self.a, self.b, self.names = a, b, names
        self.to_b: dict[int, int] = {}
        self.to_a: dict[int, int] = {}
        self._below = _fingerprints(a), _fingerprints(b)
        if names:
            self._by(lambda node: (node.name, node.rules), _keeps_its_name)
            self._by(lambda node: node.name, _keeps_its_name)
        self._by_wiring()
        self._by(lambda node: (node.name, node.type, node.rules))
        self._by(lambda node: (node.name, "" if names else node.type))
        self._by_wiring()

    def source_in_b(self, link: Link) -> Link | None:
        """Where in B the blob of a link of A comes from; None when its layer is only in A."""
        index, top = link
        return (self.to_b[index], top) if index in self.to_b else None

    def feeds(self, node: Node, bottom: int) -> frozenset[Link]:
        """The links of a bottom; one that a layer of one net alone works on in place counts as it was before."""
        side, paired = (self.a, self.to_b) if self._in_a(node) else (self.b, self.to_a)
        found: set[Link] = set()
        waiting = list(node.feeds[bottom])
        while waiting:
            index, top = waiting.pop()
            if index not in paired and side[index].writes_in_place(top):
                waiting += side[index].feeds[top]
            else:
                found.add((index, top))
        return frozenset(found)

    def _in_a(self, node: Node) -> bool:
        return node.index < len(self.a) and self.a[node.index] is node

    def _by(self, key: Callable[[Node], Hashable], among: Callable[[Node], bool] = lambda node: True) -> None:
        """Pair what is left among some nodes and has the same key, in the order of the files."""
        waiting: dict[Hashable, list[Node]] = {}
        for node in self.b:
            if node.index not in self.to_a and among(node):
                waiting.setdefault(key(node), []).append(node)
        for node in self.a:
            if node.index not in self.to_b and among(node) and waiting.get(key(node)):
                self._pair(node, waiting[key(node)].pop(0))

    def _pair(self, a: Node, b: Node) -> None:
        self.to_b[a.index], self.to_a[b.index] = b.index, a.index

    def _by_wiring(self) -> None:
        """Pair what is left of one type that reads, or is read by, the same: downwards, then upwards."""
        for nodes, wiring in ((self.a, self._above), (self.a[::-1], self._readers)):
            for node in nodes:
                if node.index not in self.to_b:
                    self._pair_like(node, wiring)

    def _pair_like(self, node: Node, wiring: Callable[[Node], Hashable]) -> None:
        """Pair a node of A with the most similar one of B that stands in its place."""
        place = wiring(node)
        if place is None:
            return
        found = [n for n in self.b if n.index not in self.to_a and n.type == node.type and wiring(n) == place]
        if not found:
            return
        best = min(found, key=lambda other: self._distance(node, other))
        if best.table != node.table:  # so it is the same layer only if no other could be meant
            rivals = [n for n in self.a if n.index not in self.to_b and n.type == node.type and wiring(n) == place]
            if len(found) > 1 or len(rivals) > 1:
                return
        self._pair(node, best)

    def _distance(self, a: Node, b: Node) -> tuple[bool, bool, bool, int]:
        below = self._below[0][a.index] != self._below[1][b.index]
        return a.table != b.table, *((a.name != b.name, below) if self.names else (below, a.name != b.name)), b.index

    def _above(self, node: Node) -> Hashable:
        """What a node reads, as links of B; None when a part of it is not paired."""
        feeds = [self.feeds(node, bottom) for bottom in range(len(node.feeds))]
        if self._in_a(node):
            feeds = [frozenset(self.source_in_b(link) for link in links) for links in feeds]
        elif any(index not in self.to_a for links in feeds for index, _ in links):
            return None
        return None if any(None in links for links in feeds) else tuple(feeds)

    def _readers(self, node: Node) -> Hashable:
        """What reads a node, as places of B; None when nothing does or a part of it is not paired."""
        paired = self.to_b if self._in_a(node) else {index: index for index in self.to_a}
        if not node.readers or any(index not in paired for index, _ in node.readers):
            return None
        return frozenset((paired[index], bottom) for index, bottom in node.readers)


def _keeps_its_name(node: Node) -> bool:
    return node.type in BLOBS or not node.proto.bottom


def _fingerprints(nodes: Sequence[Node]) -> list[int]:
    """For each node a hash of all that comes after it, names apart."""
    result = [0] * len(nodes)
    for node in reversed(nodes):
        after = sorted((result[index], bottom) for index, bottom in node.readers)
        result[node.index] = hash((node.type, tuple(sorted(node.table.items(), key=str)), tuple(after)))
    return result
