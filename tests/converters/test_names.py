"""Name maps: key lists of other code bases, and models of their structure against our nets with their weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.names import CODE_BASES, from_state, to_state
from converters.pytorch import CaffeNet
from tests.converters.foreign_models import (
    BOXES,
    SSD_WIDTHS,
    MmdetSSD,
    ResNet,
    ScratchDet,
    TorchvisionSSD,
    deploy,
    graph_of,
    resnet_net,
    state_of,
    trained,
)

# What stands before `.weight` and `.bias` in the files of these models.
TORCHVISION_SSD300 = """
backbone.features.0 backbone.features.2 backbone.features.5 backbone.features.7 backbone.features.10
backbone.features.12 backbone.features.14 backbone.features.17 backbone.features.19 backbone.features.21
backbone.extra.0.1 backbone.extra.0.3 backbone.extra.0.5 backbone.extra.0.7.1 backbone.extra.0.7.3
backbone.extra.1.0 backbone.extra.1.2 backbone.extra.2.0 backbone.extra.2.2
backbone.extra.3.0 backbone.extra.3.2 backbone.extra.4.0 backbone.extra.4.2
head.classification_head.module_list.0 head.classification_head.module_list.1 head.classification_head.module_list.2
head.classification_head.module_list.3 head.classification_head.module_list.4 head.classification_head.module_list.5
head.regression_head.module_list.0 head.regression_head.module_list.1 head.regression_head.module_list.2
head.regression_head.module_list.3 head.regression_head.module_list.4 head.regression_head.module_list.5
"""
MMDET_VGG = " ".join(f"backbone.features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33))
MMDET_SSD300 = f"""{MMDET_VGG}
neck.extra_layers.0.0.conv neck.extra_layers.0.1.conv neck.extra_layers.1.0.conv neck.extra_layers.1.1.conv
neck.extra_layers.2.0.conv neck.extra_layers.2.1.conv neck.extra_layers.3.0.conv neck.extra_layers.3.1.conv
bbox_head.cls_convs.0.0 bbox_head.cls_convs.1.0 bbox_head.cls_convs.2.0 bbox_head.cls_convs.3.0 bbox_head.cls_convs.4.0
bbox_head.cls_convs.5.0 bbox_head.reg_convs.0.0 bbox_head.reg_convs.1.0 bbox_head.reg_convs.2.0 bbox_head.reg_convs.3.0
bbox_head.reg_convs.4.0 bbox_head.reg_convs.5.0
"""
MMDET1_SSD512 = f"""{MMDET_VGG}
backbone.extra.0 backbone.extra.1 backbone.extra.2 backbone.extra.3 backbone.extra.4 backbone.extra.5 backbone.extra.6
backbone.extra.7 backbone.extra.8 backbone.extra.9
bbox_head.reg_convs.0 bbox_head.reg_convs.1 bbox_head.reg_convs.2 bbox_head.reg_convs.3 bbox_head.reg_convs.4
bbox_head.reg_convs.5 bbox_head.reg_convs.6 bbox_head.cls_convs.0 bbox_head.cls_convs.1 bbox_head.cls_convs.2
bbox_head.cls_convs.3 bbox_head.cls_convs.4 bbox_head.cls_convs.5 bbox_head.cls_convs.6
"""
NORM = ("weight", "bias", "running_mean", "running_var")


def biased(prefixes: str) -> set[str]:
    return {f"{prefix}.{name}" for prefix in prefixes.split() for name in ("weight", "bias")}


def blocks(prefix: str, counts: tuple[int, ...], convs: int, projected: set[int]) -> set[str]:
    """The keys of residual stages; `projected` are those whose first block has a shortcut of its own."""
    keys = set()
    for stage, count in enumerate(counts, start=1):
        for block in range(count):
            start = f"{prefix}layer{stage}.{block}."
            keys |= {f"{start}conv{i}.weight" for i in range(1, convs + 1)}
            keys |= {f"{start}bn{i}.{name}" for i in range(1, convs + 1) for name in NORM}
            if block == 0 and stage in projected:
                keys |= {f"{start}downsample.0.weight", *(f"{start}downsample.1.{name}" for name in NORM)}
    return keys


def resnet_keys(prefix: str, counts: tuple[int, ...], convs: int) -> set[str]:
    stem = {f"{prefix}conv1.weight", *(f"{prefix}bn1.{name}" for name in NORM)}
    fc = {f"{prefix}fc.weight", f"{prefix}fc.bias"}
    return stem | fc | blocks(prefix, counts, convs, {2, 3, 4} if convs == 2 else {1, 2, 3, 4})


def scratchdet_keys(units: int, maps: int) -> set[str]:
    keys = blocks("backbone.", (3, 4, 6, 3, 1, 1, 1, 1), 2, {2, 3, 4, 5, 6, 7} | ({8} if maps == 7 else set()))
    for i in range(1, units + 1):
        keys |= {f"backbone.conv{i}.weight", *(f"backbone.bn{i}.{name}" for name in NORM)}
    for i in range(maps):
        for kind in ("reg", "cls"):
            start = f"bbox_head.{kind}_convs.{i}"
            keys |= {f"{start}.0.weight", *(f"{start}.1.{name}" for name in NORM)}
    return keys


KEYS = {
    ("torchvision", "ssd300_vgg16"): biased(TORCHVISION_SSD300) | {"backbone.scale_weight"},
    ("torchvision", "ResNet-18"): resnet_keys("", (2, 2, 2, 2), 2),
    ("torchvision", "ResNet-101"): resnet_keys("", (3, 4, 23, 3), 3),
    ("mmdetection", "SSD300"): biased(MMDET_SSD300) | {"neck.l2_norm.weight"},
    ("mmdetection", "ResNet-50 in Caffe's style"): resnet_keys("backbone.", (3, 4, 6, 3), 3),
    ("mmdetection-2.0", "SSD512"): biased(MMDET1_SSD512) | {"backbone.l2_norm.weight"},
    ("mmdetection-1", "SSD512"): biased(MMDET1_SSD512) | {"backbone.l2_norm.weight"},
    ("mmdetection-1", "ScratchDet300"): scratchdet_keys(3, 6),
    ("mmdetection-1", "ScratchDet512"): scratchdet_keys(5, 7),
}


def map_keys(model) -> set[str]:
    suffixes = {"conv": ("weight", "bias"), "conv without bias": ("weight",), "inner product": ("weight", "bias")}
    suffixes |= {"norm": NORM}
    keys = {unit.theirs for unit in model.units if unit.kind == "factors"}
    return keys | {f"{u.theirs}.{s}" for u in model.units if u.kind != "factors" for s in suffixes[u.kind]}


@pytest.mark.parametrize("code_base, name", KEYS)
def test_key_lists(code_base, name):
    model = next(model for model in CODE_BASES[code_base]() if model.name == name)
    assert map_keys(model) == KEYS[code_base, name]


def predictions(net: CaffeNet, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Offsets and class scores, [N, boxes, …]."""
    with torch.no_grad():
        found = net({"data": images}, keep=("mbox_loc", "mbox_conf"))
    loc = found["mbox_loc"].reshape(len(images), -1, 4)
    return loc, found["mbox_conf"].reshape(len(images), loc.shape[1], -1)


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5 * max(1, wanted.abs().max())


