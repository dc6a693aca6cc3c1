"""The comparison itself, its backends, and the two commands."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import typer

from converters.onnx import to_onnx, write_onnx
from converters.proof.backends import BACKENDS
from converters.proof.differences import Difference, compare_detections, compare_values, worst
from converters.proof.verify import verify
from netgen.commands import convert as convert_command
from netgen.commands import verify as verify_command
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from tests.converters.small_ssd import NET, write_ssd

DETECTIONS = schema.DetectionOutputParameter(keep_top_k=-1, confidence_threshold=0.1)
MEAN, SCALE = "104,117,123", 0.01


@pytest.fixture
def files(tmp_path):
    return write_ssd(tmp_path)


@pytest.fixture
def noise():
    return [{"data": np.random.default_rng(seed).standard_normal((1, 3, 12, 16)).astype(np.float32)} for seed in (0, 1)]


def rows(*values) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1, 7)


ONE = (0, 1, 0.9, 0.1, 0.1, 0.5, 0.5)
TWO = (0, 2, 0.8, 0.1, 0.1, 0.5, 0.5)
NOTHING = (0, -1, -1, -1, -1, -1, -1)


CASE = Difference("d", "b", "i")


def detections(one, other, p=DETECTIONS) -> Difference:
    return compare_detections(CASE, one, other, p)


def values(one, other) -> Difference:
    return compare_values(CASE, one, other, 1e-3)


def test_equal_detections_in_another_order():
    zeros = (0,) * 7  # OpenCV fills up with them
    found = detections(rows(ONE, TWO), rows(TWO, ONE, zeros))
    assert found == Difference("d", "b", "i", 2, 0, 0, 0)


def test_boxes_and_scores_of_paired_detections():
    moved = (0, 1, 0.85, 0.1, 0.125, 0.5, 0.5)
    found = detections(rows(ONE, TWO), rows(TWO, moved))
    assert (found.compared, found.unpaired) == (2, 0)
    assert found.values == pytest.approx(0.025) and found.scores == pytest.approx(0.05)
    assert found.largest == found.scores


@pytest.mark.parametrize("other", [(0, 1, 0.9, 0.45, 0.45, 0.9, 0.9), (0, 2, 0.9, 0.1, 0.1, 0.5, 0.5), NOTHING])
def test_detections_without_partner(other):
    """Another place, another class, nothing: each counts with its score above the confidence threshold."""
    found = detections(rows(ONE), rows(other))
    assert found.unpaired == 1 + (other != NOTHING)
    assert found.values == 0 and found.scores == pytest.approx(0.8)


def test_a_detection_that_just_missed_the_best_counts_little():
    p = schema.DetectionOutputParameter(keep_top_k=1, confidence_threshold=0.1)
    late = (0, 2, 0.89999, 0.1, 0.1, 0.5, 0.5)
    found = detections(rows(ONE), rows(late), p)
    assert found.unpaired == 2 and found.scores == pytest.approx(1e-5, rel=0.1)


def test_nothing_on_both_sides():
    assert detections(rows(NOTHING), rows(NOTHING)) == Difference("d", "b", "i", 0, 0, 0, 0)


def test_a_nan_is_never_equal_to_a_number():
    broken = (*ONE[:6], np.nan)
    assert detections(rows(ONE), rows(broken)).scores == pytest.approx(0.8)
    assert values(np.array([1.0]), np.array([np.nan])).largest == np.inf


def test_values():
    """As part of the largest, or of a thousandth where all are smaller."""
    one = np.array([[1.0, -50.0, np.inf, np.nan]], np.float32)
    assert values(one, one.reshape(4)) == Difference("d", "b", "i", 4, 0)
    assert values(one, one + np.float32(0.5)).largest == pytest.approx(0.01)
    assert values(np.array([0.02]), np.array([0.021])).largest == pytest.approx(0.05)
    assert values(np.zeros(3), np.full(3, 1e-6)).largest == pytest.approx(1e-3)
    assert values(one, one[:, :2]).largest == np.inf


def test_the_worst_of_several_inputs():
    cases = [
        Difference("d", "b", "one", 3, 0.2, 0.1, 0),
        Difference("d", "b", "two", 2, 0.0, 0.5, 1),
        Difference("d", "b", "three", 1, 0.1, 0.3, 2),
    ]
    assert worst(cases) == Difference("d", "b", "two", 6, 0.2, 0.5, 3)
    assert worst([Difference("v", "b", "one", 3, 0.2)]).scores is None


def test_all_backends_agree(files, noise):
    found = verify(*files, noise)
    assert found.reference == "PyTorch"
    assert set(found.seconds) | set(found.skipped) == set(BACKENDS)
    by_backend = {name: [d for d in found.differences if d.backend == name] for name in found.seconds}
    assert [d.blob for d in by_backend["ONNX Runtime"]] == ["loc_f", "conf_f", "found"]
    detections = by_backend["ONNX Runtime"][-1]
    assert detections.compared == 40 and detections.unpaired == 0
    assert max(d.largest for d in found.differences) < 1e-5


class FakeNet:
    """What pycaffe's Net is, computing with PyTorch; one value of "loc_f" and of the convolution "conv" is wrong."""

    def __init__(self, prototxt, caffemodel, phase):
        from converters.pytorch import load_net

        assert phase == 1
        self.net = load_net(prototxt, caffemodel)
        self._layer_names = [layer.name for layer in self.net.graph.layers]
        shapes = self.net.graph.shapes
        self.blobs = {name: SimpleNamespace(data=np.zeros(shape, np.float32)) for name, shape in shapes.items()}

    def _forward(self, first, last):
        import torch

        if first == 0:
            self.tops = {}
            fed = {"data": torch.from_numpy(self.blobs["data"].data.copy())}
            with torch.no_grad():
                self.net(fed, watch=lambda layer, tops: self.tops.update({layer.name: tops}))
        for layer in self.net.graph.layers[first : last + 1]:
            for name, top in zip(layer.tops, self.tops.get(layer.name, ())):
                self.blobs[name].data = top.numpy().copy()
            if layer.name in ("conv", "loc_f"):
                self.blobs[layer.name].data.reshape(-1)[7] -= 1


