"""Each layer's ONNX form in ONNX Runtime against what a real Caffe computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from converters.onnx.export import to_onnx
from converters.onnx.layers import NODES
from prototxt.errors import UserError
from prototxt.graph import Graph

REFUSED = {
    "batchnorm_use_batch_stats_test": "use_global_stats: false normalises with the batch",
    "detectionoutput_nms_eta_09": "eta is 0.9: NonMaxSuppression has one threshold",
}


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "oracle" / "layers"


def weights_of(arrays) -> dict[str, list[np.ndarray]]:
    found: dict[str, dict[int, np.ndarray]] = {}
    for key in arrays.files:
        if key.startswith("param/"):
            layer, _, index = key.removeprefix("param/").rpartition("/")
            found.setdefault(layer, {})[int(index)] = arrays[key]
    return {layer: [blobs[i] for i in sorted(blobs)] for layer, blobs in found.items()}


def run(model, inputs) -> list[np.ndarray]:
    import onnx
    import onnxruntime

    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})


def test_case(case_name, folder):
    about = json.loads((folder / "index.json").read_text())[case_name]
    arrays = np.load(folder / f"{case_name}.npz")
    if "DetectionOutput" in about["layers"]:
        check_detections(case_name, folder, arrays)
        return
    graph = Graph.load(folder / f"{case_name}.prototxt")
    if case_name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[case_name]):
            to_onnx(graph, weights_of(arrays))
        return
    inputs = {name: arrays[f"in/{name}"] for name in graph.inputs}
    for name, found in zip(graph.outputs, run(to_onnx(graph, weights_of(arrays)), inputs)):
        wanted = arrays[f"out/{name}"]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 + 1e-5 * np.abs(wanted).max(initial=0))


def check_detections(name, folder, arrays):
    graph = Graph.load(folder / f"{name}.prototxt")
    (layer,) = (layer for layer in graph.layers if layer.type == "DetectionOutput")
    inputs = {blob: arrays[f"in/{blob}"] for blob in layer.bottoms}
    constants = {layer.bottoms[2]: inputs.pop(layer.bottoms[2])}  # the prior boxes
    if name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name]):
            to_onnx(graph, {}, constants)
        return
    (found,) = run(to_onnx(graph, {}, constants), inputs)
    wanted = arrays["out/detection_out"]
    assert found.shape == wanted.shape
    if name == "detectionoutput_score_ties_keep10":  # which of the equal scores is kept is a sort's whim
        found, wanted = (np.sort(rows[0, 0, :, 2]) for rows in (found, wanted))
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)


def pytest_generate_tests(metafunc):
    """Run `test_case` on every measured case of a deployed net: those of training have no ONNX form."""
    if "case_name" not in metafunc.fixturenames:
        return
    index = Path(__file__).resolve().parents[3] / "shared/oracle/layers/index.json"
    cases = json.loads(index.read_text()) if index.is_file() else {}
    deployed = [c for c, about in cases.items() if about["phase"] == "test" and set(about["layers"]) <= set(NODES)]
    metafunc.parametrize("case_name", deployed or ["absent"])