def check_both_ways(graph, model, code_base, background="first"):
    """Same predictions as `model`, and its own arrays again on the way back."""
    images = torch.randn(2, *graph.inputs["data"][1:]) * 50
    found = from_state(graph, state_of(model), code_base)
    assert found.missing == []
    net = CaffeNet(graph, found.weights)
    loc, conf = predictions(net, images)
    with torch.no_grad():
        their_loc, their_conf = model(images.flip(1))  # theirs takes RGB
    assert_close(loc, their_loc)
    assert_close(conf, their_conf if background == "first" else their_conf.roll(1, -1))
    back, _ = to_state(graph, net.weights(), code_base)
    wanted = {key: array for key, array in state_of(model).items() if not key.endswith("num_batches_tracked")}
    assert back.keys() == wanted.keys()
    return back, wanted, found.notes


def test_torchvision_ssd300():
    torch.manual_seed(1)
    model = trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 5))
    net = deploy("ssd300-vgg16", 5)
    back, wanted, notes = check_both_ways(graph_of(net), model, "torchvision")
    assert all(np.array_equal(back[key], wanted[key]) for key in wanted)
    assert notes == [
        "read as ssd300_vgg16 of torchvision",
        "images are BGR, 0-255, less the mean_value 103.999, 116.999, 122.999",
        "prior boxes of conv9_2_mbox_priorbox: 261 to 315 pixels, step 300; "
        "those of ssd300_vgg16 are 261 to 315 pixels, step 300, clipped by default",
    ]


@pytest.mark.parametrize(
    "code_base, late, background",
    [("mmdetection", True, "last"), ("mmdetection-2.0", False, "last"), ("mmdetection-1", False, "first")],
)
def test_mmdetection_ssd300(code_base, late, background):
    torch.manual_seed(2)
    model = trained(MmdetSSD(SSD_WIDTHS, BOXES, 4, late))
    graph = graph_of(deploy("ssd300-vgg16", 4))
    back, wanted, notes = check_both_ways(graph, model, code_base, background)
    assert all(np.array_equal(back[key], wanted[key]) for key in wanted)
    assert "images are BGR, 0-255, less the mean_value 103.53, 116.28, 123.675" in notes