@pytest.fixture
def pycaffe(monkeypatch):
    caffe = ModuleType("caffe")
    caffe.Net, caffe.TEST, caffe.__version__ = FakeNet, 1, "1.0.0-rc5"
    monkeypatch.setitem(sys.modules, "caffe", caffe)


def test_pycaffe_where_it_is_installed(files, noise, pycaffe):
    """Layer by layer: before the ReLU in place the convolution is wrong, and is named."""
    found = verify(*files, noise, layers=True)
    outputs = {d.blob: d for d in found.differences if d.backend == "pycaffe"}
    assert list(outputs) == ["loc_f", "conf_f", "prior", "found"] and found.versions["pycaffe"] == "1.0.0-rc5"
    assert 0.01 < outputs["loc_f"].values <= 1 and outputs["found"].largest == 0 == outputs["prior"].largest
    layers = {d.blob: d.largest for d in found.layers if d.backend == "pycaffe"}
    assert list(layers)[:3] == ["conv@conv", "conv", "loc"] and len(layers) == 12
    assert [name for name, apart in layers.items() if apart] == ["conv@conv", "loc_f"]
    assert found.first_apart(1e-4)["pycaffe"].blob == "conv@conv"
    assert {d.blob for d in found.unexplained(1e-4)} == {"loc_f"}


def no_package(name):
    raise metadata.PackageNotFoundError(name)


def test_without_pytorch_another_is_the_reference(files, noise, monkeypatch):
    """What the reference does not compute, as ONNX Runtime the prior boxes, is not compared."""
    pytest.importorskip("cv2")
    monkeypatch.setitem(sys.modules, "torch", None)
    found = verify(*files, noise)
    assert found.reference == "ONNX Runtime" and found.skipped["PyTorch"] == "torch is not installed"
    assert {d.blob for d in found.differences} == {"loc_f", "conf_f", "found"}
    assert max(d.largest for d in found.differences) < 1e-5


