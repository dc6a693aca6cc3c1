"""DSOD's and GRP-DSOD's nets: the official scripts' fingerprints, parameters, maps, gates; they run and learn."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from converters.pytorch import CaffeNet
from netgen.backbones.dsod import FULL, LITE, SMALLEST, Setting, dense_block, dsod, dsod_plain, transition
from netgen.backbones.grp_dsod import gate
from netgen.backbones.root_resnet import root_stem
from netgen.datasets import COCO, DATASETS, VOC0712, VOC0712PLUS
from netgen.detector import Detector
from netgen.heads.refine import Refine
from netgen.heads.sources import Source
from netgen.net import L, Net
from netgen.schedule import Schedule
from netgen.zoo import build
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from tests.netgen.zoo_nets import counts, graph_of, maps

VOC_SOLVER = "88a772f53a8a89600708c557cb52d231b2141d5607883ecbd51d8b5e97a2e831"
# What the scripts of DSOD's release write.
FINGERPRINTS = {
    ("dsod300", "voc0712"): {
        "train": "e2c7a436dcaa4525c62205a9e4f7b15480bf6b73088a4a6d09543c7d6b3a57f8",
        "test": "e8e76aa71827ae1359ee6822374a922ce85b3f2236eb0896beaec48150ff15c3",
        "deploy": "6a81cccf4e4446c8d49fdad9122c0d21d3013bbbf63b1ed4630bebc79acf48c6",
        "solver": VOC_SOLVER,
    },
    ("dsod300", "voc0712++"): {
        "train": "e2c7a436dcaa4525c62205a9e4f7b15480bf6b73088a4a6d09543c7d6b3a57f8",
        "test": "1c9d19f066505503ac8b2cb04168ea5794598b5a5313526e13cb12b3da8e88d8",
        "deploy": "8e9d07e177785ad1b1db88b0848fc0950994b81e66607e1157228f3edbf3b832",
        "solver": "67d12542e31f3955bbbf890ccedff90aff6166478c92af5ae01a53e5a26e0dc2",
    },
    ("dsod300", "coco"): {
        "train": "e7bd2948f6d40df621a1c3ed20f450f3b9da4b4de8b5f48f4a69fdd435ac4d5b",
        "test": "4e8fb38853f855317cc947dc0ab0d26828c47711cda46f9d3add63db0e340732",
        "deploy": "bfae86379270b81258e87bdec68334795451a29c935b0c53f4c6d691751d4d51",
        "solver": "efe4d328bb86f86c53488c53612c8354db64a165645865522106e2715d49528d",
    },
    ("grp-dsod320", "voc0712"): {
        "train": "5b12c04ee83497ceed19d44e2633ee3a58c9cc69321fbdab17bd7b140298543f",
        "test": "c4a241dc95953d0bf1f5c06d851803720a3c2f30003777bfc14dcaea8d93b3f2",
        "deploy": "1bab9c5b28b19bdf45e016f7f232bc492a4971460b701dfde77bb72fe04b5eb6",
        "solver": "e907e44c68e944e9cfe0f760cb2f35f04af9d53551fa829b4eff12dfde397933",
    },
}
# What the script for VOC writes with the release's other body and SSD512's prior boxes, and with the depths, the
# growth and the bottlenecks of the smaller nets.
VARIANT_FINGERPRINTS = {
    ("dsod512", "voc0712"): {
        "train": "74d515abf9fb5e6d89b247df8f4ac59e86a486be90c0adbf272290af9b8bc66c",
        "test": "d204988dbf1f2b1405772d48c2da5b99d55ef40c29b7ea229b50650284cc5017",
        "deploy": "916956ab6b270ff41dc873bda20b0f4981716dc305aedf97ba7495a363585751",
        "solver": VOC_SOLVER,
    },
    ("dsod300-lite", "voc0712"): {
        "train": "70155f69b8e198e3f3f60ad1e4695697386865fa9ff3ac0f2bb6f445c31e2c45",
        "test": "f0d988a6b0e27bb321b8a04ad79b5e04661b707d9bf64f63686f74fc10bbb638",
        "deploy": "b147c2604067bb9c96fb26558abb5f5ee5076507a251972b4cadc7eb48821132",
        "solver": VOC_SOLVER,
    },
    ("dsod300-smallest", "voc0712"): {
        "train": "1ec1e490793fcb42fe8a46864a216556b735c7820c37720f0a51b7333a5b4e40",
        "test": "aaed67835bdfa7b76f0671225c2f36a9ebffb6ea5030df5598a63e09c8f1ea52",
        "deploy": "d959bcfd80afc0ff36a75fee871009c77dbde6e789a053a49e8537eb3d405399",
        "solver": VOC_SOLVER,
    },
}
REFERENCES = {
    ("dsod300", "voc0712"): "dsod300_voc",
    ("dsod300", "coco"): "dsod300_coco",
    ("grp-dsod320", "voc0712"): "grp_dsod320_voc",
}


@pytest.mark.parametrize("model, data_name", FINGERPRINTS | VARIANT_FINGERPRINTS)
def test_fingerprints(model, data_name, fingerprints):
    assert fingerprints(model, data_name) == (FINGERPRINTS | VARIANT_FINGERPRINTS)[model, data_name]


@pytest.mark.parametrize("model, data_name", REFERENCES)
def test_same_as_the_official_files(model, data_name, differences):
    assert differences(model, data_name, REFERENCES[model, data_name]) == []


def dense_maps(first, *sizes):
    return list(zip((first, 512, 512, *(256,) * 4), sizes, strict=False))


DSOD300_SIZES = (38, 19, 10, 5, 3, 2)
GRP_MAPS = [(1184, 40), (513, 20), (258, 10), (258, 5), (258, 3), (256, 2)]
# Model, data set, options: learned values, statistics, maps, prior boxes.
NUMBERS = [
    ("dsod300", VOC0712, {}, (14_715_804, 80_024), dense_maps(800, *DSOD300_SIZES), 8744),
    ("dsod300", COCO, {}, (21_700_524, 83_624), dense_maps(800, *DSOD300_SIZES), 8744),
    ("dsod300-lite", VOC0712, {}, (10_395_612, 41_242), dense_maps(576, *DSOD300_SIZES), 8744),
    ("dsod300-lite", COCO, {}, (16_896_492, 44_842), dense_maps(576, *DSOD300_SIZES), 8744),
    ("dsod300-smallest", VOC0712, {}, (5_833_372, 39_000), dense_maps(352, *DSOD300_SIZES), 8744),
    ("dsod300-smallest", COCO, {}, (11_850_412, 42_600), dense_maps(352, *DSOD300_SIZES), 8744),
    (
        *("dsod300-plain", VOC0712, {}, (18_117_724, 76_883)),
        *([(800, 38), (1280, 19), (512, 10), (256, 5), (256, 3), (256, 2)], 8744),
    ),
    ("dsod512", VOC0712, {}, (15_276_232, 81_609), dense_maps(800, 64, 32, 16, 8, 4, 2, 1), 24_564),
    ("grp-dsod320", VOC0712, {}, (15_928_690, 26_637), GRP_MAPS, 17_078),
    ("grp-dsod320", VOC0712, {"corrected": True}, (15_682_574, 26_637), GRP_MAPS, 17_078),
]


@pytest.mark.parametrize("model, data, options, values, sizes, priors", NUMBERS)
def test_numbers(model, data, options, values, sizes, priors):
    graph = graph_of(build(model, data, **options))
    assert (counts(graph), maps(graph)) == (values, sizes)
    assert graph.shapes["mbox_priorbox"][2] // 4 == priors


@pytest.mark.parametrize(
    "model, millions",
    [
        ("dsod300", 14.8),
        ("dsod300-lite", 10.4),
        ("dsod300-smallest", 5.9),
        ("dsod300-plain", 18.2),
        ("grp-dsod320", 16),
    ],
)
def test_published_parameters(model, millions):
    """As the paper counts them: all blobs, with 21 classes."""
    assert round(sum(counts(graph_of(build(model)))) / 1e6, 1) == millions


def test_names_of_settings():
    assert [str(setting) for setting in (FULL, LITE, SMALLEST)] == ["DS/64-192-48-1", "DS/64-256-64-1", "DS/64-64-16-1"]
    assert str(Setting(32, 12, 16, 0.5)) == "DS/32-12-16-0.5"


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"layers": (6, 12, 24)}, r"DS/64-192-48-1: 3 dense blocks; expected layers for each of four"),
        ({"compression": 0}, r"DS/64-192-48-0: θ is 0; expected above 0 and at most 1"),
        ({"compression": 1.5}, r"DS/64-192-48-1.5: θ is 1.5; expected above 0 and at most 1"),
    ],
)
def test_impossible_settings(setting, message):
    with pytest.raises(UserError, match=message):
        Setting(**setting)


def test_transitions_keep_a_share_of_the_channels():
    """θ = 0.5 of the ablation: 224, 112, 240, 120, 248, 124 channels from 128, and 252 behind the last block."""
    detector = replace(build("dsod300"), backbone=partial(dsod, setting=Setting(64, 64, 16, 0.5)))
    graph = graph_of(detector)
    assert maps(graph)[:2] == [(120, 38), (512, 19)]
    widths = [layer.top_shapes[0][1] for layer in graph.layers if layer.type == "Concat" and len(layer.bottoms) == 2]
    assert [widths[5], widths[13], widths[21], widths[29]] == [224, 240, 248, 252]


def layers_of(detector, key="deploy"):
    return {layer.name: layer for layer in detector.net(key).layer}


def test_numbering_of_dsod300():
    """Convolutions and norms are numbered as in the released weights, which load by these names."""
    layers = layers_of(build("dsod300"))
    assert len(layers) == 443
    assert layers["First"].type == "Convolution" and layers["First"].convolution_param.num_output == 800
    assert list(layers["Convolution1"].bottom) == ["data"] and not layers["Convolution1"].param
    assert "Convolution79" in layers and "Convolution80" not in layers  # and First
    assert [layers[name].type for name in ("Second", "Third", "Sixth")] == ["Concat"] * 3
    # A ReLU has a blob of its own before a transition, elsewhere none.
    assert list(layers["First"].bottom) == ["ReLU33"] == list(layers["ReLU33"].top)
    assert list(layers["ReLU32"].top) == list(layers["BatchNorm32"].top)
    assert list(layers["First_norm_mbox_loc"].bottom) == ["First_norm"]
    assert layers["Sixth_norm"].norm_param.scale_filler.value == 20


def test_plain_structure_has_one_path():
    detector = build("dsod300-plain")
    layers = layers_of(detector)
    dense = layers_of(build("dsod300"))
    pools = [sum(layer.type == "Pooling" for layer in net.values()) for net in (layers, dense)]
    assert pools == [3, 8]
    assert [layers[name].type for name in ("Second", "Third", "Sixth")] == ["Convolution"] * 3
    assert list(layers["Sixth"].convolution_param.stride) == [2]
    narrower = replace(detector, backbone=partial(dsod_plain, second=512))
    assert sum(counts(graph_of(narrower))) == pytest.approx(15.75e6, abs=5000)


# Model, data set: images of an update, on a GPU, of a test; steps, iterations; smallest prior box.
SCHEDULES = [
    ("dsod300", "voc07", (128, 4, 2), (20_000, 40_000, 60_000, 80_000, 100_000), 100_000, 30),
    ("dsod300-lite", "voc0712++", (128, 4, 1), (20_000, 40_000, 60_000, 80_000, 100_000), 120_000, 30),
    ("dsod300-smallest", "coco", (128, 4, 2), (80_000, 140_000, 200_000, 260_000, 320_000), 320_000, 21),
    ("dsod512", "voc0712", (128, 4, 2), (20_000, 40_000, 60_000, 80_000, 100_000), 100_000, 35.84),
    ("dsod512", "coco", (128, 4, 2), (80_000, 140_000, 200_000, 260_000, 320_000), 320_000, 20.48),
    ("grp-dsod320", "voc07", (144, 6, 2), (20_000, 40_000, 60_000, 80_000), 100_000, 32),
    ("grp-dsod320", "voc0712++", (144, 6, 1), (20_000, 40_000, 60_000, 80_000, 100_000), 120_000, 32),
    ("grp-dsod320", "coco", (144, 6, 2), (80_000, 140_000, 200_000, 260_000), 320_000, 22.4),
]


@pytest.mark.parametrize("model, data_name, images, steps, iterations, smallest", SCHEDULES)
def test_schedules(model, data_name, images, steps, iterations, smallest):
    detector = build(model, DATASETS[data_name])
    schedule = detector.schedule
    tested = layers_of(detector, "test")["data"].data_param.batch_size
    update = schedule.iter_size * schedule.batch_size
    assert (update, schedule.device_batch_size, tested) == images
    assert (schedule.base_lr, schedule.steps, schedule.max_iter) == (0.1, steps, iterations)
    assert detector.head.sources[0].min_size == smallest


def test_own_data_set_is_trained_as_vocs():
    data = replace(VOC0712, name="", num_classes=4)
    for model in ("dsod300", "grp-dsod320"):
        assert build(model, data).schedule == build(model, VOC0712).schedule
        assert build(model, data).schedule != build(model, VOC0712PLUS).schedule


# ---- the nets in PyTorch


def image(*shape):
    return torch.from_numpy(np.random.default_rng(1).uniform(-120, 120, shape).astype(np.float32))


def unit_statistics(graph):
    """Mean 0 and variance 1 for every BatchNorm, which an untrained net has none of."""
    values = {layer.name: layer.blob_shapes for layer in graph.layers if layer.type == "BatchNorm"}
    return {
        name: [np.full(shape, i > 0, np.float32) for i, shape in enumerate(shapes)] for name, shapes in values.items()
    }


@pytest.mark.parametrize(
    "model, options, priors",
    [
        *((model, {}, 8744) for model in ("dsod300", "dsod300-lite", "dsod300-smallest", "dsod300-plain")),
        ("dsod512", {}, 24_564),
        *(("grp-dsod320", {"corrected": corrected}, 17_078) for corrected in (False, True)),
    ],
)
def test_deploy_net_detects(model, options, priors):
    detector = build(model, **options)
    graph = graph_of(detector)
    net = CaffeNet(graph, weights=unit_statistics(graph), seed=1)
    with torch.no_grad():
        tops = net({"data": image(1, 3, *detector.input_hw)}, keep=["mbox_conf_flatten"])
    assert tops["detection_out"].shape[-1] == 7 and tops["detection_out"].isfinite().all()
    totals = tops["mbox_conf_flatten"].reshape(-1, 21).sum(1)
    torch.testing.assert_close(totals, torch.ones(priors), atol=1e-5, rtol=0)


KEPT = ("Second", "Crop1", "Crop4", "Recurrent1", "Recurrent1_gate", "Recurrent6", "Recurrent6_gate")
LABELS = torch.tensor([(0, 2, 0, 0.1, 0.2, 0.6, 0.7, 0), (1, 3, 0, 0.3, 0.1, 0.8, 0.9, 0)])[None, None]


def trained(detector, size_hw):
    """The train net for two small images, its tops, and the largest gradient of each layer's weights."""
    detector = replace(
        detector,
        data=replace(detector.data, num_classes=4),
        input_hw=size_hw,
        schedule=replace(detector.schedule, batch_size=2, gpus="0"),
    )
    net = CaffeNet(graph_of(detector, "train"), seed=1)
    tops = net(
        {"data": image(2, 3, *size_hw), "label": LABELS}, keep=[name for name in KEPT if name in net.graph.shapes]
    )
    net.loss(tops).backward()
    found = {
        blob.layer: blob.tensor.grad.abs().max().item() for blob in net.blobs() if blob.index == 0 and blob.lr_mult
    }
    return net, tops, found


