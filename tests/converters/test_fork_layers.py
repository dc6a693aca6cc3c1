"""Layers that forks of Caffe added: PyTorch, ONNX Runtime and OpenCV against NumPy, written from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from converters.caffemodel import check, read_weights, write_weights
from converters.pytorch import CaffeNet
from prototxt import schema
from prototxt.boxes import net_of
from prototxt.errors import UserError
from prototxt.summary import summarize
from tests.converters.layer_cases import RNG, Case, close, graph_of, layer_text


def test_relu6(tmp_path):
    x = RNG(0).normal(0, 6, (2, 3, 4, 5))
    case = Case(layer_text("ReLU6", "x", "relu6_param { engine: CAFFE }"), {"x": x})
    case.check(np.minimum(np.maximum(case.inputs["x"], 0), 6))
    close(case.opencv(tmp_path)[0], case.pytorch()[0])


ACTIVATIONS = {
    "Clip": ("clip_param { min: -1.5 max: 2 }", lambda x: np.minimum(np.maximum(x, -1.5), 2)),
    "Swish": ("swish_param { beta: 0.5 }", lambda x: x / (1 + np.exp(-0.5 * x))),
    "Mish": ("mish_param { engine: CAFFE }", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
}


@pytest.mark.parametrize("layer_type", ACTIVATIONS)
def test_activations(layer_type):
    params, wanted = ACTIVATIONS[layer_type]
    case = Case(layer_text(layer_type, "x", params), {"x": RNG(20).normal(0, 4, (2, 3, 4, 5))})
    case.check(wanted(case.inputs["x"]))


@pytest.mark.parametrize("layer_type", ["ConvolutionDepthwise", "DepthwiseConvolution"])
@pytest.mark.parametrize("group", ["", "group: 4"])
def test_depthwise(layer_type, group, tmp_path):
    params = f"convolution_param {{ num_output: 4 kernel_size: 3 stride: 2 pad: 1 {group} }}"
    rng = RNG(1)
    x, weight, bias = rng.normal(size=(2, 4, 7, 6)), rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4)
    case = Case(layer_text(layer_type, "x", params), {"x": x}, {"top": [weight, bias]})
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    wanted = np.zeros((2, 4, 4, 3))
    for n, c, i, j in np.ndindex(wanted.shape):
        wanted[n, c, i, j] = (padded[n, c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * weight[c, 0]).sum() + bias[c]
    case.check(wanted)
    if layer_type == "ConvolutionDepthwise":
        close(case.opencv(tmp_path)[0], wanted)


def test_depthwise_with_two_outputs_a_channel():
    params = "convolution_param { num_output: 6 kernel_size: 1 group: 3 bias_term: false }"
    x, weight = RNG(2).normal(size=(1, 3, 2, 2)), RNG(3).normal(size=(6, 1, 1, 1))
    case = Case(layer_text("DepthwiseConvolution", "x", params), {"x": x}, {"top": [weight]})
    case.check(np.repeat(x, 2, axis=1) * weight.reshape(6, 1, 1))


def corners_kept(x: np.ndarray, out_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing of [N, C, H, W] in which the first and last rows and columns stay."""
    rows, columns = (
        np.linspace(0, size - 1, out) if out > 1 else np.zeros(1) for size, out in zip(x.shape[2:], out_hw)
    )
    top = np.zeros((*x.shape[:2], *out_hw))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            for a in (math.floor(row), math.floor(row) + 1):
                for b in (math.floor(column), math.floor(column) + 1):
                    share = max(0, 1 - abs(row - a)) * max(0, 1 - abs(column - b))
                    if share:
                        top[:, :, i, j] += share * x[:, :, a, b]
    return top


@pytest.mark.parametrize(
    ("params", "out_hw"),
    [
        ("height: 9 width: 4", (9, 4)),
        ("height: 1 width: 1", (1, 1)),
        ("zoom_factor: 3", (13, 19)),
        ("shrink_factor: 2", (3, 4)),
        ("shrink_factor: 2 zoom_factor: 3", (7, 10)),
        ("shrink_factor: 2 zoom_factor: 3 height: 4 width: 4", (4, 4)),
        ("zoom_factor: 2 height: 4 width: 4", (9, 13)),
        ("height: 5 width: 7", (5, 7)),
    ],
)
def test_interp(params, out_hw, tmp_path):
    x = RNG(4).normal(size=(2, 3, 5, 7))
    case = Case(layer_text("Interp", "x", f"interp_param {{ {params} }}"), {"x": x})
    case.check(corners_kept(x, out_hw))


