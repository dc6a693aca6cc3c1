"""The same inputs through every implementation of a net at hand, and how far their outputs lie apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from converters.caffemodel import is_hdf5, require_all, write_weights
from converters.files import LARGEST_MESSAGE, STATES, read_blobs
from converters.proof.backends import BACKENDS, Backend, Job, SkippedError, version_of
from converters.proof.differences import Difference, compare_detections, compare_values, worst
from converters.proof.misreadings import known_misreadings
from converters.proof.samples import Arrays, Sample, as_samples
from converters.proof.values import ends_of, values_of
from prototxt.errors import UserError
from prototxt.graph import Graph, Layer
from prototxt.shapes.detection import DETECTORS

# What float32 leaves apart, and what float16 does: 1.5e-2 at the most on trained and untrained detectors.
TOLERANCE, HALF_TOLERANCE = 1e-4, 3e-2
# What a difference is divided by where no value of the blob is larger: below it, it may be but rounding.
SMALLEST, HALF_SMALLEST = 1e-3, 0.1


@dataclass
class Comparison:
    """What `verify` found.

    Attributes:
        reference: the backend that the others are held against.
        seconds: backend -> time of all inputs, loading included.
        versions: backend -> its version.
        inputs: their names.
        cases: every output of every backend on every input.
        layers: where they were asked for, every value of the net in its order: the worst of all inputs.
        makers: value of the net -> the layer that computes it.
        into: backend -> layer -> the layer that it is folded into.
        skipped: backend -> why it took no part.
        misread: (blob, backend) -> what the backend, or the reference, is known to do otherwise than Caffe there: a
            difference says nothing against the net.
        halves: backends that compute in float16.
        facts: of the ONNX file that was given.
        notes: what one should know when one reads the figures.
    """

    reference: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    cases: list[Difference] = field(default_factory=list)
    layers: list[Difference] = field(default_factory=list)
    makers: dict[str, Layer] = field(default_factory=dict)
    into: dict[str, Mapping[str, str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    misread: dict[tuple[str, str], str] = field(default_factory=dict)
    halves: set[str] = field(default_factory=set)
    facts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def differences(self) -> list[Difference]:
        """The worst of all inputs, by output in the net's order, then by backend."""
        return self.worst_of_inputs(self.cases)

    def worst_of_inputs(self, cases: Sequence[Difference]) -> list[Difference]:
        """One for each value and backend of `cases`."""
        groups: dict[str, dict[str, list[Difference]]] = {name: {} for name in self.makers}
        for case in cases:
            groups.setdefault(case.blob, {}).setdefault(case.backend, []).append(case)
        return [worst(group) for backends in groups.values() for group in backends.values()]

    def worst_by_input(self) -> list[Difference]:
        """Of each input and backend the output that is farthest apart, one that no misreading explains first."""
        groups: dict[tuple[str, str], list[Difference]] = {}
        for case in self.cases:
            groups.setdefault((case.input, case.backend), []).append(case)
        return [
            max(group, key=lambda d: ((d.blob, d.backend) not in self.misread, d.largest)) for group in groups.values()
        ]

    def learn(self, run: _Run) -> None:
        """Take over what is to be known about the backends of a run."""
        for name, backend in run.loaded.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + run.seconds[name]
            self.into[name] = backend.into
            self.facts |= backend.facts
            self.halves |= {name} if backend.is_half else set()
            self.notes += [note for note in backend.notes if note not in self.notes]

    def tolerances(self, given: float | None = None) -> dict[str, float]:
        """Backend -> the largest difference that is allowed: `given`, or what its precision leaves."""
        return {
            name: given if given is not None else HALF_TOLERANCE if name in self.halves else TOLERANCE
            for name in self.seconds
        }

    def unexplained(self, tolerance: float | Mapping[str, float]) -> list[Difference]:
        """The outputs that differ by more than a tolerance, or by NaN, and no known misreading explains it."""
        return self._apart(self.differences, tolerance)

    def first_apart(self, tolerance: float | Mapping[str, float]) -> dict[str, Difference]:
        """Backend -> the first value of the net that leaves the tolerance there; of those that have one."""
        found: dict[str, Difference] = {}
        for difference in self._apart(self.layers, tolerance):
            found.setdefault(difference.backend, difference)
        return found

    def _apart(self, differences: Sequence[Difference], tolerance: float | Mapping[str, float]) -> list[Difference]:
        def allowed(backend: str) -> float:
            return tolerance[backend] if isinstance(tolerance, Mapping) else tolerance

        return [
            d for d in differences if not d.largest <= allowed(d.backend) and (d.blob, d.backend) not in self.misread
        ]


