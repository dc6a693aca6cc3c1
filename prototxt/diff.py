"""How two nets, or two solvers, differ by meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prototxt.errors import UserError
from prototxt.io import read_bytes, read_net, read_solver
from prototxt.meaning import Table, default, show_path, table
from prototxt.pairing import Link, Node, Pairing, nodes_of
from prototxt.text import Parsed
from prototxt.text import Path as FieldPath

# Fields that only a solver has at its outermost level.
_SOLVER = re.compile(
    rb"^\s*(?:net|train_net|test_net|base_lr|max_iter|lr_policy|solver_mode|snapshot_prefix)\s*:", re.MULTILINE
)
_FEEDS = frozenset(("name", "layer", "layers", "input", "input_shape", "input_dim"))


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in both files.

    Attributes:
        kind: "only in A", "only in B", "renamed layer", "renamed blob", "wiring" or "field".
        layer, type: the layer of A it is about (of B, when only B has it); empty outside layers.
        field: the path of the field (`param[0].lr_mult`); empty for a layer as a whole.
        a, b: what A and B say.
        where_a, where_b: `FILE:LINE` in A and in B; empty where a file has nothing of it.
    """

    kind: str
    layer: str = ""
    type: str = ""
    field: str = ""
    a: str = ""
    b: str = ""
    where_a: str = ""
    where_b: str = ""

    @property
    def only_names(self) -> bool:
        return self.kind.startswith("renamed")


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; `same` tells whether it is nothing."""

    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        return not self.differences

    @property
    def same_but_for_names(self) -> bool:
        return all(difference.only_names for difference in self.differences)


def compare(a: str | Path, b: str | Path, *, paths: bool = False, names: bool = True) -> Comparison:
    """Compare two text prototxts by meaning.

    What counts: the layers of all phases by name, with type, wiring, parameters and phase rules; of a solver, every
    field. What does not: the order in which layers are listed as long as each reads the same, the net's name,
    formatting, defaults written or not, floats beyond six digits, the generation (V0, V1) of the file.

    Args:
        a, b: two nets or two solvers.
        paths: whether the fields that name files and folders count.
        names: whether the names of layers, blobs and shared parameters count.

    Raises:
        UserError: a file that cannot be read, or a net and a solver.
    """
    solvers = [bool(_SOLVER.search(read_bytes(path))) for path in (a, b)]
    if solvers[0] != solvers[1]:
        kinds = ["a solver" if solver else "a net" for solver in solvers]
        raise UserError(f"{a} is {kinds[0]} and {b} is {kinds[1]}", expected="two nets or two solvers")
    if solvers[0]:
        first, second = read_solver(a), read_solver(b)
        tables = table(first.message, places=paths), table(second.message, places=paths)
        return Comparison(tuple(_fields("SolverParameter", *tables, (first, ()), (second, ()))))
    return Comparison(tuple(_nets(a, b, paths, names)))


def _nets(a: str | Path, b: str | Path, paths: bool, names: bool) -> Iterator[Difference]:
    files = [read_net(path) for path in (a, b)]
    outside = [table(file.message, places=paths, skip=_FEEDS) for file in files]
    yield from _fields("NetParameter", *outside, (files[0], ()), (files[1], ()))
    nodes = [nodes_of(file, places=paths, names=names) for file in files]
    pairing = Pairing(*nodes, names=names)
    shared = tuple(_shared(side) for side in nodes)
    told: set[tuple[str, str]] = set()  # blobs whose new name has been told
    for node in nodes[0]:
        if node.index not in pairing.to_b:
            yield Difference("only in A", node.name, node.type, where_a=node.where)
            continue
        other = nodes[1][pairing.to_b[node.index]]
        if names:
            yield from _renamed(node, other, told)
        else:
            yield from _sharing(pairing, node, other, shared)
        about = {"layer": node.name, "type": node.type}
        if node.type != other.type:
            yield Difference("field", node.name, node.type, "type", node.type, other.type, node.where, other.where)
        yield from _wiring(pairing, node, other)
        places = (files[0], node.origin), (files[1], other.origin)
        yield from _fields("LayerParameter", node.table, other.table, *places, **about)
    for node in nodes[1]:
        if node.index not in pairing.to_a:
            yield Difference("only in B", node.name, node.type, where_b=node.where)


def _renamed(a: Node, b: Node, told: set[tuple[str, str]]) -> Iterator[Difference]:
    if a.name != b.name:
        told.add((a.name, b.name))  # a blob called after its layer goes without saying
        yield Difference("renamed layer", a.name, a.type, "", a.name, b.name, a.where, b.where)
    for top, (old, new) in enumerate(zip(a.proto.top, b.proto.top)):
        if old != new and (old, new) not in told:
            told.add((old, new))
            yield Difference("renamed blob", a.name, a.type, f"top[{top}]", old, new, a.where, b.where)


def _shared(nodes: Sequence[Node]) -> dict[Link, frozenset[Link]]:
    """For each (layer, which parameter) with a name, all that have it: they are one parameter."""
    groups: dict[str, set[Link]] = {}
    for node in nodes:
        for i, spec in enumerate(node.proto.param):
            if spec.name:
                groups.setdefault(spec.name, set()).add((node.index, i))
    return {member: frozenset(group) for group in groups.values() for member in group}


def _sharing(pairing: Pairing, a: Node, b: Node, shared: Sequence[dict[Link, frozenset[Link]]]) -> Iterator[Difference]:
    """Parameters that are one with others in A than in B, whatever they are called."""
    for i in range(max(len(a.proto.param), len(b.proto.param))):
        old = shared[0].get((a.index, i), frozenset()) - {(a.index, i)}
        new = shared[1].get((b.index, i), frozenset()) - {(b.index, i)}
        if {pairing.source_in_b(link) for link in old} != new:
            sides = ((pairing.a, old), (pairing.b, new))
            texts = (", ".join(sorted({nodes[index].name for index, _ in links})) for nodes, links in sides)
            yield Difference("wiring", a.name, a.type, f"param[{i}] shared with", *texts, a.where, b.where)


def _wiring(pairing: Pairing, a: Node, b: Node) -> Iterator[Difference]:
    """Bottoms that come from another place, and numbers of tops that differ."""
    for bottom in range(max(len(a.feeds), len(b.feeds))):
        old = pairing.feeds(a, bottom) if bottom < len(a.feeds) else None
        new = pairing.feeds(b, bottom) if bottom < len(b.feeds) else None
        if not _comes_from_the_same(pairing, a, b, bottom, old, new):
            texts = _source(pairing.a, a, bottom, old), _source(pairing.b, b, bottom, new)
            yield Difference("wiring", a.name, a.type, f"bottom[{bottom}]", *texts, a.where, b.where)
    if len(a.proto.top) != len(b.proto.top):
        texts = (", ".join(node.proto.top) for node in (a, b))
        yield Difference("wiring", a.name, a.type, "top", *texts, a.where, b.where)


def _comes_from_the_same(
    pairing: Pairing, a: Node, b: Node, bottom: int, old: frozenset[Link] | None, new: frozenset[Link] | None
) -> bool:
    if old is None or new is None:
        return False
    if any(index in pairing.to_b for index, _ in old) or any(index in pairing.to_a for index, _ in new):
        images = {pairing.source_in_b(link) for link in old}
        return images == new or bool(images & new and _rules_differ(pairing, a, old))
    # Nobody makes the blob, or layers that are themselves only in A and only in B: its name decides.
    return a.proto.bottom[bottom] == b.proto.bottom[bottom]


def _rules_differ(pairing: Pairing, reader: Node, makers: frozenset[Link]) -> bool:
    """Whether a reader or a maker is in other phases in B: so that it finds other makers there is no news then."""
    indices = {reader.index, *(index for index, _ in makers)} & set(pairing.to_b)
    return any(pairing.a[index].rules != pairing.b[pairing.to_b[index]].rules for index in indices)


def _source(nodes: Sequence[Node], node: Node, bottom: int, links: frozenset[Link] | None) -> str:
    """A bottom for people: `conv1` or, where layers of other names make the blob, `conv1 (of relu1)`."""
    if links is None:
        return ""
    blob = node.proto.bottom[bottom]
    makers = sorted({nodes[index].name for index, _ in links} - {blob})
    return f"{blob} (of {', '.join(makers)})" if makers else blob


def _fields(
    message: str, a: Table, b: Table, in_a: tuple[Parsed, FieldPath], in_b: tuple[Parsed, FieldPath], **about: Any
) -> Iterator[Difference]:
    """Fields that are not the same in two tables of a message; `in_a` and `in_b` say where the message stands."""
    for path in dict.fromkeys((*a, *b)):
        if a.get(path) != b.get(path):
            values = [found.get(path) or _absent(message, path) for found in (a, b)]
            wheres = [
                file.where(*origin, *path, 0) if origin or path in found else ""
                for found, (file, origin) in ((a, in_a), (b, in_b))
            ]
            yield Difference("field", field=show_path(path), a=values[0], b=values[1], where_a=wheres[0],
                             where_b=wheres[1], **about)  # fmt: skip


def _absent(message: str, path: FieldPath) -> str:
    found = default(message, path)
    return f"{found} (default)" if found else "absent"
