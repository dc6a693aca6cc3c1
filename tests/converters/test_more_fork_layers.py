"""Layers and parameters of forks that published nets hold, against NumPy written from their definitions."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from converters.onnx.deploy import Deployment, deploy
from converters.onnx.export import to_onnx
from converters.pytorch import CaffeNet
from prototxt.errors import UserError
from prototxt.summary import summarize
from tests.converters.layer_cases import RNG, Case, close, graph_of, layer_text
from tests.converters.test_fork_layers import corners_kept


def darknet_reorg(x: np.ndarray, stride: int, reverse: bool) -> np.ndarray:
    """Darknet's loop: the place of each value in the smaller maps and in the larger ones, counted in whole blobs."""
    _, channels, height, width = x.shape
    inner = channels // (stride * stride)
    flat, top = x.reshape(-1), np.zeros(x.size)
    for n, k, j, i in np.ndindex(x.shape):
        small = i + width * (j + height * (k + channels * n))
        row, column = j * stride + k // inner // stride, i * stride + k // inner % stride
        large = column + width * stride * (row + height * stride * (k % inner + inner * n))
        if reverse:
            top[large] = flat[small]
        else:
            top[small] = flat[large]
    return top


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_reorg(stride, reverse):
    cells = stride * stride
    x = RNG(0).normal(size=(2, 2 * cells, 3 * stride, 2 * stride))
    params = f"reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}"
    case = Case(layer_text("Reorg", "x", params), {"x": x})
    shape = (2, 2, 9 * cells // 3, 2 * cells) if reverse else (2, 2 * cells * cells, 3, 2)
    case.check(darknet_reorg(x, stride, reverse).reshape(shape))


def test_reorg_and_back():
    both = layer_text("Reorg", "x", tops="y") + 'layer { name: "b" type: "Reorg" bottom: "y" top: "z" %s }'
    x = RNG(1).normal(size=(1, 8, 4, 6))
    case = Case(both % "reorg_param { reverse: true }", {"x": x})
    assert case.graph.shapes["y"] == (1, 32, 2, 3)
    assert case.graph.shapes["z"] == x.shape


@pytest.mark.parametrize("dim", [(3, 2, 0, 1), (0, 1, 2, 3), (3, 0, 2, 1)])
def test_transpose(dim):
    x = RNG(2).normal(size=(2, 3, 4, 5))
    params = "transpose_param { " + " ".join(f"dim: {axis}" for axis in dim) + " }"
    Case(layer_text("Transpose", "x", params), {"x": x}).check(np.moveaxis(x, dim, range(4)))


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_reverse(axis):
    x = RNG(3).normal(size=(4, 3, 5))
    Case(layer_text("Reverse", "x", f"reverse_param {{ axis: {axis} }}"), {"x": x}).check(np.flip(x, axis))


def test_interp_to_the_size_of_a_blob():
    x, like = RNG(4).normal(size=(1, 2, 3, 4)), np.zeros((1, 7, 6, 9))
    case = Case(layer_text("Interp", "x like", "interp_param { use_blob_size: true }"), {"x": x, "like": like})
    close(case.pytorch()[0], corners_kept(x, (6, 9)))
    model = to_onnx(case.graph, {})
    assert [value.name for value in model.graph.input] == ["x", "like"]


def test_upsample_of_hisilicon():
    x = RNG(5).normal(size=(2, 3, 2, 4))
    params = "upsample_param { height_scale: 2 width_scale: 3 mode: NEAREST }"
    Case(layer_text("Upsample", "x", params), {"x": x}).check(x.repeat(2, axis=2).repeat(3, axis=3))


def lstm(x, goes_on, weight_x, weight_h, bias):
    """By the equations: gates in the order input, forget, output, candidate."""
    count, hidden = x.shape[1], weight_h.shape[1]
    h = c = np.zeros((count, hidden))
    steps = []
    for t, now in enumerate(x.reshape(*x.shape[:2], -1)):
        on = goes_on[t][:, None]
        i, f, o, g = np.split(now @ weight_x.T + (on * h) @ weight_h.T + bias, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = on * f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        steps.append(h)
    return np.stack(steps)


RUNS = np.array([[0] * 3, [1] * 3, [1] * 3, [1] * 3, [1] * 3])
WEIGHTS = [RNG(20).normal(size=(16, 6)), RNG(21).normal(size=(16, 4)), RNG(22).normal(size=16)]
MARKS = (
    'layer { name: "on" type: "ContinuationIndicator" top: "on" '
    "continuation_indicator_param { time_step: 5 batch_size: 3 } } "
)


@pytest.mark.parametrize("shape", [(5, 3, 6), (5, 3, 2, 3)])
def test_lstm_of_junhyukoh(shape):
    x = RNG(23).normal(size=shape)
    params = "lstm_param { num_output: 4 clipping_threshold: 0.1 }"
    Case(layer_text("Lstm", "x", params), {"x": x}, {"top": WEIGHTS}).check(lstm(x, RUNS, *WEIGHTS))


def test_lstm_of_caffe_between_marks_of_a_layer():
    x, (weight_x, weight_h, bias) = RNG(24).normal(size=(5, 3, 6)), WEIGHTS
    text = MARKS + layer_text("LSTM", "x on", "recurrent_param { num_output: 4 }")
    case = Case(text, {"x": x}, {"top": [weight_x, bias, weight_h]})
    case.check(lstm(x, RUNS, weight_x, weight_h, bias))


def test_lstm_of_caffe_where_the_net_is_not_on_the_cpu():
    text = MARKS + layer_text("LSTM", "x on", "recurrent_param { num_output: 4 }")
    net = CaffeNet(graph_of(text, {"x": (5, 3, 6)})).to("meta")  # a device without values
    assert net({"x": torch.empty(5, 3, 6, device="meta")})["top"].shape == (5, 3, 4)


def test_lstm_of_caffe_whose_sequences_begin_anywhere():
    x, on, (weight_x, weight_h, bias) = RNG(25).normal(size=(5, 3, 6)), RUNS.copy(), WEIGHTS
    on[2, 1] = on[4, 0] = 0
    text = layer_text("LSTM", "x on", "recurrent_param { num_output: 4 }")
    case = Case(text, {"x": x, "on": on}, {"top": [weight_x, bias, weight_h]})
    close(case.pytorch()[0], lstm(x, on, weight_x, weight_h, bias))
    with pytest.raises(UserError, match='where its sequences begin is told by "on", and ONNX has no such input'):
        case.onnx()


def test_lstm_of_caffe_of_one_step():
    x, (weight_x, weight_h, bias) = RNG(26).normal(size=(1, 3, 6)), WEIGHTS
    text = layer_text("LSTM", "x on", "recurrent_param { num_output: 4 }")
    case = Case(text, {"x": x, "on": np.ones((1, 3))}, {"top": [weight_x, bias, weight_h]})
    case.check(lstm(x, RUNS, weight_x, weight_h, bias))


def test_lstm_that_clips_its_gradients_does_not_train_here():
    graph = graph_of(layer_text("Lstm", "x", "lstm_param { num_output: 4 clipping_threshold: 1 }"), SEQUENCE, "TRAIN")
    with pytest.raises(UserError, match="clipping_threshold is not supported\n  fix: clip_gradients in the solver"):
        CaffeNet(graph)


@pytest.mark.parametrize("bias", [False, True])
def test_embed(bias):
    rows, weight, shift = RNG(27).integers(0, 5, (2, 3, 4)), RNG(28).normal(size=(5, 6)), RNG(29).normal(size=6) * bias
    params = f"embed_param {{ input_dim: 5 num_output: 6 bias_term: {str(bias).lower()} }}"
    case = Case(layer_text("Embed", "x", params), {"x": rows}, {"top": [weight, shift][: 1 + bias]})
    case.check(weight[rows] + shift)
    with torch.no_grad(), pytest.raises(UserError, match="asks for rows 0 to 5; expected 0 to 4"):
        CaffeNet(case.graph, case.weights)({"x": torch.tensor([0.0, 5.0]).repeat(12).reshape(2, 3, 4)})


SPATIAL = (
    'python_param { module: "spatial_dropout" layer: "SpatialDropoutLayer" '
    "param_str: \"{'phase': '%s', 'p': '%s'}\" }"
)


def test_dropout_of_fast_rcnn_scales_in_testing():
    x = RNG(6).normal(size=(2, 3))
    params = "dropout_param { dropout_ratio: 0.2 scale_train: false }"
    Case(layer_text("Dropout", "x", params), {"x": x}).check(x * 0.8)
    Case(layer_text("Dropout", "x", "dropout_param { scale_train: true }"), {"x": x}).check(x)
    trained = CaffeNet(graph_of(layer_text("Dropout", "x", params), {"x": (1, 1000)}, "TRAIN"))
    top = trained({"x": torch.full((1, 1000), 3.0)})["top"]
    assert set(top.unique().tolist()) == {0.0, 3.0}


def test_enet_scales_in_testing_too():
    """Its file says `p` as a text, and multiplies by 1 / (1 - p) where it drops nothing."""
    x = RNG(7).normal(size=(2, 3, 4, 5))
    Case(layer_text("Python", "x", SPATIAL % ("TEST", 0.1)), {"x": x}).check(x / 0.9)


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        (layer_text("Dropout", "x", "dropout_param { dropout_ratio: 0.25 sample_weights_test: true }"), {0, 4 / 3}),
        (layer_text("Python", "x", SPATIAL % ("TRAIN", 0.25)), {0, 4 / 3}),
    ],
)
def test_what_draws_in_testing_has_no_onnx_form(layer, values):
    graph = graph_of(layer, {"x": (1, 500, 1, 1)})
    torch.manual_seed(0)
    top = CaffeNet(graph)({"x": torch.ones(1, 500, 1, 1)})["top"]
    assert {round(value, 5) for value in top.unique().tolist()} == {round(value, 5) for value in values}
    assert 0.15 < (top == 0).float().mean() < 0.35
    with pytest.raises(UserError, match="it draws at random in testing, too, which has no ONNX form"):
        to_onnx(graph, {})


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(("kernel", "stride", "size"), [(2, 2, 1), (3, 2, 2), (5, 4, 2)])
def test_a_window_larger_than_the_input(pool, kernel, stride, size):
    """Caffe's rounding up gives one window, cut to the input: nets of open size are published with 1 x 1 inputs."""
    x = RNG(8).normal(size=(2, 3, size, size))
    params = f"pooling_param {{ pool: {pool} kernel_size: {kernel} stride: {stride} }}"
    wanted = x.max(axis=(2, 3), keepdims=True) if pool == "MAX" else x.mean(axis=(2, 3), keepdims=True)
    Case(layer_text("Pooling", "x", params), {"x": x}).check(wanted)


