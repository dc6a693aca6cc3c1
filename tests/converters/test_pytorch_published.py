"""Whole published nets in PyTorch against what a real Caffe computed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from converters.pytorch import CaffeNet
from prototxt.graph import Graph


@pytest.fixture(scope="module")
def formula(shared):
    """The module of the rule by which the measured nets were filled."""
    spec = importlib.util.spec_from_file_location("formula", shared / "oracle" / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "model",
    ["scratchdet300_root34_voc", "ssd300_vgg_voc", "dsod300_voc", "grp_dsod320_voc", "refinedet320_vgg_voc"],
)
def test_published_net(shared, formula, model):
    """Predictions, intermediate blobs, priors and detections of the deploy net."""
    graph = Graph.load(shared / "reference" / "prototxt" / model / "deploy.prototxt")
    weights = {
        layer.name: [formula.fill(layer.type, layer.name, i, shape) for i, shape in enumerate(layer.blob_shapes)]
        for layer in graph.layers
        if layer.blob_shapes
    }
    numbers = np.load(shared / "oracle" / "models" / f"{model}.npz")
    assert list(weights) == list(numbers["meta/param_layers"])
    predicted = [key.removeprefix("out/") for key in numbers if key.startswith("out/")]
    priors = [key.split("/")[1] for key in numbers if key.startswith("prior/") and key.endswith("/shape")]
    features = list(numbers["meta/features"])
    with torch.no_grad():
        found = CaffeNet(graph, weights)(
            {"data": torch.from_numpy(formula.image(*graph.inputs["data"][2:]))[None]},
            keep=[*predicted, *priors, *features],
        )
    found = {name: tensor.numpy() for name, tensor in found.items()}
    for name in predicted:
        if name != "detection_out":
            np.testing.assert_allclose(found[name], numbers[f"out/{name}"], atol=2e-4, rtol=1e-4, err_msg=name)
    for name in features:
        check_figures(found[name], numbers, f"feat/{name}/")
    for name in priors:
        check_priors(found[name], numbers, f"prior/{name}/")
    check_detections(found["detection_out"].reshape(-1, 7), numbers["out/detection_out"].reshape(-1, 7))


def check_figures(found, numbers, key):
    assert found.shape == tuple(numbers[f"{key}shape"])
    figures = {"mean": found.mean(), "std": found.std(), "absmax": np.abs(found).max()}
    for name, value in figures.items():
        assert value == pytest.approx(float(numbers[key + name]), abs=1e-4, rel=1e-4), key + name
    first = numbers[f"{key}first"]
    np.testing.assert_allclose(found.ravel()[: len(first)], first, atol=2e-4, rtol=1e-4)


def check_priors(found, numbers, key):
    check_figures(found, numbers, key)
    last = numbers[f"{key}last"]
    np.testing.assert_allclose(found[0, 0, -len(last) :], last, atol=1e-6)


def check_detections(found, wanted):
    """Each of Caffe's detections has one of ours of its class, at its place, with its score."""
    assert found.shape == wanted.shape
    free = list(range(len(found)))
    for row in wanted:
        match = min((i for i in free if found[i, 1] == row[1]), key=lambda i: np.abs(found[i] - row).max())
        np.testing.assert_allclose(found[match], row, atol=1e-3)
        free.remove(match)