def test_interp_of_opencv(tmp_path):
    x = RNG(4).normal(size=(2, 3, 5, 7))
    for params in ("height: 9 width: 4", "zoom_factor: 3"):
        case = Case(layer_text("Interp", "x", f"interp_param {{ {params} }}"), {"x": x})
        close(case.opencv(tmp_path)[0], case.pytorch()[0])


def test_interp_cuts_first():
    x = RNG(5).normal(size=(1, 2, 8, 7))
    case = Case(layer_text("Interp", "x", "interp_param { zoom_factor: 2 pad_beg: -1 pad_end: -2 }"), {"x": x})
    case.check(corners_kept(x[:, :, 1:6, 1:5], (9, 7)))


@pytest.mark.parametrize("group", [1, 2, 3])
def test_shuffle_channel(group, tmp_path):
    x = RNG(6).normal(size=(2, 6, 3, 2))
    case = Case(layer_text("ShuffleChannel", "x", f"shuffle_channel_param {{ group: {group} }}"), {"x": x})
    order = [g * (6 // group) + i for i in range(6 // group) for g in range(group)]
    case.check(x[:, order])
    close(case.opencv(tmp_path)[0], x[:, order])


@pytest.mark.parametrize("factor_shape", [(2, 3), (2, 3, 1, 1)])
def test_axpy(factor_shape, tmp_path):
    rng = RNG(7)
    factor, x, y = rng.normal(size=factor_shape), rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 4, 5))
    case = Case(layer_text("Axpy", "factor x y"), {"factor": factor, "x": x, "y": y})
    case.check(factor.reshape(2, 3, 1, 1) * x + y)


BN_BLOBS = [np.array(blob, np.float32) for blob in ([2, 0.5, -1], [0.1, 0, 3], [1, -2, 0.5], [0.2, 4, 1])]


def spread(blob: np.ndarray) -> np.ndarray:
    return blob.reshape(1, -1, 1, 1)


@pytest.mark.parametrize("params", ["", "bn_param { eps: 0.01 frozen: true slope_filler { value: 1 } }"])
def test_bn_of_yjxiong_and_pspnet(params):
    x = RNG(8).normal(size=(2, 3, 4, 5))
    case = Case(layer_text("BN", "x", params), {"x": x}, {"top": BN_BLOBS})
    slope, bias, mean, variance = map(spread, BN_BLOBS)
    eps = 0.01 if params else 1e-5
    case.check((x - mean) / np.sqrt(variance + eps) * slope + bias)
    assert case.graph.layers[-1].blob_shapes == ((1, 3, 1, 1),) * 4


def test_bn_trains_by_the_batch():
    graph = graph_of(layer_text("BN", "x", "bn_param { momentum: 0.75 }"), {"x": (4, 3, 2, 2)}, "TRAIN")
    net = CaffeNet(graph, {"top": [blob.reshape(1, 3, 1, 1) for blob in BN_BLOBS]})
    x = RNG(9).normal(size=(4, 3, 2, 2)).astype(np.float32)
    top = net({"x": torch.from_numpy(x)})["top"].detach().numpy()
    mean, variance = (spread(f(x, axis=(0, 2, 3))) for f in (np.mean, np.var))
    close(top, (x - mean) / np.sqrt(variance + 1e-5) * spread(BN_BLOBS[0]) + spread(BN_BLOBS[1]))
    blobs = net.weights()["top"]
    close(blobs[2], 0.75 * spread(BN_BLOBS[2]) + 0.25 * mean)
    close(blobs[3], 0.75 * spread(BN_BLOBS[3]) + 0.25 * variance)
    assert [blob.lr_mult for blob in net.blobs()] == [1, 1, 0, 0]


def test_frozen_bn_learns_nothing():
    graph = graph_of(layer_text("BN", "x", "bn_param { frozen: true }"), {"x": (4, 3, 2, 2)}, "TRAIN")
    net = CaffeNet(graph)
    assert [blob.lr_mult for blob in net.blobs()] == [0] * 4
    assert [float(blob.max()) for blob in net.weights()["top"]] == [0, 0, 0, 1]


def test_bn_of_segnet():
    x = RNG(10).normal(size=(2, 3, 4, 5))
    case = Case(layer_text("BN", "x", "bn_param { bn_mode: INFERENCE }"), {"x": x}, {"top": BN_BLOBS[:2]})
    case.check(x * spread(BN_BLOBS[0]) + spread(BN_BLOBS[1]))


