"""The PyTorch form of every layer type against what a real Caffe computed, and by hand where no case is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.pytorch import CaffeNet
from converters.pytorch.layers import MODULES
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.shapes import SOURCES
from prototxt.shapes.pooling import pooled_hw

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "oracle" / "layers"
INDEX = json.loads((FOLDER / "index.json").read_text()) if FOLDER.is_dir() else {}

# Cases of which only a part can be compared, and where that is done.
ELSEWHERE = {
    "detectionoutput_score_ties_keep10": "an unstable sort chooses among equal scores (test_detection_output)",
    "multiboxloss_equal_conf_ties_train": "an unstable sort chooses among equal losses (test_multibox)",
}
RUN = [
    name
    for name, about in sorted(INDEX.items())
    if name not in ELSEWHERE and all(kind in MODULES or kind in SOURCES for kind in about["layers"])
]
# Layers that move values and compute none: equal to the last bit.
MOVES = {"ArgMax", "Concat", "Crop", "Flatten", "Input", "Permute", "Reshape", "Slice", "Split", "Threshold", "Tile"}
X = {"x": (2, 3, 4, 5)}
S = (2, 4, 6, 5)


def pytest_generate_tests(metafunc):
    if "case_name" in metafunc.fixturenames:
        metafunc.parametrize("case_name", RUN or ["absent"])


class Case:
    """One measured net: its blobs loaded, run forward and backward, every array compared."""

    def __init__(self, name: str) -> None:
        self.arrays = dict(np.load(FOLDER / f"{name}.npz"))
        self.exact = set(INDEX[name]["layers"]) <= MOVES or name.startswith("pool_max")
        graph = Graph.load(FOLDER / f"{name}.prototxt", INDEX[name]["phase"].upper())
        self.net = CaffeNet(graph, self.blobs("param"))

    def blobs(self, prefix: str) -> dict[str, list[np.ndarray]]:
        found: dict[str, dict[int, np.ndarray]] = {}
        for key, array in self.arrays.items():
            if key.startswith(f"{prefix}/"):
                layer, _, index = key.removeprefix(f"{prefix}/").rpartition("/")
                found.setdefault(layer, {})[int(index)] = array
        return {layer: [blobs[i] for i in sorted(blobs)] for layer, blobs in found.items()}

    def close(self, found: np.ndarray, key: str) -> None:
        wanted = self.arrays[key]
        assert found.shape == wanted.shape, key
        tolerance = 0 if self.exact else 1e-6 + 1e-5 * np.abs(wanted).max(initial=0)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance, err_msg=key)

    def forward(self, prefix: str = "") -> None:
        self.inputs = {name: torch.tensor(self.arrays[f"{prefix}in/{name}"]) for name in self.net.graph.inputs}
        for name, tensor in self.inputs.items():
            tensor.requires_grad_(f"diff/{name}" in self.arrays)
        self.outputs = self.net(self.inputs)
        for name, tensor in self.outputs.items():
            self.close(tensor.detach().numpy(), f"{prefix}out/{name}")
        for layer, blobs in self.blobs(f"{prefix}param").items() if prefix else ():  # those after this forward
            for i in range(len(blobs)):
                self.close(self.net.weights()[layer][i], f"{prefix}param/{layer}/{i}")

    def backward(self) -> None:
        tops = {name: top for name, top in self.outputs.items() if top.requires_grad}
        torch.autograd.backward(list(tops.values()), [torch.tensor(self.arrays[f"topdiff/{name}"]) for name in tops])
        for name, tensor in self.inputs.items():
            if tensor.requires_grad:
                self.close(tensor.grad.numpy(), f"diff/{name}")
        for layer, blobs in self.blobs("paramdiff").items():
            for i, (_, blob) in enumerate(self.net.get_submodule(layer).blobs()[: len(blobs)]):
                self.close(blob.grad.numpy(), f"paramdiff/{layer}/{i}")


def test_case(case_name, shared):
    """Outputs, BatchNorm's running blobs, and the gradients of inputs and learned blobs."""
    case = Case(case_name)
    steps = sorted({key.partition("/")[0] for key in case.arrays if key.startswith("step")})
    for prefix in [f"{step}/" for step in steps] or [""]:
        case.forward(prefix)
    if INDEX[case_name]["backward"]:
        case.backward()


