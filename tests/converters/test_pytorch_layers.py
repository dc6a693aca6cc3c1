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
MOVES = {"ArgMax", "Concat", "Crop", "Flatten", "Permute", "Reshape", "Slice", "Threshold"}
X = {"x": (2, 3, 4, 5)}


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
        ('"ArgMax" argmax_param { top_k: 4 axis: 1 }', "top_k is 4; expected 1 to 3, the number of values to choose"),
        ('"ArgMax" argmax_param { top_k: 0 }', "top_k is 0; expected 1 to 60"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused(make_layer, text, message):
    layer = make_layer(f'name: "it" top: "y" type: {text}', X)
    with pytest.raises(UserError) as caught:
        MODULES[layer.type](layer)
    assert f'layer "it" ({layer.type}): {message}' in str(caught.value)


def test_mvn_refuses_more_axes_than_caffe_has(make_layer):
    with pytest.raises(UserError, match="its bottom has 5 axes; expected at most 4"):
        MODULES["MVN"](make_layer('type: "MVN" top: "y"', {"x": (1, 2, 3, 4, 5)}))
