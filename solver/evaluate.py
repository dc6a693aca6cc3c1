"""The test phase: a net's outputs over many batches, averaged or scored as detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.pytorch.evaluate import DetectionEvaluate
from prototxt.errors import UserError
from prototxt.graph import Graph, show
from solver.feed import DataFeed, Feed, tensors
from solver.log import Screen
from solver.results import ResultFiles, result_files
from solver.score import DetectionScore, mean_average_precision
from solver.stop import StopSignal

_SEED = 1  # a test draws nothing at random unless its net asks for augmentation; then every test draws the same


@dataclass
class TestResult:
    """What a test phase measured.

    Attributes:
        outputs: (name of the output, value) in the net's order: mAP of a detection output, else the mean of
            each value.
        classes: output -> class -> average precision; empty for `eval_type: "classification"`.
        loss: mean loss of the batches, where it was asked for.
    """

    outputs: list[tuple[str, float]]
    classes: dict[str, dict[int, float]] = field(default_factory=dict)
    loss: float | None = None


@dataclass
class TestNet:
    """A net to be scored.

    Attributes:
        net: a CaffeNet of phase TEST.
        iterations: how many batches are scored.
        root: the folder that the net's relative paths start from.
    """

    net: Any
    iterations: int
    root: Path

    def feed(self) -> DataFeed:
        """Its data from the first record on, so that the scores of one run can be compared."""
        return DataFeed(self.net.graph, _SEED, self.root)

    def check(self, p: Any) -> None:
        """Open what a test opens, so that its mistakes show before hours of training, not after.

        Raises:
            UserError: outputs that `eval_type` cannot score; missing or malformed data, labelmaps or image lists.
        """
        SCORERS[p.eval_type](self.net.graph)
        result_files(self.net.graph, self.root)
        self.feed().close()

    def share(self, trained: Any) -> None:
        """Take over the blobs of the `trained` net, by layer name; blobs that only the test net has stay.

        Raises:
            UserError: a layer of the same name has a blob of another shape.
        """
        ours = {(blob.layer, blob.index): blob.tensor for blob in self.net.blobs()}
        with torch.no_grad():
            for blob in trained.blobs():
                tensor = ours.get((blob.layer, blob.index))
                if tensor is None:
                    continue
                if tensor.shape != blob.tensor.shape:
                    raise UserError(
                        f'blob {blob.index} of layer "{blob.layer}" is {show(tuple(tensor.shape))} in the test net',
                        where=self.net.graph.net.path,
                        expected=f"{show(tuple(blob.tensor.shape))}, as in the train net",
                    )
                tensor.copy_(blob.tensor)


@torch.no_grad()
def evaluate(net: Any, feed: Feed, batches: Iterable[int], p: Any, results: Iterable[ResultFiles] = ()) -> TestResult:
    """Run `net` (a CaffeNet of phase TEST) over the feed's `batches` and score its outputs.

    Args:
        p: a SolverParameter; `eval_type`, `ap_version` and `test_compute_loss` are read.
        results: files to be filled with the detections of each batch.

    Raises:
        UserError: an output that `eval_type` cannot score.
    """
    device = net.blobs()[0].tensor.device if net.blobs() else "cpu"
    scorer = SCORERS[p.eval_type](net.graph)
    results = list(results)
    losses = []
    for index in batches:
        batch = feed(index)
        outputs = net(
            tensors(batch, device),
            keep=[*(net.loss_weights if p.test_compute_loss else ()), *(files.blob for files in results)],
        )
        scorer.add({name: outputs[name].cpu().numpy() for name in net.graph.outputs})
        if p.test_compute_loss:
            losses.append(float(net.loss(outputs)))
        for files in results:
            files.add(outputs[files.blob].cpu().numpy())
    result = scorer.result(p.ap_version)
    result.loss = sum(losses) / len(losses) if losses else None
    return result


def run_test(test: TestNet, p: Any, screen: Screen, stop: StopSignal | None = None) -> TestResult | None:
    """Score `test.net` as it is; its layers' result files are written. None when a stop was asked meanwhile."""

    def batches() -> Iterator[int]:
        for batch in range(test.iterations):
            if stop is not None and stop.asked:
                return
            yield batch

    files = result_files(test.net.graph, test.root)
    for module in test.net.modules():
        if isinstance(module, DetectionEvaluate):
            module.position = 0  # in the image list, as the data begin with their first record
    with test.feed() as feed:
        result = evaluate(test.net, feed, screen.track(batches(), "test", 0, test.iterations), p, files)
    if stop is not None and stop.asked:
        return None
    for one in files:
        one.write()
        screen.line(f"    Detections of {one.blob} written to {one.folder}")
    return result


def report(result: TestResult, p: Any, screen: Screen) -> None:
    """Print a test's outcome in Caffe's lines."""
    if result.loss is not None:
        screen.line(f"    Test loss: {result.loss:.6g}")
    for number, (name, value) in enumerate(result.outputs):
        if p.show_per_class_result:
            for label, precision in result.classes.get(name, {}).items():
                screen.line(f"class{label}: {precision:.6g}")
        screen.line(f"    Test net output #{number}: {name} = {value:.6g}")


class _Detections:
    """eval_type "detection": every output holds rows of DetectionEvaluate (Solver::TestDetection)."""

    def __init__(self, graph: Graph) -> None:
        self._scores = {name: DetectionScore(name) for name in graph.outputs}

    def add(self, outputs: dict[str, np.ndarray]) -> None:
        for name, rows in outputs.items():
            self._scores[name].add(rows)

    def result(self, ap_version: str) -> TestResult:
        classes = {name: score.average_precisions(ap_version) for name, score in self._scores.items()}
        return TestResult([(name, mean_average_precision(found)) for name, found in classes.items()], classes)


class _Means:
    """eval_type "classification": every value of every output is averaged (Solver::TestClassification)."""

    def __init__(self, graph: Graph) -> None:
        for layer in graph.layers:
            if layer.type == "DetectionEvaluate":
                raise layer.error(
                    'eval_type "classification" would average its rows', fix='give the solver eval_type: "detection"'
                )
        self._sums: dict[str, np.ndarray] = {}
        self._count = 0

    def add(self, outputs: dict[str, np.ndarray]) -> None:
        for name, array in outputs.items():
            flat = array.astype(np.float64).ravel()
            if flat.size != self._sums.setdefault(name, np.zeros_like(flat)).size:
                raise UserError(f'output "{name}" of the test net changes its size from batch to batch and has no mean')
            self._sums[name] += flat
        self._count += 1

    def result(self, ap_version: str) -> TestResult:
        return TestResult([(name, v / self._count) for name, sums in self._sums.items() for v in sums.tolist()])


SCORERS: dict[str, Callable[[Graph], _Detections | _Means]] = {"detection": _Detections, "classification": _Means}