@pytest.mark.parametrize("side", [300, 512])
def test_scratchdet(side):
    torch.manual_seed(3)
    boxes = BOXES if side == 300 else [4, 6, 6, 6, 6, 4, 4]
    model = trained(ScratchDet(side, (4, 8, 16, 32, 8, 8, 8, 8), boxes, 3))
    graph = graph_of(deploy(f"scratchdet{side}-mmdet", 3))
    back, wanted, _ = check_both_ways(graph, model, "mmdetection-1")
    for key, array in wanted.items():
        # The heads' norms have an eps of 0.001 in Caffe and 0.00001 there.
        folded = key.startswith("bbox_head") and key.endswith("running_var")
        assert np.allclose(back[key], array, rtol=1e-6) if folded else np.array_equal(back[key], array), key


def test_boxes_in_another_order_and_with_other_variances():
    torch.manual_seed(4)
    model = trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 3))
    net = deploy("ssd300-vgg16", 3)
    for layer in net.layer:
        if layer.type == "PriorBox":
            p = layer.prior_box_param
            p.aspect_ratio[:] = [1 / 2, 1 / 3] if len(p.aspect_ratio) == 2 else [1 / 2]
            p.variance[:] = [0.2, 0.1, 0.2, 0.4]
    graph = graph_of(net)
    found = from_state(graph, state_of(model), "torchvision")
    net = CaffeNet(graph, found.weights)
    images = torch.randn(2, 3, 300, 300) * 50
    loc, conf = predictions(net, images)
    with torch.no_grad():
        their_loc, their_conf = model(images.flip(1))
    # Of the boxes of a cell: min, max, then wide before high there, high before wide here.
    order, at = [], 0
    for cells, boxes in zip((38, 19, 10, 5, 3, 1), BOXES):
        cell = [0, 1, 3, 2] if boxes == 4 else [0, 1, 3, 2, 5, 4]
        order += [at + boxes * i + box for i in range(cells**2) for box in cell]
        at += boxes * cells**2
    assert_close(conf, their_conf[:, order])
    assert_close(loc * torch.tensor([0.2, 0.1, 0.2, 0.4]), their_loc[:, order] * torch.tensor([0.1, 0.1, 0.2, 0.2]))
    back, _ = to_state(graph, net.weights(), "torchvision")
    for key, array in state_of(model).items():
        scaled = "regression" in key
        assert np.allclose(back[key], array, rtol=1e-6) if scaled else np.array_equal(back[key], array), key


@pytest.mark.parametrize(
    "counts, kernels, strided", [((2, 2, 2, 2), (3, 3), 1), ((3, 4, 6, 3), (1, 3, 1), 2)], ids=["18", "50"]
)
def test_resnets_of_torchvision(counts, kernels, strided):
    """The images' standard deviation becomes a part of the first convolution."""
    model = trained(ResNet(counts, kernels, 4, strided, 7))
    graph = graph_of(resnet_net(counts, kernels, strided=strided, width=4, side=65))
    found = from_state(graph, state_of(model), "torchvision")
    assert found.missing == []
    assert found.notes[1] == (
        "images are BGR, 0-255, less the mean_value 103.53, 116.28, 123.675; "
        "the standard deviation is in the first convolution's weights"
    )
    images = torch.rand(2, 3, 65, 65)  # RGB, 0-1
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        wanted = model((images - mean) / std)
        data = (255 * images - 255 * mean).flip(1)
        got = CaffeNet(graph, found.weights)({"data": data})["fc1000"]
    assert_close(got, wanted)
    back, _ = to_state(graph, found.weights, "torchvision")
    for key, array in back.items():
        close = np.allclose(array, state_of(model)[key], rtol=1e-6)
        assert close if key == "conv1.weight" else np.array_equal(array, state_of(model)[key]), key


def test_resnet_in_caffes_style_of_mmdetection():
    """The stride is in the first 1x1, images are BGR; the file has the body alone and a wrapper's prefix."""
    model = trained(ResNet((3, 4, 6, 3), (1, 3, 1), 4, 1, 7))
    graph = graph_of(resnet_net((3, 4, 6, 3), (1, 3, 1), strided=1, width=4, side=65))
    state = {f"module.backbone.{key}": array for key, array in state_of(model).items() if not key.startswith("fc")}
    found = from_state(graph, state, "mmdetection")
    assert found.notes[0] == "read as ResNet-50 in Caffe's style of mmdetection" and found.missing == ["fc1000"]
    assert np.array_equal(found.weights["conv1"][0], state["module.backbone.conv1.weight"])


def test_running_sums_are_divided():
    graph = graph_of(resnet_net((2, 2, 2, 2), (3, 3), strided=1, width=4, side=65))
    weights = CaffeNet(graph, seed=0).weights()
    weights["bn_conv1"] = [np.full(4, 6, np.float32), np.full(4, 9, np.float32), np.array([3], np.float32)]
    weights["bn2a_branch2a"][2][:] = 0
    state, _ = to_state(graph, weights, "torchvision")
    assert state["bn1.running_mean"].tolist() == [2] * 4 and state["bn1.running_var"].tolist() == [3] * 4
    assert state["layer1.0.bn1.running_var"].tolist() == [0] * 4
