"""Whole nets as ONNX: against a real Caffe's detections, and what the file looks like."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

from converters.onnx import to_onnx, write_onnx
from converters.proof.values import values_of
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.text import parse

INPUT = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }\n'


def graph_of(text: str, phase: str = "TEST") -> Graph:
    parsed = parse(INPUT + text, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(parsed.message, parsed.path, parsed.lines), phase)


def run(model, *inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {value.name: array for value, array in zip(session.get_inputs(), inputs, strict=True)})


@pytest.fixture(scope="module")
def formula(shared) -> ModuleType:
    spec = importlib.util.spec_from_file_location("formula", shared / "oracle/weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("scratchdet300_root34_voc", 200),
        ("dsod300_voc", 200),
        ("grp_dsod320_voc", 200),
        ("ssd300_vgg_voc", 200),
        ("refinedet320_vgg_voc", 500),
    ],
)
def test_published_nets_detect_as_in_caffe(shared, formula, name, count):
    graph = Graph.load(shared / f"reference/prototxt/{name}/deploy.prototxt")
    weights = {
        layer.name: [formula.fill(layer.type, layer.name, i, shape) for i, shape in enumerate(layer.blob_shapes)]
        for layer in graph.layers
        if layer.blob_shapes
    }
    ((_, (_, _, height, width)),) = graph.inputs.items()
    (found,) = run(to_onnx(graph, weights), formula.image(height, width)[None])
    wanted = np.load(shared / f"oracle/models/{name}.npz")["out/detection_out"]
    assert found.shape == wanted.shape == (1, 1, count, 7)
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


def test_names_and_operators(shared):
    from converters.caffemodel import read_weights

    folder = shared / "models/wechat_qr"
    model = to_onnx(Graph.load(folder / "detect.prototxt"), read_weights(folder / "detect.caffemodel"))
    assert [(domain.domain, domain.version) for domain in model.opset_import] == [("", 17)]
    nodes = {node.name: node for node in model.graph.node}
    assert {"stage1/Conv", "stage1/relu/Relu", "detection_output/NonMaxSuppression"} <= set(nodes)
    outputs = {name: list(node.output) for name, node in nodes.items()}
    assert outputs["stage1/Conv"] == ["stage1@stage1"]
    assert outputs["stage1/bn/scale/BatchNormalization"] == ["stage1@stage1/bn/scale"]
    assert outputs["stage1/relu/Relu"] == ["stage1"]
    assert not [name for name in nodes if "prior" in name.lower() or "Prior" in nodes[name].op_type]
    assert sum(node.op_type == "Softmax" for node in model.graph.node) == 1
    (data,), (detections,) = model.graph.input, model.graph.output
    assert [dim.dim_value for dim in data.type.tensor_type.shape.dim] == [1, 1, 384, 384]
    dims = detections.type.tensor_type.shape.dim
    assert detections.name == "detection_output" and [d.dim_param or d.dim_value for d in dims] == [
        1,
        1,
        "detections",
        7,
    ]
    read = {name for node in model.graph.node for name in node.input}
    assert {array.name for array in model.graph.initializer} <= read
    onnx.checker.check_model(model, full_check=True)


def test_in_place_on_the_input_and_outputs_that_are_handed_on():
    """An input's name stays with what is fed; an output that no operator makes still has its blob's name."""
    graph = graph_of("""
        layer { name: "halve" type: "Power" bottom: "data" top: "data" power_param { scale: 0.5 } }
        layer { name: "fork" type: "Split" bottom: "data" top: "a" top: "b" }
        layer { name: "drop" type: "Dropout" bottom: "b" top: "b" }
        layer { name: "prior" type: "PriorBox" bottom: "a" bottom: "a" top: "p" prior_box_param { min_size: 2 } }
        layer { name: "relu" type: "ReLU" bottom: "a" top: "c" }
        layer { name: "none" type: "Power" bottom: "c" top: "c" power_param { power: 0 } }""")
    model = to_onnx(graph, {})
    assert [value.name for value in model.graph.input] == ["data"]
    assert [value.name for value in model.graph.output] == graph.outputs == ["b", "p", "c"]
    image = np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype(np.float32)
    b, p, c = run(model, image)
    assert np.array_equal(b, image / 2) and p.shape == (1, 2, 120) and np.array_equal(c, np.ones_like(image))


def test_names_of_blobs_and_constants_do_not_meet():
    """A Scale layer whose blob is called like a constant of the BatchNorm before it."""
    graph = graph_of("""
        layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }
        layer { name: "bn/scale" type: "Scale" bottom: "bn" top: "bn/scale" }
        layer { name: "bn/mean" type: "ReLU" bottom: "bn/scale" top: "bn/mean" }""")
    three = np.array([1, 2, 3], np.float32)
    weights = {"bn": [three * 2, three * 8, np.array([2], np.float32)], "bn/scale": [three]}
    image = np.random.default_rng(0).random((2, 3, 6, 5), np.float32)
    (found,) = run(to_onnx(graph, weights), image)
    spread = three[:, None, None]
    wanted = np.maximum((image - spread) / np.sqrt(spread * 4 + 1e-5) * spread, 0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_layers_of_one_name_in_place():
    power = 'layer { name: "same" type: "Power" bottom: "x" top: "x" power_param { shift: %d scale: 2 } }\n'
    graph = graph_of(
        'layer { name: "in" type: "ReLU" bottom: "data" top: "x" }' + "".join(map(power.__mod__, (1, 2, 3)))
    )
    image = np.random.default_rng(0).random((2, 3, 6, 5), np.float32)
    np.testing.assert_allclose(run(to_onnx(graph, {}), image)[0], ((image * 2 + 1) * 2 + 2) * 2 + 3, rtol=1e-6)
    # Only those that can be told apart are compared one by one.
    assert [value.name for value in values_of(graph)] == ["x@in", "x"]


def test_pooling_windows_of_nothing_are_refused():
    text = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 1 stride: 4 } }'
    with pytest.raises(UserError, match=r'net.prototxt:2: layer "p" .*: its last window lies wholly outside'):
        to_onnx(graph_of(text), {})


def test_all_that_has_no_form_is_named_at_once():
    graph = graph_of("""
        layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" batch_norm_param { use_global_stats: false } }
        layer { name: "pool" type: "Pooling" bottom: "bn" top: "pool"
          pooling_param { kernel_size: 2 pool: STOCHASTIC } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "pool" bottom: "pool" top: "loss" }""")
    with pytest.raises(UserError) as caught:
        to_onnx(graph, {"bn": [np.zeros(n, np.float32) for n in (3, 3, 1)]})
    lines = [line for line in str(caught.value).splitlines() if not line.startswith("  fix")]
    assert lines == [
        'net.prototxt:3: layer "bn" (BatchNorm): use_global_stats: false normalises with the batch, '
        "which has no ONNX form",
        'net.prototxt:4: layer "pool" (Pooling): stochastic pooling has no ONNX form; expected MAX or AVE',
        'net.prototxt:6: layer "loss" (EuclideanLoss): this layer type has no ONNX form',
    ]


def test_training_nets_and_missing_weights_are_refused():
    text = 'layer { name: "c" type: "Scale" bottom: "data" top: "c" }'
    with pytest.raises(UserError, match=r"net.prototxt: a net of phase TRAIN cannot be exported; expected phase TEST"):
        to_onnx(graph_of(text, "TRAIN"), {})
    with pytest.raises(UserError, match=r"the weights: it has no blobs for these layers of net.prototxt: c"):
        to_onnx(graph_of(text), {})


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    model = to_onnx(graph_of('layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'), {})
    write_onnx(tmp_path / "net.onnx", model)
    before = (tmp_path / "net.onnx").read_bytes()
    assert onnx.ModelProto.FromString(before) == model

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match=r"net.onnx: cannot be written: No space left on device\n  fix: free some disk"):
        write_onnx(tmp_path / "net.onnx", model)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == before
