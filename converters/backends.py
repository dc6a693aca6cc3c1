"""The implementations of a net at hand, each behind one call: arrays of its inputs in, arrays of its blobs out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.caffemodel import read_weights
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import read_bytes

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], Arrays]


class SkippedError(Exception):
    """A backend that cannot take part, and why."""


@dataclass(frozen=True)
class Job:
    """What a backend runs.

    Attributes:
        prototxt, caffemodel: the files.
        graph: the net that `prototxt` says.
        onnx: an ONNX file of it; None to convert one on the way.
        blobs: the names of the blobs to give back, the outputs by default.
    """

    prototxt: Path
    caffemodel: Path
    graph: Graph
    onnx: Path | None
    blobs: tuple[str, ...]

    def maker(self, blob: str) -> str:
        """The last layer that makes a blob."""
        return next(layer.name for layer in reversed(self.graph.layers) if blob in layer.tops)


def _pytorch(job: Job) -> Run:
    try:
        import torch
    except ImportError as error:
        raise SkippedError("torch is not installed") from error
    from converters.pytorch import CaffeNet

    net = CaffeNet(job.graph, read_weights(job.caffemodel))

    def run(inputs: Arrays) -> Arrays:
        with torch.no_grad():
            tops = net({name: torch.tensor(array) for name, array in inputs.items()}, keep=job.blobs)
        return {name: tops[name].numpy() for name in job.blobs}

    return run


def _onnx_runtime(job: Job) -> Run:
    try:
        import onnx  # noqa: F401, for the functions below
        import onnxruntime
    except ImportError as error:
        raise SkippedError(f"{error.name} is not installed") from error
    model = _load_onnx(job)
    names = _show_blobs(job, model)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise UserError(f"ONNX Runtime cannot load it: {error}", where=str(job.onnx or job.prototxt)) from error
    inputs = {value.name: tuple(value.shape) for value in session.get_inputs()}
    if inputs != job.graph.inputs:
        raise _other_net(job, f"its inputs are {inputs}, those of {job.prototxt} {job.graph.inputs}")
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs))))


def _load_onnx(job: Job) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    if job.onnx is None:
        from converters.onnx import to_onnx

        try:
            return to_onnx(job.graph, read_weights(job.caffemodel))
        except UserError as error:
            raise SkippedError(f"the net has no ONNX form: {error}") from error
    try:
        return onnx.ModelProto.FromString(read_bytes(job.onnx))
    except DecodeError as error:
        raise UserError("this is no ONNX file, or it is cut short", where=str(job.onnx)) from error


def _show_blobs(job: Job, model: Any) -> list[str]:
    """Make outputs of the blobs that an ONNX model computes; their names."""
    import onnx

    made = {name for node in model.graph.node for name in node.output}
    lacking = [name for name in job.graph.outputs if name not in made and name not in job.graph.inputs]
    if lacking:
        raise _other_net(job, f'it makes no "{lacking[0]}"')
    names = [name for name in job.blobs if name in made]
    for name in set(names) - {output.name for output in model.graph.output}:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    return names


def _other_net(job: Job, found: str) -> UserError:
    return UserError(found, where=str(job.onnx), expected=f"the net of {job.prototxt}", fix="convert the net again")


def _opencv(job: Job) -> Run:
    try:
        import cv2
    except ImportError as error:
        raise SkippedError("OpenCV is not installed") from error
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise SkippedError(f"OpenCV {cv2.__version__} has no Caffe importer; the last with one is 4.x")
    if any(layer.type == "DetectionOutput" and layer.p.keep_top_k < 0 for layer in job.graph.layers):
        raise SkippedError(f"OpenCV {cv2.__version__} writes beyond its memory without a keep_top_k")
    try:
        net = cv2.dnn.readNetFromCaffe(str(job.prototxt), str(job.caffemodel))
    except cv2.error as error:
        raise SkippedError(f"OpenCV {cv2.__version__} cannot import the net: {error.err}") from error
    layers = {job.maker(blob): blob for blob in job.blobs if job.maker(blob) in net.getLayerNames()}

    def run(inputs: Arrays) -> Arrays:
        for name, array in inputs.items():
            net.setInput(array, name)
        try:  # OpenCV looks at most parameters only now
            return dict(zip(layers.values(), net.forward(list(layers))))
        except cv2.error as error:
            raise SkippedError(f"OpenCV {cv2.__version__} cannot run the net: {error.err}") from error

    return run


def _mnn(job: Job) -> Run:
    from converters.mnn import MnnError, MnnNet

    try:
        net = MnnNet(job.prototxt, job.caffemodel)
    except MnnError as error:
        raise SkippedError(str(error)) from error
    # MNN calls a blob that layers change in place after the last of them.
    made = Counter(top for layer in job.graph.layers for top in layer.tops)
    names = {job.maker(blob) if made[blob] > 1 else blob: blob for blob in job.blobs}
    detections = {top for layer in job.graph.layers if layer.type == "DetectionOutput" for top in layer.tops}

    def run(inputs: Arrays) -> Arrays:
        try:
            tops = net.run(inputs, names)
        except MnnError as error:
            raise SkippedError(str(error)) from error
        found = {names[name]: top for name, top in tops.items()}
        # Its rows of detections lack the number of the image.
        return {blob: np.insert(top, 0, 0, axis=-1) if blob in detections else top for blob, top in found.items()}

    return run


def _pycaffe(job: Job) -> Run:
    try:
        import caffe
    except ImportError as error:
        raise SkippedError("pycaffe is not installed") from error
    net = caffe.Net(str(job.prototxt), str(job.caffemodel), caffe.TEST)

    def run(inputs: Arrays) -> Arrays:
        for name, array in inputs.items():
            net.blobs[name].data[...] = array
        net.forward()
        return {name: net.blobs[name].data.copy() for name in job.blobs}

    return run


# The first that is at hand is the reference.
BACKENDS: dict[str, Callable[[Job], Run]] = {
    "PyTorch": _pytorch,
    "ONNX Runtime": _onnx_runtime,
    "OpenCV": _opencv,
    "MNN": _mnn,
    "pycaffe": _pycaffe,
}