def test_bn_of_segnet_by_the_batch():
    x = RNG(11).normal(size=(2, 3, 4, 5))
    params = "bn_param { scale_filler { value: 1 } shift_filler { value: 0.001 } }"
    case = Case(layer_text("BN", "x", params), {"x": x}, {"top": BN_BLOBS[:2]})
    mean, variance = (spread(f(x, axis=(0, 2, 3))) for f in (np.mean, np.var))
    close(case.pytorch()[0], (x - mean) / np.sqrt(variance) * spread(BN_BLOBS[0]) + spread(BN_BLOBS[1]))
    with pytest.raises(UserError, match="bn_mode: LEARN normalises with the batch, which has no ONNX form"):
        case.onnx()


@pytest.mark.parametrize("params", ["scale: 2", "stride: 2", "scale: 1 stride: 2", "scale_h: 2 scale_w: 2"])
def test_upsample_by_blocks(params):
    x = RNG(12).normal(size=(2, 3, 4, 5))
    case = Case(layer_text("Upsample", "x", f"upsample_param {{ {params} }}"), {"x": x})
    case.check(x.repeat(2, axis=2).repeat(2, axis=3))


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ("", (2, 3, 8, 6)),
        ("upsample_param { scale: 2 pad_out_h: true pad_out_w: true }", (2, 3, 7, 5)),
        ("upsample_param { scale: 2 upsample_h: 7 upsample_w: 6 }", (2, 3, 7, 6)),
        ("upsample_param { scale_h: 2 scale_w: 2 }", (2, 3, 8, 6)),
    ],
)
def test_upsample_by_the_mask_of_a_pooling(params, shape):
    """SegNet: what a pooling took goes back to where it was, and the rest is 0."""
    x = RNG(13).normal(size=shape)
    pool = 'layer { name: "pool" type: "Pooling" bottom: "x" top: "pool" top: "mask" '
    pool += "pooling_param { pool: MAX kernel_size: 2 stride: 2 } }\n"
    case = Case(pool + layer_text("Upsample", "pool mask", params), {"x": x})
    wanted = np.zeros(shape)
    for n, c, i, j in np.ndindex(*shape[:2], 4, 3):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        down, right = np.unravel_index(window.argmax(), window.shape)
        wanted[n, c, 2 * i + down, 2 * j + right] = window.max()
    case.check(wanted)


def test_gradient_of_upsample_by_a_mask():
    graph = graph_of(layer_text("Upsample", "x mask", ""), {"x": (1, 1, 1, 2), "mask": (1, 1, 1, 2)}, "TRAIN")
    x = torch.tensor([[[[5.0, 7.0]]]], requires_grad=True)
    top = CaffeNet(graph)({"x": x, "mask": torch.tensor([[[[6.0, 1.0]]]])})["top"]
    assert top.flatten().tolist() == [0, 7, 0, 0, 0, 0, 5, 0]
    (top * torch.arange(8).reshape(2, 4)).sum().backward()
    assert x.grad.flatten().tolist() == [6, 1]


def test_upsample_names_a_mask_that_points_outside():
    graph = graph_of(layer_text("Upsample", "x mask", ""), {"x": (1, 1, 1, 1), "mask": (1, 1, 1, 1)})
    with pytest.raises(UserError, match=r"its mask points at value 4 of planes of 4"):
        CaffeNet(graph)({"x": torch.ones(1, 1, 1, 1), "mask": torch.full((1, 1, 1, 1), 4.0)})


POOLED = ("kernel_size: 3 stride: 2", "kernel_size: 2 stride: 2 pad: 1", "kernel_size: 1 stride: 3")


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("windows", POOLED)
@pytest.mark.parametrize("down", ["ceil_mode: false", "round_mode: FLOOR"])
def test_pooling_that_rounds_down(method, windows, down, tmp_path):
    x = RNG(19).normal(size=(2, 3, 8, 11))
    case = Case(layer_text("Pooling", "x", f"pooling_param {{ pool: {method} {windows} {down} }}"), {"x": x})
    kernel, stride, pad = (int(n) for n in (windows + " pad: 0").replace(":", "").split()[1:6:2])
    filled = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-1e9 if method == "MAX" else 0)
    windowed = np.lib.stride_tricks.sliding_window_view(filled, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]
    case.check(windowed.max((4, 5)) if method == "MAX" else windowed.mean((4, 5)))
    if kernel > 1 and "ceil_mode" in down:
        close(case.opencv(tmp_path)[0], case.pytorch()[0])


