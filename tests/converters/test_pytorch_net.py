"""CaffeNet: what a net does with its blobs, names, losses and weights."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch import nn

from converters.priors import prior_boxes
from converters.pytorch import CaffeNet, load_net
from converters.pytorch.layers import MODULES
from prototxt import schema
from prototxt.errors import UserError, UserErrors
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.text import parse

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }\n'


def graph_of(text: str, phase: str = "TRAIN") -> Graph:
    net = parse(INPUT + text, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(net.message, net.path, net.lines), phase)


def conv(name: str, bottom: str, top: str, more: str = "", outputs: int = 3) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top}" {more} '
        f'convolution_param {{ num_output: {outputs} kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}\n'
    )


def image() -> torch.Tensor:
    return torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["detect", "sr"])
def test_trained_weights_of_the_real_world_go_through_unchanged(shared, name):
    from converters.caffemodel import read_weights

    folder = shared / "models" / "wechat_qr"
    net = load_net(folder / f"{name}.prototxt", folder / f"{name}.caffemodel")
    given, kept = read_weights(folder / f"{name}.caffemodel"), net.weights()
    assert list(kept) == [layer for layer in given if layer in kept]
    for layer, blobs in kept.items():
        assert [blob.tobytes() for blob in blobs] == [blob.tobytes() for blob in given[layer]]
    (top,) = net({name: torch.zeros(shape) for name, shape in net.graph.inputs.items()}).values()
    assert top.isfinite().all()


def test_keep_gives_the_last_value_of_a_blob_computed_in_place():
    text = conv("c", "x", "y") + 'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }\n' + conv("d", "y", "z")
    net = CaffeNet(graph_of(text), seed=0)
    x = image()
    found = net({"x": x}, keep=["y", "x"])
    assert set(found) == {"z", "y", "x"}
    assert found["y"].equal(torch.relu(net.c(x)[0]))
    assert set(net({"x": x})) == {"z"}
    found["z"].sum().backward()
    assert net.c.weight.grad.abs().sum() > 0


def test_blobs_that_nobody_reads_any_more_are_freed():
    net = CaffeNet(graph_of("".join(conv(f"c{i}", f"y{i - 1}" if i else "x", f"y{i}") for i in range(6))), seed=0)
    made, alive = [], []
    for layer in net.children():
        layer.register_forward_hook(lambda module, bottoms, tops: made.append(weakref.ref(tops[0])))
        layer.register_forward_pre_hook(lambda module, bottoms: alive.append(sum(r() is not None for r in made)))
    with torch.no_grad():
        net({"x": image()})
        assert alive == [0, 1, 1, 1, 1, 1]
        made.clear(), alive.clear()
        net({"x": image()}, keep=["y1"])
        assert alive == [0, 1, 1, 2, 2, 2]


def test_batch_may_differ_from_the_file():
    text = 'layer { name: "p" type: "Permute" bottom: "x" top: "p" permute_param { order: 0 order: 2 order: 3 } }'
    text += 'layer { name: "r" type: "Reshape" bottom: "p" top: "r" reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }'
    assert CaffeNet(graph_of(text))({"x": torch.zeros(7, 3, 6, 5)})["r"].shape == (7, 30, 3)


def test_what_is_missing_or_unknown_is_named():
    net = CaffeNet(graph_of(conv("c", "x", "y")))
    with pytest.raises(UserError, match=r'net.prototxt: input "x" is not given'):
        net({"data": image()})
    with pytest.raises(UserError, match=r'net.prototxt: there is no blob "z"'):
        net({"x": image()}, keep=["z"])


def test_phase_of_the_graph_decides_not_the_mode_of_the_module():
    text = 'layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" }'
    for phase, moved in (("TRAIN", 1), ("TEST", 0)):
        for mode in (True, False):
            net = CaffeNet(graph_of(text, phase)).train(mode)
            net({"x": image()})
            assert net.bn.scale_factor.item() == moved


def test_fillers_follow_the_seed():
    graph = graph_of(conv("c", "x", "y"))
    first, again, other = (CaffeNet(graph, seed=seed).c.weight for seed in (3, 3, 4))
    assert first.equal(again)
    assert not first.equal(other)
    assert not CaffeNet(graph).c.weight.equal(CaffeNet(graph).c.weight)


BLOBS = (
    conv("c", "x", "c", "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }")
    + 'layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }'
    + 'layer { name: "s" type: "Scale" bottom: "c" top: "c" param { lr_mult: 0 } scale_param { bias_term: true } }'
)


def test_blobs_in_caffes_order_with_their_multipliers():
    net = CaffeNet(graph_of(BLOBS))
    assert [(b.layer, b.index) for b in net.blobs()] == list(
        zip(["c", "c", "bn", "bn", "bn", "s", "s"], [0, 1, 0, 1, 2, 0, 1])
    )
    assert [(b.lr_mult, b.decay_mult) for b in net.blobs()] == [(1, 1), (2, 0), (0, 0), (0, 0), (0, 0), (0, 1), (1, 1)]
    assert [b.tensor.requires_grad for b in net.blobs()] == [True, True, False, False, False, False, True]
    assert net.blobs()[5].tensor is net.s.weight
    assert {name: tuple(p.shape) for name, p in net.named_parameters()} == {
        "c.weight": (3, 3, 1, 1), "c.bias": (3,), "s.weight": (3,), "s.bias": (3,),
    }  # fmt: skip
    assert set(dict(net.named_buffers())) == {"bn.mean_sum", "bn.variance_sum", "bn.scale_factor"}


def test_weights_come_back_bit_for_bit():
    net = CaffeNet(graph_of(BLOBS), seed=0)
    random = np.random.default_rng(0)
    weights = {
        name: [random.normal(size=blob.shape).astype(np.float32) for blob in blobs]
        for name, blobs in net.weights().items()
    }
    for array in weights["c"]:
        array.flags.writeable = False  # as those of a file are
    net.load(weights)
    for name, blobs in CaffeNet(graph_of(BLOBS), net.weights()).weights().items():
        assert [b.tobytes() for b in blobs] == [b.tobytes() for b in weights[name]]
    net.load({"c": [np.zeros((3, 3, 1, 1), np.float32), np.ones((1, 1, 1, 3), np.float32)]})  # of an old file
    assert net.c.bias.tolist() == [1, 1, 1]
    assert net.weights()["s"][0].tobytes() == weights["s"][0].tobytes()
    net.weights()["c"][1][:] = 7
    assert net.c.bias.tolist() == [1, 1, 1]


def test_weights_of_another_shape_are_refused_before_any_is_copied():
    net = CaffeNet(graph_of(conv("a", "x", "a") + conv("b", "a", "b")), seed=0)
    before = net.a.weight.clone()
    good, bad = ([np.ones((3, 3, k, k), np.float32), np.ones(3, np.float32)] for k in (1, 2))
    with pytest.raises(UserError) as caught:
        net.load({"a": good, "b": bad})
    assert str(caught.value) == (
        'net.prototxt:3: layer "b" (Convolution): its blob 0 has the shape 3×3×2×2 in the weights; expected 3×3×1×1'
    )
    assert net.a.weight.equal(before)


def shared_pair(first: str = "", second: str = "", outputs: int = 3) -> str:
    params = [f'param {{ name: "w" {more} }}' for more in (first, second)]
    return conv("a", "x", "a", params[0]) + conv("b", "a", "b", params[1], outputs)


def test_shared_blob_is_one_tensor_that_stands_at_its_owner():
    net = CaffeNet(graph_of(shared_pair()), seed=0)
    assert net.a.weight is net.b.weight
    assert net.a.bias is not net.b.bias
    assert [(b.layer, b.index) for b in net.blobs()] == [("a", 0), ("a", 1), ("b", 1)]
    assert list(net.weights()) == ["a", "b"]
    assert len(net.weights()["b"]) == 2
    assert net.double().a.weight is net.b.weight


def test_shared_statistics_stay_one_when_the_net_moves():
    names = 'param { name: "m" lr_mult: 0 } param { name: "v" lr_mult: 0 } param { name: "f" lr_mult: 0 }'
    text = "".join(
        f'layer {{ name: "{name}" type: "BatchNorm" bottom: "x" top: "{name}" {names} }}' for name in ("p", "q")
    )
    net = CaffeNet(graph_of(text)).double()
    net({"x": image().double()})
    assert net.p.scale_factor is net.q.scale_factor
    assert net.q.scale_factor.item() == pytest.approx(1.999)


@pytest.mark.parametrize(
    "first, second, mults",
    [
        ("", "", (1, 1)),
        ("", "lr_mult: 3", (3, 1)),
        ("lr_mult: 3", "", (3, 1)),
        ("decay_mult: 0", "decay_mult: 0 lr_mult: 0", (0, 0)),
    ],
)
def test_multipliers_of_a_shared_blob_are_those_that_are_given(first, second, mults):
    blob = CaffeNet(graph_of(shared_pair(first, second))).blobs()[0]
    assert (blob.lr_mult, blob.decay_mult) == mults
    assert blob.tensor.requires_grad == bool(mults[0])


def test_shared_blobs_that_differ_are_refused():
    with pytest.raises(UserError, match='lr_mult of the shared blob "w" is 2 here but 1 before'):
        CaffeNet(graph_of(shared_pair("lr_mult: 1", "lr_mult: 2")))
    with pytest.raises(UserError) as caught:
        CaffeNet(graph_of(shared_pair(outputs=4)))
    assert str(caught.value) == (
        'net.prototxt:3: layer "b" (Convolution): blob 0 is shared as "w" but has the shape 4×3×1×1; '
        'expected 3×3×1×1, that of layer "a" (net.prototxt:2)'
    )
    statistics = 'layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" param { name: "w" lr_mult: 0 } }'
    scale = 'layer { name: "s" type: "Scale" bottom: "y" top: "z" param { name: "w" } }'
    with pytest.raises(UserError, match="expected both to be learned, or both BatchNorm's statistics"):
        CaffeNet(graph_of(statistics + scale))


def test_propagate_down_false_stops_the_gradient():
    text = conv("a", "x", "a") + conv("b", "a", "b", "propagate_down: false")
    for more, reached in (("", False), ("force_backward: true\n", True)):
        net = CaffeNet(graph_of(text + more), seed=0)
        net({"x": image()})["b"].sum().backward()
        assert net.b.weight.grad is not None
        assert (net.a.weight.grad is not None) == reached


def test_names_that_python_could_not_take():
    names = ["conv.1", "conv_1", "conv_1_2", "forward", "loss", "graph", "_slots", "0", "", "type", "float", "train"]
    bottoms = ["x", *(f"y{i}" for i in range(len(names)))]
    text = "".join(conv(name, bottoms[i], f"y{i}") for i, name in enumerate(names))
    net = CaffeNet(graph_of(text), seed=0)
    assert [name for name, _ in net.named_children()] == [
        "conv_1", "conv_1_2", "conv_1_2_2", "forward_2", "loss_2", "graph_2", "_slots_2", "0", "layer",
        "type_2", "float_2", "train_2",
    ]  # fmt: skip
    assert list(net.weights()) == names
    assert net({"x": image()})["y11"].shape == (2, 3, 6, 5)
    assert "conv_1_2.weight" in net.state_dict()
    assert net.float().type(torch.float64).eval().train().train_2.weight.dtype == torch.float64


def test_two_layers_of_one_name():
    relu = 'layer { name: "same" type: "ReLU" bottom: "x" top: "r" }\n'
    assert CaffeNet(graph_of(relu + conv("same", "r", "y")))({"x": image()})["y"].shape == (2, 3, 6, 5)
    with pytest.raises(UserError) as caught:
        CaffeNet(graph_of(conv("same", "x", "y") + conv("same", "y", "z")))
    assert str(caught.value) == (
        'net.prototxt:3: layer "same" (Convolution): another layer with weights has this name (net.prototxt:2)\n'
        "  fix: rename one of the two; to share weights, give both the same `param { name }`"
    )


def test_all_that_is_not_supported_is_told_at_once():
    text = (
        'layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { pool: STOCHASTIC kernel_size: 2 } }\n'
    )
    text += 'layer { name: "n" type: "LRN" bottom: "x" top: "n" lrn_param { local_size: 2 } }'
    with pytest.raises(UserErrors) as caught:
        CaffeNet(graph_of(text))
    assert str(caught.value).splitlines() == [
        'net.prototxt:2: layer "p" (Pooling): stochastic pooling is not supported; expected MAX or AVE',
        'net.prototxt:3: layer "n" (LRN): local_size is 2; expected an odd number',
    ]


@pytest.mark.parametrize(
    "more, message",
    [
        ("loss_weight: 1 loss_weight: 2", "2 loss_weight for 1 tops; expected none, or one for each top"),
        ("propagate_down: true propagate_down: true", "2 propagate_down for 1 bottoms; expected none, or one for each"),
    ],
)
def test_fields_that_are_not_as_many_as_what_they_go_with(more, message):
    with pytest.raises(UserError, match=f'layer "c" \\(Convolution\\): {message}'):
        CaffeNet(graph_of(conv("c", "x", "y", more)))


def test_loss_is_the_weighted_sum_of_the_tops():
    text = 'layer { name: "t" type: "Power" bottom: "x" top: "t" power_param { scale: 3 } }\n'
    text += 'layer { name: "a" type: "EuclideanLoss" bottom: "x" bottom: "t" top: "a" }\n'
    text += 'layer { name: "b" type: "EuclideanLoss" bottom: "x" bottom: "t" top: "b" loss_weight: 0.5 }\n'
    text += 'layer { name: "c" type: "AbsVal" bottom: "x" top: "c" loss_weight: 2 }\n'
    text += 'layer { name: "d" type: "EuclideanLoss" bottom: "x" bottom: "t" top: "d" loss_weight: 0 }'
    net, x = CaffeNet(graph_of(text)), image()
    outputs = net({"x": x})
    euclidean = float((2 * x).square().sum()) / 4
    assert net.loss(outputs).item() == pytest.approx(1.5 * euclidean + 2 * float(x.abs().sum()), rel=1e-5)
    assert CaffeNet(graph_of(conv("c", "x", "y"))).loss({"y": x}).item() == 0


def test_loss_that_another_layer_reads_must_be_kept():
    text = 'layer { name: "a" type: "EuclideanLoss" bottom: "x" bottom: "x2" top: "a" }\n'
    text = 'layer { name: "t" type: "Power" bottom: "x" top: "x2" power_param { scale: 2 } }\n' + text
    text += 'layer { name: "p" type: "Power" bottom: "a" top: "b" loss_weight: 0.5 power_param { scale: 4 } }'
    net, x = CaffeNet(graph_of(text)), image()
    assert list(net.loss_weights.items()) == [("a", 1), ("b", 0.5)]
    found = net({"x": x}, keep=net.loss_weights)
    assert net.loss(found).item() == pytest.approx(3 * float(x.square().sum()) / 4, rel=1e-5)
    with pytest.raises(UserError) as caught:
        net.loss(net({"x": x}))
    assert str(caught.value) == (
        'net.prototxt: "a" has a loss_weight but is not given\n  fix: run the net with `keep=net.loss_weights`'
    )


def test_loss_that_is_overwritten_is_refused():
    text = 'layer { name: "a" type: "AbsVal" bottom: "x" top: "y" loss_weight: 2 }\n'
    net = CaffeNet(graph_of(text + 'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }'))
    with pytest.raises(UserError, match=r'layer "r" \(ReLU\): it overwrites "y", which has a loss_weight\n  fix: give'):
        net.loss({"y": image()})
    text += 'layer { name: "r" type: "ReLU" bottom: "y" top: "z" }\n'
    text += 'layer { name: "q" type: "ReLU" bottom: "z" top: "z" loss_weight: 3 }'
    assert CaffeNet(graph_of(text)).loss_weights == {"y": 2, "z": 3}


def test_types_without_a_pytorch_form_are_told_at_once(monkeypatch):
    for kind in ("AbsVal", "TanH"):
        monkeypatch.delitem(MODULES._entries, kind)
    text = "".join(
        f'layer {{ name: "{kind}1" type: "{kind}" bottom: "x" top: "{kind}" }}\n' for kind in ("TanH", "ReLU", "AbsVal")
    )
    with pytest.raises(UserErrors) as caught:
        CaffeNet(graph_of(text))
    assert str(caught.value).splitlines() == [
        'net.prototxt:2: layer "TanH1" (TanH): this layer type has no PyTorch form',
        'net.prototxt:4: layer "AbsVal1" (AbsVal): this layer type has no PyTorch form',
    ]


def test_scale_and_batchnorm_give_the_gradients_of_their_formula():
    """The fused kernels against the plain formula under autograd."""
    text = 'layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" batch_norm_param { eps: 0.001 } }'
    text += 'layer { name: "s" type: "Scale" bottom: "y" top: "y" scale_param { bias_term: true } }'
    gamma, beta = np.array([0.5, -2, 1], np.float32), np.array([1, 0, -1], np.float32)
    net = CaffeNet(graph_of(text), {"s": [gamma, beta]})
    x, again = image().requires_grad_(), image().requires_grad_()
    weight, bias = (nn.Parameter(torch.tensor(array)) for array in (gamma, beta))
    centred = again - again.mean((0, 2, 3), True)
    unit = centred / (centred.square().mean((0, 2, 3), True) + 0.001).sqrt()
    plain = unit * weight[:, None, None] + bias[:, None, None]
    top, found = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(1)), net({"x": x})["y"]
    found.backward(top)
    plain.backward(top)
    ours, theirs = (found, x.grad, net.s.weight.grad, net.s.bias.grad), (plain, again.grad, weight.grad, bias.grad)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_priors_follow_the_size_of_the_picture():
    text = 'layer { name: "p" type: "PriorBox" bottom: "x" bottom: "x" top: "p" prior_box_param { min_size: 2 } }'
    net = CaffeNet(graph_of(text))
    for hw in ((6, 5), (4, 7)):
        found = net({"x": torch.zeros(1, 3, *hw)})["p"]
        assert found.numpy().tobytes() == prior_boxes(net.graph.layers[-1].p, hw, hw).tobytes()
