"""A solver's prototxt: read, checked in one go, its nets found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prototxt.errors import UserError, UserErrors, nearest
from prototxt.graph import Graph
from prototxt.io import NetFile, net_file, read_net, read_solver
from prototxt.phase import NetState
from prototxt.schema import Phase
from prototxt.text import Parsed
from solver.feed import fed_graph
from solver.policies import NEEDS, POLICIES
from solver.rules import RULES
from solver.score import AP_VERSIONS
from solver.updates import REGULARIZERS

TRAIN_NETS = ("net", "net_param", "train_net", "train_net_param")
EVAL_TYPES = ("classification", "detection")
_AT_LEAST = {
    "max_iter": 0,
    "iter_size": 1,
    "average_loss": 1,
    "display": 0,
    "snapshot": 0,
    "test_interval": 0,
    "base_lr": 0,
    "momentum": 0,
}
DEFAULT_SEED = 1


@dataclass(frozen=True)
class SolverNet:
    """A net that a solver names, the state it is built for and, in a test net, how many batches are scored."""

    file: NetFile
    state: NetState
    iterations: int = 0
    root: Path = Path()

    def graph(self) -> Graph:
        """Its graph; the image list of a DetectionEvaluate, which is opened with the net, is found from `root`."""
        graph = fed_graph(self.file, self.state, self.root)
        for layer in graph.layers:
            if layer.type == "DetectionEvaluate" and layer.p.HasField("name_size_file"):
                layer.p.name_size_file = str(self.root / layer.p.name_size_file)
        return graph


class SolverConfig:
    """What a solver prototxt asks for, checked.

    Attributes:
        p: its SolverParameter.
        path: the file.
        root: the folder its paths start from: the current one, as in Caffe, or the file's own folder when
            the train net is found only there.
        train: the train net.
        tests: the test nets.
        prefix: what the snapshots' names begin with; without `snapshot_prefix` the file's own name.
        seed: `random_seed`, or 1 where the file gives none, so that every run can be repeated.

    Raises:
        UserErrors: everything that is missing, unknown, out of range or not covered, in one go.
        UserError: a net that cannot be read.
    """

    def __init__(self, parsed: Parsed) -> None:
        self._parsed = parsed
        self.p, self.path = parsed.message, parsed.path
        problems = [problem for check in _CHECKS for problem in check(self)]
        if problems:
            raise problems[0] if len(problems) == 1 else UserErrors(problems)
        self.root = self._find_root()
        self.train = self._train_net()
        self.tests = self._test_nets()
        self.prefix = self.root / (self.p.snapshot_prefix or Path(self.path).with_suffix("").name)
        self.seed = self.p.random_seed if self.p.random_seed >= 0 else DEFAULT_SEED

    def error(self, field: str, found: str, *, expected: str = "", fix: str = "") -> UserError:
        """A UserError at the line of `field`, the first one if it is repeated."""
        path = (field,) if (field,) in self._parsed.lines else (field, 0)
        return UserError(found, where=self._parsed.where(*path), expected=expected, fix=fix)

    def _find_root(self) -> Path:
        name = self.p.train_net or self.p.net
        if not name or os.path.exists(name):
            return Path()
        own = Path(self.path).parent
        if os.path.exists(own / name):
            return own
        field = "train_net" if self.p.train_net else "net"
        raise self.error(
            field,
            f'the {field} "{name}" is neither in the current folder nor in that of the solver file',
            fix=f'correct the path, or run from the folder that "{name}" starts from',
        )

    def _read(self, name: str) -> NetFile:
        return read_net(self.root / name)

    def _train_net(self) -> SolverNet:
        inline = next((f for f in ("train_net_param", "net_param") if self.p.HasField(f)), None)
        if inline:
            file = net_file(getattr(self.p, inline), f"{self.path}: {inline}")
        else:
            file = self._read(self.p.train_net or self.p.net)
        return SolverNet(file, _state("TRAIN", file, self.p.train_state), root=self.root)

    def _test_nets(self) -> list[SolverNet]:
        files = [net_file(net, f"{self.path}: test_net_param") for net in self.p.test_net_param]
        files += [self._read(name) for name in self.p.test_net]
        files += [self.train.file] * (len(self.p.test_iter) - len(files))
        states = self.p.test_state or [None] * len(files)
        return [
            SolverNet(file, _state("TEST", file, state), count, self.root)
            for file, state, count in zip(files, states, self.p.test_iter)
        ]


def read_config(path: str | Path) -> SolverConfig:
    """The solver prototxt at `path`. Raises what SolverConfig raises."""
    return SolverConfig(read_solver(path))


def _state(phase: str, file: NetFile, more: Any) -> NetState:
    """The net's own state with the solver's merged in, as Caffe does; the phase is the solver's to say."""
    state = file.message.state
    level, stages = state.level, tuple(state.stage)
    if more is not None:
        level = more.level if more.HasField("level") else level
        stages += tuple(more.stage)
        phase = Phase.Name(more.phase) if more.HasField("phase") else phase
    return NetState(phase, level, stages)


