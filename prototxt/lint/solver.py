"""Solvers: their nets, their steps, and whether a test covers the test images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prototxt.lint.finding import ERROR, NOTE, WARNING, Found, check
from prototxt.lint.net import Net, find
from prototxt.text import Parsed

_TRAIN_NETS = ("net", "net_param", "train_net", "train_net_param")


@dataclass(eq=False)
class Solver:
    """A solver with the nets it names.

    Attributes:
        missing: of each net that is in no file: its field (or field and index), its name, and the file beside the
            solver that was taken instead, empty if there is none.
        tests: place among the solver's test_iter, and net, of each test net that could be read.
    """

    parsed: Parsed
    missing: list[tuple[tuple[Any, ...], str, str]] = field(default_factory=list)
    tests: list[tuple[int, Net]] = field(default_factory=list)

    @property
    def p(self) -> Any:
        return self.parsed.message

    def at(self, *path: str | int) -> str:
        """`FILE:LINE` of a field."""
        return self.parsed.where(*path)


@check("solver-net", ERROR, Solver)
def solver_net(solver: Solver) -> Iterator[Found]:
    """A solver names no train net, more than one, or a file that is not there."""
    given = [name for name in _TRAIN_NETS if solver.p.HasField(name)]
    if len(given) != 1:
        reason = f"it gives {len(given)} train nets ({', '.join(given)})" if given else "it names no train net"
        where = solver.at(given[-1]) if given else solver.parsed.path
        yield Found(where, reason, f"give one of {', '.join(_TRAIN_NETS)}")
    for path, name, instead in solver.missing:
        reason = f'the net "{name}" is neither in the current folder nor in that of the solver'
        taken = f"; {instead} is checked in its place" if instead else ""
        fix = "correct the path, or run from the folder that it starts from"
        yield Found(solver.at(*path), reason + taken, fix, NOTE if instead else "")


@check("solver-tests", ERROR, Solver)
def solver_tests(solver: Solver) -> Iterator[Found]:
    """A solver does not say for each test net how many batches a test has (Caffe aborts), or never tests."""
    nets, counts = len(solver.p.test_net) + len(solver.p.test_net_param), len(solver.p.test_iter)
    shared = solver.p.HasField("net") or solver.p.HasField("net_param")
    if counts < nets or (counts > nets and not shared):
        path = ("test_iter", 0) if counts else ("test_net", 0)
        reason = f"it has {counts} test_iter for {nets} test nets; Caffe aborts"
        yield Found(solver.at(*path), reason, "give one test_iter for each test net")
    elif counts and not solver.p.test_interval:
        reason = "it has a test_iter but no test_interval, so it never tests"
        yield Found(solver.at("test_iter", 0), reason, "test_interval: ITERATIONS, or no test net", WARNING)


@check("solver-steps", WARNING, Solver)
def solver_steps(solver: Solver) -> Iterator[Found]:
    """Steps of the learning rate do not rise, come after the last iteration, or belong to another policy."""
    steps, last, policy = list(solver.p.stepvalue), solver.p.max_iter, solver.p.lr_policy
    for i, step in enumerate(steps):
        at = solver.at("stepvalue", i)
        if i and step <= steps[i - 1]:
            yield Found(at, f"stepvalue {step} comes after {steps[i - 1]}; steps are taken in this order", "sort them")
        elif solver.p.HasField("max_iter") and step > last:
            yield Found(at, f"stepvalue {step} is beyond max_iter {last}", "lower it, or raise max_iter")
    if steps and policy != "multistep":
        reason = f'lr_policy "{policy}" does not heed stepvalue'
        yield Found(solver.at("stepvalue", 0), reason, 'lr_policy: "multistep"')
    if policy == "multistep" and not steps:
        yield Found(solver.at("lr_policy"), 'lr_policy "multistep" without a stepvalue never steps', "give a stepvalue")


@check("solver-test-images", WARNING, Solver)
def solver_test_images(solver: Solver) -> Iterator[Found]:
    """test_iter times the batch is not the number of test images: some are not tested, or some are tested twice."""
    for i, net in solver.tests:
        batch = next((node.p.data_param.batch_size for node in net.of("AnnotatedData")), 0)
        tested, images = solver.p.test_iter[i] * batch, _test_images(net)
        if tested and images and tested != images:
            odd = f"{images - tested} are not tested" if tested < images else f"{tested - images} are tested twice"
            reason = f"test_iter {solver.p.test_iter[i]} x batch_size {batch} = {tested} images of {images}; {odd}"
            divides = images % batch == 0
            fix = (
                f"test_iter: {images // batch}"
                if divides
                else f"a batch_size that divides {images}, with its test_iter"
            )
            yield Found(solver.at("test_iter", i), reason, fix)


def _test_images(net: Net) -> int:
    """How many images a test net is for, as far as it says so."""
    for node in net.of("DetectionOutput", "DetectionEvaluate"):
        parameters = node.p.save_output_param if node.type == "DetectionOutput" else node.p
        if node.type == "DetectionOutput" and parameters.num_test_image:
            return parameters.num_test_image
        path = find(parameters.name_size_file, net.file.path) if parameters.name_size_file else None
        if path:
            return sum(bool(line.strip()) for line in path.read_bytes().splitlines())
    return 0
