"""What `netgen verify` runs a net on, and its reports."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import typer

from converters.caffemodel import read_weights
from converters.onnx import to_onnx, write_onnx
from converters.proof import verify as verify_module
from converters.proof.backends import BACKENDS
from netgen.commands.verify import verify as command
from netgen.commands.verify_inputs import Pixels, picture_files, picture_samples, random_samples
from prototxt.errors import UserError
from prototxt.graph import Graph
from tests.converters.small_ssd import NET, random_weights, write_ssd

HOW = Pixels((104.0, 117.0, 123.0), 0.01)


@pytest.fixture
def files(tmp_path):
    return write_ssd(tmp_path, 'name: "a <b> & c"' + NET)


@pytest.fixture
def two(monkeypatch):
    """Only PyTorch and ONNX Runtime take part."""
    kept = {name: BACKENDS[name] for name in ("PyTorch", "ONNX Runtime")}
    monkeypatch.setattr(verify_module, "BACKENDS", kept)


@pytest.fixture
def pictures(tmp_path):
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, name in enumerate(("b.png", "a.JPG", "c.txt")):
        data = cv2.imencode(".png", np.random.default_rng(i).integers(0, 256, (30, 20, 3), np.uint8))[1]
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def other_onnx(files, tmp_path):
    """An ONNX file of the net in which the weights of `conf` are others."""
    graph = Graph.load(files[0])
    weights = dict(read_weights(files[1]))
    weights["conf"] = [weights["conf"][0].copy(), weights["conf"][1]]
    weights["conf"][0][::3] += 0.5
    write_onnx(tmp_path / "other.onnx", to_onnx(graph, weights))
    return tmp_path / "other.onnx"


class Page(HTMLParser):
    """The texts of a page's cells; checks that every tag is closed and that nothing is loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "img", "iframe") and not {"src", "href"} & dict(attributes).keys()
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] != "style":
            self.texts.append(data.strip())


def test_pictures_and_noise_in_one_run(files, two, pictures, capsys):
    command(*files, image=[pictures, pictures / "b.png"], random=2, scale=0.01)
    out = capsys.readouterr().out
    assert "100 detections" in out  # 20 in each
    worst = [line.split("  ")[1:2] for line in out.split("The worst of each input")[1].splitlines()]
    names = [name for (name,) in filter(None, worst) if name.startswith((str(pictures), "random"))]
    assert names == [str(pictures / "a.JPG"), str(pictures / "b.png"), "random 0", "random 1"]


