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
    "detectionoutput_not_shared": "share_location: false has no ONNX form",
    "detectionoutput_background_none_not_shared": "share_location: false has no ONNX form",
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
    """Each image of the case on its own: the converted net takes one image, its prior boxes being constants."""
    graph = Graph.load(folder / f"{name}.prototxt")
    (layer,) = (layer for layer in graph.layers if layer.type == "DetectionOutput")
    rows = arrays["out/detection_out"].reshape(-1, 7)
    prior = layer.bottoms[2]
    for image in range(len(arrays[f"in/{layer.bottoms[0]}"])):
        inputs = {blob: arrays[f"in/{blob}"][image : image + 1] for blob in layer.bottoms if blob != prior}
        single = Graph(graph.net, input_shapes={blob: array.shape for blob, array in inputs.items()})
        if name in REFUSED or name.startswith("refinedet"):
            with pytest.raises(UserError, match=REFUSED.get(name, "RefineDet's further bottoms")):
                to_onnx(single, {}, {prior: arrays[f"in/{prior}"]})
            continue
        (found,) = run(to_onnx(single, {}, {prior: arrays[f"in/{prior}"]}), inputs)
        wanted = rows[rows[:, 0] == image]
        if not len(wanted):  # Caffe gives no row to an image without detections when another has some
            wanted = np.full((1, 7), -1, np.float32)
        wanted[:, 0] = 0
        assert found.shape == (1, 1, len(wanted), 7)
        if name == "detectionoutput_score_ties_keep10":  # which of the equal scores is kept is a sort's whim
            found, wanted = np.sort(found[0, 0, :, 2]), np.sort(wanted[:, 2])
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=1e-5, rtol=1e-5)


def pytest_generate_tests(metafunc):
    """Run `test_case` on every measured case of a deployed net: those of training have no ONNX form."""
    if "case_name" not in metafunc.fixturenames:
        return
    index = Path(__file__).resolve().parents[3] / "shared/oracle/layers/index.json"
    cases = json.loads(index.read_text()) if index.is_file() else {}
    deployed = [c for c, about in cases.items() if about["phase"] == "test" and set(about["layers"]) <= set(NODES)]
    metafunc.parametrize("case_name", deployed or ["absent"])


def test_batch_is_refused(folder):
    graph = Graph.load(folder / "detectionoutput_batch3.prototxt")
    with pytest.raises(UserError, match="its batch is 3; expected 1\n  fix: set the input's first dim to 1"):
        to_onnx(graph, {}, {"mbox_priorbox": np.load(folder / "detectionoutput_batch3.npz")["in/mbox_priorbox"]})


def test_computed_prior_boxes_are_refused(folder):
    with pytest.raises(UserError, match='its prior boxes "mbox_priorbox" are computed'):
        to_onnx(Graph.load(folder / "detectionoutput_batch1.prototxt"), {})
