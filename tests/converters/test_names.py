"""Name maps: key lists of other code bases, and models of their structure against our nets with their weights."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from converters.names import CODE_BASES, from_state, to_state
from converters.pytorch import CaffeNet
from netgen.datasets import COCO, VOC0712
from netgen.zoo import build
from tests.converters.foreign_boxes import mmdetection_boxes, torchvision_boxes
from tests.converters.foreign_models import (
    BOXES,
    BOXES512,
    SSD_WIDTHS,
    MmdetSSD,
    ResNet,
    ScratchDet,
    TorchvisionSSD,
    calm,
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
MAPS300 = [38, 19, 10, 5, 3, 1]
MAPS = {300: MAPS300, 512: [64, 32, 16, 8, 4, 2, 1]}


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


def detections(net: CaffeNet, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes (corners in 0-1) and scores of all priors, [N, P, …], and the rows that the net ends with."""
    with torch.no_grad():
        found = net({"data": images}, keep=("mbox_loc", "mbox_conf_flatten", "mbox_priorbox", "detection_out"))
    priors, variances = found["mbox_priorbox"].reshape(2, -1, 4)
    offsets = found["mbox_loc"].reshape(len(images), -1, 4) * variances
    size, centre = priors[:, 2:] - priors[:, :2], (priors[:, 2:] + priors[:, :2]) / 2
    middle, half = offsets[..., :2] * size + centre, offsets[..., 2:].exp() * size / 2
    scores = found["mbox_conf_flatten"].reshape(len(images), len(priors), -1)
    return torch.cat([middle - half, middle + half], -1), scores, found["detection_out"].reshape(-1, 7)


