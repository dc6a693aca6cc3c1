"""`netgen verify --layers`: the layer that is named is the one that is wrong, in whatever backend."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from converters.caffemodel import read_weights, write_weights
from converters.onnx import write_onnx
from converters.onnx.deploy import Deployment, deploy
from converters.proof import verify as verify_module
from converters.proof.backends import BACKENDS, SkippedError
from converters.proof.report import layer_of
from converters.proof.values import folding_of, values_of
from converters.proof.verify import verify
from netgen.commands import verify as verify_command
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import write_text
from tests.converters.small_ssd import write_ssd
from tests.converters.test_round_trip import nets, small_numbers

# In place and not, a convolution whose top has another name, two tops, branches that meet again.
NET = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 16 } } }
layer { name: "data/bn" type: "BatchNorm" bottom: "data" top: "data" }
layer { name: "c1" type: "Convolution" bottom: "data" top: "x"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "c1/bn" type: "BatchNorm" bottom: "x" top: "x" }
layer { name: "c1/scale" type: "Scale" bottom: "x" top: "x" scale_param { bias_term: true } }
layer { name: "c1/relu" type: "ReLU" bottom: "x" top: "x" }
layer { name: "pool" type: "Pooling" bottom: "x" top: "y" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "norm" type: "Normalize" bottom: "y" top: "y"
  norm_param { across_spatial: false channel_shared: false } }
layer { name: "tanh" type: "TanH" bottom: "y" top: "y" }
layer { name: "slice" type: "Slice" bottom: "y" top: "a" top: "b" slice_param { axis: 1 slice_point: 3 } }
layer { name: "ca" type: "Convolution" bottom: "a" top: "ca" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "cb" type: "Convolution" bottom: "b" top: "wide"
  convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }
layer { name: "cb/bn" type: "BatchNorm" bottom: "wide" top: "cb" }
layer { name: "cb/scale" type: "Scale" bottom: "cb" top: "cb/scaled" }
layer { name: "cb/relu" type: "ReLU" bottom: "cb/scaled" top: "cb/scaled" }
layer { name: "sum" type: "Eltwise" bottom: "ca" bottom: "cb/scaled" top: "sum" }
layer { name: "fc" type: "InnerProduct" bottom: "sum" top: "fc" inner_product_param { num_output: 5 } }
"""
VALUES = ["data@data/bn", "x@c1", "x@c1/bn", "x@c1/scale", "x", "y@pool", "y@norm", "y", "a", "b", "ca", "wide", "cb",
          "cb/scaled@cb/scale", "cb/scaled", "sum", "fc"]  # fmt: skip
LEARNED = ("data/bn", "c1", "c1/bn", "c1/scale", "norm", "ca", "cb", "cb/bn", "cb/scale", "fc")


@pytest.fixture
def files(tmp_path):
    return write_ssd(tmp_path, NET)


@pytest.fixture
def two(monkeypatch):
    """Only PyTorch and ONNX Runtime take part."""
    kept = {name: BACKENDS[name] for name in ("PyTorch", "ONNX Runtime")}
    monkeypatch.setattr(verify_module, "BACKENDS", kept)


@pytest.fixture
def noise():
    return [{"data": np.random.default_rng(seed).standard_normal((1, 3, 12, 16)).astype(np.float32)} for seed in (0, 1)]


def write_damaged(path, graph, weights, how, layer=None) -> None:
    """An ONNX file of a net in which one number of a layer's is another."""
    model, _ = deploy(graph, weights, how)
    if layer:
        own = [tensor for tensor in model.graph.initializer if tensor.name.rpartition("/")[0] == layer]
        tensors = [tensor for tensor in own if tensor.data_type == tensor.FLOAT and max(tensor.dims, default=1) > 1]
        array = numpy_helper.to_array(tensors[0]).copy()
        array.reshape(-1)[-1] += 0.5
        tensors[0].CopyFrom(numpy_helper.from_array(array, tensors[0].name))
    write_onnx(path, model)


def test_values_of_a_net(files):
    values = values_of(Graph.load(files[0]))
    assert [value.name for value in values] == VALUES
    firsts = [value.name for value in values if not value.is_first]
    assert firsts == ["data@data/bn", "x@c1/bn", "x@c1/scale", "x", "y@norm", "y", "cb/scaled"]
    assert [value.blob for value in values][:6] == ["data", "x", "x", "x", "x", "y"]


def test_values_of_the_folded_net(files):
    graph = Graph.load(files[0])
    folding = folding_of(graph, read_weights(files[1]))
    assert folding.into == {"c1/bn": "c1", "c1/scale": "c1", "cb/bn": "cb", "cb/scale": "cb"}
    # What the folded convolutions make is what the Scale behind each made.
    assert folding.names["x@c1/scale"] == "x@c1" and folding.names["cb/scaled@cb/scale"] == "cb/scaled@cb"
    assert set(VALUES) - set(folding.names) == {"x@c1", "x@c1/bn", "wide", "cb"}