def test_no_case_is_left_out(shared):
    assert len(INDEX) == 288
    assert set(INDEX) - set(RUN) == set(ELSEWHERE)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize(
    "kernel, stride, pad",
    [((2, 3), (2, 1), (0, 0)), ((3, 2), (2, 2), (1, 1)), ((3, 3), (1, 2), (2, 2)), ((1, 2), (3, 4), (0, 0)),
     ((2, 2), (3, 3), (1, 1)), ((4, 5), (3, 2), (3, 0))],
)  # fmt: skip
def test_pooling_window_by_window(make_layer, method, kernel, stride, pad):
    """Against the definition, for what PyTorch's own pooling lacks: wide padding, gaps between windows."""
    values = " ".join(
        f"{what}_{side}: {value}"
        for what, pair in (("kernel", kernel), ("stride", stride), ("pad", pad))
        for side, value in zip("hw", pair)
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 11)).astype(np.float32)
    layer = make_layer(f'type: "Pooling" top: "y" pooling_param {{ pool: {method} {values} }}', {"x": x.shape})
    found = MODULES["Pooling"](layer)(torch.from_numpy(x)).numpy()
    sides = list(zip(x.shape[2:], kernel, stride, pad))
    assert found.shape == (2, 3, *pooled_hw(x.shape[2:], layer.p))
    for row, column in np.ndindex(found.shape[2:]):
        starts = [i * s - p for i, (_, _, s, p) in zip((row, column), sides)]
        ends = [min(start + k, size + p) for start, (size, k, _, p) in zip(starts, sides)]
        window = x[:, :, max(starts[0], 0) : max(ends[0], 0), max(starts[1], 0) : max(ends[1], 0)]
        if method == "MAX":
            wanted = window.max(axis=(2, 3), initial=np.finfo(np.float32).min)
        else:
            wanted = window.sum(axis=(2, 3)) / ((ends[0] - starts[0]) * (ends[1] - starts[1]))
        np.testing.assert_allclose(found[:, :, row, column], wanted, atol=1e-6)


def test_mask_of_padded_pooling_counts_in_the_plane(make_layer):
    text = 'type: "Pooling" top: "y" top: "mask" pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 2 }'
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    top, mask = MODULES["Pooling"](make_layer(text, X))(x)
    torch.testing.assert_close(x.flatten(2).gather(2, mask.long().flatten(2)), top.flatten(2), rtol=0, atol=0)


def test_empty_pooling_window_has_index_minus_one(make_layer):
    text = 'type: "Pooling" top: "y" top: "mask" pooling_param { pool: MAX kernel_size: 1 stride: 4 }'
    top, mask = MODULES["Pooling"](make_layer(text, {"x": (1, 1, 1, 4)}))(torch.ones(1, 1, 1, 4))
    assert top.flatten().tolist() == [1, torch.finfo(torch.float32).min]
    assert mask.flatten().tolist() == [0, -1]


def test_eltwise_max_gives_a_tie_to_one_bottom(make_layer):
    layer = make_layer('type: "Eltwise" top: "y" eltwise_param { operation: MAX }', {name: (1, 3) for name in "abc"})
    bottoms = [torch.tensor([row], requires_grad=True) for row in ([2.0, 1, 0], [2.0, 0, 1], [2.0, 1, 1])]
    MODULES["Eltwise"](layer)(*bottoms).sum().backward()
    assert [b.grad.tolist()[0] for b in bottoms] == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]


def test_arg_max_takes_the_last_of_equal_values_first(make_layer):
    layer = make_layer('type: "ArgMax" top: "y" argmax_param { top_k: 3 axis: 1 }', {"x": (1, 5)})
    assert MODULES["ArgMax"](layer)(torch.tensor([[1.0, 7, 7, 0, 7]])).tolist() == [[4, 2, 1]]


def test_dropout_scales_what_it_keeps_in_training_only(make_layer):
    text = 'type: "Dropout" top: "y" dropout_param { dropout_ratio: 0.25 }'
    x = torch.full((2, 30, 40, 50), 3.0)
    torch.manual_seed(0)
    y = MODULES["Dropout"](make_layer(text, {"x": x.shape}, "TRAIN"))(x)
    assert y.unique().tolist() == [0, 4]
    assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert MODULES["Dropout"](make_layer(text, {"x": x.shape}, "TEST"))(x).equal(x)


def test_mvn_of_few_axes(make_layer):
    x = torch.tensor([[1.0, 3, 5], [2, 2, 8]])
    each = MODULES["MVN"](make_layer('type: "MVN" top: "y"', {"x": (2, 3)}))(x)
    assert each.tolist() == [[0, 0, 0], [0, 0, 0]]
    image = MODULES["MVN"](make_layer('type: "MVN" top: "y" mvn_param { across_channels: true }', {"x": (2, 3)}))(x)
    torch.testing.assert_close(image, (x - x.mean(1, True)) / x.var(1, correction=0, keepdim=True).sqrt())