@pytest.mark.parametrize("dims", [(3,), (1, 3), (1, 3, 1, 1)])
def test_blobs_of_bn_have_the_axes_of_any_fork(dims, tmp_path):
    graph = graph_of(layer_text("BN", "x"), {"x": (1, 3, 2, 2)})
    net = CaffeNet(graph, {"top": [blob.reshape(dims) for blob in BN_BLOBS]})
    assert [blob.flatten().tolist() for blob in net.weights()["top"]] == [blob.tolist() for blob in BN_BLOBS]
    with pytest.raises(UserError, match="its blob 1 has the shape 3×1×3"):
        check(graph, {"top": [BN_BLOBS[0], np.ones((3, 1, 3)), *BN_BLOBS[2:]]})


def test_a_caffemodel_with_numbers_that_another_fork_gave_other_meanings(tmp_path):
    """Weights are found beside fields 149, 201 and 8266711 of any wire type, whole messages or junk."""
    graph = graph_of(layer_text("PReLU", "x"), {"x": (1, 3, 2, 2)})
    write_weights(tmp_path / "net.caffemodel", graph, {"top": [np.array([1, 2, 3])]})
    net = schema.NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    layer = net.layer[-1].SerializeToString()
    key = lambda number, wire: _varint(number << 3 | wire)  # noqa: E731
    junk = (
        key(149, 0)
        + b"\x07"
        + key(201, 2)
        + b"\x03\xff\xff\xff"
        + key(8266711, 5)
        + b"abcd"
        + key(152, 1)
        + b"12345678"
    )
    body = layer + junk
    (tmp_path / "fork.caffemodel").write_bytes(key(100, 2) + _varint(len(body)) + body)
    assert read_weights(tmp_path / "fork.caffemodel")["top"][0].tolist() == [1, 2, 3]


def _varint(number: int) -> bytes:
    parts = []
    while True:
        parts.append(number & 127 | (number > 127) << 7)
        number >>= 7
        if not number:
            return bytes(parts)


def test_slice_with_crop(tmp_path):
    """Channels are parted and each part is cut to the size of a smaller map, as FCN and HED do."""
    text = """
    layer { name: "parts" type: "Slice" bottom: "x" top: "a" top: "b" slice_param { axis: 1 slice_point: 1 } }
    layer { name: "a_cut" type: "Crop" bottom: "a" bottom: "small" top: "a_cut"
      crop_param { axis: 2 offset: 1 offset: 3 }
    }
    layer { name: "b_cut" type: "Crop" bottom: "b" bottom: "small" top: "b_cut" crop_param { axis: 3 offset: 2 } }
    layer { name: "b_more" type: "Crop" bottom: "b_cut" bottom: "small" top: "b_more" crop_param { axis: 2 } }
    layer { name: "top" type: "Concat" bottom: "a_cut" bottom: "b_more" top: "top" }"""
    rng = RNG(21)
    case = Case(text, {"x": rng.normal(size=(2, 4, 7, 9)), "small": rng.normal(size=(2, 3, 4, 5))})
    x = case.inputs["x"]
    wanted = np.concatenate([x[:, :1, 1:5, 3:8], x[:, 1:, :4, 2:7]], axis=1)
    case.check(wanted)
    close(case.opencv(tmp_path)[0], wanted)


@pytest.mark.parametrize(("params", "slopes"), [("", [0.1, -0.5, 2]), ("prelu_param { channel_shared: true }", [0.3])])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3)])
def test_prelu(params, slopes, shape, tmp_path):
    case = Case(layer_text("PReLU", "x", params), {"x": RNG(22).normal(size=shape)}, {"top": [np.array(slopes)]})
    x, slope = case.inputs["x"], np.float32(slopes).reshape(-1, *[1] * (len(shape) - 2))
    case.check(np.maximum(x, 0) + slope * np.minimum(x, 0))
    if len(shape) == 4 and not params:  # OpenCV reads no blob without axes
        close(case.opencv(tmp_path)[0], case.pytorch()[0])


def test_what_drawings_and_costs_say():
    params = "convolution_param { num_output: 4 kernel_size: 3 stride: 2 }"
    graph = graph_of(layer_text("DepthwiseConvolution", "x", params), {"x": (1, 4, 6, 5)})
    assert net_of(graph).boxes[-1].about() == ["DepthwiseConvolution 3×3 /2 group 4 → 4"]
    assert summarize(graph)["total"]["macs"] == 4 * 2 * 2 * 9
    costs = summarize(graph_of(layer_text("BN", "x"), {"x": (1, 4, 6, 5)}))["total"]
    assert (costs["parameters"], costs["statistics"]) == (8, 8)
    assert net_of(graph_of(layer_text("BN", "x"), {"x": (1, 4, 6, 5)})).boxes[-1].family == "norm"
