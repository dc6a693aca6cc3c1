"""Convolutions as products of tiles: the same numbers as Conv's, where they pay and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from converters.caffemodel import write_weights
from converters.onnx import to_onnx
from converters.onnx.builder import Open
from converters.onnx.deploy import Deployment, deploy
from converters.onnx.winograd import pays, winograd
from netgen.zoo import build
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.text import parse

INPUT = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: %d dim: %d dim: %d dim: %d } } }\n'
CONV = 'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { %s } }'


def graph_of(text: str, *shape: int) -> Graph:
    parsed = parse(INPUT % shape + text, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(parsed.message, parsed.path, parsed.lines))


def weights_of(graph: Graph) -> dict[str, list[np.ndarray]]:
    """Random weights that leave the size of the values as it is."""
    rng = np.random.default_rng(0)
    return {
        layer.name: [
            (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32) for shape in layer.blob_shapes
        ]
        for layer in graph.layers
        if layer.blob_shapes
    }


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    channels=st.tuples(st.integers(96, 130), st.integers(96, 130)),
    height=st.integers(14, 23),
    width=st.integers(14, 23),
    pad=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    has_bias=st.booleans(),
    batch=st.integers(1, 2),
)
def test_the_same_as_conv(channels, height, width, pad, has_bias, batch):
    ins, outs = channels
    param = f"num_output: {outs} kernel_size: 3 pad_h: {pad[0]} pad_w: {pad[1]} bias_term: {str(has_bias).lower()}"
    graph = graph_of(CONV % param, batch, ins, height, width)
    weights, data = weights_of(graph), image(batch, ins, height, width)
    (wanted,) = run(to_onnx(graph, weights), data=data)
    model = to_onnx(graph, weights, forms={"Convolution": winograd})
    (found,) = run(model, data=data)
    assert not pays(graph.layers[-1]) or "DepthToSpace" in {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(found, wanted, atol=3e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "param, shape, does",
    [
        ("num_output: 96 kernel_size: 3 pad: 1", (96, 16, 16), True),
        ("num_output: 72 kernel_size: 3 pad: 1", (144, 16, 16), True),
        ("num_output: 96 kernel_size: 3 pad: 1", (95, 16, 16), False),
        ("num_output: 32 kernel_size: 3 pad: 1", (512, 16, 16), False),
        ("num_output: 96 kernel_size: 3 pad: 1", (96, 12, 12), False),
        ("num_output: 96 kernel_size: 1", (96, 16, 16), False),
        ("num_output: 96 kernel_h: 3 kernel_w: 1", (96, 16, 16), False),
        ("num_output: 96 kernel_size: 3 stride: 2", (96, 32, 32), False),
        ("num_output: 96 kernel_size: 3 dilation: 2", (96, 32, 32), False),
        ("num_output: 192 kernel_size: 3 pad: 1 group: 2", (192, 16, 16), False),
    ],
)
def test_where_it_pays(param, shape, does):
    graph = graph_of(CONV % param, 1, *shape)
    assert pays(graph.layers[-1]) is does
    operators = {node.op_type for node in to_onnx(graph, weights_of(graph), forms={"Convolution": winograd}).graph.node}
    assert ("DepthToSpace" in operators) is does


def test_the_kernels_stay_as_caffe_has_them():
    graph = graph_of(CONV % "num_output: 100 kernel_size: 3", 1, 96, 18, 18)
    weights = weights_of(graph)
    model = to_onnx(graph, weights, forms={"Convolution": winograd})
    (kernels,) = (each for each in model.graph.initializer if each.name == "conv/weight")
    np.testing.assert_array_equal(numpy_helper.to_array(kernels), weights["conv"][0])
    floats = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]
    assert sum(len(each.raw_data) for each in floats) < 1.05 * sum(blob.nbytes for blob in weights["conv"])


def test_several_bottoms_share_the_kernels():
    two = 'layer { name: "two" type: "Split" bottom: "data" top: "a" top: "b" }\n'
    conv = (CONV % "num_output: 96 kernel_size: 3 pad: 1").replace('bottom: "data"', 'bottom: "a" bottom: "b" top: "c"')
    graph = graph_of(two + conv, 1, 96, 16, 16)
    model = to_onnx(graph, weights_of(graph), forms={"Convolution": winograd})
    assert [each.name for each in model.graph.initializer].count("conv/weight") == 1
    a, b = run(model, data=image(1, 96, 16, 16))
    np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def detector():
    graph = Graph(net_file(build("ssd300-vgg16").nets()["deploy"], "net.prototxt"))
    return graph, weights_of(graph)


@pytest.mark.parametrize("postprocess", ["nms", "none"])
def test_a_detector(detector, postprocess):
    graph, weights = detector
    plain, _ = deploy(graph, weights, Deployment(postprocess=postprocess))
    model, notes = deploy(graph, weights, Deployment(postprocess=postprocess, winograd=True))
    count = sum(node.op_type == "DepthToSpace" for node in model.graph.node)
    assert notes[-1] == f"{count} of 35 convolutions are computed as F(4x4, 3x3)" and count > 5
    data = 50 * image(1, 3, 300, 300)
    assert [value.name for value in model.graph.output] == [value.name for value in plain.graph.output]
    for found, wanted in zip(run(model, data=data), run(plain, data=data)):
        np.testing.assert_allclose(found, wanted, atol=3e-5 * np.abs(wanted).max())


def test_open_batch(detector):
    graph, weights = detector
    model, _ = deploy(graph, weights, Deployment(postprocess="none", is_open=Open(batch=True), winograd=True))
    data = 50 * image(2, 3, 300, 300)
    together, alone = run(model, data=data), [run(model, data=data[i : i + 1]) for i in range(2)]
    for value, first, second in zip(together, *alone):
        wanted = np.concatenate([first, second]) if len(value) == 2 else first  # the prior boxes are everybody's
        np.testing.assert_allclose(value, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("opset", [15, 21])
def test_every_opset(opset):
    graph = graph_of(CONV % "num_output: 96 kernel_size: 3", 1, 96, 18, 18)
    model, _ = deploy(graph, weights_of(graph), Deployment(opset=opset, winograd=True))
    onnx.checker.check_model(model, full_check=True)
    assert run(model, data=image(1, 96, 18, 18))[0].shape == (1, 96, 16, 16)


def test_the_command_and_its_proof(tmp_path, capsys):
    from netgen.commands.main import app

    conv = CONV % "num_output: 96 kernel_size: 3 pad: 1"
    relu = 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }'
    graph = graph_of(conv + relu, 1, 96, 16, 16)
    net, weights, out = (tmp_path / f"net.{ending}" for ending in ("prototxt", "caffemodel", "onnx"))
    net.write_text(INPUT % (1, 96, 16, 16) + conv + relu)
    write_weights(weights, graph, weights_of(graph))
    app(["convert", str(net), str(weights), "-o", str(out), "--winograd"], standalone_mode=False)
    assert "note: 1 of 1 convolutions are computed as F(4x4, 3x3)" in capsys.readouterr().out
    app(["verify", str(net), str(weights), "--onnx", str(out), "--layers"], standalone_mode=False)


def test_a_net_that_has_none_says_so():
    graph = graph_of(CONV % "num_output: 8 kernel_size: 3", 1, 3, 18, 18)
    _, notes = deploy(graph, weights_of(graph), Deployment(winograd=True))
    assert notes[-1].startswith("0 of 1 convolutions are computed as F(4x4, 3x3): none has")


@pytest.mark.parametrize("how", [{"half": True}, {"is_open": Open(size=True)}])
def test_what_it_cannot_be_with_is_refused(how):
    graph = graph_of(CONV % "num_output: 96 kernel_size: 3", 1, 96, 18, 18)
    with pytest.raises(UserError, match="--winograd"):
        deploy(graph, weights_of(graph), Deployment(winograd=True, **how))
