"""Reads damaged files until as many as asked for were read: `python tests/fuzz/run.py --executions 120000 --seed 1`.

What is found is written to a folder, the file and what came of it; the same seed makes the same files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from queue import SimpleQueue

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import Outcome, Worker, files_of

_MOST_FINDINGS = 20  # after which a target has had enough: each costs a new process


@dataclass
class Tally:
    """What came of a target's files.

    Attributes:
        kinds: how many were read, refused or findings.
        findings: those, with the number of the file.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    peak_mb: float = 0.0
    seconds: float = 0.0
    findings: list[tuple[int, bytes, str]] = field(default_factory=list)

    def add(self, number: int, data: bytes, outcome: Outcome) -> None:
        self.kinds[outcome.kind] += 1
        self.slowest = max(self.slowest, outcome.seconds)
        self.peak_mb = max(self.peak_mb, outcome.peak_mb)
        if outcome.kind == "finding":
            self.findings.append((number, data, outcome.text))


def fuzz(worker: Worker, name: str, seed: int, count: int) -> Tally:
    """Have `worker` read the first damaged files of a target, its share of `count`."""
    tally, began = Tally(), time.perf_counter()
    files = files_of(name, TARGETS[name], seed, count)
    for number, (data, outcome) in enumerate(worker.read(name, files)):
        tally.add(number, data, outcome)
        if len(tally.findings) == _MOST_FINDINGS:
            break
    tally.seconds = time.perf_counter() - began
    return tally


def fuzz_all(names: list[str], seed: int, count: int, processes: int, out: Path) -> dict[str, Tally]:
    """Fuzz targets, `count` files each or their share of it, and write what is found to `out`."""
    tallies: dict[str, Tally] = {}
    idle: SimpleQueue[Worker] = SimpleQueue()

    def work(name: str) -> None:
        worker = idle.get()
        tallies[name] = fuzz(worker, name, seed, count)
        _write(out, name, seed, tallies[name])
        print(_row(name, tallies[name]), flush=True)
        idle.put(worker)

    with tempfile.TemporaryDirectory() as root, ExitStack() as stack, ThreadPoolExecutor(processes) as pool:
        for _ in range(processes):
            idle.put(stack.enter_context(Worker(Path(tempfile.mkdtemp(dir=root)))))
        list(pool.map(work, names))
    return tallies


def _write(out: Path, name: str, seed: int, tally: Tally) -> None:
    for number, data, text in tally.findings:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{name}-{seed}-{number}"
        path.with_name(path.name + TARGETS[name].suffix).write_bytes(data)
        path.with_name(path.name + ".finding").write_text(text)


_COLUMNS = ("target", "files", "read", "refused", "findings", "slowest s", "peak MB", "per s")


def _row(name: str, tally: Tally) -> str:
    kinds, total = tally.kinds, tally.kinds.total()
    numbers = [f"{count:,}" for count in (total, kinds["read"], kinds["refused"], kinds["finding"])]
    numbers += [f"{tally.slowest:.2f}", f"{tally.peak_mb:.0f}", f"{total / max(tally.seconds, 1e-9):.0f}"]
    return f"{name:<24}" + "".join(f"{number:>11}" for number in numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=10_000, help="how many files in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", choices=TARGETS, help="one of the readers; may be repeated")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("findings"), help="folder of what is found")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    count = ceil(options.executions / sum(TARGETS[name].share for name in names))
    print(f"{_COLUMNS[0]:<24}" + "".join(f"{column:>11}" for column in _COLUMNS[1:]))
    tallies = fuzz_all(names, options.seed, count, options.processes, options.out)
    total = Tally(kinds=sum((tally.kinds for tally in tallies.values()), Counter()))
    total.slowest, total.peak_mb = (max(getattr(t, n) for t in tallies.values()) for n in ("slowest", "peak_mb"))
    total.seconds = sum(tally.seconds for tally in tallies.values())
    print(_row("all", total))
    sys.exit(bool(total.kinds["finding"]))


if __name__ == "__main__":
    main()