@pytest.mark.parametrize("params", ["scale_bias: true use_global_stats: false", "scale_filler { value: 1 } eps: 0.1"])
def test_batch_norm_of_nvidia_scales_itself(params):
    """Two more blobs; testing takes the running statistics, whatever use_global_stats says."""
    rng = RNG(10)
    x, mean, variance = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=3), rng.uniform(0.5, 2, 3)
    scale, shift = rng.normal(size=3), rng.normal(size=3)
    blobs = [2 * mean, 2 * variance, np.full(1, 2), scale, shift]
    case = Case(layer_text("BatchNorm", "x", f"batch_norm_param {{ {params} }}"), {"x": x}, {"top": blobs})
    mean, variance, scale, shift = (blob.reshape(3, 1, 1) for blob in (mean, variance, scale, shift))
    case.check((x - mean) / np.sqrt(variance + (0.1 if "eps" in params else 1e-5)) * scale + shift)
    fresh = CaffeNet(case.graph, seed=0).weights()["top"]
    assert [blob.tolist() for blob in fresh] == [[0] * 3, [0] * 3, [0], [1] * 3, [0] * 3]
    assert summarize(case.graph)["total"]["parameters"] == 6


def test_batch_norm_of_nvidia_in_a_convolution():
    """Scale and shift fold like a Scale layer's."""
    rng = RNG(11)
    graph = graph_of(
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" '
        "convolution_param { num_output: 3 kernel_size: 1 } } "
        + layer_text("BatchNorm", "c", "batch_norm_param { scale_bias: true }"),
        {"x": (1, 2, 4, 5)},
    )
    blobs = [rng.normal(size=3), rng.uniform(0.5, 2, 3), np.ones(1), rng.normal(size=3), rng.normal(size=3)]
    weights = {"c": [rng.normal(size=(3, 2, 1, 1)), rng.normal(size=3)], "top": blobs}
    weights = {name: [np.asarray(blob, np.float32) for blob in each] for name, each in weights.items()}
    model, notes = deploy(graph, weights, Deployment())
    assert [node.op_type for node in model.graph.node] == ["Conv"], notes
    x = {"x": rng.normal(size=(1, 2, 4, 5)).astype(np.float32)}
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, x)
    with torch.no_grad():
        wanted = CaffeNet(graph, weights)({"x": torch.from_numpy(x["x"])})["top"]
    close(found, wanted.numpy())


