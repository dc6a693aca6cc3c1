"""One small net with every layer type that forks of Caffe added, through every tool that takes a net."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from converters.fold import fold
from converters.onnx import to_onnx
from converters.pytorch import CaffeNet
from prototxt import schema
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.lint import lint_files
from prototxt.summary import summarize
from prototxt.text import parse
from tests.converters.source_nets import module_of

INPUTS = """
name: "forks"
layer { name: "data" type: "Input" top: "data" top: "info" top: "rpn_conf" top: "rpn_loc" input_param {
  shape { dim: [1, 8, 12, 16] } shape { dim: [1, 3] } shape { dim: [1, 6, 6, 8] } shape { dim: [1, 12, 6, 8] } } }
"""
BODY = """
layer { name: "dw" type: "DepthwiseConvolution" bottom: "data" top: "dw" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "bn" type: "BN" bottom: "dw" top: "dw" bn_param { eps: 0.001 } }
layer { name: "relu6" type: "ReLU6" bottom: "dw" top: "dw" }
layer { name: "dw2" type: "ConvolutionDepthwise" bottom: "dw" top: "dw2" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "prelu" type: "PReLU" bottom: "dw2" top: "dw2" }
layer { name: "shuffle" type: "ShuffleChannel" bottom: "dw2" top: "shuffle" shuffle_channel_param { group: 2 } }
layer { name: "pooled" type: "Pooling" bottom: "shuffle" top: "pooled" top: "mask" pooling_param {
  kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Upsample" bottom: "pooled" bottom: "mask" top: "up" upsample_param { scale: 2 } }
layer { name: "blocks" type: "Upsample" bottom: "pooled" top: "blocks" upsample_param { scale: 2 } }
layer { name: "resized" type: "Interp" bottom: "pooled" top: "resized" interp_param { height: 12 width: 16 } }
layer { name: "gate" type: "Pooling" bottom: "up" top: "gate" pooling_param { pool: AVE global_pooling: true } }
layer { name: "axpy" type: "Axpy" bottom: "gate" bottom: "up" bottom: "blocks" top: "axpy" }
layer { name: "sum" type: "Eltwise" bottom: "axpy" bottom: "resized" top: "sum" }
layer { name: "halves" type: "Slice" bottom: "sum" top: "first" top: "second" slice_param { slice_point: 4 } }
layer { name: "crop" type: "Crop" bottom: "first" bottom: "pooled" top: "crop" crop_param { axis: 2 offset: [3, 4] } }
layer { name: "swish" type: "Swish" bottom: "crop" top: "swish" }
layer { name: "mish" type: "Mish" bottom: "second" top: "mish" }
layer { name: "clip" type: "Clip" bottom: "mish" top: "clip" clip_param { min: -1 max: 2 } }
layer { name: "reorg" type: "Reorg" bottom: "clip" top: "reorg" reorg_param { stride: 2 } }
layer { name: "turned" type: "Transpose" bottom: "reorg" top: "turned" transpose_param { dim: [0, 1, 3, 2] } }
layer { name: "mirrored" type: "Reverse" bottom: "turned" top: "mirrored" reverse_param { axis: 3 } }
"""
REGIONS = """
layer { name: "proposal" type: "Proposal" bottom: "rpn_conf" bottom: "rpn_loc" bottom: "info" top: "rois"
  proposal_param { feat_stride: 16 scale: [1, 2, 3] ratio: 1 min_size: 4 post_nms_topn: 9 } }
layer { name: "roi" type: "ROIPooling" bottom: "swish" bottom: "rois" top: "roi" roi_pooling_param {
  pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 } }
layer { name: "psroi" type: "PSROIPooling" bottom: "mirrored" bottom: "rois" top: "psroi" psroi_pooling_param {
  spatial_scale: 0.0625 output_dim: 4 group_size: 2 } }
layer { name: "both" type: "Concat" bottom: "roi" bottom: "psroi" top: "both" }
layer { name: "fc" type: "InnerProduct" bottom: "both" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
TEXT = INPUTS + BODY + REGIONS
FORKS = {"Axpy", "BN", "Clip", "ConvolutionDepthwise", "DepthwiseConvolution", "Interp", "Mish", "Proposal", "Reorg"}
FORKS |= {"PSROIPooling", "ROIPooling", "ReLU6", "Reverse", "ShuffleChannel", "Swish", "Transpose", "Upsample"}


@pytest.fixture(scope="module")
def graph() -> Graph:
    parsed = parse(TEXT, schema.NetParameter(), "forks.prototxt")
    return Graph(net_file(parsed.message, parsed.path, parsed.lines), "TEST")


@pytest.fixture(scope="module")
def weights(graph):
    rng = np.random.default_rng(0)
    blobs = {
        layer.name: [rng.uniform(0.1, 1, shape).astype(np.float32) for shape in layer.blob_shapes]
        for layer in graph.layers
        if layer.blob_shapes
    }
    blobs["fc"][0] *= np.float32(0.02)  # scores that are neither 0 nor 1
    return blobs


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "data": rng.normal(0, 2, (1, 8, 12, 16)).astype(np.float32),
        "info": np.float32([[96, 128, 1]]),
        "rpn_conf": (rng.permutation(6 * 48).reshape(1, 6, 6, 8) / 300).astype(np.float32),
        "rpn_loc": rng.normal(0, 0.2, (1, 12, 6, 8)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def wanted(graph, weights, inputs) -> np.ndarray:
    with torch.no_grad():
        top = CaffeNet(graph, weights)({name: torch.from_numpy(array) for name, array in inputs.items()})["prob"]
    assert top.shape == (9, 3) and top.std(0).min() > 1e-3
    return top.numpy()


def test_the_net_has_every_type_of_the_forks(graph):
    assert {layer.type for layer in graph.layers} > FORKS


def test_onnx(graph, weights, inputs, wanted):
    model = to_onnx(graph, weights)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["prob"], inputs)[0], wanted, atol=1e-5)


def test_stand_alone_code(graph, weights, inputs, wanted):
    with torch.no_grad():
        found = module_of(graph, weights)(*(torch.from_numpy(inputs[name]) for name in graph.inputs))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_folded(graph, weights, inputs, wanted):
    folded = fold(graph, weights)
    assert folded.into == {"bn": "dw"} and folded.kept == {}
    with torch.no_grad():
        top = CaffeNet(folded.graph, folded.weights)({name: torch.from_numpy(a) for name, a in inputs.items()})["prob"]
    np.testing.assert_allclose(top.numpy(), wanted, atol=1e-5)


def test_summary(graph):
    costs = summarize(graph)
    layers = {layer["name"]: layer for layer in costs["layers"]}
    assert layers["dw"]["macs"] == layers["dw2"]["macs"] == 8 * 9 * 12 * 16
    assert (layers["bn"]["parameters"], layers["bn"]["statistics"]) == (16, 16)
    assert layers["axpy"]["shapes"] == [[1, 8, 12, 16]]
    assert layers["reorg"]["shapes"] == [[1, 16, 6, 8]] and layers["turned"]["shapes"] == [[1, 16, 8, 6]]


def test_lint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forks.prototxt").write_text(TEXT)
    assert lint_files(["forks.prototxt"]) == []


CHANGES = {  # old text, new text: the parameter that is another then, and its layer
    "bn_param { eps: 0.001 }": ("bn_param { eps: 0.01 }", "eps", "bn"),
    "shuffle_channel_param { group: 2 }": ("shuffle_channel_param { group: 4 }", "group", "shuffle"),
    'top: "swish" }': ('top: "swish" swish_param { beta: 2 } }', "beta", "swish"),
    "clip_param { min: -1 max: 2 }": ("clip_param { min: -1 max: 3 }", "max", "clip"),
    "reverse_param { axis: 3 }": ("reverse_param { axis: 2 }", "axis", "mirrored"),
    "scale: [1, 2, 3]": ("scale: [1, 2, 4]", "scales", "proposal"),
    "pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625": (
        "pooled_h: 2 pooled_w: 2 spatial_scale: 0.125",
        "spatial_scale",
        "roi",
    ),
    "spatial_scale: 0.0625 output_dim": ("spatial_scale: 0.125 output_dim", "spatial_scale", "psroi"),
}


def test_lint_compares_the_net_with_its_train_net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = TEXT + (
        'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: [9, 3] } } }\n'
        'layer { name: "loss" type: "EuclideanLoss" bottom: "prob" bottom: "label" top: "loss" '
        "include { phase: TRAIN } }\n"
    )
    deploy = TEXT
    for old, (new, _, _) in CHANGES.items():
        assert deploy.count(old) == 1
        deploy = deploy.replace(old, new)
    (tmp_path / "train.prototxt").write_text(train)
    (tmp_path / "deploy.prototxt").write_text(deploy)
    findings = [f for f in lint_files(["train.prototxt", "deploy.prototxt"]) if f.check == "same-arithmetic"]
    assert {f.layer: f.reason.split(" than in ")[0] for f in findings} == {
        layer: f"other {name}" for _, name, layer in CHANGES.values()
    }
