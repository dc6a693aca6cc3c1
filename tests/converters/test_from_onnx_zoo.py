"""Our own exports come back: Caffe → ONNX → Caffe, on the predictions of every kind of body."""

from __future__ import annotations

import numpy as np
import pytest

from converters.from_onnx import OnnxFile, to_caffe
from converters.onnx import to_onnx
from converters.pytorch import CaffeNet
from netgen.zoo import MODELS, build
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file

QUICK = ("scratchdet-mini", "mobilenet-ssd300", "dsod300-smallest")


def exported(name: str):
    """The ONNX form of a model with random weights and statistics, and the blobs that its DetectionOutput reads."""
    graph = Graph(net_file(build(name).nets()["deploy"]))
    weights, rng = CaffeNet(graph, seed=0).weights(), np.random.default_rng(0)
    for layer in graph.layers:
        if layer.type == "BatchNorm":
            mean, variance, factor = weights[layer.name]
            mean[:], variance[:], factor[:] = rng.normal(0, 0.1, mean.shape), rng.uniform(1, 3, variance.shape), 1
    model = to_onnx(graph, weights)
    made = {output for node in model.graph.node for output in node.output}
    predictions = [b for layer in graph.layers if layer.type == "DetectionOutput" for b in layer.bottoms if b in made]
    return graph, model, predictions


def check(name: str, same_in_caffe) -> None:
    before, model, predictions = exported(name)
    after, _ = same_in_caffe(model, predictions, tolerance=1e-5)
    for blob in predictions:
        assert after.shapes[blob] == before.shapes[blob]


@pytest.mark.parametrize("name", QUICK)
def test_there_and_back(name, same_in_caffe):
    check(name, same_in_caffe)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name not in QUICK])
def test_there_and_back_of_all(name, same_in_caffe):
    check(name, same_in_caffe)


def test_layers_come_back():
    """Normalize, BatchNorm and Scale are the layers they were; nothing that ONNX needed is left."""
    graph, model, predictions = exported("dsod300-smallest")
    after, weights = to_caffe(OnnxFile(model), predictions)

    def count(layers) -> dict[str, int]:
        types = [layer.type for layer in layers if layer.type not in ("Flatten", "Reshape", "Softmax", "Input")]
        return {kind: types.count(kind) for kind in set(types) - {"PriorBox", "DetectionOutput"}}

    wanted = count(graph.layers)
    wanted["Concat"] -= 1  # of the prior boxes
    assert count(after.layers) == wanted
    assert all(len(weights[layer.name]) == 2 for layer in after.layers if layer.type == "Scale")


def test_non_maximum_suppression_is_refused_by_name():
    _, model, _ = exported("scratchdet-mini")
    with pytest.raises(UserError, match=r"\(NonMaxSuppression\): no Caffe layers compute this operator") as error:
        to_caffe(OnnxFile(model))
    cut = str(error.value).rpartition("--outputs ")[2].split(",")
    graph, _ = to_caffe(OnnxFile(model), cut)  # the advice can be followed
    assert set(graph.outputs) == set(cut)
