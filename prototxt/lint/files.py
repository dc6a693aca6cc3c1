"""From files to findings: what each file is, what has to be checked in it and between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prototxt.errors import UserError, UserErrors
from prototxt.io import read_bytes, read_solver, read_text
from prototxt.lint.detection import LabelMapFile, label_maps
from prototxt.lint.finding import ERROR, SEVERITIES, Finding, Found, check, run_checks
from prototxt.lint.net import Net, WrittenNet, find, written_net
from prototxt.lint.roles import merged, nets_of, pairs, states_of
from prototxt.lint.solver import Solver
from prototxt.lint.weights import Pair
from prototxt.phase import NetState

# Fields that only one kind of file has at its outermost level.
_SOLVER = re.compile(
    rb"^\s*(?:net|train_net|test_net|base_lr|max_iter|lr_policy|solver_mode|snapshot_prefix)\s*:", re.MULTILINE
)
_LABELMAP = re.compile(rb"\A(?:\s|#[^\n]*\n)*item\s*:?\s*[{<]")


@dataclass(frozen=True)
class Unreadable:
    """A file that is no prototxt, with what its reader raised."""

    path: str
    error: UserError


@check("unreadable", ERROR, Unreadable)
def unreadable(file: Unreadable) -> Iterable[Found]:
    """A file cannot be read or is not the text of a net, a solver or a label map."""
    for error in file.error.errors if isinstance(file.error, UserErrors) else [file.error]:
        reason = error.found + (f"; expected {error.expected}" if error.expected else "")
        yield Found(error.where or file.path, reason, error.fix or "correct the file")


@dataclass
class _Batch:
    """Everything that is linted together; one entry for each file, however often it is named."""

    subjects: list[Any] = field(default_factory=list)
    files: dict[Path, WrittenNet | None] = field(default_factory=dict)
    states: dict[Path, list[NetState]] = field(default_factory=dict)
    solvers: list[tuple[Solver, list[tuple[Path, NetState, int]]]] = field(default_factory=list)
    seen: set[Path] = field(default_factory=set)

    def add(self, path: str | Path) -> None:
        """Take in a file of any kind."""
        key = Path(path).resolve()
        if key in self.seen:
            return
        self.seen.add(key)
        try:
            raw = read_bytes(path)
            if _LABELMAP.match(raw):
                self.subjects.append(LabelMapFile(str(path)))
            elif _SOLVER.search(raw):
                self.add_solver(path)
            else:
                self.add_net(path)
        except UserError as error:
            self.subjects.append(Unreadable(str(path), error))

    def add_net(self, path: str | Path) -> Path:
        key = Path(path).resolve()
        if key not in self.files:
            self.files[key] = None
            parsed = read_text(path, "NetParameter")
            self.files[key] = written_net(parsed.message, parsed.path, parsed.lines)
        return key

    def add_message(self, message: Any, path: str) -> Path:
        """Take in a net that is in no file of its own; errors call it `path`."""
        self.files[Path(path)] = None
        self.files[Path(path)] = written_net(message, path)
        return Path(path)

    def add_solver(self, path: str | Path) -> None:
        solver = Solver(read_solver(path))
        roles: list[tuple[Path, NetState, int]] = []
        self.solvers.append((solver, roles))
        for net, phase, more, place in nets_of(solver):
            try:
                key = self._net_of_solver(solver, net)
            except UserError as error:
                self.subjects.append(Unreadable(str(path), error))
                continue
            file = self.files.get(key) if key else None
            if file:
                state = merged(phase, file, more)
                self.states.setdefault(key, []).append(state)
                roles.append((key, state, place))

    def _net_of_solver(self, solver: Solver, net: tuple[Any, ...]) -> Path | None:
        value = solver.p
        for step in net:
            value = getattr(value, step) if isinstance(step, str) else value[step]
        if not isinstance(value, str):
            return self.add_message(value, f"{solver.parsed.path}: {net[0]}")
        path = find(value, solver.parsed.path)
        if path is None:  # a job that was moved, or is linted from elsewhere
            path = find(Path(value).name, solver.parsed.path)
            solver.missing.append((net, value, str(path or "")))
        return self.add_net(path) if path else None

    def all_subjects(self) -> list[Any]:
        """Files, nets of each state, pairs of nets, solvers and label maps, ready for the checks."""
        nets: dict[tuple[Path, NetState], Net] = {}
        maps: dict[str, None] = {}
        subjects = [*self.subjects, *(file for file in self.files.values() if file)]
        for key, file in self.files.items():
            if file and not any(layer.include and layer.exclude for layer in file.message.layer):
                for state in states_of(file, self.states.get(key, [])):
                    nets[key, state] = Net(file, state)
                    maps |= dict.fromkeys(label_maps(nets[key, state]))
        for solver, roles in self.solvers:
            tests = [(place, nets.get((key, state))) for key, state, place in roles]
            solver.tests = [(place, net) for place, net in tests if net and 0 <= place < len(solver.p.test_iter)]
        given = {Path(subject.path).resolve() for subject in self.subjects if isinstance(subject, LabelMapFile)}
        subjects += nets.values()
        subjects += (Pair(train, other) for train, other in pairs(nets))
        subjects += (solver for solver, _ in self.solvers)
        return subjects + [LabelMapFile(path) for path in maps if Path(path).resolve() not in given]


def lint_files(paths: Iterable[str | Path]) -> list[Finding]:
    """Everything that is wrong or odd in nets, solvers and label maps.

    Each net is checked in every phase that it has layers for; what both phases show is reported once. Nets given
    together are held against their train net: the only one given or, of several, one in the same folder. A
    solver's nets are linted with it, as are label maps that a net names and that exist.

    Args:
        paths: prototxts of nets and solvers, label maps. A file that cannot be read is a finding.

    Returns:
        The findings by file, in the order the files came up, then by line.
    """
    batch = _Batch()
    for path in paths:
        batch.add(path)
    return _findings(batch.all_subjects())


def lint_nets(nets: Iterable[tuple[str, Any]]) -> list[Finding]:
    """The same for nets in memory, as (name to report them by, NetParameter); the nets are upgraded in place."""
    batch = _Batch()
    for name, message in nets:
        try:
            batch.add_message(message, name)
        except UserError as error:
            batch.subjects.append(Unreadable(name, error))
    return _findings(batch.all_subjects())


def _findings(subjects: Sequence[Any]) -> list[Finding]:
    found: dict[tuple[Any, ...], Finding] = {}
    order: dict[str, int] = {}
    for subject in subjects:
        for finding in run_checks(subject):
            order.setdefault(finding.file, len(order))
            key = (finding.check, finding.where, finding.layer, finding.reason)
            known = found.get(key)
            if known is None or SEVERITIES.index(finding.severity) < SEVERITIES.index(known.severity):
                found[key] = finding
    return sorted(found.values(), key=lambda f: (order[f.file], f.line, f.check))