@pytest.mark.parametrize("is_folded", [True, False])
def test_nothing_is_wrong(files, noise, tmp_path, is_folded):
    graph, weights = Graph.load(files[0]), read_weights(files[1])
    write_damaged(tmp_path / "net.onnx", graph, weights, Deployment(fold=is_folded))
    found = verify(*files, noise, tmp_path / "net.onnx", layers=True)
    assert max(d.largest for d in found.layers) < 1e-5 and found.first_apart(1e-5) == {}
    compared = [d.blob for d in found.layers if d.backend == "ONNX Runtime"]
    gone = {"x@c1", "x@c1/bn", "wide", "cb"} if is_folded else set()
    assert compared == [name for name in VALUES if name not in gone]
    assert set(found.into["ONNX Runtime"]) == ({"c1/bn", "c1/scale", "cb/bn", "cb/scale"} if is_folded else set())


@pytest.mark.parametrize("layer", LEARNED)
def test_a_damaged_layer_is_named(files, noise, tmp_path, two, layer):
    graph, weights = Graph.load(files[0]), read_weights(files[1])
    write_damaged(tmp_path / "bad.onnx", graph, weights, Deployment(fold=False), layer)
    found = verify(*files, noise, tmp_path / "bad.onnx", layers=True)
    (first,) = found.first_apart(1e-4).items()
    assert first[0] == "ONNX Runtime" and layer_of(first[1].blob, first[0], found) == layer
    assert first[1].largest > 1e-3


@pytest.mark.parametrize("layer", ["data/bn", "c1", "norm", "ca", "cb", "fc"])
def test_a_damaged_layer_is_named_when_others_are_folded_into_it(files, noise, tmp_path, two, layer):
    graph, weights = Graph.load(files[0]), read_weights(files[1])
    write_damaged(tmp_path / "bad.onnx", graph, weights, Deployment(), layer)
    found = verify(*files, noise, tmp_path / "bad.onnx", layers=True)
    inside = {"c1": " (c1/bn, c1/scale inside)", "cb": " (cb/bn, cb/scale inside)"}.get(layer, "")
    first = found.first_apart(1e-4)["ONNX Runtime"]
    assert layer_of(first.blob, "ONNX Runtime", found) == layer + inside


@pytest.mark.parametrize("backend", ["OpenCV", "MNN"])
@pytest.mark.parametrize("layer", ["c1/scale", "ca", "cb"])
def test_importers_of_other_weights(files, noise, tmp_path, monkeypatch, layer, backend):
    """MNN has taken BatchNorm and Scale into the convolutions: the first that it shows is named."""
    pytest.importorskip({"OpenCV": "cv2", "MNN": "MNN"}[backend])
    graph, weights = Graph.load(files[0]), read_weights(files[1])
    bad = {name: [blob.copy() for blob in blobs] for name, blobs in weights.items()}
    bad[layer][0].reshape(-1)[-1] += 0.5
    write_weights(tmp_path / "bad.caffemodel", graph, bad)

    def load(job):
        return BACKENDS[backend](replace(job, caffemodel=tmp_path / "bad.caffemodel"))

    monkeypatch.setattr(verify_module, "BACKENDS", {"PyTorch": BACKENDS["PyTorch"], backend: load})
    found = verify(*files, noise[:1], layers=True)
    if backend in found.skipped:
        pytest.skip(found.skipped[backend])
    (first,) = found.first_apart(1e-4).items()
    seen = {"c1": "c1/relu", "c1/scale": "c1/relu", "cb": "cb/relu"} if backend == "MNN" else {}
    assert first[0] == backend and found.makers[first[1].blob].name == seen.get(layer, layer)


def test_a_backend_that_shows_no_layers(files, noise, monkeypatch):
    """Its outputs are compared all the same."""

    def load(job):
        if len(job.values) > 1:
            raise SkippedError("too many")
        return BACKENDS["PyTorch"](job)

    monkeypatch.setattr(verify_module, "BACKENDS", {**BACKENDS, "MNN": load})
    monkeypatch.setattr(verify_module, "version_of", str)
    found = verify(*files, noise, layers=True)
    assert "MNN does not show its layers: too many" in found.notes and "MNN" not in found.skipped
    assert [d.blob for d in found.differences if d.backend == "MNN"] == ["fc"]
    assert "MNN" not in {d.backend for d in found.layers} and found.layers