def test_seeds(files):
    graph = Graph.load(files[0])
    arrays = [random_samples(graph, 2, HOW, seed)[i].arrays["data"] for seed, i in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert np.array_equal(arrays[0], arrays[3])
    assert not np.array_equal(arrays[0], arrays[1]) and not np.array_equal(arrays[0], arrays[2])


def test_a_picture_in_every_form(files, pictures):
    graph = Graph.load(files[0])
    (sample,) = picture_samples(graph, [pictures / "b.png"], HOW, 0)
    assert sample.pixels["data"].shape == (1, 12, 16, 3) and sample.pixels["data"].dtype == np.uint8
    wanted = (sample.pixels["data"] - np.float32(HOW.mean)) * np.float32(0.01)
    assert np.array_equal(sample.arrays["data"], wanted.transpose(0, 3, 1, 2))
    assert sample.arrays["data"].flags.c_contiguous and sample.path == pictures / "b.png"


def test_noise_for_two_stage_nets(tmp_path):
    """Regions lie in the image, and its size is that of the image."""
    (tmp_path / "net.prototxt").write_text("""
    input: "data" input_shape { dim: 1 dim: 3 dim: 96 dim: 64 }
    input: "rois" input_shape { dim: 40 dim: 5 }
    input: "im_info" input_shape { dim: 1 dim: 3 }
    layer { name: "c" type: "Convolution" bottom: "data" top: "c"
      convolution_param { num_output: 18 kernel_size: 16 stride: 16 } }
    layer { name: "o" type: "Convolution" bottom: "data" top: "o"
      convolution_param { num_output: 36 kernel_size: 16 stride: 16 } }
    layer { name: "pool" type: "ROIPooling" bottom: "c" bottom: "rois" top: "pool"
      roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 } }
    layer { name: "proposal" type: "Python" bottom: "c" bottom: "o" bottom: "im_info" top: "regions" top: "scores"
      python_param { module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "'feat_stride': 16" } }
    """)
    graph = Graph.load(tmp_path / "net.prototxt")
    (sample,) = random_samples(graph, 1, HOW, 0)
    assert sample.arrays["im_info"].tolist() == [[96, 64, 1]]
    image, low, high = np.split(sample.arrays["rois"], [1, 3], axis=1)
    assert sample.arrays["rois"].shape == (40, 5) and (image == 0).all()
    assert (low >= 0).all() and (low <= high).all() and (high < [64, 96]).all() and high.max() > 80


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"random": 0}, "--random is 0; expected 1 or more, or 0 with pictures"),
        ({"random": -1}, "--random is -1; expected 1 or more"),
        ({"tolerance": -1.0}, "--tolerance is -1; expected 0 or more"),
        ({"tolerance": float("nan")}, "--tolerance is nan; expected 0 or more"),
        ({"report": "r.pdf"}, r"r.pdf: a report cannot have this ending; expected .json or .html"),
        ({"report": "far/r.json"}, r"r.json: there is no folder for this report\n  fix: create the folder first"),
        ({"image": "empty"}, r"empty: no picture lies in this folder; expected .bmp, .jpeg"),
        ({"image": "none.png"}, r"none.png: there is no such file"),
    ],
)
def test_what_cannot_be_run(files, tmp_path, given, message):
    (tmp_path / "empty").mkdir()
    given = {key: [tmp_path / value] if isinstance(value, str) else value for key, value in given.items()}
    with pytest.raises(UserError, match=message):
        command(*files, **given)
    assert not (tmp_path / "r.pdf").exists()


def test_files_of_folders(pictures):
    assert picture_files([pictures / "c.txt", pictures]) == [
        pictures / "c.txt", pictures / "a.JPG", pictures / "b.png"]  # fmt: skip


def test_report_of_the_same(files, tmp_path, pictures, capsys):
    paths = [tmp_path / "report.json", tmp_path / "report.html", tmp_path / "again.json"]
    command(*files, image=[pictures / "b.png"], random=1, scale=0.01, layers=True, report=paths)
    assert capsys.readouterr().out.endswith("".join(f"wrote {path}\n" for path in paths))
    report = json.loads(paths[0].read_text("utf-8"))
    assert report["verdict"] == "the same" and report["first layers apart"] == {}
    assert report["net"] == {
        "name": "a <b> & c", "layers": 13, "inputs": {"data": [1, 3, 12, 16]}, "outputs": ["found"]}  # fmt: skip
    assert [(one["what"], one["sha256"]) for one in report["files"]] == [
        (what, hashlib.sha256(path.read_bytes()).hexdigest()) for what, path in zip(("net", "weights"), files)
    ]
    assert report["settings"] == {"mean": [104.0, 117.0, 123.0], "scale": 0.01, "seed": 0}
    assert [one["name"] for one in report["inputs"]] == [str(pictures / "b.png"), "random 0"]
    assert report["inputs"][0]["sha256"] == hashlib.sha256((pictures / "b.png").read_bytes()).hexdigest()
    by_name = {one["name"]: one for one in report["backends"]}
    assert by_name.keys() == BACKENDS.keys() and by_name["PyTorch"]["reference"]
    assert by_name["pycaffe"]["skipped"] == "pycaffe is not installed"
    runtime = by_name["ONNX Runtime"]
    assert runtime["tolerance"] == 1e-4 and runtime["precision"] == "float32" and re.match(r"\d+\.", runtime["version"])
    rows = [row for row in report["outputs"] if row["backend"] == "ONNX Runtime"]
    assert [(row["value"], row["compared"], row["verdict"]) for row in rows] == [
        ("loc_f", 1536, "ok"), ("conf_f", 1152, "ok"), ("found", 40, "ok")]  # fmt: skip
    assert len([row for row in report["cases"] if row["backend"] == "ONNX Runtime"]) == 6
    layers = [row for row in report["layers"] if row["backend"] == "ONNX Runtime"]
    assert [(row["layer"], row["type"]) for row in layers][:2] == [("conv", "Convolution"), ("relu", "ReLU")]
    assert max(row["difference"] for row in report["layers"]) < 1e-5


