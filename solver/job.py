"""Whole jobs, from files to files: what `netgen train` and `netgen test` call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from annoset.database import Database
from annoset.sources.order import Order
from converters.caffemodel import Weights, check, read_weights
from converters.pytorch.net import CaffeNet
from prototxt.errors import UserError
from prototxt.files import is_file
from prototxt.graph import Graph
from prototxt.io import read_net
from prototxt.labelmap import display_names
from prototxt.phase import NetState
from prototxt.schema import SolverParameter
from solver import snapshot
from solver.config import DEFAULT_SEED, SolverConfig, read_config
from solver.evaluate import TestNet, TestResult, report, run_test
from solver.feed import READERS, DataFeed, fed_graph
from solver.log import Screen
from solver.score import AP_VERSIONS
from solver.train import Run, Trainer

Tell = Callable[[str], None]


def train(
    solver: str | Path,
    weights: Sequence[str | Path] = (),
    resume: str | Path | None = None,
    device: str | None = None,
    screen: Screen | None = None,
    order: Order = Order(),  # noqa: B008 (it cannot change)
) -> bool:
    """Train the net of a solver prototxt; snapshots and `<snapshot_prefix>.log.csv` are written on the way.

    Args:
        weights: caffemodels whose layers start the net, matched by name; of a layer in several, the last counts.
        resume: a solverstate to go on from, with the weights it names.
        device: "cpu", "cuda", "cuda:1"; by default what `solver_mode` and `device_id` ask for.
        order: of the records that the net is trained with.

    Returns:
        Whether `max_iter` was reached (and not Ctrl-C pressed).

    Raises:
        UserError: whatever is wrong with the files, before anything is written.
    """
    screen = screen or Screen()
    if weights and resume:
        raise UserError("weights and a snapshot are both given", fix="give one: a snapshot names its own weights")
    config = read_config(solver)
    target = choose_device(config.p, device, screen.line)
    graph = config.train.graph()
    state = snapshot.read_state(resume) if resume else None
    found = snapshot.find_net(resume, state) if state else None
    net = CaffeNet(graph, load(graph, [found] if found else weights, screen.line), seed=config.seed).to(target)
    with DataFeed(graph, config.seed, config.root, order=order) as feed:
        trainer = Trainer(config, net, feed)
        if state:
            trainer.restore(resume, state)
            screen.line(f"Resuming from {resume} at iteration {state.progress.iteration}")
        return Run(trainer, test_nets(config, target), config.prefix, screen).train()


def test_nets(config: SolverConfig, device: torch.device) -> list[TestNet]:
    """The solver's test nets, checked, their blobs as the fillers left them."""
    tests = []
    for net in config.tests:
        tests.append(TestNet(CaffeNet(net.graph(), seed=config.seed).to(device), net.iterations, config.root))
        tests[-1].check(config.p)
    return tests


def test(
    weights: Sequence[str | Path] = (),
    solver: str | Path | None = None,
    net: str | Path | None = None,
    iterations: int | None = None,
    device: str | None = None,
    ap_version: str | None = None,
    screen: Screen | None = None,
) -> list[tuple[Graph, Path, TestResult]]:
    """Score weights on the test nets of a solver, or on one net's prototxt; result files are written.

    Args:
        weights: caffemodels, as in `train`; without any, the net is scored as its fillers leave it.
        iterations: batches to score; by default the solver's `test_iter`, with `net` one pass over its data.
        ap_version: by default the solver's, with `net` "11point".

    Returns:
        For each test net its graph, the folder its paths start from and what was measured.

    Raises:
        UserError: as `train`; also without exactly one of `solver` and `net`.
    """
    screen = screen or Screen()
    if (solver is None) == (net is None):
        raise UserError("give either a solver or a net to test")
    config = read_config(solver) if solver else None
    p = config.p if config else SolverParameter(eval_type="detection", ap_version="11point")
    if ap_version:
        AP_VERSIONS[ap_version]  # raises for an unknown one before anything is computed
        p.ap_version = ap_version
    seed = config.seed if config else DEFAULT_SEED
    target = choose_device(p, device, screen.line)
    if not weights:
        screen.line("No weights are given: the net is scored as its fillers leave it")
    results = []
    with screen.open():
        for graph, root, count in _tested(config, net):
            if config is None and not any(layer.type == "DetectionEvaluate" for layer in graph.layers):
                p.eval_type = "classification"
            caffe_net = CaffeNet(graph, load(graph, weights, screen.line), seed=seed).to(target)
            result = run_test(TestNet(caffe_net, iterations or count, root), p, screen)
            report(result, p, screen)
            results.append((graph, root, result))
    return results


