"""The same input through every implementation of a net at hand, and how far their outputs lie apart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converters.backends import BACKENDS, Arrays, Job, SkippedError
from converters.caffemodel import read_weights, require_all
from converters.differences import Difference, compare_detections, compare_values
from converters.misreadings import known_misreadings
from prototxt.errors import UserError
from prototxt.graph import Graph


@dataclass
class Comparison:
    """What `verify` found.

    Attributes:
        reference: the backend that the others are held against.
        seconds: backend -> time of all inputs, loading included.
        differences: by blob in the net's order, then by backend.
        skipped: backend -> why it took no part.
        misread: (blob, backend) -> what the backend, or the reference, is known to do otherwise than Caffe there: a
            difference says nothing against the net.
    """

    reference: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    misread: dict[tuple[str, str], str] = field(default_factory=dict)

    def unexplained(self, tolerance: float) -> list[Difference]:
        """The differences above a tolerance, or NaN, that no known misreading explains."""
        return [d for d in self.differences if not d.largest <= tolerance and (d.blob, d.backend) not in self.misread]


def verify(
    prototxt: str | Path,
    caffemodel: str | Path,
    inputs: Sequence[Arrays],
    onnx: str | Path | None = None,
    layers: bool = False,
) -> Comparison:
    """Run every input through every backend and compare their outputs.

    Args:
        inputs: for each run, the array of every input of the net.
        onnx: an ONNX file of the net; without it the net is converted on the way.
        layers: compare every blob, and not only the outputs and what a DetectionOutput reads.

    Raises:
        UserError: a file is wrong, files do not belong together, or fewer than two backends are at hand.
    """
    graph = Graph.load(prototxt)
    require_all(graph, read_weights(caffemodel))
    blobs = _every_blob(graph) if layers else _ends(graph)
    job = Job(Path(prototxt), Path(caffemodel), graph, None if onnx is None else Path(onnx), blobs)
    found = Comparison()
    results: dict[str, list[Arrays]] = {}
    for name, load in BACKENDS.items():
        start = time.perf_counter()
        try:
            run = load(job)
            results[name] = [run(arrays) for arrays in inputs]
        except SkippedError as reason:
            found.skipped[name] = str(reason)
        else:
            found.seconds[name] = time.perf_counter() - start
    if len(results) < 2:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.skipped.items())
        raise UserError(f"there is nothing to compare with ({reasons})", fix="pip install torch onnx onnxruntime")
    found.reference = next(iter(results))
    found.differences = _differences(job, found.reference, results)
    for backend in results:
        reasons = {**known_misreadings(graph, found.reference), **known_misreadings(graph, backend)}
        found.misread.update({(blob, backend): reason for blob, reason in reasons.items()})
    return found


def _every_blob(graph: Graph) -> tuple[str, ...]:
    return tuple(dict.fromkeys(top for layer in graph.layers for top in layer.tops if top not in graph.inputs))


def _ends(graph: Graph) -> tuple[str, ...]:
    """The outputs, and what the detections among them are made of: an input without objects proves little else."""
    predictions = {name for layer in graph.layers if layer.type == "DetectionOutput" for name in layer.bottoms}
    return tuple(name for name in _every_blob(graph) if name in predictions or name in graph.outputs)


def _differences(job: Job, reference: str, results: Mapping[str, Sequence[Arrays]]) -> list[Difference]:
    detections = {top: layer.p for layer in job.graph.layers if layer.type == "DetectionOutput" for top in layer.tops}
    found = []
    for blob in job.blobs:
        for backend, runs in results.items():
            if backend == reference or any(blob not in results[name][0] for name in (reference, backend)):
                continue
            pairs = [(one[blob], other[blob]) for one, other in zip(results[reference], runs)]
            if blob in detections:
                found.append(compare_detections(blob, backend, pairs, detections[blob]))
            else:
                found.append(compare_values(blob, backend, pairs))
    return found