@pytest.mark.parametrize("model", ["dsod300", "dsod300-plain"])
def test_train_net_learns(model):
    _, tops, found = trained(build(model, VOC0712), (136, 168))
    assert 0 < tops["mbox_loss"] < np.inf
    assert all(0 < found[layer] < np.inf for layer in ("Convolution1", "First", "First_norm_mbox_conf", "Scale1"))


def test_released_gates_never_depend_on_the_image():
    net, tops, found = trained(build("grp-dsod320", VOC0712), (320, 320))
    for level in (1, 6):
        torch.testing.assert_close(tops[f"Recurrent{level}_gate"], 1.25 * tops[f"Recurrent{level}"])
    assert [found[layer] for layer in ("Recurrent1_fc", "InnerProduct1", "InnerProduct2")] == [0, 0, 0]
    weight = net.weights()["Deconvolution1"][0]
    assert weight.shape == (342, 128, 2, 2)
    assert (weight[:, :, 0, 0] == 1).all() and weight.sum() == 342 * 128
    assert "Deconvolution1" not in found


def test_corrected_gates_learn_and_maps_are_interpolated():
    _, tops, found = trained(build("grp-dsod320", VOC0712, corrected=True), (152, 168))
    assert all(found[layer] > 0 for layer in ("Recurrent1_fc", "InnerProduct1", "InnerProduct2"))
    ratio = tops["Recurrent1_gate"] / tops["Recurrent1"]
    opened = tops["Recurrent1"] > 0
    assert 1 < ratio[opened].min() < ratio[opened].max() < 2
    second, doubled = tops["Second"], tops["Crop1"]
    expected = interpolate(second, scale_factor=2, mode="bilinear", align_corners=False)
    assert doubled.shape[2:] == (19, 21) and expected.shape[2:] == (20, 22)
    # Caffe's filler reaches past the border, where there is nothing: the outermost row and column are darker.
    torch.testing.assert_close(doubled[:, :, 1:, 1:], expected[:, :, 1:19, 1:21])
    assert tops["Crop4"].shape[2:] == (3, 3)


