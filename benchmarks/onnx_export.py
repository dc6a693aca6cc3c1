"""ONNX export and whole detectors side by side: `python benchmarks/onnx_export.py [NET …]`.

Nets have random weights of a trained net's size. Every runner gets the same picture, in turn, on two cores; the best
time counts, as what else a machine does can only add. Beside each time stands its ratio to SSD-Caffe's CPU forward,
measured on another day on a machine of the same kind (2026-11), and the ratios that OpenCV 4.14 and MNN had to it then.

The last row is no runner: the time that the net's multiply-adds alone take at the rate of this machine's matrix
product. ONNX Runtime by itself does each of them; OpenCV, MNN and a model of `netgen convert --winograd` need fewer for
3x3 kernels, and only so can be below.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# zoo name: milliseconds of SSD-Caffe's forward; ratios of OpenCV and MNN to that.
CAFFE = {
    "ssd300-vgg16": (442, 0.63, 0.41),
    "dsod300": (604, 0.37, 0.25),
    "scratchdet300-root34": (731, 0.45, 0.29),
}
CORES, RUNS = 2, 9

CONVERT = """
import re, sys, time
began = time.perf_counter()
from pathlib import Path
from converters.files import read_trained, write_onnx_file
write_onnx_file(read_trained(*sys.argv[1:3]), Path(sys.argv[3]))
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(time.perf_counter() - began, int(peak) / 1024)
"""


def make(name: str, folder: Path) -> tuple[Path, Path]:
    """Write a net of the zoo with random weights, statistics included; its two files."""
    import numpy as np

    from converters.caffemodel import write_weights
    from converters.pytorch import CaffeNet
    from netgen.zoo import build
    from prototxt.graph import Graph
    from prototxt.io import write_text

    net, weights = folder / "net.prototxt", folder / "net.caffemodel"
    write_text(build(name).nets()["deploy"], net)
    graph = Graph.load(net)
    blobs, rng = CaffeNet(graph, seed=0).weights(), np.random.default_rng(0)
    for layer in graph.layers:
        if layer.type == "BatchNorm":
            shape = layer.blob_shapes[0]
            mean, variance = rng.normal(0, 0.1, shape), rng.uniform(0.5, 1.5, shape)
            blobs[layer.name] = [part.astype(np.float32) for part in (mean, variance, np.ones(1))]
    write_weights(weights, graph, blobs)
    return net, weights


def _onnx_runner(net: Path, weights: Path, **how: Any) -> Callable[[Any], Any]:
    import onnxruntime

    from converters.files import read_trained
    from converters.onnx.deploy import Deployment, deploy

    trained = read_trained(net, weights)
    model, _ = deploy(trained.graph, trained.weights, Deployment(**how))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = CORES, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"data": image})


def _opencv_runner(net: Path, weights: Path) -> Callable[[Any], Any]:
    import cv2

    cv2.setNumThreads(CORES)
    read = cv2.dnn.readNetFromCaffe(str(net), str(weights))

    def run(image: Any) -> Any:
        read.setInput(image)
        return read.forward()

    return run


def _mnn_runner(net: Path, weights: Path) -> Callable[[Any], Any]:
    import MNN
    import numpy as np

    model = net.with_suffix(".mnn")
    if not model.exists():
        arguments = [sys.executable, "-m", "converters.proof.mnn_worker", "convert", net, weights, model]
        subprocess.run(arguments, check=True, capture_output=True)
    reader = MNN.Interpreter(str(model))
    session = reader.createSession({"backend": "CPU", "precision": "high", "numThread": CORES})
    feed = reader.getSessionInput(session)

    def tensor(array: Any) -> Any:
        return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)

    def run(image: Any) -> Any:
        feed.copyFrom(tensor(image))
        reader.runSession(session)
        top = reader.getSessionOutput(session)
        host = tensor(np.zeros(top.getShape(), np.float32))
        top.copyToHostTensor(host)
        return host.getNumpyData()

    return run


def _torch_runner(net: Path, weights: Path) -> Callable[[Any], Any]:
    import torch

    from converters.pytorch import load_net

    torch.set_num_threads(CORES)
    model = load_net(net, weights)

    def run(image: Any) -> Any:
        with torch.inference_mode():
            return model({"data": torch.from_numpy(image)})

    return run


RUNNERS: dict[str, Callable[..., Callable[[Any], Any]]] = {
    "ONNX Runtime": _onnx_runner,
    "ONNX Runtime, not folded": partial(_onnx_runner, fold=False),
    "ONNX Runtime, no post-processing": partial(_onnx_runner, postprocess="none"),
    "ONNX Runtime, --winograd": partial(_onnx_runner, winograd=True),
    "OpenCV": _opencv_runner,
    "MNN": _mnn_runner,
    "PyTorch": _torch_runner,
}


def times(net: Path, weights: Path, shape: tuple[int, ...]) -> dict[str, float]:
    """Runner -> milliseconds of a forward; all take turns, so that a busy moment meets each of them."""
    import numpy as np

    image = np.random.default_rng(0).uniform(-120, 130, shape).astype(np.float32)
    runners = {name: load(net, weights) for name, load in RUNNERS.items()}
    found: dict[str, list[float]] = {name: [] for name in runners}
    for run in runners.values():
        run(image)
    for _ in range(RUNS):
        for name, run in runners.items():
            time.sleep(0.05)  # until the threads of the one before have stopped waiting for more
            began = time.perf_counter()
            run(image)
            found[name].append(1000 * (time.perf_counter() - began))
    return {name: min(each) for name, each in found.items()}


def product_rate() -> float:
    """Multiply-adds a second of float32 matrix products on CORES cores."""
    import numpy as np
    import torch

    torch.set_num_threads(CORES)
    size = 2048
    matrix = torch.from_numpy(np.random.default_rng(0).random((size, size), np.float32))
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        matrix @ matrix
        took.append(time.perf_counter() - began)
    return size**3 / min(took)


def main() -> None:
    from prototxt.graph import Graph
    from prototxt.summary import summarize

    console, rate = Console(), product_rate()
    for name in sys.argv[1:] or CAFFE:
        with tempfile.TemporaryDirectory() as folder:
            net, weights = make(name, Path(folder))
            arguments = [sys.executable, "-c", CONVERT, net, weights, Path(folder) / "net.onnx"]
            runs = [subprocess.run(arguments, capture_output=True, text=True, check=True).stdout for _ in range(3)]
            seconds, peaks = zip(*(map(float, out.split()) for out in runs))
            graph = Graph.load(net)
            found = times(net, weights, graph.inputs["data"])
            macs = summarize(graph)["total"]["macs"]
        found[f"{macs / 1e9:.1f} GMAC at {rate / 1e9:.0f} GMAC/s"] = 1000 * macs / rate
        caffe, opencv, mnn = CAFFE[name]
        table = Table("runner", "ms", "of SSD-Caffe", "then", title=f"{name}, a picture, {CORES} cores")
        then = {"OpenCV": f"{opencv:.2f}", "MNN": f"{mnn:.2f}"}
        for runner, took in found.items():
            table.add_row(runner, f"{took:.0f}", f"{took / caffe:.2f}", then.get(runner, ""))
        console.print(table)
        share = 1 - found["ONNX Runtime, no post-processing"] / found["ONNX Runtime"]
        console.print(f"decoding and suppression: {share:.1%}")
        console.print(f"to ONNX: {min(seconds):.2f} s, start of Python included; peak {max(peaks):.0f} MiB\n")


if __name__ == "__main__":
    main()