def test_page(files, tmp_path, pictures, other_onnx):
    with pytest.raises(typer.Exit):
        command(*files, other_onnx, scale=0.01, layers=True, random=2, report=[tmp_path / "report.html"])
    text = (tmp_path / "report.html").read_text("utf-8")
    texts = Page(text).texts
    assert "a <b> & c: the same net everywhere?" in texts and "<b>" not in text
    assert "Outputs differ by more than the tolerance: conf_f in ONNX Runtime; found in ONNX Runtime" in texts
    assert "ONNX Runtime first differs in layer conf" in texts and "above" in texts
    assert hashlib.sha256(other_onnx.read_bytes()).hexdigest() in texts and "random 1" in texts
    for title in ("Outputs", "Inputs", "Layers", "Backends", "Net", "Files", "Settings"):
        assert title in texts
    assert texts.index("conf_s") > texts.index("Layers") and "opset" in texts and "17" in texts


def test_report_of_a_difference(files, tmp_path, two, other_onnx, capsys):
    with pytest.raises(typer.Exit) as caught:
        command(*files, other_onnx, scale=0.01, layers=True, report=[tmp_path / "report.json"])
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert caught.value.exit_code == 1 and report["verdict"] == "differs"
    first = report["first layers apart"]["ONNX Runtime"]
    assert (first["layer"], first["value"]) == ("conf", "conf") and first["largest"] > 0.1
    assert {row["value"]: row["verdict"] for row in report["outputs"]} == {
        "loc_f": "ok", "conf_f": "above", "found": "above"}  # fmt: skip
    assert report["onnx"]["opset"] == "17" and [one["what"] for one in report["files"]] == ["net", "weights", "ONNX"]


def test_numbers_that_json_has_not(files, tmp_path, two):
    """A weight that is no number makes a report of strings, not one that no reader takes."""
    graph = Graph.load(files[0])
    weights = random_weights(graph)
    weights["conf"][0][0] = np.nan
    write_onnx(tmp_path / "nan.onnx", to_onnx(graph, weights))
    with pytest.raises(typer.Exit):
        command(*files, tmp_path / "nan.onnx", scale=0.01, report=[tmp_path / "r.json", tmp_path / "r.html"])
    report = json.loads((tmp_path / "r.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert {row["value"]: row["difference"] for row in report["outputs"]}["conf_f"] == "inf"
    assert "inf" in Page((tmp_path / "r.html").read_text("utf-8")).texts


def test_known_misreadings_in_the_reports(tmp_path):
    files = write_ssd(tmp_path, NET.replace("clip: false", ""))
    command(*files, scale=0.01, report=[tmp_path / "r.json", tmp_path / "r.html"])
    report = json.loads((tmp_path / "r.json").read_text("utf-8"))
    if any(one["name"] == "OpenCV" and "skipped" in one for one in report["backends"]):
        pytest.skip("OpenCV has no Caffe importer")
    reason = "OpenCV clips prior boxes where no `clip: false` is written"
    assert reason in report["known misreadings"] and report["verdict"] == "the same"
    assert {row["verdict"] for row in report["outputs"] if row["value"] == "prior"} >= {"known"}
    assert reason in Page((tmp_path / "r.html").read_text("utf-8")).texts


def test_a_report_that_cannot_be_written_leaves_nothing(files, tmp_path, two):
    (tmp_path / "r.json").mkdir()
    with pytest.raises(UserError, match=r"r.json: cannot be written"):
        command(*files, scale=0.01, report=[tmp_path / "r.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.prototxt", "r.json"]
