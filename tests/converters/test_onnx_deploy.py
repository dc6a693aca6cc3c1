"""Models as they are deployed: each way of asking for one, run in ONNX Runtime."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from converters.caffemodel import read_weights, write_weights
from converters.onnx import export, to_onnx, write_onnx
from converters.onnx.builder import Open
from converters.onnx.deploy import Deployment, deploy
from converters.onnx.pixels import Values, values_of_net
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.text import parse

INPUT = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: %d dim: 3 dim: %d dim: %d } } }\n'
# Two classes and the background; Softmax over its classes; 8 by 7 cells of two priors.
HEAD = """
layer { name: "f" type: "Convolution" bottom: "data" top: "f"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "f/bn" type: "BatchNorm" bottom: "f" top: "f" }
layer { name: "f/scale" type: "Scale" bottom: "f" top: "f" scale_param { bias_term: true } }
layer { name: "f/relu" type: "ReLU" bottom: "f" top: "f" }
layer { name: "norm" type: "Normalize" bottom: "f" top: "n" norm_param { across_spatial: false } }
layer { name: "l" type: "Convolution" bottom: "n" top: "l" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "c" type: "Convolution" bottom: "n" top: "c" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "lp" type: "Permute" bottom: "l" top: "lp" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "cp" type: "Permute" bottom: "c" top: "cp" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc" type: "Flatten" bottom: "lp" top: "loc" }
layer { name: "conf3" type: "Reshape" bottom: "cp" top: "conf3" reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "soft" type: "Softmax" bottom: "conf3" top: "soft" softmax_param { axis: 2 } }
layer { name: "conf" type: "Flatten" bottom: "soft" top: "conf" }
layer { name: "prior" type: "PriorBox" bottom: "f" bottom: "data" top: "prior"
  prior_box_param { min_size: 5 aspect_ratio: 2 flip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "d" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "d"
  detection_output_param { num_classes: 3 nms_param { nms_threshold: 0.45 top_k: 30 } code_type: CENTER_SIZE
    keep_top_k: 12 confidence_threshold: 0.3 } }
"""


def graph_of(text: str, batch: int = 1, height: int = 15, width: int = 13) -> Graph:
    parsed = parse(INPUT % (batch, height, width) + text, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(parsed.message, parsed.path, parsed.lines))


def weights_of(graph: Graph) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    weights = {}
    for layer in graph.layers:
        if layer.blob_shapes:
            weights[layer.name] = [rng.standard_normal(s).astype(np.float32) for s in layer.blob_shapes]
        if layer.type == "BatchNorm":
            weights[layer.name][1:] = [np.abs(weights[layer.name][1]) + 0.5, np.ones(1, np.float32)]
        if layer.type == "Normalize":
            weights[layer.name] = [np.full(layer.blob_shapes[0], 3, np.float32)]
    return weights


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def plain():
    """The detector, its weights, and what it finds in an image when nothing is asked for."""
    graph = graph_of(HEAD)
    weights = weights_of(graph)
    picture = image(1, 3, 15, 13)
    (rows,) = run(to_onnx(graph, weights), data=picture)
    assert rows.shape == (1, 1, 12, 7)
    return graph, weights, picture, rows


def test_folded_by_default_and_said_so(plain):
    graph, weights, picture, rows = plain
    model, notes = deploy(graph, weights, Deployment())
    assert notes == ["folded 2 of 2 BatchNorm, Scale, Bias and BN layers into others"]
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    np.testing.assert_allclose(run(model, data=picture)[0], rows, atol=1e-5)
    model, notes = deploy(graph, weights, Deployment(fold=False))
    assert notes == [] and sum(node.op_type == "BatchNormalization" for node in model.graph.node) == 2


def test_raw_head(plain):
    """What DetectionOutput would read; put behind it again, it finds the same."""
    graph, weights, picture, rows = plain
    model, _ = deploy(graph, weights, Deployment(postprocess="none"))
    assert [value.name for value in model.graph.output] == ["loc", "conf", "prior"]
    loc, conf, prior = run(model, data=picture)
    assert loc.shape == (1, 448 * 1) and conf.shape == (1, 336) and prior.shape == (1, 2, 448)
    text = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in array.shape)
        + " } } }\n"
        for name, array in (("loc", loc), ("conf", conf), ("prior", prior))
    )
    parsed = parse(text + HEAD[HEAD.index('layer { name: "d"') :], schema.NetParameter(), "net.prototxt")
    end = to_onnx(Graph(net_file(parsed.message)), {}, {"prior": prior})
    np.testing.assert_allclose(run(end, loc=loc, conf=conf)[0], rows, atol=1e-5)


def test_efficient_nms(plain):
    """Boxes and scores that go into TensorRT's node hold every row found, and its attributes are the layer's."""
    graph, weights, picture, rows = plain
    model, _ = deploy(graph, weights, Deployment(postprocess="efficient-nms"))
    node = model.graph.node[-1]
    assert (node.op_type, node.domain) == ("EfficientNMS_TRT", "TRT")
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    assert attributes.pop("score_threshold") == pytest.approx(0.3)
    assert attributes.pop("iou_threshold") == pytest.approx(0.45)
    assert attributes == {
        "plugin_version": b"1", "background_class": 0, "max_output_boxes": 12, "score_activation": 0,
        "class_agnostic": 0, "box_coding": 0,
    }  # fmt: skip
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output}
    assert shapes == {
        "num_detections": [1, 1], "detection_boxes": [1, 12, 4], "detection_scores": [1, 12],
        "detection_classes": [1, 12],
    }  # fmt: skip
    kinds = [value.type.tensor_type.elem_type for value in model.graph.output]
    assert kinds == [onnx.TensorProto.INT32, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT, onnx.TensorProto.INT32]
    del model.graph.node[-1], model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.input)
    boxes, scores = run(model, data=picture)
    assert boxes.shape == (1, 112, 4) and scores.shape == (1, 112, 3)
    for _, label, score, *box in rows[0, 0]:
        prior = np.abs(boxes[0] - box).max(axis=1).argmin()
        assert np.abs(boxes[0, prior] - box).max() < 1e-5 and abs(scores[0, prior, int(label)] - score) < 1e-5


@pytest.mark.parametrize("postprocess", ["nms", "none", "efficient-nms"])
def test_open_batch(plain, postprocess):
    graph, weights, _, _ = plain
    model, _ = deploy(graph, weights, Deployment(postprocess=postprocess, is_open=Open(batch=True)))
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    if postprocess == "efficient-nms":
        assert dims == [["batch", 1], ["batch", 12, 4], ["batch", 12], ["batch", 12]]
        return
    heads = [["batch", 448], ["batch", 336], [1, 2, 448]]
    assert dims == ([[1, 1, "detections", 7]] if postprocess == "nms" else heads)
    for batch in (1, 2, 3):
        pictures = image(batch, 3, 15, 13, seed=batch)
        fixed = deploy(graph_of(HEAD, batch), weights, Deployment(postprocess=postprocess))[0]
        for found, wanted in zip(run(model, data=pictures), run(fixed, data=pictures), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_open_batch_without_detections(plain):
    graph, weights, _, _ = plain
    weights = {**weights, "c": [weights["c"][0] * 0, np.array([9, 0, 0, 9, 0, 0], np.float32)]}
    model, _ = deploy(graph, weights, Deployment(is_open=Open(batch=True)))
    (rows,) = run(model, data=image(3, 3, 15, 13))
    assert rows[0, 0].tolist() == [[0, *[-1] * 6], [1, *[-1] * 6], [2, *[-1] * 6]]


def test_open_batch_in_a_classifier():
    graph = graph_of("""
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
          convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: "m" type: "MVN" bottom: "c" top: "m" }
        layer { name: "i" type: "InnerProduct" bottom: "m" top: "i" inner_product_param { num_output: 5 } }""")
    weights = weights_of(graph)
    pictures = image(3, 3, 15, 13)
    (found,) = run(to_onnx(graph, weights, is_open=Open(batch=True)), data=pictures)
    each = [run(to_onnx(graph, weights), data=picture[None])[0][0] for picture in pictures]
    np.testing.assert_allclose(found, each, atol=1e-5)


def test_a_batch_that_a_layer_fixes_is_refused():
    graph = graph_of(
        'layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: 1 dim: -1 dim: 5 } } }'
    )
    with pytest.raises(UserError) as caught:
        to_onnx(graph, {}, is_open=Open(batch=True))
    assert str(caught.value) == (
        "net.prototxt:2: layer \"r\" (Reshape): the batch of the net's input is fixed in this layer's ONNX form, so it "
        "cannot be left open\n  fix: convert without --dynamic batch, once for each batch that you need"
    )


def test_open_size():
    text = """
        layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3
          pad: 1 stride: 1 } }
        layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "g" type: "Pooling" bottom: "c" top: "g" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }"""
    graph = graph_of(text)
    weights = weights_of(graph)
    model = to_onnx(graph, weights, is_open=Open(batch=True, size=True))
    names = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert names == [["batch", 4, "p_2", "p_3"], ["batch", 4, "g_2", "g_3"]]
    for height, width in ((15, 13), (16, 14), (20, 33)):
        picture = image(2, 3, height, width)
        wanted = run(to_onnx(graph_of(text, 2, height, width), weights), data=picture)
        for found, expected in zip(run(model, data=picture), wanted, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_open_size_of_a_real_net(shared):
    """WeChat's super-resolution, with its Deconvolution and Crop."""
    folder = shared / "models/wechat_qr"
    weights = read_weights(folder / "sr.caffemodel")
    graph = Graph.load(folder / "sr.prototxt")
    model, _ = deploy(graph, weights, Deployment(is_open=Open(batch=True, size=True)))
    ((name, (_, channels, _, _)),) = graph.inputs.items()
    for height, width in ((40, 56), (33, 47)):
        fixed = Graph.load(folder / "sr.prototxt", input_shapes={name: (1, channels, height, width)})
        picture = image(1, channels, height, width)
        (wanted,) = run(to_onnx(fixed, weights), **{name: picture})
        (found,) = run(model, **{name: picture})
        assert found.shape == (1, 1, 2 * height - 1, 2 * width - 1)
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, r'layer "loc" \(Flatten\): the size of the net\'s input is fixed .* \(and in \d+ more\)'),
        (
            'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { pool: AVE kernel_size: 2 } }',
            r'layer "p" \(Pooling\): the size of its bottom decides about its windows',
        ),
    ],
)
def test_a_size_that_a_layer_fixes_is_refused(text, message):
    graph = graph_of(text)
    with pytest.raises(UserError, match=message):
        to_onnx(graph, weights_of(graph), is_open=Open(size=True))


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("order", ["uint8-bgr", "uint8-rgb"])
def test_pictures_go_in(order, pad):
    """uint8 NHWC; mean and scale inside the first convolution where its padding permits, before it where not."""
    graph = graph_of(HEAD.replace("kernel_size: 3 pad: 1", f"kernel_size: 3 pad: {pad}"))
    weights = weights_of(graph)
    picture = np.random.default_rng(0).integers(0, 256, (1, 15, 13, 3), np.uint8)
    values = Values((104.0, 117.0, 123.0), 0.017)
    model, notes = deploy(graph, weights, Deployment(input=order, values=values))
    bgr = picture if order == "uint8-bgr" else picture[..., ::-1]
    blob = ((bgr - np.float32(values.mean)) * np.float32(0.017)).transpose(0, 3, 1, 2).astype(np.float32)
    (wanted,) = run(to_onnx(graph, weights), data=np.ascontiguousarray(blob))
    (found,) = run(model, data=picture)
    assert found.shape == wanted.shape and found[0, 0, 0, 1] > 0
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    left = [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert left == (["data/pixels/BatchNormalization"] if pad else [])
    assert any("pads with zeros, which would not be shifted" in note for note in notes) == bool(pad)
    assert [p.value for p in model.metadata_props if p.key in ("layout", "channel_order", "preprocessing")] == [
        "NHWC", order[-3:].upper(), "inside"]  # fmt: skip


def test_pictures_that_do_not_fit_are_refused():
    graph = graph_of(HEAD)
    with pytest.raises(UserError, match=r'"data" has 3 channels, uint8-grey has 1\n  fix: --input float'):
        deploy(graph, weights_of(graph), Deployment(input="uint8-grey", values=Values((1.0,))))
    with pytest.raises(UserError, match="--mean has 2 numbers; expected one, or one for each of 3"):
        deploy(graph, weights_of(graph), Deployment(input="uint8-bgr", values=Values((1.0, 2.0))))


def test_mean_and_scale_of_a_training_net(tmp_path):
    path = tmp_path / "train.prototxt"
    data = 'layer { name: "d" type: "AnnotatedData" top: "data" transform_param { %s } }'
    path.write_text(data % "mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.017")
    found = values_of_net(str(path))
    assert found.mean == (104, 117, 123) and found.scale == pytest.approx(0.017)
    path.write_text(data % 'mean_file: "mean.binaryproto"')
    with pytest.raises(UserError, match=r'train.prototxt:1: layer "d": its mean is an image, mean.binaryproto'):
        values_of_net(str(path))
    path.write_text('layer { name: "d" type: "ReLU" bottom: "a" top: "b" }')
    with pytest.raises(UserError, match="no layer has a transform_param; expected the train or test prototxt"):
        values_of_net(str(path))


def test_metadata(plain):
    graph, weights, _, _ = plain
    model, _ = deploy(
        graph, weights, Deployment(values=Values((104.0, 117.0, 123.0)), labels={0: "background", 1: "cat", 2: "dog"})
    )
    found = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(found.pop("labels")) == {"0": "background", "1": "cat", "2": "dog"}
    assert found == {
        "layout": "NCHW", "channel_order": "BGR", "preprocessing": "(pixel - mean) * scale",
        "mean": "[104.0, 117.0, 123.0]", "scale": "1.0", "boxes": "xmin, ymin, xmax, ymax in 0-1",
    }  # fmt: skip


@pytest.mark.parametrize("opset", range(15, 22))
def test_every_opset(plain, opset):
    graph, weights, picture, rows = plain
    model, _ = deploy(graph, weights, Deployment(opset=opset))
    assert model.opset_import[0].version == opset
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model, data=picture)[0], rows, atol=1e-5)