def check_rows(rows: torch.Tensor, boxes: torch.Tensor, scores: torch.Tensor) -> None:
    """Each detection is a box and a score of theirs."""
    assert len(rows) > 10 and set(rows[:, 1].tolist()) <= set(range(1, scores.shape[2]))
    for image, label, score, *box in rows[:: len(rows) // 10].tolist():
        theirs = boxes[int(image)], scores[int(image), :, int(label)]
        apart = (theirs[0] - torch.tensor(box)).abs().amax(1) + (theirs[1] - score).abs()
        assert apart.min() <= 2e-5


# Of the nets as `netgen build` writes them for COCO: shapes as the files of these models have them.
SHAPES = {
    ("torchvision", "ssd300-vgg16", 71): {
        "backbone.scale_weight": (512,),
        "backbone.extra.0.7.1.weight": (1024, 512, 3, 3),
        "backbone.extra.4.2.weight": (256, 128, 3, 3),
        "head.classification_head.module_list.1.weight": (6 * 81, 1024, 3, 3),
        "head.regression_head.module_list.5.bias": (4 * 4,),
    },
    ("mmdetection", "ssd512-vgg16", 79): {
        "neck.l2_norm.weight": (512,),
        "neck.extra_layers.4.1.conv.weight": (256, 128, 4, 4),
        "bbox_head.cls_convs.6.0.weight": (4 * 81, 256, 3, 3),
    },
    ("mmdetection-1", "ssd512-vgg16", 79): {
        "backbone.l2_norm.weight": (512,),
        "backbone.extra.9.weight": (256, 128, 4, 4),
        "bbox_head.reg_convs.4.weight": (6 * 4, 256, 3, 3),
    },
    ("mmdetection-1", "scratchdet300-mmdet", 305): {
        "backbone.conv1.weight": (64, 3, 3, 3),
        "backbone.layer4.0.downsample.0.weight": (512, 256, 1, 1),
        "backbone.layer8.0.bn2.running_var": (128,),
        "bbox_head.cls_convs.0.0.weight": (4 * 81, 256, 3, 3),
        "bbox_head.reg_convs.1.1.weight": (6 * 4,),
    },
    ("mmdetection-1", "scratchdet512-mmdet", 330): {
        "backbone.conv5.weight": (128, 128, 4, 4),
        "backbone.layer8.0.downsample.1.running_mean": (128,),
        "bbox_head.cls_convs.4.0.weight": (6 * 81, 128, 3, 3),
        "bbox_head.reg_convs.6.1.bias": (4 * 4,),
    },
}


@pytest.mark.parametrize(("code_base", "zoo_name", "count"), SHAPES)
def test_shapes_of_whole_models(code_base, zoo_name, count):
    graph = graph_of(build(zoo_name, COCO).net("deploy"))
    weights = {layer.name: [np.zeros(s, np.float32) for s in layer.blob_shapes] for layer in graph.layers}
    state, notes = to_state(graph, weights, code_base)
    assert len(state) == count
    expected = SHAPES[code_base, zoo_name, count]
    assert {key: state[key].shape for key in expected} == expected
    assert len(notes) == 2  # no prior box is another than theirs, nothing is left out


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """A rounding or two apart."""
    return np.allclose(found, wanted, rtol=1e-6, atol=1e-6)


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5 * max(1, wanted.abs().max())


def check_both_ways(graph, model, code_base, decode, background="first"):
    """Boxes and scores are those that `decode` makes of the model's, and its own arrays come back."""
    images = torch.randn(2, *graph.inputs["data"][1:]) * 50
    calm(model)
    found = from_state(graph, state_of(model), code_base)
    assert found.missing == []
    net = CaffeNet(graph, found.weights)
    boxes, scores, rows = detections(net, images)
    with torch.no_grad():
        offsets, logits = model(images.flip(1))  # theirs takes RGB
    their_boxes, their_scores = decode(offsets), logits.softmax(-1)
    their_scores = their_scores if background == "first" else their_scores.roll(1, -1)
    assert_close(boxes, their_boxes)
    assert_close(scores, their_scores)
    check_rows(rows, their_boxes, their_scores)
    back, _ = to_state(graph, net.weights(), code_base)
    wanted = {key: array for key, array in state_of(model).items() if not key.endswith("num_batches_tracked")}
    assert back.keys() == wanted.keys()
    return back, wanted, found.notes


@pytest.mark.parametrize("clip", [False, True])
def test_torchvision_ssd300(clip):
    torch.manual_seed(1)
    model = trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 5))
    net = deploy("ssd300-vgg16", 5)
    for layer in net.layer:
        if layer.name == "conv9_2_mbox_priorbox":
            layer.prior_box_param.clip = clip
    decode = partial(torchvision_boxes, MAPS300)
    back, wanted, notes = check_both_ways(graph_of(net), model, "torchvision", decode)
    for key, array in wanted.items():
        # A side of theirs that is cut to the image's moves offsets from ours, which is not.
        moved = not clip and key.startswith("head.regression_head.module_list.5.")
        assert close(back[key], array) if moved else np.array_equal(back[key], array), key
    assert notes == [
        "read as ssd300_vgg16 of torchvision",
        "images are BGR, 0-255, less the mean_value 103.999, 116.999, 122.999",
    ]


@pytest.mark.parametrize(
    "code_base, late, background",
    [("mmdetection", True, "last"), ("mmdetection-2.0", False, "last"), ("mmdetection-1", False, "first")],
)
@pytest.mark.parametrize("side", [300, 512])
def test_mmdetection_ssd(code_base, late, background, side):
    torch.manual_seed(2)
    widths, boxes = (SSD_WIDTHS, BOXES) if side == 300 else ([*SSD_WIDTHS, (8, 16)], BOXES512)
    model = trained(MmdetSSD(widths, boxes, 4, late))
    graph = graph_of(deploy(f"ssd{side}-vgg16", 4))
    legacy = code_base == "mmdetection-1"
    decode = partial(mmdetection_boxes, side, MAPS[side], legacy=legacy)
    back, wanted, notes = check_both_ways(graph, model, code_base, decode, background)
    for key, array in wanted.items():
        # Prior boxes of whole pixels move offsets from ours.
        moved = legacy and key.startswith("bbox_head.reg_convs")
        assert close(back[key], array) if moved else np.array_equal(back[key], array), key
    assert "images are BGR, 0-255, less the mean_value 103.53, 116.28, 123.675" in notes


