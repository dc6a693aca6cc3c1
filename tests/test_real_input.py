"""A trained detector of the real world, on a picture made here: three QR codes on a photograph-like ground.

The net is the QR-code detector of WeChat (1 class, grey 384 x 384, values 0–1); see its licence beside it.
"""

from __future__ import annotations

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
segno = pytest.importorskip("segno")
pytest.importorskip("onnxruntime")

SIZE_HW = (600, 800)
PLACES = ((40, 60, 150), (500, 80, 240), (250, 400, 180))  # xmin, ymin and side in pixels, white margin included
MARGIN = 3  # modules of white around a code


def ground() -> np.ndarray:
    """Grey clouds with detail at every scale, as in a photograph out of focus."""
    rng, height_width = np.random.default_rng(3), SIZE_HW
    layers = (
        cv2.resize(rng.standard_normal((cells, cells)), height_width[::-1], interpolation=cv2.INTER_CUBIC) / cells**0.8
        for cells in (4, 8, 16, 32, 64, 128)
    )
    return cv2.normalize(sum(layers), None, 60, 200, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    image = ground()
    for i, (x, y, side) in enumerate(PLACES):
        modules = np.array(list(segno.make(f"code {i}: found by three", error="m", micro=False).matrix), np.uint8)
        code = np.pad(1 - modules, MARGIN, constant_values=1) * 255
        image[y : y + side, x : x + side] = cv2.resize(code, (side, side), interpolation=cv2.INTER_NEAREST)
    return image


@pytest.fixture(scope="module")
def places() -> np.ndarray:
    """The codes without their margin: xmin, ymin, xmax, ymax in 0–1."""
    boxes = []
    for i, (x, y, side) in enumerate(PLACES):
        modules = len(tuple(segno.make(f"code {i}: found by three", error="m", micro=False).matrix))
        edge = side * MARGIN / (modules + 2 * MARGIN)
        boxes.append((x + edge, y + edge, x + side - edge, y + side - edge))
    return np.array(boxes) / np.tile(SIZE_HW[::-1], 2)


@pytest.fixture(scope="module")
def detections(shared, picture, tmp_path_factory) -> dict[str, np.ndarray]:
    """Backend -> rows [D, 7], each from the files alone."""
    import onnxruntime
    import torch

    from converters.pytorch import load_net
    from netgen.commands.convert import convert

    folder, out = shared / "models/wechat_qr", tmp_path_factory.mktemp("onnx") / "detect.onnx"
    net, weights = folder / "detect.prototxt", folder / "detect.caffemodel"
    convert(net, weights, out)
    blob = cv2.dnn.blobFromImage(picture, 1 / 255, (384, 384))
    with torch.no_grad():
        found = {"PyTorch": load_net(net, weights)({"data": torch.from_numpy(blob)})["detection_output"].numpy()}
    found["ONNX Runtime"] = onnxruntime.InferenceSession(str(out)).run(None, {"data": blob})[0]
    if hasattr(cv2.dnn, "readNetFromCaffe"):
        opencv = cv2.dnn.readNetFromCaffe(str(net), str(weights))
        opencv.setInput(blob)
        found["OpenCV"] = opencv.forward()
    rows = {name: array.reshape(-1, 7) for name, array in found.items()}
    return {name: array[array[:, 2] > 0] for name, array in rows.items()}


def test_three_codes_are_found(detections, places):
    for name, rows in detections.items():
        assert len(rows) == 3 and (rows[:, 1] == 1).all() and (rows[:, 2] > 0.99).all(), name
        centres = (rows[:, 3:5] + rows[:, 5:]) / 2
        hits = (centres[:, None] > places[:, :2]) & (centres[:, None] < places[:, 2:])
        assert (hits.all(axis=2).sum(axis=0) == 1).all(), name
        overlaps = [max(overlap(row[3:], place) for row in rows) for place in places]
        assert min(overlaps) > 0.7, name


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    inside = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0).prod()
    return inside / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - inside)


def test_all_find_the_same(detections):
    if "OpenCV" not in detections:
        pytest.skip("OpenCV 5 has no Caffe importer")
    wanted = detections["PyTorch"]
    for name in ("ONNX Runtime", "OpenCV"):
        assert detections[name].shape == wanted.shape
        np.testing.assert_allclose(detections[name], wanted, atol=1e-5, rtol=0, err_msg=name)


def test_verify_says_so(shared, picture, tmp_path, capsys):
    from netgen.commands.verify import verify

    folder = shared / "models/wechat_qr"
    cv2.imwrite(str(tmp_path / "codes.png"), picture)
    files = folder / "detect.prototxt", folder / "detect.caffemodel"
    verify(*files, image=[tmp_path / "codes.png"], mean="0", scale=1 / 255)
    assert "3 detections" in capsys.readouterr().out


def test_super_resolution_net(shared):
    from converters.proof.verify import verify

    folder = shared / "models/wechat_qr"
    image = np.random.default_rng(0).random((1, 1, 224, 224), np.float32)
    found = verify(folder / "sr.prototxt", folder / "sr.caffemodel", [{"data": image}])
    assert {d.backend for d in found.differences} >= {"ONNX Runtime"}
    for difference in found.differences:
        assert difference.blob == "fc" and difference.compared == 447 * 447
        assert difference.largest < 2e-5
