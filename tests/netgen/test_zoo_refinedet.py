"""RefineDet's nets: the official scripts' fingerprints, numbers, maps and names; its head on other backbones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from converters.pytorch import CaffeNet
from netgen.backbones.resnet import resnet101
from netgen.backbones.root_resnet import Stage, root_resnet
from netgen.datasets import COCO, DATASETS, VOC0712
from netgen.detector import Detector
from netgen.heads.refine import Refine
from netgen.heads.sources import Source
from netgen.named_blocks import Bottleneck
from netgen.net import L, Net
from netgen.resize import resized
from netgen.schedule import Schedule
from netgen.zoo import build
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from tests.netgen.zoo_nets import counts, graph_of, maps

# What RefineDet's own scripts write.
FINGERPRINTS = {
    ("refinedet320-vgg16", "voc0712"): {
        "train": "5d47f87d4b5debbfe5a9d66ff008c43d1cef2598ddf1b5ff719af75e311de0df",
        "test": "0656a5a1d27cc3af04d6dcafcf7de55d5a10cbf17614fb4f20d9583ae2aecc77",
        "deploy": "c36cb3de640bb5eeb3cd64c59a0602c9052a9d7c96c241b82efecee4c3089564",
        "solver": "3e47e079d68f0dfcc4d9b8175d8e40794062e0188be0cd492a4a4405663397ee",
    },
    ("refinedet512-vgg16", "voc0712"): {
        "train": "4de7d2ff9802d2804b787caa32275c9fbd2b9397fcd7880c19e92c8cafaf3fb4",
        "test": "95f0f7714f8ad9cd02e22978adeb783c02a59c47ff075e6d11babc9dcee3063f",
        "deploy": "288e5ce7f4012f6efdd28938722a46562edf7db5daa4b21335e91b848a81f0e7",
        "solver": "3e47e079d68f0dfcc4d9b8175d8e40794062e0188be0cd492a4a4405663397ee",
    },
    ("refinedet320-vgg16", "voc0712++"): {
        "train": "5d47f87d4b5debbfe5a9d66ff008c43d1cef2598ddf1b5ff719af75e311de0df",
        "test": "0656a5a1d27cc3af04d6dcafcf7de55d5a10cbf17614fb4f20d9583ae2aecc77",
        "deploy": "c36cb3de640bb5eeb3cd64c59a0602c9052a9d7c96c241b82efecee4c3089564",
        "solver": "4a4f41d0180a9d4a42a4c4641a5596df90314e3a1da872da2e42a4d32ca6be6a",
    },
    ("refinedet512-vgg16", "voc0712++"): {
        "train": "4de7d2ff9802d2804b787caa32275c9fbd2b9397fcd7880c19e92c8cafaf3fb4",
        "test": "95f0f7714f8ad9cd02e22978adeb783c02a59c47ff075e6d11babc9dcee3063f",
        "deploy": "288e5ce7f4012f6efdd28938722a46562edf7db5daa4b21335e91b848a81f0e7",
        "solver": "4a4f41d0180a9d4a42a4c4641a5596df90314e3a1da872da2e42a4d32ca6be6a",
    },
    ("refinedet320-vgg16", "coco"): {
        "train": "a7cd52945b59aac2d48114cf4c9e9bd37895e6595fc7bb638879f172716fd3cf",
        "test": "ad88395650c24e16f0b23254e4fb0aacaf5b0ad8c697c059407e0136d136e6e1",
        "deploy": "d0590cba05666886540e03699e4c228a00342c5fdd2009eb005d3dc19f98ec56",
        "solver": "48e6f861095d5083da14622d3635beb5dc35177be7323b02772f5b38de506b96",
    },
    ("refinedet512-vgg16", "coco"): {
        "train": "b54f25dc6abbbd3d67661dd4649056f1ceaf0ea933da2f7a6e63e85622e7c41f",
        "test": "bb93457e0d1c62b6e56bbee9bb396c01a51d3c53072aeae4073fe13def2b0c0c",
        "deploy": "fff831fa8776ffbcbef1dac35cdc23ef542f8b243ab3c55bae2eee9adb5b60ec",
        "solver": "48e6f861095d5083da14622d3635beb5dc35177be7323b02772f5b38de506b96",
    },
    ("refinedet320-resnet101", "coco"): {
        "train": "c015666089334438f0a6c58fb097aeab22b019985b40e47bdb0dda6616831570",
        "test": "278c26e530c7c3f30f87f2d28b261502cc0eab1a6abec327fa047df28e6549a3",
        "deploy": "2c164009e3d53a67eafb7cd4cc5230a2954611753c254550299f97ba0bf2df39",
        "solver": "48e6f861095d5083da14622d3635beb5dc35177be7323b02772f5b38de506b96",
    },
    ("refinedet512-resnet101", "coco"): {
        "train": "49abcf3ee003c0c1992626e2adaa9110cd467fcd20509a6131b1b03bf46c86fe",
        "test": "9ca3d222fc754f9a4b29ca5253e3fd133d023d65179375ab878bec11aba836d7",
        "deploy": "bd2ad750a2e85d2d5e5e6c5054485fdacde28dc4f1ec75cd058a7146379b5a22",
        "solver": "26d9cb608c57f76d8abf293c9007217909b21c2f1bd3750691805dc4650c30df",
    },
}
REFERENCES = {
    ("refinedet320-vgg16", "voc0712"): "refinedet320_vgg_voc",
    ("refinedet512-vgg16", "voc0712"): "refinedet512_vgg_voc",
    ("refinedet320-resnet101", "coco"): "refinedet320_res101_coco",
}


@pytest.mark.parametrize("model, data_name", FINGERPRINTS)
def test_fingerprints(model, data_name, fingerprints):
    assert fingerprints(model, data_name) == FINGERPRINTS[model, data_name]


@pytest.mark.parametrize("model, data_name", REFERENCES)
def test_same_as_the_official_files(model, data_name, differences):
    assert differences(model, data_name, REFERENCES[model, data_name]) == []


VGG16_CHANNELS, RESNET101_CHANNELS = (512, 512, 1024, 512), (1024,) * 4
NUMBERS = [
    ("refinedet320-vgg16", VOC0712, (34_440_884, 0), VGG16_CHANNELS, (40, 20, 10, 5), 6_375),
    ("refinedet512-vgg16", VOC0712, (34_440_884, 0), VGG16_CHANNELS, (64, 32, 16, 8), 16_320),
    ("refinedet320-resnet101", COCO, (82_451_588, 156_699), RESNET101_CHANNELS, (40, 20, 10, 5), 6_375),
    ("refinedet512-resnet101", COCO, (82_451_588, 156_699), RESNET101_CHANNELS, (64, 32, 16, 8), 16_320),
]


@pytest.mark.parametrize("model, data, values, channels, sizes, priors", NUMBERS)
def test_numbers(model, data, values, channels, sizes, priors):
    graph = graph_of(build(model, data))
    assert counts(graph) == values
    assert maps(graph) == list(zip(channels, sizes))
    assert [graph.shapes[f"P{level}"] for level in (3, 4, 5, 6)] == [(1, 256, size, size) for size in sizes]
    shapes = {name: graph.shapes[name] for name in ("arm_loc", "arm_conf", "arm_priorbox", "odm_loc", "odm_conf")}
    assert shapes == {
        "arm_loc": (1, priors * 4),
        "arm_conf": (1, priors * 2),
        "arm_priorbox": (1, 2, priors * 4),
        "odm_loc": (1, priors * 4),
        "odm_conf": (1, priors * data.num_classes),
    }


# Model, data set: iterations in all, images of a pass, iterations between snapshots.
SCHEDULES = {
    ("refinedet320-vgg16", "voc07"): (120_000, 32, 5_000),
    ("refinedet512-resnet101", "voc0712"): (120_000, 20, 5_000),
    ("refinedet320-resnet101", "voc0712++"): (240_000, 32, 10_000),
    ("refinedet512-resnet101", "coco"): (540_000, 20, 10_000),
}


@pytest.mark.parametrize("model, data_name", SCHEDULES)
def test_schedules(model, data_name):
    schedule = build(model, DATASETS[data_name]).schedule
    assert (schedule.max_iter, schedule.batch_size, schedule.snapshot) == SCHEDULES[model, data_name]
    assert schedule.steps[-1] == schedule.max_iter and schedule.test_interval is None


def test_training_starts_from_the_pretrained_body():
    weights = {model: build(model).schedule.weights for model in ("refinedet320-vgg16", "refinedet512-resnet101")}
    assert weights == {
        "refinedet320-vgg16": "models/VGGNet/VGG_ILSVRC_16_layers_fc_reduced.caffemodel",
        "refinedet512-resnet101": "models/ResNet/ResNet-101-model.caffemodel",
    }


def test_corrected_suppresses_as_the_paper_says():
    found = {}
    for corrected in (False, True):
        param = build("refinedet320-vgg16", VOC0712, corrected=corrected).net("deploy").layer[-1].detection_output_param
        found[corrected] = param.nms_param.top_k, param.keep_top_k, param.nms_param.nms_threshold
    assert found == {False: (1000, 500, pytest.approx(0.45)), True: (400, 200, pytest.approx(0.45))}


def test_names_and_wiring_of_the_release():
    """Released weights load by these names."""
    layers = {layer.name: layer for layer in build("refinedet320-resnet101", COCO).net("train").layer}
    stem = ["conv1", "bn_conv1", "scale_conv1", "conv1_relu", "pool1", "res2a_branch1", "bn2a_branch1"]
    assert list(layers)[1:8] == stem
    assert list(layers["res4b22"].bottom) == ["res4b21", "res4b22_branch2c"]
    assert list(layers["res6"].bottom) == ["res6_branch1", "res6_branch2c"]
    assert list(layers["Elt5"].bottom) == ["TL5_2", "P6-up"]
    assert list(layers["resres3b3_relu_inter_branch2a"].bottom) == ["res3b3"]
    assert list(layers["resP6_inter_mbox_conf"].bottom) == ["resP6_inter"]
    assert not layers["bn6_branch1"].param and not layers["bn6_branch1"].HasField("batch_norm_param")
    refined = ["arm_conf_flatten", "arm_loc"]
    assert list(layers["odm_loss"].bottom) == ["odm_loc", "odm_conf", "arm_priorbox", "label", *refined]
    assert list(layers["odm_loss"].propagate_down) == [True, True, False, False, False, False]
    assert [layers[f"{module}_loss"].multibox_loss_param.num_classes for module in ("arm", "odm")] == [2, 81]


def test_resnet101_can_keep_stride_16():
    """As SSD reads it: the last stage is dilated, and norms are written in full."""
    net = Net("ssd")
    net.data = L.Input(shape={"dim": [1, 3, 300, 300]})
    resnet101(net, dilated=True)
    message = net.to_proto()
    graph = Graph(net_file(message))
    assert len(message.layer) == 1 + 446
    sizes = [graph.shapes[name][1:3] for name in ("pool1", "res2c", "res3b3", "res4b22", "res5c")]
    assert sizes == [(64, 75), (256, 75), (512, 38), (1024, 19), (2048, 19)]
    layers = {layer.name: layer for layer in message.layer}
    stage = [layers[f"res5{unit}_branch2b"].convolution_param for unit in "abc"]
    assert [(list(p.dilation), list(p.pad)) for p in stage] == [([2], [2])] * 3
    assert list(layers["res5a_branch1"].convolution_param.stride) == [1]
    norm = layers["bn5c_branch2c"]
    assert [param.lr_mult for param in norm.param] == [0, 0, 0]
    assert norm.batch_norm_param.eps == pytest.approx(0.001)


# ---- the nets in PyTorch


def unit_statistics(graph):
    """Mean 0 and variance 1 for every BatchNorm, which an untrained net has none of."""
    values = {layer.name: layer.blob_shapes for layer in graph.layers if layer.type == "BatchNorm"}
    return {
        name: [np.full(shape, i > 0, np.float32) for i, shape in enumerate(shapes)] for name, shapes in values.items()
    }


@pytest.mark.parametrize("model, data", [("refinedet320-vgg16", VOC0712), ("refinedet320-resnet101", COCO)])
def test_deploy_net_detects(model, data):
    graph = graph_of(build(model, data))
    net = CaffeNet(graph, weights=unit_statistics(graph), seed=1)
    image = torch.from_numpy(np.random.default_rng(1).uniform(-120, 120, (1, 3, 320, 320)).astype(np.float32))
    with torch.no_grad():
        tops = net({"data": image}, keep=["arm_conf_flatten", "odm_conf_flatten"])
    assert tops["detection_out"].shape[-1] == 7 and tops["detection_out"].isfinite().all()
    for name, classes in (("arm_conf_flatten", 2), ("odm_conf_flatten", data.num_classes)):
        totals = tops[name].reshape(-1, classes).sum(1)
        torch.testing.assert_close(totals, torch.ones(6_375), atol=1e-5, rtol=0)


LABELS = torch.tensor(
    [
        # image, class, instance, x1, y1, x2, y2 (corners in 0-1), difficult
        (0, 2, 0, 0.1, 0.2, 0.6, 0.7, 0),
        (0, 1, 0, 0.5, 0.5, 0.9, 0.95, 0),
        (1, 3, 0, 0.3, 0.1, 0.8, 0.9, 0),
    ]
)[None, None]


def training(detector):
    """A train net and two images with their labels."""
    height, width = detector.input_hw
    image = torch.from_numpy(np.random.default_rng(1).uniform(-120, 120, (2, 3, height, width)).astype(np.float32))
    return CaffeNet(graph_of(detector, "train"), seed=1), {"data": image, "label": LABELS}


def gradients(net, loss):
    """The largest gradient of each layer's weights; None where none arrives."""
    net.zero_grad()
    loss.backward(retain_graph=True)
    grads = {blob.layer: blob.tensor.grad for blob in net.blobs() if blob.index == 0}
    return {layer: None if grad is None else grad.abs().max().item() for layer, grad in grads.items()}