def test_power_of_nothing_is_a_constant_without_gradient(make_layer):
    for fields, constant in (("power: 0", 1), ("scale: 0 shift: 3 power: 2", 9), ("scale: 0 power: -1", float("inf"))):
        layer = make_layer(f'type: "Power" top: "y" power_param {{ {fields} }}', {"x": (1, 2)})
        x = torch.tensor([[0.0, -2]], requires_grad=True)
        y = MODULES["Power"](layer)(x)
        y.sum().backward()
        assert y.tolist() == [[constant, constant]]
        assert x.grad.tolist() == [[0, 0]]


def test_relu_slope(make_layer):
    layer = make_layer('type: "ReLU" top: "y" relu_param { negative_slope: 0.5 }', {"x": (1, 3)})
    x = torch.tensor([[-2.0, 0, 4]], requires_grad=True)
    y = MODULES["ReLU"](layer)(x)
    y.sum().backward()
    assert y.tolist() == [[-1, 0, 4]]
    assert x.grad.tolist() == [[0.5, 0.5, 1]]


@pytest.mark.parametrize(
    "text, message",
    [
        ('"Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 }', "stochastic pooling is not supported; expect"),
        ('"LRN" lrn_param { local_size: 4 }', "local_size is 4; expected an odd number"),
        ('"BatchNorm" param { } param { lr_mult: 0 }', "its statistics are not learned; expected `lr_mult: 0`"),
        ('"Exp" exp_param { base: 0 }', "base is 0; expected a number above 0, or -1 for e"),
        ('"Log" log_param { base: 1 }', "base is 1; expected another number above 0, or -1 for e"),
        ('"Dropout" dropout_param { dropout_ratio: 1 }', "dropout_ratio is 1; expected at least 0 and below 1"),
        ('"Tile" tile_param { axis: 1 }', "tiles is missing or 0; expected at least 1"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused(make_layer, text, message):
    layer = make_layer(f'name: "it" top: "y" type: {text}', X)
    with pytest.raises(UserError) as caught:
        MODULES[layer.type](layer)
    assert f'layer "it" ({layer.type}): {message}' in str(caught.value)


@pytest.mark.parametrize(
    "text, shapes, numpy",
    [
        ('"Concat" top: "y" concat_param { axis: -2 }', [S, S], lambda x, y: np.concatenate([x, y], 2)),
        ('"Concat" top: "y" concat_param { concat_dim: 3 }', [S, S], lambda x, y: np.concatenate([x, y], 3)),
        ('"Slice" top: "y" top: "z" slice_param { axis: -1 slice_point: 2 }', [S], lambda x: (x[..., :2], x[..., 2:])),
        ('"Slice" top: "y" top: "z" slice_param { slice_dim: 2 slice_point: 1 }', [S],
         lambda x: (x[:, :, :1], x[:, :, 1:])),
        ('"Slice" top: "y" top: "z"', [S], lambda x: (x[:, :2], x[:, 2:])),
        ('"Slice" top: "y"', [S], lambda x: x),
        ('"Flatten" top: "y" flatten_param { axis: -3 end_axis: -2 }', [S], lambda x: x.reshape(2, 24, 5)),
        ('"Reshape" top: "y" reshape_param { axis: -2 shape { dim: 5 dim: 1 } }', [S],
         lambda x: x.reshape(2, 4, 6, 5, 1)),
        ('"Reshape" top: "y" reshape_param { axis: 1 num_axes: 0 shape { dim: 1 } }', [S], lambda x: x[:, None]),
        ('"Reshape" top: "y" reshape_param { axis: 1 num_axes: 2 shape { dim: 0 dim: -1 dim: 2 } }', [S],
         lambda x: x.reshape(2, 4, 3, 2, 5)),
        ('"Permute" top: "y" permute_param { order: 2 }', [S], lambda x: x.transpose(2, 0, 1, 3)),
        ('"Crop" top: "y" crop_param { axis: -2 offset: 3 offset: 1 }', [S, (9, 9, 2, 4)],
         lambda x, r: x[:, :, 3:5, 1:]),
        ('"Crop" top: "y" crop_param { axis: -1 offset: 2 }', [S, (9, 9, 9, 3)], lambda x, r: x[..., 2:]),
        ('"Tile" top: "y" tile_param { axis: -1 tiles: 3 }', [S], lambda x: np.tile(x, 3)),
        ('"Reduction" top: "y" reduction_param { axis: -2 operation: MEAN coeff: 2 }', [S],
         lambda x: 2 * x.mean((2, 3))),
        ('"Reduction" top: "y" reduction_param { axis: -1 operation: SUMSQ }', [S], lambda x: (x * x).sum(3)),
        ('"ArgMax" top: "y" argmax_param { axis: -1 top_k: 2 }', [S], lambda x: np.argsort(-x, 3)[..., :2]),
        ('"ArgMax" top: "y" argmax_param { axis: -3 out_max_val: true }', [S], lambda x: x.max(1, keepdims=True)),
        ('"Softmax" top: "y" softmax_param { axis: -3 }', [S], lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
        ('"LRN" top: "y" lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 2 beta: 0.5 k: 9 }',
         [(1, 2, 1, 2)],
         lambda x: x / np.sqrt(1 + 2 * (x * x).sum(3, keepdims=True) / 9)),
        ('"BatchNorm" top: "y" batch_norm_param { eps: 0.5 }', [(4,)],
         lambda x: (x - x.mean()) / np.sqrt(x.var() + 0.5)),
        ('"BatchNorm" top: "y"', [(1, 4)], np.zeros_like),
        ('"Pooling" top: "y" pooling_param { pool: AVE global_pooling: true }', [S],
         lambda x: x.mean((2, 3), keepdims=True)),
        ('"Scale" top: "y" scale_param { axis: -3 }', [S, (4, 6)], lambda x, f: x * f[:, :, None]),
        ('"Scale" top: "y"', [S, ()], lambda x, f: x * f),
        ('"Bias" top: "y" bias_param { axis: -2 }', [S, (6, 5)], lambda x, b: x + b),
    ],
)  # fmt: skip
def test_axes_by_their_definition(make_layer, text, shapes, numpy):
    """Negative axes, old field names and defaults, against NumPy; the shape rule says the same."""
    rng = np.random.default_rng(0)
    bottoms = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    layer = make_layer(f"type: {text}", {f"x{i}": shape for i, shape in enumerate(shapes)})
    found, wanted = MODULES[layer.type](layer)(*map(torch.tensor, bottoms)), numpy(*bottoms)
    found, wanted = (value if isinstance(value, tuple) else (value,) for value in (found, wanted))
    assert [tuple(top.shape) for top in found] == list(layer.top_shapes)
    for top, array in zip(found, wanted, strict=True):
        np.testing.assert_allclose(top.numpy(), array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "fields, weight, spread",
    [
        ("num_axes: 0", (), ()),
        ("axis: 0 num_axes: -1", S, S),
        ("axis: -1", (5,), (5,)),
        ("axis: -3 num_axes: 2", (4, 6), (4, 6, 1)),
        ("", (4,), (4, 1, 1)),
        ("axis: 0", (2,), (2, 1, 1, 1)),
    ],
)
def test_scale_spreads_its_blobs_from_its_axis(make_layer, fields, weight, spread):
    rng = np.random.default_rng(0)
    x, gamma, beta = (rng.normal(size=shape).astype(np.float32) for shape in (S, weight, weight))
    layer = make_layer(f'type: "Scale" top: "y" scale_param {{ bias_term: true {fields} }}', {"x": S})
    assert layer.blob_shapes == (weight, weight)
    scale = MODULES["Scale"](layer)
    with torch.no_grad():
        scale.weight.copy_(torch.tensor(gamma)), scale.bias.copy_(torch.tensor(beta))
        found = scale(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, x * gamma.reshape(spread) + beta.reshape(spread), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("axis, rows, columns", [(1, (2,), 120), (-1, (2, 4, 6), 5), (-2, (2, 4), 30), (0, (), 240)])
def test_inner_product_from_its_axis(make_layer, transpose, axis, rows, columns):
    fields = f"num_output: 3 axis: {axis} transpose: {str(transpose).lower()}"
    layer = make_layer(f'type: "InnerProduct" top: "y" inner_product_param {{ {fields} }}', {"x": S})
    assert layer.blob_shapes == ((columns, 3) if transpose else (3, columns), (3,))
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(size=s).astype(np.float32) for s in (S, *layer.blob_shapes))
    product = MODULES["InnerProduct"](layer)
    with torch.no_grad():
        product.weight.copy_(torch.tensor(weight)), product.bias.copy_(torch.tensor(bias))
        found = product(torch.tensor(x)).numpy()
    wanted = x.reshape(*rows, columns) @ (weight if transpose else weight.T) + bias
    assert found.shape == layer.top_shapes[0] == (*rows, 3)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "kind, shape, message",
    [
        ("LRN", (2, 3), "its bottom has 2 axes; expected N x C x H x W"),
        ("BatchNorm", (), "its bottom is a scalar; expected at least 1 axis"),
    ],
)
def test_bottoms_of_too_few_axes(make_layer, kind, shape, message):
    with pytest.raises(UserError, match=f"{kind}\\): {message}"):
        MODULES[kind](make_layer(f'type: "{kind}" top: "y"', {"x": shape}))


def test_mvn_refuses_more_axes_than_caffe_has(make_layer):
    with pytest.raises(UserError, match="its bottom has 5 axes; expected at most 4"):
        MODULES["MVN"](make_layer('type: "MVN" top: "y"', {"x": (1, 2, 3, 4, 5)}))