def test_batch_norm_of_nvidia_does_not_train_here():
    graph = graph_of(
        layer_text("BatchNorm", "x", "batch_norm_param { scale_bias: true }"), {"x": (2, 3, 4, 5)}, "TRAIN"
    )
    with pytest.raises(UserError, match="NVIDIA's way to train it with a scale_bias is not supported"):
        CaffeNet(graph)


HINTS = """
name: "n" default_forward_type: FLOAT16 default_backward_type: FLOAT16 default_forward_math: FLOAT engine: "MKLDNN"
default_backward_math: FLOAT global_grad_scale: 1000 global_grad_scale_adaptive: false reduce_buckets: 6
default_conv_algos_override: "-1,-1,-1" default_cudnn_math_override: 1 eltwise_mem_sharing: false
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }
layer { name: "y" type: "ReLU" bottom: "x" top: "y" engine: "MKL2017:CAFFE" forward_type: FLOAT16 backward_type: FLOAT16
  forward_math: FLOAT backward_math: FLOAT cudnn_math_override: 0
  quantization_param { bw_layer_in: 8 bw_layer_out: 8 bw_params: 8 scale_in: 0.5 scale_out: 0.1 scale_params: [1, 2] } }
"""


def test_how_forks_compute_changes_nothing(tmp_path):
    from prototxt.graph import Graph

    (tmp_path / "net.prototxt").write_text(HINTS)
    x = RNG(9).normal(size=(1, 2, 3, 3)).astype(np.float32)
    top = CaffeNet(Graph.load(tmp_path / "net.prototxt"))({"x": torch.from_numpy(x)})["y"]
    np.testing.assert_array_equal(top.numpy(), np.maximum(x, 0))