@pytest.mark.parametrize("opset", [15, 18, 21])
def test_reductions_in_every_opset(opset):
    graph = graph_of("""
        layer { name: "m" type: "MVN" bottom: "data" top: "m" }
        layer { name: "a" type: "Reduction" bottom: "m" top: "a" reduction_param { operation: ASUM axis: 1 } }
        layer { name: "q" type: "Reduction" bottom: "m" top: "q" reduction_param { operation: SUMSQ axis: 1 } }""")
    picture = image(1, 3, 15, 13)
    model, _ = deploy(graph, {}, Deployment(opset=opset))
    onnx.checker.check_model(model, full_check=True)
    for found, wanted in zip(run(model, data=picture), run(to_onnx(graph, {}), data=picture), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_opsets_out_of_reach_are_refused(plain):
    graph, weights, _, _ = plain
    with pytest.raises(UserError, match="--opset is 9; expected 15 to 21"):
        deploy(graph, weights, Deployment(opset=9))


def test_half(plain):
    """Weights in float16; inputs, outputs, norms and post-processing in float32; rows as before but for rounding."""
    graph, weights, picture, rows = plain
    model, _ = deploy(graph, weights, Deployment(half=True))
    onnx.checker.check_model(model, full_check=True)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["f/weight/float16"] == onnx.TensorProto.FLOAT16 and "f/weight" not in kinds
    assert kinds["norm/scale"] == kinds["d/centres"] == onnx.TensorProto.FLOAT
    ends = [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]
    assert ends == [onnx.TensorProto.FLOAT] * 2
    (found,) = run(model, data=picture)
    assert found.shape == rows.shape
    best = rows[0, 0][np.argsort(-rows[0, 0, :, 2])[:6]]
    assert all(np.abs(found[0, 0] - row).max(axis=1).min() < 5e-3 for row in best)


def test_half_of_raw_head_and_open_batch(plain):
    graph, weights, picture, _ = plain
    how = Deployment(half=True, postprocess="none", is_open=Open(batch=True))
    model, _ = deploy(graph, weights, how)
    wanted = run(deploy(graph, weights, Deployment(postprocess="none"))[0], data=picture)
    for found, expected in zip(run(model, data=picture), wanted, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=5e-2 * np.abs(expected).max())


def test_weights_beyond_float16_are_refused(plain):
    graph, weights, _, _ = plain
    weights = {**weights, "l": [weights["l"][0] * 1e6, weights["l"][1]]}
    with pytest.raises(UserError, match=r'"l/weight" holds .*, and float16 ends at 65504\n  fix: convert without'):
        deploy(graph, weights, Deployment(half=True))


def test_only_detectors_have_an_end_to_choose():
    graph = graph_of('layer { name: "r" type: "ReLU" bottom: "data" top: "r" }')
    for end in ("none", "efficient-nms"):
        with pytest.raises(UserError, match="--postprocess is for detectors; this net has no DetectionOutput"):
            deploy(graph, {}, Deployment(postprocess=end))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("keep_top_k: 12", ""), r'layer "d" .*: its keep_top_k is not set, .*\n  fix: set keep_top_k'),
        (("num_output: 8", "num_output: 24"), r"its classes have boxes of their own \(share_location: false\)"),
    ],
)
def test_what_efficient_nms_cannot_do_is_refused(change, message):
    text = HEAD.replace(*change)
    if "24" in change[1]:
        text = text.replace("num_classes: 3", "num_classes: 3 share_location: false")
    graph = graph_of(text)
    with pytest.raises(UserError, match=message):
        deploy(graph, weights_of(graph), Deployment(postprocess="efficient-nms"))


