"""Nets of one layer or a few, run in PyTorch, ONNX Runtime and OpenCV, for tests."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from converters.caffemodel import write_weights
from converters.onnx.export import to_onnx
from converters.pytorch import CaffeNet
from prototxt import schema
from prototxt.graph import Graph
from prototxt.io import net_file, write_text
from prototxt.text import parse

RNG = np.random.default_rng


def graph_of(layers: str, shapes: dict[str, tuple[int, ...]], phase: str = "TEST") -> Graph:
    """The graph of a net with inputs of `shapes` and the layers of `layers`."""
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } }\n"
        for name, shape in shapes.items()
    )
    net = parse(inputs + layers, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(net.message, net.path, net.lines), phase)


def layer_text(layer_type: str, bottoms: str, params: str = "", tops: str = "top") -> str:
    ends = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    ends += "".join(f' top: "{name}"' for name in tops.split())
    return f'layer {{ name: "top" type: "{layer_type}" {ends} {params} }}'


class Case:
    """One layer with inputs and blobs: what PyTorch, ONNX Runtime and OpenCV make of it."""

    def __init__(self, layers: str, inputs: dict[str, np.ndarray], blobs: dict[str, list[np.ndarray]] | None = None):
        self.inputs = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        self.graph = graph_of(layers, {name: array.shape for name, array in self.inputs.items()})
        self.weights = {
            name: [np.asarray(array, np.float32).reshape(shape) for array, shape in zip(arrays, layer.blob_shapes)]
            for name, arrays in (blobs or {}).items()
            for layer in self.graph.layers
            if layer.name == name
        }

    def pytorch(self) -> list[np.ndarray]:
        net = CaffeNet(self.graph, self.weights)
        with torch.no_grad():
            tops = net({name: torch.from_numpy(array) for name, array in self.inputs.items()})
        return [tops[name].numpy() for name in self.graph.outputs]

    def onnx(self) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(to_onnx(self.graph, self.weights).SerializeToString(), options)
        return session.run(list(self.graph.outputs), self.inputs)

    def opencv(self, tmp_path) -> list[np.ndarray]:
        cv2 = pytest.importorskip("cv2")
        if not hasattr(cv2.dnn, "readNetFromCaffe"):
            pytest.skip("this OpenCV has no Caffe importer")
        write_text(self.graph.net.message, tmp_path / "net.prototxt")
        write_weights(tmp_path / "net.caffemodel", self.graph, self.weights)
        net = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
        for name, array in self.inputs.items():
            net.setInput(array, name)
        return [net.forward(name) for name in self.graph.outputs]

    def check(self, *wanted: np.ndarray, tolerance: float = 1e-5) -> None:
        for found in (self.pytorch(), self.onnx()):
            assert len(found) == len(wanted)
            for one, other in zip(found, wanted):
                close(one, other, tolerance)


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    """Float32 noise: a part of the largest value, and 1e-6."""
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 + tolerance * np.abs(wanted).max(initial=0))
