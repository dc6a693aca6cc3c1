"""The implementations of a net at hand, each behind one call: a sample in, arrays of its values out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

from converters.caffemodel import Weights
from converters.proof.samples import Arrays, Sample
from converters.proof.values import Value
from prototxt.errors import UserError
from prototxt.graph import Graph, Layer

# Value -> array; None where the implementation takes one size only and the sample is of another.
Run = Callable[[Sample], "Arrays | None"]


class SkippedError(Exception):
    """A backend that cannot take part, and why."""


@dataclass(frozen=True)
class Job:
    """What a backend runs.

    Attributes:
        prototxt, caffemodel: the files; the second is binary, whatever the weights came from, and None when they are
            too many for such a file.
        graph: the net that `prototxt` says.
        weights: the net's.
        onnx: an ONNX file of it; None to convert one on the way.
        values: what to give back.
    """

    prototxt: Path
    caffemodel: Path | None
    graph: Graph
    weights: Weights
    onnx: Path | None
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Backend:
    """A net that an implementation has loaded.

    Attributes:
        expect: given the reference's values and this backend's own, what some of the latter should be instead of the
            reference's, or beside them.
        is_half: whether it computes in float16.
        into: layer -> the layer that it is folded into, so that both are one here.
        facts, notes: what a report says about it.
    """

    run: Run
    expect: tuple[Callable[[Arrays, Arrays], Arrays], ...] = ()
    is_half: bool = False
    into: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _importers_caffemodel(job: Job) -> str:
    """The caffemodel that importers read. Raises SkippedError when there is none."""
    if job.caffemodel is None:
        raise SkippedError("weights of 2 GB and more fit into no binary caffemodel")
    return str(job.caffemodel)


def _of_one_size(job: Job, run: Callable[[Arrays], Arrays]) -> Backend:
    """A backend that takes the sizes of the prototxt alone."""
    return Backend(lambda sample: run(sample.arrays) if sample.shapes == job.graph.inputs else None)


def _pytorch(job: Job) -> Backend:
    try:
        import torch
    except ImportError as error:
        raise SkippedError("torch is not installed") from error
    from converters.pytorch import CaffeNet

    net = CaffeNet(job.graph, job.weights)
    names = {(value.layer.name, value.place): value.name for value in job.values}

    def run(sample: Sample) -> Arrays:
        found = {}

        def watch(layer: Layer, tops: tuple[torch.Tensor, ...]) -> None:
            for place, top in enumerate(tops):
                if (name := names.get((layer.name, place))) is not None:
                    found[name] = top.numpy()

        inputs = {name: torch.tensor(array) for name, array in sample.arrays.items()}
        with torch.no_grad():
            _for_sizes(net, job, sample)(inputs, watch=watch)
        return found

    return Backend(run)


def _for_sizes(net, job: Job, sample: Sample):
    """The net itself, or one for the sizes of a sample that has others."""
    from converters.pytorch import CaffeNet

    if sample.shapes == job.graph.inputs:
        return net
    state = job.graph.state
    return CaffeNet(Graph(job.graph.net, state.phase, state.level, state.stages, sample.shapes), job.weights)


def _onnx_runtime(job: Job) -> Backend:
    try:
        import onnx  # noqa: F401, for the functions below
        import onnxruntime
    except ImportError as error:
        if job.onnx is not None:
            raise UserError(f"{error.name} is not installed, so it cannot be run", where=str(job.onnx),
                            fix="pip install onnx onnxruntime") from error  # fmt: skip
        raise SkippedError(f"{error.name} is not installed") from error
    from converters.proof.given_onnx import describe

    given = _load_onnx(job)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is said by the errors that are raised
    values = [
        onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for array in given.external.values()
    ]
    if values:
        options.add_external_initializers(list(given.external), values)
    where = str(job.onnx or job.prototxt)
    try:
        data = given.model.SerializeToString()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise UserError(f"ONNX Runtime cannot load it: {error}", where=where) from error
    is_fixed = not any(given.open_axes.values())
    facts = {} if job.onnx is None else describe(given)

    def run(sample: Sample) -> Arrays | None:
        if is_fixed and sample.shapes != job.graph.inputs:
            return None
        try:
            tops = session.run(list(given.names.values()), given.feeds(sample))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"ONNX Runtime cannot run it on {sample.name}: {error}", where=where) from error
        found = dict(zip(given.names, tops))
        for derive in given.more:
            found |= derive(found)
        return found

    return Backend(run, tuple(given.expect), given.is_half, given.into, facts, tuple(given.notes))


def _load_onnx(job: Job):
    from converters.proof.given_onnx import plain_onnx, read_given

    if job.onnx is not None:
        return read_given(job.onnx, job.graph, job.weights, job.values)
    try:
        return plain_onnx(job.graph, job.weights, job.values)
    except UserError as error:
        raise SkippedError(f"the net has no ONNX form here: {error}") from error


def _opencv(job: Job) -> Backend:
    try:
        import cv2
    except ImportError as error:
        raise SkippedError("OpenCV is not installed") from error
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise SkippedError(f"OpenCV {cv2.__version__} has no Caffe importer; the last with one is 4.x")
    if any(layer.type == "DetectionOutput" and layer.p.keep_top_k < 0 for layer in job.graph.layers):
        raise SkippedError(f"OpenCV {cv2.__version__} writes beyond its memory without a keep_top_k")
    caffemodel = _importers_caffemodel(job)
    try:
        net = cv2.dnn.readNetFromCaffe(str(job.prototxt), caffemodel)
    except cv2.error as error:
        raise SkippedError(f"OpenCV {cv2.__version__} cannot import the net: {error.err}") from error
    names = _opencv_names(job, net.getLayerNames())

    def run(inputs: Arrays) -> Arrays:
        for name, array in inputs.items():
            net.setInput(array, name)
        try:  # OpenCV looks at most parameters only now
            return dict(zip(names, net.forward(list(names.values()))))
        except cv2.error as error:
            raise SkippedError(f"OpenCV {cv2.__version__} cannot run the net: {error.err}") from error

    return _of_one_size(job, run)


def _opencv_names(job: Job, known: tuple[str, ...]) -> dict[str, str]:
    """Value -> OpenCV's layer whose first output it is; only that output is kept from being overwritten.

    Its importer calls a convolution after its top, another layer as Caffe does.
    """
    layers = {layer.name for layer in job.graph.layers}
    found = {}
    for value in job.values:
        name = value.layer.name
        if value.layer.type == "Convolution" and value.blob != name:
            name = value.blob if value.blob not in layers else ""
        if value.place == 0 and name in known:
            found[value.name] = name
    return found


def _mnn(job: Job) -> Backend:
    from converters.proof.mnn import MnnError, MnnNet

    try:
        net = MnnNet(job.prototxt, Path(_importers_caffemodel(job)))
    except MnnError as error:
        raise SkippedError(str(error)) from error
    # MNN calls what a layer changes in place after the layer.
    names = {value.blob if value.is_first else value.layer.name: value for value in job.values}

    def run(inputs: Arrays) -> Arrays:
        try:
            tops = net.run(inputs, names)
        except MnnError as error:
            raise SkippedError(str(error)) from error
        # Its rows of detections lack the number of the image.
        is_rows = {name: names[name].layer.type == "DetectionOutput" for name in tops}
        return {names[name].name: np.insert(top, 0, 0, -1) if is_rows[name] else top for name, top in tops.items()}

    return _of_one_size(job, run)


def _pycaffe(job: Job) -> Backend:
    try:
        import caffe
    except ImportError as error:
        raise SkippedError("pycaffe is not installed") from error
    net = caffe.Net(str(job.prototxt), _importers_caffemodel(job), caffe.TEST)
    by_layer: dict[str, list[Value]] = {}
    for value in job.values:
        by_layer.setdefault(value.layer.name, []).append(value)

    def run(inputs: Arrays) -> Arrays:
        for name, array in inputs.items():
            net.blobs[name].data[...] = array
        found = {}
        # Layer by layer: what one leaves in a blob, another may change in place.
        for place, layer in enumerate(net._layer_names):
            net._forward(place, place)
            found |= {value.name: net.blobs[value.blob].data.copy() for value in by_layer.get(layer, ())}
        return found

    return _of_one_size(job, run)


# The first that is at hand is the reference.
BACKENDS: dict[str, Callable[[Job], Backend]] = {
    "PyTorch": _pytorch,
    "ONNX Runtime": _onnx_runtime,
    "OpenCV": _opencv,
    "MNN": _mnn,
    "pycaffe": _pycaffe,
}
_MODULES = {"PyTorch": "torch", "ONNX Runtime": "onnxruntime", "OpenCV": "cv2", "pycaffe": "caffe"}


def version_of(backend: str) -> str:
    """The version of a backend that is at hand; "unknown" where it does not say."""
    if backend == "MNN":
        return metadata.version("MNN")
    return str(getattr(sys.modules.get(_MODULES[backend]), "__version__", "unknown"))