SEQUENCE = {"x": (5, 3, 6)}
MAPS = {"x": (1, 8, 4, 6), **{name: (5, 3, 6) for name in ("steps", "more")}, "on": (5, 3), "off": (5, 2)}

MISTAKES = [
    ("Reorg", "x", "reorg_param { stride: 3 }", "the 9 cells of stride 3 do not divide its 8 channels"),
    ("Reorg", "x", "reorg_param { stride: 0 }", "the 0 cells of stride 0 do not divide its 8 channels"),
    ("Reorg", "odd", "", "stride 2 does not divide its height 4 and width 5"),
    ("Transpose", "x", "", r"dim \[\] is no order of 4 axes"),
    ("Transpose", "x", "transpose_param { dim: [0, 1, 2, 2] }", r"dim \[0, 1, 2, 2\] is no order of 4 axes"),
    ("Reverse", "x", "reverse_param { axis: 4 }", "axis 4 is out of range for 4 axes"),
    ("Interp", "x", "interp_param { use_blob_size: true }", "it has 1 bottoms but takes 2"),
    ("Interp", "x odd", "interp_param { use_blob_size: true height: 3 width: 3 }", "drop the other sizes"),
    ("Interp", "x odd", "interp_param { height: 3 width: 3 }", "it has 2 bottoms but takes 1"),
    ("Upsample", "x", "upsample_param { height_scale: 2 }", "height_scale and width_scale must be given together"),
    ("Upsample", "x", "upsample_param { height_scale: 2 width_scale: 0 }", "sizes and factors must be at least 1"),
    ("LSTM", "steps", "recurrent_param { num_output: 4 }", "it has 1 bottoms but takes 2"),
    ("LSTM", "steps off", "recurrent_param { num_output: 4 }", "of each of T x N steps whether it goes on"),
    ("LSTM", "steps on", "", "num_output must be at least 1"),
    ("LSTM", "steps on", "recurrent_param { num_output: 4 expose_hidden: true }", "expose_hidden is not supported"),
    ("LSTM", "on on", "recurrent_param { num_output: 4 }", "it takes T x N x values, steps of sequences"),
    ("Embed", "x", "embed_param { num_output: 4 }", "input_dim and num_output must be at least 1"),
    ("Lstm", "steps more", "lstm_param { num_output: 4 }", "it has 2 bottoms but takes 1"),
    ("ContinuationIndicator", "", "continuation_indicator_param { time_step: 3 }", "must be at least 1"),
    ("Python", "x", SPATIAL % ("TEST", 1), "it takes phase .TRAIN or TEST. and p, above 0 and below 1"),
    ("Python", "x", SPATIAL % ("TEST", "0.1.2"), "it takes phase"),
    ("Python", "x", SPATIAL % ("BOTH", 0.5), "it takes phase"),
    ("Pooling", "x", "pooling_param { kernel_size: 7 stride: 2 }", "the kernel 7 is larger than the padded input 4"),
    (
        "Pooling",
        "x",
        "pooling_param { kernel_size: 5 stride: 2 ceil_mode: false }",
        "the kernel 5 is larger than the padded input 4",
    ),
]


@pytest.mark.parametrize(("layer_type", "bottoms", "params", "message"), MISTAKES)
def test_mistakes(layer_type, bottoms, params, message):
    shapes = {**MAPS, "odd": (1, 8, 4, 5)}
    with pytest.raises(UserError, match=message):
        graph_of(layer_text(layer_type, bottoms, params), {name: shapes[name] for name in bottoms.split()})