def test_a_layer_of_small_values_is_named_all_the_same(tmp_path, two):
    """Its own values differ by 1e-4 and less, as a part of them by much; what normalises them comes later."""
    text = (
        "\n".join(NET.strip().splitlines()[:1])
        + """
    layer { name: "c1" type: "Convolution" bottom: "data" top: "x" convolution_param { num_output: 8 kernel_size: 1 } }
    layer { name: "c1/bn" type: "BatchNorm" bottom: "x" top: "x" }"""
    )
    files = write_ssd(tmp_path, text)
    graph, weights = Graph.load(files[0]), dict(read_weights(files[1]))
    small = {"c1": [blob * 1e-3 for blob in weights["c1"]], "c1/bn": [blob * 1e-6 for blob in weights["c1/bn"][:2]]}
    small["c1/bn"].append(np.ones(1, np.float32))
    write_weights(files[1], graph, small)
    small["c1"][0].reshape(-1)[0] += 5e-5
    model, _ = deploy(graph, small, Deployment(fold=False))
    write_onnx(tmp_path / "bad.onnx", model)
    picture = np.random.default_rng(0).standard_normal((1, 3, 12, 16)).astype(np.float32)
    first = verify(*files, [{"data": picture}], tmp_path / "bad.onnx", layers=True).first_apart(1e-4)
    assert first["ONNX Runtime"].blob == "x@c1" and first["ONNX Runtime"].largest > 1e-2


@settings(max_examples=40, deadline=None)
@given(nets(), st.integers(0, 2**32), st.booleans())
def test_no_value_of_a_random_net_is_taken_for_another(graph, seed, is_folded):
    """Whatever is folded into whatever, in place or not: each value has the name of what it is compared with."""
    weights = small_numbers(graph, seed)
    assume(weights)
    try:
        model, _ = deploy(graph, weights, Deployment(fold=is_folded))
    except UserError:  # no ONNX form
        assume(False)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        files = [Path(folder) / name for name in ("net.prototxt", "net.caffemodel", "net.onnx")]
        write_text(graph.net.message, files[0])
        write_weights(files[1], graph, weights)
        write_onnx(files[2], model)
        patch.setattr(verify_module, "BACKENDS", {name: BACKENDS[name] for name in ("PyTorch", "ONNX Runtime")})
        inputs = [{"data": np.random.default_rng(seed).standard_normal((2, 4, 7, 6)).astype(np.float32)}]
        found = verify(*files[:2], inputs, files[2], layers=True)
    assert found.first_apart(1e-2) == {}
    made = {name for node in model.graph.node for name in node.output}
    outputs = [d.blob for d in found.differences]
    assert {name for name in graph.outputs if name in made} <= {*outputs, *graph.inputs}


def test_the_command_names_it(files, tmp_path, two, capsys):
    graph, weights = Graph.load(files[0]), read_weights(files[1])
    write_damaged(tmp_path / "bad.onnx", graph, weights, Deployment(), "cb")
    with pytest.raises(typer.Exit) as caught:
        verify_command.verify(*files, tmp_path / "bad.onnx", scale=0.01, layers=True)
    out = capsys.readouterr().out
    assert caught.value.exit_code == 1
    assert "ONNX Runtime first differs in layer cb (cb/bn, cb/scale inside): " in out
    marked = [line.split()[0] for line in out.splitlines() if " ! " in line and "Layer by" not in line]
    assert marked[0] == "cb/scale" and "ca" not in marked and "fc" in marked


def test_real_nets(shared, tmp_path):
    """WeChat's detector: nothing is wrong, then one weight of its 60 convolutions is."""
    files = [shared / "models/wechat_qr" / name for name in ("detect.prototxt", "detect.caffemodel")]
    graph, weights = Graph.load(files[0]), read_weights(files[1])
    inputs = [{"data": np.random.default_rng(0).random((1, 1, 384, 384), np.float32)}]
    write_damaged(tmp_path / "bad.onnx", graph, weights, Deployment(), "stage5_2/conv2")
    found = verify(*files, inputs, tmp_path / "bad.onnx", layers=True)
    first = found.first_apart(1e-4)
    assert list(first) == ["ONNX Runtime"] and first["ONNX Runtime"].blob == "stage5_2/conv2"
    shown = [d.blob for d in found.layers if d.backend == "ONNX Runtime"]
    assert len(shown) > 150 and shown.index("stage5_2/conv2") == 80
    others = [d.largest for d in found.layers if d.backend != "ONNX Runtime"]
    assert not others or max(others) < 1e-5


def test_real_net_that_enlarges(shared):
    """Nothing of it is wrong but what is known: its Deconvolution and Crop in MNN."""
    files = [shared / "models/wechat_qr" / name for name in ("sr.prototxt", "sr.caffemodel")]
    inputs = [{"data": np.random.default_rng(0).random((1, 1, 224, 224), np.float32)}]
    found = verify(*files, inputs, layers=True)
    assert found.first_apart(1e-4) == {} and {d.backend for d in found.layers} >= {"ONNX Runtime"}