def small(detector, size=64):
    """The same detector for two images of a size that trains in a second."""
    return replace(detector, input_hw=(size, size), schedule=replace(detector.schedule, batch_size=2, gpus="0"))


@pytest.mark.parametrize("model", ["refinedet320-vgg16", "refinedet320-resnet101"])
def test_train_net_learns_in_both_modules(model):
    net, batch = training(small(build(model, replace(VOC0712, num_classes=4))))
    tops = net(batch)
    assert sorted(tops) == ["arm_loss", "odm_loss"]
    found = gradients(net, net.loss(tops))
    heads = [layer for layer in found if "_mbox_" in layer]
    assert len(heads) == 2 * 2 * 4
    learned = [[layer for layer in heads if ("P" in layer) == odm] for odm in (False, True)]
    learned += [["conv1_1" if "vgg" in model else "conv1"], ["P6-up"]]
    assert all(0 < sum(found[layer] for layer in layers) < np.inf for layers in learned)


ROOT = Refine(
    (Source("conv3_2", 16, step=4), Source("conv4_2", 32, step=8), Source("conv5_2", 64, step=16)), channels=32
)
ROOT_STAGES = (Stage(16, stride=None), Stage(16), Stage(16), Stage(16))


def root_detector(head=ROOT, input_hw=(64, 96), stages=ROOT_STAGES):
    """A detector no paper has: RefineDet's head on Root-ResNet's stem and blocks, for images wider than high."""
    backbone = partial(root_resnet, stages=stages)
    schedule = Schedule(base_lr=0.01, max_iter=10, batch_size=2, steps=(8,))
    return Detector(replace(VOC0712, num_classes=4), input_hw, backbone, head, schedule, name="own")