def grp_maps(side_hw, **options):
    graph = graph_of(replace(build("grp-dsod320", **options), input_hw=side_hw))
    return [graph.shapes[f"Recurrent{level}"][2:] for level in range(1, 7)]


def test_corrected_pyramid_fits_every_image():
    expected = [(38, 53), (19, 27), (10, 14), (5, 7), (3, 4), (2, 2)]
    assert grp_maps((300, 420), corrected=True) == expected


def test_released_pyramid_fits_few_images():
    assert grp_maps((313, 576)) == [(40, 72), (20, 36), (10, 18), (5, 9), (3, 5), (2, 3)]
    for side in (312, 321):
        with pytest.raises(UserError, match=r'layer "Recurrent\d" \(Concat\): the bottoms differ outside axis 1'):
            grp_maps((side, side))


# ---- the blocks by themselves


def test_a_gate_on_any_map():
    net = Net("gated")
    net.data = L.Input(shape={"dim": [2, 3, 8, 10]})
    net.conv1 = L.Convolution(net.data, num_output=32, kernel_size=3, weight_filler={"type": "xavier"})
    gate(net, "conv1", 32)
    graph = Graph(net_file(net.to_proto()))
    assert graph.shapes["conv1_gate"] == (2, 32, 6, 8) and graph.shapes["conv1_fc"] == (2, 2)
    tops = CaffeNet(graph, seed=1)({"data": image(2, 3, 8, 10)}, keep=["conv1"])
    assert tops["conv1_gate"].shape == (2, 32, 6, 8)


def root_dense(net):
    """Root-ResNet's stem, dense blocks, and maps of stride 4, 8 and 16."""
    root_stem(net, 16)
    top, channels = net["pool1"], 16
    for number, layers in enumerate((2, 3, 3), start=1):
        top = dense_block(L.Pooling(top, pool="MAX", kernel_size=2, stride=2), layers, growth=8, bottleneck=32)
        channels += 8 * layers
        top = net[f"map{number}"] = transition(top, channels)


def test_dense_blocks_go_with_any_stem_and_head():
    boxes = Source("map1", 16, step=4), Source("map2", 32, step=8), Source("map3", 64, step=16)
    schedule = Schedule(base_lr=0.01, max_iter=10, batch_size=2, steps=(8,))
    detector = Detector(VOC0712, (64, 96), root_dense, Refine(boxes, channels=32), schedule, name="own")
    assert maps(graph_of(detector)) == [(32, 16), (56, 8), (80, 4)]
    _, tops, found = trained(detector, (64, 96))
    assert 0 < tops["arm_loss"] < np.inf and 0 < tops["odm_loss"] < np.inf
    assert all(0 < found[layer] < np.inf for layer in ("stem_1", "map1", "map3", "P5-up"))