@pytest.mark.parametrize("side", [300, 512])
def test_scratchdet(side):
    torch.manual_seed(3)
    boxes = BOXES if side == 300 else BOXES512
    model = trained(ScratchDet(side, (4, 8, 16, 32, 8, 8, 8, 8), boxes, 3))
    graph = graph_of(deploy(f"scratchdet{side}-mmdet", 3))
    maps = [38, 19, 10, 5, 3, 3] if side == 300 else MAPS[512]
    decode = partial(mmdetection_boxes, side, maps, legacy=True)
    back, wanted, notes = check_both_ways(graph, model, "mmdetection-1", decode)
    for key, array in wanted.items():
        # The heads' norms have an eps of 0.001 in Caffe and 0.00001 there; prior boxes of whole pixels move offsets.
        folded = key.startswith("bbox_head") and key.endswith("running_var")
        moved = key.startswith("bbox_head.reg_convs") and key.endswith(("1.weight", "1.bias"))
        assert close(back[key], array) if folded or moved else np.array_equal(back[key], array), key
    assert len(notes) == 2


def test_prior_boxes_of_other_sizes():
    """torchvision's are always the same, so that offsets can be moved to those of another data set's net."""
    torch.manual_seed(6)
    model = trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 4))
    graph = graph_of(deploy("ssd300-vgg16", 4, VOC0712))
    back, wanted, notes = check_both_ways(graph, model, "torchvision", partial(torchvision_boxes, MAPS300))
    assert all(close(back[key], array) for key, array in wanted.items())
    assert len(notes) == 2


def test_boxes_in_another_order_with_other_variances_and_offset():
    torch.manual_seed(4)
    model = calm(trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 3)))
    net = deploy("ssd300-vgg16", 3)
    for layer in net.layer:
        if layer.type == "PriorBox":
            p = layer.prior_box_param
            p.aspect_ratio[:] = [1 / 2, 1 / 3] if len(p.aspect_ratio) == 2 else [1 / 2]
            p.variance[:] = [0.2, 0.1, 0.2, 0.4]
            p.offset = 0.25
    graph = graph_of(net)
    found = from_state(graph, state_of(model), "torchvision")
    net = CaffeNet(graph, found.weights)
    images = torch.randn(2, 3, 300, 300) * 50
    boxes, scores, _ = detections(net, images)
    with torch.no_grad():
        offsets, logits = model(images.flip(1))
    their_boxes = torchvision_boxes(MAPS300, offsets)
    # Of the boxes of a cell: min, max, then wide before high there, high before wide here.
    order, at = [], 0
    for cells, count in zip(MAPS300, BOXES):
        cell = [0, 1, 3, 2] if count == 4 else [0, 1, 3, 2, 5, 4]
        order += [at + count * i + box for i in range(cells**2) for box in cell]
        at += count * cells**2
    assert_close(scores, logits.softmax(-1)[:, order])
    assert_close(boxes, their_boxes[:, order])
    back, _ = to_state(graph, net.weights(), "torchvision")
    for key, array in state_of(model).items():
        scaled = "regression" in key
        assert close(back[key], array) if scaled else np.array_equal(back[key], array), key


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
    assert found.notes == [
        "read as ResNet-50 in Caffe's style of mmdetection",
        "images are BGR, 0-255, less the mean_value 103.53, 116.28, 123.675",
    ]
    assert found.missing == ["fc1000"]
    classifier = [tensor.detach().numpy() for tensor in (model.fc.weight, model.fc.bias)]
    images = torch.randn(2, 3, 65, 65) * 50
    with torch.no_grad():
        tops = CaffeNet(graph, {**found.weights, "fc1000": classifier})({"data": images})["fc1000"]
        assert_close(tops, model(images))


def test_running_sums_are_divided():
    graph = graph_of(resnet_net((2, 2, 2, 2), (3, 3), strided=1, width=4, side=65))
    weights = CaffeNet(graph, seed=0).weights()
    weights["bn_conv1"] = [np.full(4, 6, np.float32), np.full(4, 9, np.float32), np.array([3], np.float32)]
    weights["bn2a_branch2a"][2][:] = 0
    state, _ = to_state(graph, weights, "torchvision")
    assert state["bn1.running_mean"].tolist() == [2] * 4 and state["bn1.running_var"].tolist() == [3] * 4
    assert state["layer1.0.bn1.running_var"].tolist() == [0] * 4