def test_what_the_reference_misreads_explains_a_difference(files, noise, monkeypatch):
    """OpenCV, which clips prior boxes here, is held against MNN, which does not."""
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("MNN")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 has no Caffe importer")
    files[0].write_text(NET.replace("clip: false", ""))
    for module in ("torch", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    found = verify(*files, noise)
    assert found.reference == "OpenCV" and "OpenCV clips prior boxes" in found.misread["prior", "MNN"]
    assert max(d.largest for d in found.differences) > 0.01 and not found.unexplained(1e-4)


def test_what_is_not_installed_is_skipped(files, noise, monkeypatch):
    for module in ("cv2", "caffe", "torch"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("converters.proof.mnn.metadata.version", no_package)
    with pytest.raises(
        UserError, match=r"nothing to compare with \(PyTorch: torch is not installed; OpenCV: OpenCV is .*; MNN: MNN is"
    ):
        verify(*files, noise)


def test_opencv_without_caffe_importer(files, noise, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    monkeypatch.delattr(cv2.dnn, "readNetFromCaffe")
    assert "has no Caffe importer" in verify(*files, noise).skipped["OpenCV"]


def test_what_opencv_refuses_is_skipped(files, noise):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 has no Caffe importer")
    files[0].write_text(NET.replace("share_location: true", ""))
    reason = verify(*files, noise).skipped["OpenCV"]
    assert "cannot run the net" in reason and "does not contain share_location" in reason


def test_a_net_without_onnx_form_is_still_compared(tmp_path, files, noise):
    pytest.importorskip("cv2")
    text = files[0].read_text().replace("nms_threshold: 0.45", "nms_threshold: 0.45 eta: 0.9")
    (tmp_path / "eta.prototxt").write_text(text)
    try:
        found = verify(tmp_path / "eta.prototxt", files[1], noise)
    except UserError as error:  # no OpenCV that imports it
        assert "eta is 0.9" in str(error)
    else:
        assert "the net has no ONNX form here" in found.skipped["ONNX Runtime"]


def test_onnx_files_that_do_not_fit(tmp_path, files, noise):
    (tmp_path / "bad.onnx").write_bytes(b"no model at all")
    with pytest.raises(UserError, match=r"bad.onnx: this is no ONNX file, or it is cut short"):
        verify(*files, noise, tmp_path / "bad.onnx")
    relu = 'layer { name: "r" type: "ReLU" bottom: "data" top: "found" }'
    other = NET.split("\n")[1] + relu
    for text, message in (
        (other.replace('"found"', '"lost"'), 'it makes no "found"; expected the net of'),
        (other.replace("dim: 16", "dim: 20"), r"its inputs are \{'data': \(1, 3, 12, 20\)\}"),
    ):
        (tmp_path / "other.prototxt").write_text(text)
        write_onnx(tmp_path / "other.onnx", to_onnx(Graph.load(tmp_path / "other.prototxt"), {}))
        with pytest.raises(UserError, match=message):
            verify(*files, noise, tmp_path / "other.onnx")


def test_convert_writes_onnx_and_state_dict(files, tmp_path, capsys):
    import torch

    from converters.pytorch import load_net

    convert_command.convert(*files, tmp_path / "net.onnx")
    convert_command.convert(*files, tmp_path / "net.pth")
    lines = capsys.readouterr().out.splitlines()
    assert "nodes of opset 17, data 1×3×12×16 -> found 1×1×detections×7, 0.0 MB" in lines[0]
    assert lines[1].startswith(f"wrote {tmp_path / 'net.pth'}: a state_dict of 6 tensors")
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    wanted = load_net(*files).state_dict()
    assert list(state) == list(wanted) and all(torch.equal(state[name], wanted[name]) for name in state)


def test_convert_refuses_and_leaves_nothing(files, tmp_path, capsys):
    with pytest.raises(UserError, match=r"cannot write a file with the ending '.tflite'; expected .*onnx"):
        convert_command.convert(*files, tmp_path / "net.tflite")
    files[0].write_text(NET.replace('name: "loc" ', 'name: "loc2" '))
    for name in ("net.onnx", "net.pth"):
        with pytest.raises(
            UserError, match=r"net.caffemodel: it has no blobs for these layers of .*net.prototxt: loc2"
        ):
            convert_command.convert(*files, tmp_path / name)
    files[0].write_text("\n".join(NET.splitlines()[:5]))
    convert_command.convert(*files, tmp_path / "part.onnx")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: 2 layers of")]
    assert len(notes) == 1 and notes[0].endswith(": loc, conf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.prototxt", "part.onnx"]


def test_verify_command(files, tmp_path, capsys):
    convert_command.convert(*files, tmp_path / "net.onnx")
    capsys.readouterr()
    verify_command.verify(*files, tmp_path / "net.onnx", [], MEAN, SCALE, 0, 1e-4, False)
    out = capsys.readouterr().out
    assert "Largest differences from PyTorch" in out and "20 detections" in out and "above" not in out
    assert "The worst of each input" not in out and ", tolerance 0.0001" in out
    assert "pycaffe: skipped, pycaffe is not installed" in out
    with pytest.raises(typer.Exit) as caught:
        verify_command.verify(*files, None, [], MEAN, SCALE, 0, 1e-12, True)
    assert caught.value.exit_code == 1
    out = capsys.readouterr().out
    assert "above 1e-12" in out and "ONNX Runtime first differs in layer conv: " in out


def test_verify_finds_a_file_of_other_weights(files, tmp_path, capsys):
    graph = Graph.load(files[0])
    weights = {n.name: [np.full(s, 0.01, np.float32) for s in n.blob_shapes] for n in graph.layers if n.blob_shapes}
    write_onnx(tmp_path / "other.onnx", to_onnx(graph, weights))
    with pytest.raises(typer.Exit):
        verify_command.verify(*files, tmp_path / "other.onnx", [], MEAN, SCALE, 0, 1e-4, False)


def test_pictures(files, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8))
    verify_command.verify(*files, None, [tmp_path / "a.png"] * 2, MEAN, SCALE, 0, 1e-4, False)
    assert "40 detections" in capsys.readouterr().out
    (tmp_path / "b.png").write_text("no picture")
    (tmp_path / "c.png").write_text("")
    for name in ("b.png", "c.png"):
        with pytest.raises(UserError, match="this is not a picture that can be decoded; expected a JPEG or PNG file"):
            verify_command.verify(*files, None, [tmp_path / name], MEAN, SCALE, 0, 1e-4, False)
    for mean, message in (
        ("a", "--mean is a; expected numbers"),
        ("1,2", "--mean has 2 numbers; expected one, or one"),
    ):
        with pytest.raises(UserError, match=message):
            verify_command.verify(*files, None, [], mean, SCALE, 0, 1e-4, False)
    files[0].write_text(NET.replace("dim: 3 dim", "dim: 4 dim"))
    with pytest.raises(UserError, match="0 of its inputs take pictures; expected one of N×1×H×W or N×3×H×W"):
        verify_command.verify(*files, None, [tmp_path / "a.png"], MEAN, SCALE, 0, 1e-4, False)


def test_pictures_become_blobs():
    from netgen.commands.pictures import to_blob

    picture = np.full((4, 6, 3), (10, 20, 30), np.uint8)
    blob = to_blob(picture, (2, 3, 8, 3), (1, 2, 3), 0.5)
    assert blob.shape == (2, 3, 8, 3) and blob.dtype == np.float32
    assert np.array_equal(blob[1, :, 7, 2], [4.5, 9, 13.5])
    grey = to_blob(picture, (1, 1, 4, 6), (0,), 1.0)  # 0.114 B + 0.587 G + 0.299 R
    assert np.array_equal(np.unique(grey), [22])


def test_boxes_far_beyond_the_image_are_compared_by_their_size():
    far = (0, 1, 0.9, -1000, -1000, 3000, 4000)
    near = (0, 1, 0.9, -1000, -1000, 3000, 4001)
    assert detections(rows(far), rows(near)).values == pytest.approx(1 / 4000)
