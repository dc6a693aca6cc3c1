"""Single layers for the tests: from a piece of prototxt, and from the cases computed by a real Caffe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.pytorch.layers import MODULES
from prototxt import schema
from prototxt.graph import Graph, Layer
from prototxt.io import net_file
from prototxt.text import parse

CASES_DIR = Path(__file__).resolve().parents[3] / "shared" / "oracle" / "layers"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `case` on every case whose name matches one of its module's CASES."""
    if "case" in metafunc.fixturenames:
        names = sorted(path.stem for pattern in metafunc.module.CASES for path in CASES_DIR.glob(f"{pattern}.npz"))
        metafunc.parametrize("case", names or ["absent"], indirect=True)


def layer_of(text: str, shapes: Mapping[str, tuple[int, ...]], phase: str = "TRAIN") -> Layer:
    """The layer that `text` says (without its bottoms, which are the keys of `shapes`), shapes inferred."""
    inputs = "".join(
        f'layer {{ name: "in_{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } }\n"
        for name, shape in shapes.items()
    )
    bottoms = " ".join(f'bottom: "{name}"' for name in shapes)
    net = parse(inputs + f"layer {{ {bottoms} {text} }}", schema.NetParameter(), "net.prototxt")
    return Graph(net_file(net.message, net.path, net.lines), phase).layers[-1]


class LayerCase:
    """One case of a single layer: forward and backward, held against Caffe's numbers.

    Attributes:
        name: that of the case.
        tops: what the layer gave, by name.
        wanted: all arrays of the case (`in/…`, `out/…`, `diff/…`).
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        phase = json.loads((folder / "index.json").read_text())[name]["phase"].upper()
        layers = [layer for layer in Graph.load(folder / f"{name}.prototxt", phase).layers if layer.type != "Input"]
        assert len(layers) == 1
        self.layer = layers[0]
        self.wanted = dict(np.load(folder / f"{name}.npz"))
        bottoms = {b: torch.from_numpy(self.wanted[f"in/{b}"]) for b in self.layer.bottoms}
        for b, bottom in bottoms.items():
            bottom.requires_grad_(f"diff/{b}" in self.wanted)
        tops = MODULES[self.layer.type](self.layer)(*bottoms.values())
        self.tops = dict(zip(self.layer.tops, tops if isinstance(tops, tuple) else (tops,)))
        for name, top in self.tops.items():
            if top.requires_grad:
                top.backward(torch.from_numpy(self.wanted[f"topdiff/{name}"]))
        self.diffs = {b: bottom.grad.numpy() for b, bottom in bottoms.items() if bottom.grad is not None}

    def check_tops(self) -> None:
        for name, top in self.tops.items():
            close(top.detach().numpy(), self.wanted[f"out/{name}"])

    def check_diffs(self) -> None:
        assert {f"diff/{b}" for b in self.diffs} == {key for key in self.wanted if key.startswith("diff/")}
        for name, diff in self.diffs.items():
            close(diff, self.wanted[f"diff/{name}"])


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    """Float32 noise: 1e-5 of the largest value and 1e-6."""
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 + 1e-5 * np.abs(wanted).max(initial=0))


@pytest.fixture
def case(request: pytest.FixtureRequest, shared: Path) -> LayerCase:
    return LayerCase(shared / "oracle" / "layers", request.param)


@pytest.fixture
def make_layer() -> Callable[..., Layer]:
    return layer_of


def _same_in_caffe(model, outputs=(), input_shapes=None, tolerance=1e-4, feeds=None):
    """Convert an ONNX model to Caffe, run both on one input, and compare; the Caffe graph and its weights.

    Args:
        tolerance: largest difference, as a part of the largest value where that is above 1.
    """
    import onnx
    import onnxruntime

    from converters.from_onnx import OnnxFile, to_caffe
    from converters.pytorch import CaffeNet

    graph, weights = to_caffe(OnnxFile(model), outputs, input_shapes)
    rng = np.random.default_rng(0)
    if feeds is None:
        feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in graph.inputs.items()}
    names = list(outputs) or [value.name for value in model.graph.output]
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    known = {value.name for value in model.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    # Version 1.23 takes a Pad into a MaxPool, which then no longer sees its zeros.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = dict(zip(names, session.run(names, feeds)))
    with torch.no_grad():
        found = CaffeNet(graph, weights)({name: torch.from_numpy(array) for name, array in feeds.items()})
    assert list(found) == graph.outputs and set(found) == set(names)
    for name, array in wanted.items():
        assert found[name].shape == array.shape, name
        largest = np.abs(array).max(initial=1)
        np.testing.assert_allclose(found[name].numpy() / largest, array / largest, rtol=0, atol=tolerance, err_msg=name)
    return graph, weights


@pytest.fixture
def same_in_caffe() -> Callable:
    return _same_in_caffe
