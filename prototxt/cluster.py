"""Repeated structure of a net: blocks that a builder wrote in a loop, found again by their wiring.

A prototxt lists layers as the builder made them, so that the passes of a loop stand one after the other. A run is
a tandem repeat of the list of boxes (w w w …) whose passes are also wired alike: each reads within itself what the
others read within themselves, and from outside or from the pass before what they read there. In a chain (residual
blocks, dense layers) each pass reads the one before, and they must agree in all that a picture says of them. Side
by side (prediction heads, gates) they need only agree in their types; numbers may differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from prototxt.boxes import Net

_LONGEST = 24  # boxes of a pass; a longer one would be no smaller picture than the net
_LEAST_SAVED, _LEAST_EACH = 3, 1.5  # boxes that folding must save, in all and for each end, to be worth a frame

Port = tuple[int, int]  # a box of a pass, counted from its start, and which of the blobs that it reads or makes


@dataclass(frozen=True)
class Run:
    """`count` passes of `length` boxes each, from box `start` on.

    Attributes:
        entries: for each blob that a pass reads from outside itself, the ports where it does.
        carried: the ports whose blob the next pass reads; without any, the passes stand side by side.
        exits: the ports whose blob leaves the run, from every pass or from the last alone.
        loose: those of these that leave from every pass.
    """

    start: int
    length: int
    count: int
    entries: tuple[tuple[Port, ...], ...]
    carried: tuple[Port, ...]
    exits: tuple[Port, ...]
    loose: tuple[Port, ...]

    @property
    def stop(self) -> int:
        return self.start + self.length * self.count

    def boxes(self, place: int) -> list[int]:
        """The boxes at one place of all passes."""
        return [self.start + self.length * k + place for k in range(self.count)]

    @property
    def saved(self) -> int:
        return self.length * (self.count - 1)

    @property
    def ends(self) -> int:
        """How many blobs leave a pass: a good way to cut a loop into passes has few loose ends."""
        return max(1, len({*self.carried, *self.loose}))


def find_runs(net: Net) -> list[Run]:
    """Runs that do not overlap, in the order of the file; of those that would, the one that saves more for each end."""
    found = [run for start, length, stop in _repeats(net) for run in _runs(net, start, length, stop)]
    found.sort(key=lambda run: (-run.saved / run.ends, run.ends, len(run.carried), run.length, run.start))
    chosen: list[Run] = []
    for run in found:
        if all(run.stop <= other.start or other.stop <= run.start for other in chosen):
            chosen.append(run)
    return sorted(chosen, key=lambda run: run.start)


def _repeats(net: Net) -> Iterator[tuple[int, int, int]]:
    """(start, length, stop) of each longest stretch in which every box looks like the one `length` before it."""
    looks = [(box.types, len(box.reads)) for box in net.boxes]
    for length in range(1, min(_LONGEST, len(looks) // 2) + 1):
        alike = [looks[i] == looks[i - length] for i in range(length, len(looks))]
        at = 0
        for same, group in groupby(alike):
            size = len(list(group))
            if same and size >= length:
                yield at, length, at + size + length
            at += size


def _runs(net: Net, first: int, length: int, stop: int) -> Iterator[Run]:
    """The longest runs within a stretch, for each way to cut it into passes."""
    for start in range(first, first + length):
        while start + 2 * length <= stop:
            run = _run(net, start, length, stop)
            if run is not None and run.saved >= _LEAST_SAVED and run.saved / run.ends >= _LEAST_EACH:
                yield run
            start += length * (run.count if run else 1)


def _run(net: Net, start: int, length: int, stop: int) -> Run | None:
    """The longest run from `start` on, or None when not even two passes are alike."""
    chained, entries, count = _is_chained(net, start, length), None, 1
    while start + (count + 1) * length <= stop:
        pattern = _entries(net, start, start + count * length, length, chained)
        if pattern is None or entries not in (None, pattern):
            break
        entries, count = pattern, count + 1
    for size in range(count, 1, -1):
        leaving = _leaving(net, start, length, size)
        if all(_agree(net, passes) for passes in leaving.values()):
            carried = tuple(_carried(net, start, length)) if chained else ()
            loose = tuple(port for port, passes in leaving.items() if passes[0])
            return Run(start, length, size, entries or (), carried, tuple(sorted(leaving)), loose)
    return None


def _is_chained(net: Net, start: int, length: int) -> bool:
    second = range(start + length, start + 2 * length)
    return any(start <= net.blobs[blob].maker < start + length for i in second for blob in net.boxes[i].reads)


def _entries(net: Net, start: int, at: int, length: int, chained: bool) -> tuple[tuple[Port, ...], ...] | None:
    """The entries of the pass at `at`, or None when it is not a repetition of the pass before it."""
    ports: dict[int, list[Port]] = {}
    for place in range(length):
        box, before = net.boxes[at + place], net.boxes[at + place - length]
        if not box.reads or (chained and box.about() != before.about()):
            return None
        for slot, (blob, old) in enumerate(zip(box.reads, before.reads)):
            if not _alike(net, blob, old, start, at, length):
                return None
            if net.blobs[blob].maker < at:
                ports.setdefault(blob, []).append((place, slot))
    return tuple(tuple(found) for found in ports.values())


def _alike(net: Net, blob: int, old: int, start: int, at: int, length: int) -> bool:
    """Whether a pass at `at` reads `blob` as the pass before it reads `old`."""
    maker, former = net.blobs[blob].maker, net.blobs[old].maker
    if maker < start:
        return former < start
    if maker < at - length:
        return False
    first_input = maker < at and at == start + length and former < start
    return first_input or (maker - former == length and _slot(net, blob) == _slot(net, old))


def _slot(net: Net, blob: int) -> int:
    return net.boxes[net.blobs[blob].maker].makes.index(blob)


def _leaving(net: Net, start: int, length: int, count: int) -> dict[Port, list[set[int]]]:
    """For each port whose blob leaves the run, the boxes outside that read it, by pass."""
    stop = start + length * count
    found: dict[Port, list[set[int]]] = {}
    for at in range(start, stop):
        number, place = divmod(at - start, length)
        for slot, blob in enumerate(net.boxes[at].makes):
            outside = {reader for reader in net.blobs[blob].readers if reader >= stop}
            if outside:
                found.setdefault((place, slot), [set() for _ in range(count)])[number] = outside
    return found


def _agree(net: Net, passes: Sequence[set[int]]) -> bool:
    """Whether the readers of one port of all passes can be drawn as one line.

    Either only the last pass is read, or all are: by the same boxes, or each by its own that look alike. The last
    pass may have more readers, for the net goes on from there.
    """
    first, *middle, last = passes
    if not any(passes[:-1]):
        return True
    if all(readers == first for readers in middle) and first <= last:
        return True
    looks = [Counter(net.boxes[reader].types for reader in readers) for readers in passes]
    apart = len(set().union(*passes)) == sum(map(len, passes))
    return apart and all(look == looks[0] for look in looks[1:-1]) and looks[0] <= looks[-1]


def _carried(net: Net, start: int, length: int) -> Iterator[Port]:
    """The ports of the first pass whose blob the second reads."""
    end = start + length
    for at in range(start, end):
        for slot, blob in enumerate(net.boxes[at].makes):
            if any(end <= reader < end + length for reader in net.blobs[blob].readers):
                yield at - start, slot
