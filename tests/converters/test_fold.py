"""Folding: the same outputs as before, and what is left alone and why."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.fold import fold
from converters.pytorch import CaffeNet
from prototxt import schema
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.text import parse

INPUT = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 5 } } }\n'


def conv(parameters: str, bottom: str = "data", top: str = "c", kind: str = "Convolution") -> str:
    ends = f'name: "{top}" type: "{kind}" bottom: "{bottom}" top: "{top}"'
    return f"layer {{ {ends} convolution_param {{ {parameters} }} }}\n"


def affine(kind: str, bottom: str, top: str, parameters: str = "", name: str = "") -> str:
    return f'layer {{ name: "{name or top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {parameters} }}\n'


BIAS = "scale_param { bias_term: true }"
RELU = 'layer { name: "r" type: "ReLU" bottom: "%s" top: "r" }\n'
BN_SCALE = affine("BatchNorm", "c", "c", name="bn") + affine("Scale", "c", "c", BIAS, name="scale")
INNER = 'layer { name: "c" type: "InnerProduct" bottom: "%s" top: "c" inner_product_param { num_output: 3 %s } }\n'


def graph_of(text: str) -> Graph:
    parsed = parse(INPUT + text, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(parsed.message, parsed.path, parsed.lines))


def weights_of(graph: Graph) -> dict[str, list[np.ndarray]]:
    """Blobs away from 0; variances above it."""
    rng = np.random.default_rng(0)
    weights = {}
    for layer in graph.layers:
        blobs = [rng.standard_normal(shape).astype(np.float32) for shape in layer.blob_shapes]
        if layer.type == "BatchNorm":
            blobs = [blobs[0], rng.uniform(0.5, 2, blobs[1].shape).astype(np.float32), np.array([1.7], np.float32)]
        if layer.type == "BN" and len(blobs) == 4:
            blobs[3] = np.abs(blobs[3]) + 0.5
        if blobs:
            weights[layer.name] = blobs
    return weights


def fold_and_compare(text: str):
    """Fold a net and check that its outputs are those from before."""
    graph = graph_of(text)
    weights = weights_of(graph)
    before = {name: [blob.copy() for blob in blobs] for name, blobs in weights.items()}
    protos = [layer.proto.SerializeToString() for layer in graph.layers]
    found = fold(graph, weights)
    assert [layer.proto.SerializeToString() for layer in graph.layers] == protos
    for name, blobs in before.items():
        assert all(np.array_equal(a, b) for a, b in zip(blobs, weights[name], strict=True))
    image = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 4, 6, 5)).astype(np.float32))
    with torch.no_grad():
        wanted = CaffeNet(graph, weights)({"data": image})
        tops = CaffeNet(found.graph, found.weights)({"data": image})
    assert list(tops) == list(wanted)
    for name, top in wanted.items():
        assert (tops[name] - top).abs().max() <= 1e-5 * top.abs().max(), name
    return found


@pytest.mark.parametrize(
    ("text", "into"),
    [
        (conv("num_output: 6 kernel_size: 3 pad: 1") + BN_SCALE, {"bn": "c", "scale": "c"}),
        (conv("num_output: 6 kernel_size: 3 bias_term: false") + BN_SCALE, {"bn": "c", "scale": "c"}),
        (conv("num_output: 6 kernel_size: 2 stride: 2 dilation: 2") + BN_SCALE, {"bn": "c", "scale": "c"}),
        (conv("num_output: 6 kernel_size: 3 group: 2 pad: 1") + BN_SCALE, {"bn": "c", "scale": "c"}),
        (conv("num_output: 4 kernel_size: 3", kind="DepthwiseConvolution") + BN_SCALE, {"bn": "c", "scale": "c"}),
        (
            conv("num_output: 4 kernel_size: 3 pad: 1 bias_term: false", kind="ConvolutionDepthwise")
            + affine("BN", "c", "b"),
            {"b": "c"},
        ),
        (
            conv("num_output: 8 kernel_size: 3 group: 4", kind="DepthwiseConvolution") + affine("BN", "c", "b"),
            {"b": "c"},
        ),
        (
            conv("num_output: 6 kernel_size: 3 group: 2 stride: 2", kind="Deconvolution") + BN_SCALE,
            {"bn": "c", "scale": "c"},
        ),
        (INNER % ("data", "") + BN_SCALE, {"bn": "c", "scale": "c"}),
        (INNER % ("data", "transpose: true bias_term: false") + BN_SCALE, {"bn": "c", "scale": "c"}),
        (conv("num_output: 6 kernel_size: 3") + affine("BN", "c", "b"), {"b": "c"}),
        (conv("num_output: 6 kernel_size: 3") + affine("BN", "c", "b", "bn_param { bn_mode: INFERENCE }"), {"b": "c"}),
        (conv("num_output: 6 kernel_size: 3") + affine("Bias", "c", "b") + RELU % "b", {"b": "c"}),
        (conv("num_output: 6 kernel_size: 3") + affine("Scale", "c", "s", "scale_param { num_axes: 0 }"), {"s": "c"}),
        # before the layer
        (affine("BatchNorm", "data", "b") + conv("num_output: 6 kernel_size: 3", "b"), {"b": "c"}),
        (affine("Scale", "data", "s", BIAS) + conv("num_output: 6 kernel_size: 3 group: 2", "s"), {"s": "c"}),
        (affine("Scale", "data", "s") + conv("num_output: 6 kernel_size: 3 pad: 1 bias_term: false", "s"), {"s": "c"}),
        (affine("Scale", "data", "s") + conv("num_output: 6 kernel_size: 3 group: 2", "s", kind="Deconvolution"),
         {"s": "c"}),
        (
            affine("BN", "data", "b")
            + conv("num_output: 4 kernel_size: 3 bias_term: false", "b", kind="DepthwiseConvolution"),
            {"b": "c"},
        ),
        (
            affine("Scale", "data", "s")
            + conv("num_output: 8 kernel_size: 3 group: 4 pad: 1", "s", kind="ConvolutionDepthwise"),
            {"s": "c"},
        ),
        (affine("Scale", "data", "s", BIAS) + INNER % ("s", ""), {"s": "c"}),
        (affine("Scale", "data", "data", BIAS, "s") + INNER % ("data", "transpose: true bias_term: false"), {"s": "c"}),
        # from both sides, and two of them before
        (
            affine("BatchNorm", "data", "b")
            + affine("Scale", "b", "s", BIAS)
            + conv("num_output: 6 kernel_size: 3", "s")
            + BN_SCALE,
            {"b": "c", "s": "c", "bn": "c", "scale": "c"},
        ),
    ],
)  # fmt: skip
def test_folded_nets_compute_the_same(text, into):
    found = fold_and_compare(text)
    assert found.into == into and found.kept == {}
    assert {layer.type for layer in found.graph.layers}.isdisjoint({"BN", "BatchNorm", "Bias", "Scale"})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        # DSOD: BatchNorm, Scale, ReLU, Convolution
        (
            affine("BatchNorm", "data", "b") + affine("Scale", "b", "b", BIAS, "s") + RELU % "b"
            + conv("num_output: 6 kernel_size: 1", "r"),
            {"b": "it comes after an Input layer, not a convolution; it comes before a ReLU layer, not a convolution"},
        ),
        (
            affine("Scale", "data", "s", BIAS) + conv("num_output: 6 kernel_size: 3 pad: 1", "s"),
            {"s": "it comes after an Input layer, not a convolution; "
                  "the layer after it pads with zeros, which would not be shifted"},
        ),
        (
            affine("Scale", "data", "s", BIAS) + conv("num_output: 6 kernel_size: 2", "s", kind="Deconvolution"),
            {"s": "it comes after an Input layer, not a convolution; "
                  "the layer after it pads with zeros, which would not be shifted"},
        ),
        (
            conv("num_output: 6 kernel_size: 3") + affine("Scale", "c", "s") + RELU % "c",
            {"s": "another layer reads the blob before it, too; its blob is an output"},
        ),
        (
            affine("Scale", "data", "s") + conv("num_output: 6 kernel_size: 3", "s") + RELU % "s",
            {"s": "it comes after an Input layer, not a convolution; 2 layers read its blob"},
        ),
        (
            affine("BatchNorm", "data", "b", "batch_norm_param { use_global_stats: true eps: 1 }")
            + RELU % "data" + 'layer { name: "e" type: "Eltwise" bottom: "b" bottom: "r" top: "e" }',
            {"b": "it comes after an Input layer, not a convolution; it comes before an Eltwise layer, "
                  "not a convolution"},
        ),
        (
            affine("Scale", "data", "s", "scale_param { axis: 2 }") + conv("num_output: 6 kernel_size: 3", "s"),
            {"s": "what it computes is not one factor and one shift for each channel"},
        ),
        (
            INNER % ("data", "axis: 3") + affine("Scale", "c", "s"),
            {"s": "its channels are not the outputs of the layer before; its blob is an output"},
        ),
        (
            affine("Scale", "data", "s") + INNER % ("s", "axis: 2"),
            {"s": "it comes after an Input layer, not a convolution; the layer after it does not begin with its "
                  "channels"},
        ),
        (
            affine("Scale", "data", "s") + 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }\n'
            + conv("num_output: 6 kernel_size: 3", "s"),
            {"s": "it comes after an Input layer, not a convolution; the blob before it is overwritten before it is "
                  "used"},
        ),
        (
            'layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { name: "w" } param { name: "b" } '
            "convolution_param { num_output: 6 kernel_size: 3 } }" + affine("Scale", "c", "s"),
            {"s": "blobs are shared between layers; its blob is an output"},
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_folded_stays(text, kept):
    found = fold_and_compare(text)
    assert found.kept == kept


def test_batch_statistics_are_left_alone():
    """With them the net cannot be deployed, which is for the exporters to say."""
    text = conv("num_output: 6 kernel_size: 3") + affine(
        "BatchNorm", "c", "b", "batch_norm_param { use_global_stats: false }"
    )
    assert fold_and_compare(text).into == {}


def test_errors_of_a_folded_net_name_the_lines_of_the_file():
    graph = graph_of(conv("num_output: 6 kernel_size: 3") + BN_SCALE + RELU % "c")
    found = fold(graph, weights_of(graph))
    assert [layer.where for layer in found.graph.layers] == ["net.prototxt:1", "net.prototxt:2", "net.prototxt:5"]


def test_notes_say_what_happened_and_why():
    text = conv("num_output: 6 kernel_size: 3") + BN_SCALE + RELU % "c"
    text += affine("BatchNorm", "r", "b") + affine("Scale", "b", "b", BIAS, "s")
    text += 'layer { name: "r2" type: "ReLU" bottom: "b" top: "r2" }'
    assert fold_and_compare(text).notes() == [
        "folded 2 of 4 BatchNorm, Scale, Bias and BN layers into others, and joined 1 to the one before",
        "1 stay, such as b: it comes after a ReLU layer, not a convolution; it comes before a ReLU layer, "
        "not a convolution",
    ]
    assert fold_and_compare(RELU % "data").notes() == []


@pytest.mark.parametrize(("name", "left"), [("dsod300_voc", 43), ("scratchdet300_root34_voc", 19)])
def test_published_nets(shared, name, left):
    """Whole nets: their predictions stay, and each layer that stays is before a ReLU."""
    graph = Graph.load(shared / f"reference/prototxt/{name}/deploy.prototxt")
    net = CaffeNet(graph, seed=0)
    rng = np.random.default_rng(0)
    weights = net.weights()
    for layer in graph.layers:
        if layer.type == "BatchNorm":
            variance = rng.uniform(0.5, 1.5, layer.blob_shapes[1]).astype(np.float32)
            weights[layer.name] = [weights[layer.name][0] + 0.1, variance, np.ones(1, np.float32)]
    found = fold(graph, weights)
    assert len(found.kept) == left and all("before a ReLU" in reason for reason in found.kept.values())
    image = torch.from_numpy(rng.standard_normal(graph.inputs["data"]).astype(np.float32))
    with torch.no_grad():
        names = ("mbox_loc", "mbox_conf")
        wanted = CaffeNet(graph, weights)({"data": image}, keep=names)
        tops = CaffeNet(found.graph, found.weights)({"data": image}, keep=names)
    for each in names:
        assert (tops[each] - wanted[each]).abs().max() <= 1e-5 * wanted[each].abs().max()
