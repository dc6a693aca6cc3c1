"""What nets are for: the states that a file is built in, the nets of a solver, and whose weights a net takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prototxt.io import NetFile
from prototxt.lint.net import Net
from prototxt.lint.solver import Solver
from prototxt.lint.weights import learned
from prototxt.phase import NetState
from prototxt.schema import Phase


def nets_of(solver: Solver) -> list[tuple[tuple[Any, ...], str, Any, int]]:
    """Of each net of a solver: its field, its phase, the state that is merged in, its place among the test_iter."""
    p = solver.p
    train = next(((name,) for name in ("train_net_param", "net_param", "train_net", "net") if p.HasField(name)), None)
    tests: list[tuple[Any, ...]] = [("test_net_param", i) for i in range(len(p.test_net_param))]
    tests += [("test_net", i) for i in range(len(p.test_net))]
    if train and train[0] in ("net", "net_param"):
        tests += [train] * (len(p.test_iter) - len(tests))
    states = p.test_state if len(p.test_state) == len(tests) else [None] * len(tests)
    found = [(train, "TRAIN", p.train_state, -1)] if train else []
    return found + [(net, "TEST", state, i) for i, (net, state) in enumerate(zip(tests, states))]


def merged(phase: str, file: NetFile, more: Any) -> NetState:
    """A net's own state with the solver's merged in, as Caffe does."""
    own = file.message.state
    level = more.level if more is not None and more.HasField("level") else own.level
    stages = (*own.stage, *(more.stage if more is not None else ()))
    return NetState(Phase.Name(more.phase) if more is not None and more.HasField("phase") else phase, level, stages)


def states_of(file: NetFile, by_solver: Sequence[NetState]) -> list[NetState]:
    """The states that a file is meant for: those its solver builds, and the phases and stages it has own layers for."""
    own, layers = file.message.state, file.message.layer
    plain = {phase: NetState(phase, own.level, tuple(own.stage)) for phase in ("TRAIN", "TEST")}
    found = []
    for phase, other in (("TRAIN", "TEST"), ("TEST", "TRAIN")):
        if any(plain[phase].keeps(layer) and not plain[other].keeps(layer) for layer in layers):
            found.append(plain[phase])
    stages = {stage for layer in layers for rule in layer.include for stage in rule.stage}
    if stages and not by_solver:
        found = [
            NetState(p, own.level, (*own.stage, stage)) for stage in sorted(stages) for p in _phases(layers, stage)
        ]
    found = list(dict.fromkeys([*by_solver, *found]))
    if not found:
        # Without rules both phases have the same layers; a loss tells what they are for.
        trains = any(layer.type.endswith("Loss") or any(layer.loss_weight) for layer in layers)
        found = [plain["TRAIN" if trains else "TEST"]]
    return found


def _phases(layers: Sequence[Any], stage: str) -> list[str]:
    """The phases that a stage's own layers are for."""
    rules = [rule for layer in layers for rule in layer.include if stage in rule.stage]
    named = {Phase.Name(rule.phase) for rule in rules if rule.HasField("phase")}
    return sorted(named, reverse=True) or ["TEST"]


def pairs(nets: dict[tuple[Path, NetState], Net]) -> list[tuple[Net, Net]]:
    """Each net with the train net that it takes its weights from."""
    trains = {key: net for key, net in nets.items() if net.phase == "TRAIN" and net.has_loss}
    files = {path for path, _ in trains}
    pairs = []
    for (path, state), net in nets.items():
        if state.phase == "TRAIN":
            continue
        near = [t for (p, _), t in trains.items() if len(files) == 1 or p.parent == path.parent]
        if near:
            mine = learned(net)
            pairs.append((max(near, key=lambda train: len(mine.keys() & learned(train).keys())), net))
    return pairs