@pytest.mark.parametrize(
    "head",
    [ROOT, replace(ROOT, batchnorm=True), replace(ROOT, residual=Bottleneck(narrow=8, wide=24, projects=True))],
    ids=["plain", "batchnorm", "residual"],
)
def test_a_detector_no_paper_has_trains(head):
    net, batch = training(root_detector(head))
    tops = net(batch)
    before, after = ("res", "_inter") if head.residual else ("", "")
    arm, odm = (
        [f"{before}{blob}{after}_mbox_{kind}" for blob in blobs for kind in ("loc", "conf")]
        for blobs in ([source.name for source in head.sources], ["P3", "P4", "P5"])
    )
    found = gradients(net, tops["arm_loss"])
    assert {found[layer] for layer in [*odm, "P5-up"]} == {None}
    assert found["stem_1"] > 0 and sum(found[layer] for layer in arm) > 0
    found = gradients(net, tops["odm_loss"])
    assert {found[layer] for layer in arm} == {None}  # section 4: it takes the refined boxes as they are
    assert found["stem_1"] > 0 and found["P5-up"] > 0 and sum(found[layer] for layer in odm) > 0

    losses = []
    optimizer = torch.optim.SGD([blob.tensor for blob in net.blobs() if blob.lr_mult], lr=0.001, momentum=0.9)
    for _ in range(10):
        optimizer.zero_grad()
        losses.append(net.loss(net(batch)))
        losses[-1].backward()
        optimizer.step()
    assert 0 < losses[-1] < losses[0] < np.inf