def test_constants_above_the_limit_go_into_a_file_beside(plain, tmp_path, monkeypatch):
    graph, weights, picture, rows = plain
    model, _ = deploy(graph, weights, Deployment(labels={1: "cat"}))
    monkeypatch.setattr(export, "_LARGEST", 1000)
    write_onnx(tmp_path / "net.onnx", model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"data": picture})[0], rows, atol=1e-5)
    found = onnx.load(tmp_path / "net.onnx")
    assert found.metadata_props == model.metadata_props and found.graph.node == model.graph.node
    arrays = [
        {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in each.graph.initializer}
        for each in (found, model)
    ]
    assert arrays[0].keys() == arrays[1].keys()
    assert all(np.array_equal(array, arrays[1][name]) for name, array in arrays[0].items())


OPTIONS = {
    "--opset 18": "is for ONNX",
    "--postprocess all": "--postprocess is all; expected none, nms, efficient-nms",
    "--input bgr": "--input is bgr; expected float, uint8-bgr, uint8-rgb, uint8-grey",
    "--dynamic width": "--dynamic is width; expected batch or size",
    "--train-net x --mean 3": "--train-net says mean and scale itself",
    "--input uint8-bgr": "--input is uint8-bgr, but what the net had subtracted is not said",
    "--mean a": "--mean is a",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_the_command_refuses(options, tmp_path):
    from netgen.commands.main import app

    graph = graph_of(HEAD)
    net, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    net.write_text(INPUT % (1, 15, 13) + HEAD)
    write_weights(weights, graph, weights_of(graph))
    out = tmp_path / ("net.pth" if "ONNX" in OPTIONS[options] else "net.onnx")
    with pytest.raises(UserError) as caught:
        app(["convert", str(net), str(weights), "-o", str(out), *options.split()], standalone_mode=False)
    assert OPTIONS[options] in str(caught.value)
    assert not out.exists()


def test_the_command_takes_everything_at_once(tmp_path, capsys):
    from netgen.commands.main import app

    graph = graph_of(HEAD)
    net, weights, out = tmp_path / "net.prototxt", tmp_path / "net.caffemodel", tmp_path / "net.onnx"
    net.write_text(INPUT % (1, 15, 13) + HEAD)
    write_weights(weights, graph, weights_of(graph))
    (tmp_path / "labelmap.prototxt").write_text('item { name: "cat" label: 1 display_name: "cat" }')
    arguments = "--input uint8-rgb --mean 104,117,123 --scale 0.017 --dynamic batch --opset 18 --fp16 --labelmap"
    app(
        ["convert", str(net), str(weights), "-o", str(out), *arguments.split(), str(tmp_path / "labelmap.prototxt")],
        standalone_mode=False,
    )
    text = capsys.readouterr().out
    assert "of opset 18, data batch×15×13×3 -> d 1×1×detections×7" in text and "note: folded" in text
    pictures = np.random.default_rng(0).integers(0, 256, (2, 15, 13, 3), np.uint8)
    (rows,) = run(onnx.load(out), data=pictures)
    assert set(rows[0, 0, :, 0]) == {0, 1}


MEASURE = """
import re, sys, time
began = time.perf_counter()
from pathlib import Path
from converters.files import read_trained, write_onnx_file
write_onnx_file(read_trained(*sys.argv[1:3]), Path(sys.argv[3]))
print(time.perf_counter() - began, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
def test_dsod_is_converted_in_bounded_memory(shared, tmp_path):
    """60 MB of weights in less than 300 MB, the interpreter and the libraries included."""
    net = shared / "reference/prototxt/dsod300_voc/deploy.prototxt"
    graph = Graph.load(net)
    write_weights(tmp_path / "net.caffemodel", graph, {
        layer.name: [np.ones(shape, np.float32) for shape in layer.blob_shapes] for layer in graph.layers
    })  # fmt: skip
    arguments = [str(net), str(tmp_path / "net.caffemodel"), str(tmp_path / "net.onnx")]
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[1]) / 1024 < 300