Check = Iterator[UserError]


def _check_rules(config: SolverConfig) -> Check:
    """Everything that is chosen by name."""
    p = config.p
    chosen = [
        ("lr_policy", POLICIES),
        ("type", RULES),
        ("regularization_type", REGULARIZERS),
        ("eval_type", EVAL_TYPES),
        ("ap_version", AP_VERSIONS),
    ]
    for field, known in chosen:
        value = getattr(p, field)
        if value in known:
            continue
        expected = "one of " + ", ".join(sorted(known))
        if not value:
            yield config.error(field, f"it gives no {field}", expected=expected)
        else:
            yield config.error(field, f'{field} "{value}" is unknown{nearest(value, known)}', expected=expected)


def _check_momentum(config: SolverConfig) -> Check:
    """What Caffe's adaptive solvers refuse."""
    p = config.p
    if p.type in RULES and not RULES[p.type].takes_momentum and p.momentum:
        yield config.error("momentum", f"{p.type} has no momentum, yet it is {p.momentum:g}", fix="take it out")
    if p.type == "RMSProp" and not 0 <= p.rms_decay < 1:
        yield config.error("rms_decay", f"rms_decay is {p.rms_decay:g}", expected="at least 0, below 1")


def _check_policy(config: SolverConfig) -> Check:
    """The parameters that the policy reads; Caffe would take 0 for a missing one and divide by it or stop learning."""
    p = config.p
    given = {field.name for field, _ in p.ListFields()}
    for field in NEEDS.get(p.lr_policy, ()):
        if field not in given:
            yield config.error(
                "lr_policy", f'lr_policy "{p.lr_policy}" needs {field}, which is not given', fix=f"add {field}"
            )
        elif field == "stepsize" and p.stepsize < 1 and p.lr_policy == "step":
            yield config.error(field, f"stepsize is {p.stepsize}", expected="at least 1")


def _check_numbers(config: SolverConfig) -> Check:
    p = config.p
    for field in ("base_lr", "max_iter"):
        if not p.HasField(field):
            yield config.error(field, f"it gives no {field}")
    for field, least in _AT_LEAST.items():
        if getattr(p, field) < least:
            yield config.error(field, f"{field} is {getattr(p, field):g}", expected=f"at least {least}")


def _check_nets(config: SolverConfig) -> Check:
    p = config.p
    given = [field for field in TRAIN_NETS if p.HasField(field)]
    if len(given) != 1:
        found = "it names no net to train" if not given else "it names more than one net to train: " + ", ".join(given)
        yield config.error(given[-1] if given else "net", found, expected="one of " + ", ".join(TRAIN_NETS))
    own, counts = len(p.test_net) + len(p.test_net_param), len(p.test_iter)
    shared = p.HasField("net") or p.HasField("net_param")
    if counts < own or (counts > own and not shared):
        yield config.error(
            "test_iter",
            f"it gives {counts} test_iter for {own} test net{'s' * (own != 1)}",
            expected="one test_iter for each test net, how many batches to score",
        )
    if p.test_state and len(p.test_state) != counts:
        yield config.error("test_state", f"it gives {len(p.test_state)} test_state for {counts} test_iter")
    for i, count in enumerate(p.test_iter):
        if count < 1:
            yield UserError(f"test_iter is {count}", where=config._parsed.where("test_iter", i), expected="at least 1")
    if counts and not p.test_interval:
        yield config.error("test_iter", "it has a test net but no test_interval", fix="add test_interval")


def _check_covered(config: SolverConfig) -> Check:
    if config.p.snapshot_diff:
        yield config.error(
            "snapshot_diff",
            "snapshot_diff: true is not covered: snapshots hold no gradients",
            fix="remove the line",
        )


_CHECKS = (_check_rules, _check_momentum, _check_policy, _check_numbers, _check_nets, _check_covered)