def _tested(config: SolverConfig | None, net: str | Path | None) -> list[tuple[Graph, Path, int]]:
    """Graph, root of its paths and number of batches of each net to test."""
    if config is None:
        graph = fed_graph(read_net(net), NetState("TEST"), Path())
        return [(graph, Path(), one_pass(graph, Path()))]
    if not config.tests:
        raise UserError("it names no test net", where=config.path, fix="add test_net and test_iter, or give a net")
    return [(one.graph(), config.root, one.iterations) for one in config.tests]


def one_pass(graph: Graph, root: Path) -> int:
    """How many batches it takes to see all that the net's first data layer reads once."""
    for layer in graph.layers:
        if layer.type in READERS:
            with READERS[layer.type](layer, DEFAULT_SEED, root) as source:
                return -(-source.records // source.batch_size)
        if layer.type == "AnnotatedData":
            with Database(root / layer.proto.data_param.source) as database:
                return -(-len(database) // layer.proto.data_param.batch_size)
    return 1


def load(graph: Graph, files: Sequence[str | Path], tell: Tell) -> Weights | None:
    """The weights of the files together, checked against the net.

    Raises:
        UserErrors: blobs that do not fit, with both shapes.
        UserError: not one layer of the net is in the files.
    """
    if not files:
        return None
    weights = read_weights(files[0])
    for path in files[1:]:
        weights.update(read_weights(path))
    # Files of Caffe list every layer; those without blobs are of no interest here.
    loaded, missing, unused = (
        [name for name in group if weights.get(name) or name not in weights] for group in check(graph, weights)
    )
    names = ", ".join(map(str, files))
    if not loaded:
        raise UserError("not one layer of the net is in it", where=names, fix="give the weights of this net")
    tell(f"Loaded {len(loaded)} layers from {names}")
    for layers, what in ((missing, "keep their initial values"), (unused, "of the file are not in the net")):
        if layers:
            tell(f"    {len(layers)} layers {what}: {_some(layers)}")
    return weights


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def choose_device(p: Any, wanted: str | None, tell: Tell) -> torch.device:
    """The device asked for, or the one of `solver_mode`; without a GPU a solver for one runs on the CPU, and says so.

    Raises:
        UserError: `wanted` is unknown or not there.
    """
    name = wanted
    if name is None and p.solver_mode == SolverParameter.GPU:
        name = f"cuda:{p.device_id}" if torch.cuda.is_available() else None
        if name is None and p.HasField("solver_mode"):
            tell("solver_mode is GPU, but there is no CUDA GPU here: the CPU is used")
    try:
        device = torch.device(name or "cpu")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        reason = str(error).splitlines()[0]
        raise UserError(f'device "{name}" cannot be used: {reason}', expected="cpu, cuda or cuda:NUMBER") from error
    # Caffe computes in float32 throughout; TF32 would keep 10 bits of every factor.
    torch.backends.cudnn.allow_tf32 = False
    return device


def class_names(graph: Graph, root: Path) -> dict[int, str]:
    """Class -> display name from the first labelmap that the net names, empty when there is none."""
    for layer in graph.layers:
        path = ""
        if layer.type == "AnnotatedData":
            path = layer.proto.annotated_data_param.label_map_file
        elif layer.type == "DetectionOutput":
            path = layer.p.save_output_param.label_map_file
        if path and is_file(root / path):
            return display_names(root / path)
    return {}