def verify(
    prototxt: str | Path,
    weights: str | Path,
    inputs: Sequence[Sample | Arrays],
    onnx: str | Path | None = None,
    layers: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Run every input through every backend and compare their outputs.

    Args:
        weights: a caffemodel, binary or HDF5, or a state_dict: .pth, .pt, .safetensors.
        inputs: for each run, the array of every input of the net. Those of other sizes than the net's go through the
            backends that take them.
        onnx: an ONNX file of the net; without it the net is converted on the way.
        layers: compare in a second run every value that the backends can show. They fuse fewer layers there.
        tell: called with what is done next.

    Raises:
        UserError: a file is wrong, files do not belong together, or fewer than two backends are at hand.
    """
    graph = Graph.load(prototxt)
    blobs = read_blobs(graph, weights)
    require_all(graph, blobs)
    samples = as_samples(inputs)
    found = Comparison(inputs=[sample.name for sample in samples])
    found.makers = {value.name: value.layer for value in values_of(graph)}
    with _binary(Path(weights), graph, blobs) as caffemodel:
        job = Job(Path(prototxt), caffemodel, graph, blobs, None if onnx is None else Path(onnx), ends_of(graph))
        ends = _Run(job, samples, tell)
        found.cases, found.reference, found.skipped = ends.cases(), ends.reference, ends.skipped
        found.learn(ends)
        if layers:
            every = _Run(replace(job, values=values_of(graph)), samples, tell, tuple(found.skipped))
            found.layers = found.worst_of_inputs(every.cases())
            found.learn(every)
            found.notes += [f"{name} does not show its layers: {reason}" for name, reason in every.skipped.items()]
    of_reference = known_misreadings(graph, found.reference)
    for backend in found.seconds:
        found.versions[backend] = version_of(backend)
        reasons = {**of_reference, **known_misreadings(graph, backend)}
        found.misread.update({(blob, backend): reason for blob, reason in reasons.items()})
    return found


@contextmanager
def _binary(weights: Path, graph: Graph, blobs: Mapping[str, Sequence[np.ndarray]]) -> Iterator[Path | None]:
    """A caffemodel that importers can read: the file itself, or one for the time being; None when it were too large."""
    if not is_hdf5(weights) and weights.suffix not in STATES:
        yield weights
        return
    if sum(blob.nbytes for each in blobs.values() for blob in each) > LARGEST_MESSAGE:
        yield None
        return
    with TemporaryDirectory(prefix="netgen-") as folder:
        path = Path(folder) / "net.caffemodel"
        write_weights(path, graph, blobs)
        yield path


class _Run:
    """One set of values, all samples, all backends that do not drop out.

    Attributes:
        loaded: the backends that are left.
        skipped: backend -> why it took no part.
        seconds: backend -> time of all samples, loading included.
    """

    def __init__(
        self, job: Job, samples: Sequence[Sample], tell: Callable[[str], None], without: Sequence[str] = ()
    ) -> None:
        self.job, self.samples, self.tell, self.without = job, samples, tell, without
        self.loaded: dict[str, Backend] = {}
        self.skipped: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    @property
    def reference(self) -> str:
        """The first backend, but none of float16 as long as there are others."""
        return min(self.loaded, key=lambda name: self.loaded[name].is_half)

    def cases(self) -> list[Difference]:
        """Every value of every backend on every input. Raises UserError when there is nothing to compare with."""
        for name, load in BACKENDS.items():
            if name not in self.without:
                self.tell(f"{name} loads the net")
                self._try(name, lambda name=name, load=load: self.loaded.setdefault(name, load(self.job)))
        while True:
            self._require_two()
            count = len(self.loaded)
            cases = [case for sample in self.samples for case in self._compare(sample)]
            if len(self.loaded) == count:  # else a backend has dropped out, and may have been the reference
                return cases

    def _try(self, name: str, action: Callable[[], Any]) -> Any:
        """What `action` gives; None, and a backend fewer, when that cannot take part."""
        start = time.perf_counter()
        try:
            return action()
        except SkippedError as reason:
            self.skipped[name] = str(reason)
            self.loaded.pop(name, None)
            return None
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def _require_two(self) -> None:
        if len(self.loaded) < 2:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.skipped.items())
            raise UserError(f"there is nothing to compare with ({reasons})", fix="pip install torch onnx onnxruntime")

    def _compare(self, sample: Sample) -> list[Difference]:
        reference, wanted, cases = self.reference, None, []
        for name, backend in sorted(self.loaded.items(), key=lambda pair: pair[0] != reference):
            self.tell(f"{sample.name}: {name}")
            arrays = self._try(name, lambda backend=backend: backend.run(sample))
            if name not in self.loaded:
                return []
            if name == reference:
                wanted = arrays
            elif arrays is not None and wanted is not None:
                expected = dict(wanted)
                for expect in backend.expect:
                    expected |= expect(wanted, arrays)
                cases += self._differences(Difference("", name, sample.name), expected, arrays)
        return cases

    def _differences(self, case: Difference, wanted: Arrays, arrays: Arrays) -> list[Difference]:
        """Every value that both have, `case` saying what is compared with what."""
        detections = {v.name: v.layer.p for v in self.job.values if v.layer.type in DETECTORS}
        least = HALF_SMALLEST if self.loaded[case.backend].is_half else SMALLEST
        found = []
        for name in dict.fromkeys([*(value.name for value in self.job.values), *wanted]):
            if name not in wanted or name not in arrays:
                continue
            own, one, other = replace(case, blob=name), wanted[name], arrays[name]
            if name in detections:
                found.append(compare_detections(own, one, other, detections[name]))
            else:
                found.append(compare_values(own, one, other, least))
        return found