def test_its_three_nets_share_their_weights():
    found = {}
    for key in ("train", "test", "deploy"):
        graph = graph_of(root_detector(), key)
        found[key] = {layer.name: layer.blob_shapes for layer in graph.layers if layer.blob_shapes}
    assert found["train"] == found["test"] == found["deploy"]
    assert maps(graph) == [(16, 16), (16, 8), (16, 4)]
    assert graph.shapes["P3"] == (1, 32, 16, 24) and graph.shapes["P5"] == (1, 32, 4, 6)


# ---- maps that do not halve


def test_sizes_that_do_not_halve_name_both_maps():
    detector = replace(build("refinedet320-vgg16"), input_hw=(300, 320))
    with pytest.raises(UserError) as error:
        detector.net("train")
    assert str(error.value) == (
        'refinedet320-vgg16_voc0712_train: map "conv5_3" is 19x20, but "fc7", the next source, 10x10; '
        "expected each source exactly twice as high and wide as the next, whose map is doubled and added\n"
        "  fix: give the input sides that are multiples of 64, such as 320x320"
    )


def test_sources_whose_strides_do_not_double():
    head = replace(ROOT, sources=(*ROOT.sources, Source("conv6_2", 96)))
    detector = root_detector(head, stages=(*ROOT_STAGES, Stage(16, stride=1)))
    with pytest.raises(
        UserError, match=r'map "conv5_2" is 4x6, but "conv6_2", the next source, 4x6;[^#]*strides double'
    ):
        detector.net("deploy")


def test_sources_that_are_not_there():
    with pytest.raises(UserError, match="Refine: this head has no sources; expected at least one map to read"):
        Refine(())
    head = replace(ROOT, sources=(Source("conv3_3", 16),))
    with pytest.raises(UserError, match=r'the net has no top "conv3_3" \(did you mean "conv3_2"'):
        root_detector(head).net("deploy")


def test_input_size_of_deployment():
    wide = resized(build("refinedet320-resnet101", COCO), (256, 384))
    assert maps(graph_of(wide)) == [(1024, 32), (1024, 16), (1024, 8), (1024, 4)]
    with pytest.raises(UserError, match=r'--input-size 300x300: .*map "res4b22_relu" is 19x19[^#]*multiples of 64'):
        resized(build("refinedet320-resnet101", COCO), (300, 300))
