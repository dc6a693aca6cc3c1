"""SSD's nets: the official scripts' fingerprints, parameter counts, maps, norms and schedules; they run and learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from converters.pytorch import CaffeNet
from netgen.backbones.vgg import SSD300_EXTRAS, ssd_extras, vgg16
from netgen.datasets import COCO, DATASETS, VOC0712, VOC0712PLUS
from netgen.net import L, Net
from netgen.zoo import build
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from tests.netgen.zoo_nets import counts, maps

VOC_SOLVER = "ac8306fd3c998e8c9115270778695d038a216ea75d5a655bc2fe878ee8a3d8ec"
SCRATCH_SOLVER = "f7999d2010702dd697e4a7a7a63ec68017a4f10ed7830f101ba32f04459aec99"
# What the scripts of SSD's release write.
FINGERPRINTS = {
    ("ssd300-vgg16", "voc0712"): {
        "train": "5da522723eea9d3e31ea91101ef032e0496628757f2e50bd5618f1b0c76980ef",
        "test": "5465b5ceb02a250bbf00259f3215068c248d82901ac351718005d4891fb58d15",
        "deploy": "1df9fe8552bc012120aa47edb077eb225605c29d2df4d79590e9ad247280a1b0",
        "solver": VOC_SOLVER,
    },
    ("ssd300-vgg16", "coco"): {
        "train": "bc320b2ba00fcbf84b74e98ac2d939ca4b3832f40110e9b6900c0c7aef090fa3",
        "test": "964b9a8788f24c3bf92abdf4f71c4875967f10291ee78a73c36c47ab87a8759e",
        "deploy": "a7aded6d31c86201eda405a6351b3f369dd47f029722257028a6e54f104f7589",
        "solver": "2b81aff02c2291d914afc658d8f3c2cb5caa698401da25c9b0971fad124c57e4",
    },
    ("ssd300-resnet101", "voc0712"): {
        "train": "3e81afd2beaa0d39d004be988e1bad00b69d8be0fe36db8c62114d5b9ae187a7",
        "test": "7f968be7035f4e7d473ae85fe2b68a005c326758bbcee666186ba381d2b5ae48",
        "deploy": "90f4287749a1a867cc07af3a95166948c59a7dfcdda0a6068654a59848ed096c",
        "solver": "b495bd63ff4eba3b66b0e193d77044406dcf82b2b056d8652058766e64824cae",
    },
}
# What the scripts write with another body: ScratchDet's with VGGNetBNBody for norms in the backbone, else SSD's
# without L2 normalisation and in batches of 128; with or without norms in the head. The schedule is ScratchDet's.
ABLATION_FINGERPRINTS = {
    "none": {
        "train": "c54b1d8553b72f4b4746d2a80dc913f10cb374edcc008f849225ce19c1f9bc0c",
        "test": "0660e7b0e0ded11930fbecb3f6ded5e4ea135938627987d7d237d933a4a07023",
        "deploy": "c4ae0eec7148b103d468525290c4334730cf4a1edf8310c49419c274796b067b",
    },
    "head": {
        "train": "3b0895bef6a5ff44a74590ce21a5d3c9c2e6bcab9eeebfd2309f542356ff16e3",
        "test": "7b4d5e459f3795ba898bb8f788b79c8181f9be480ef3229b6dcd13f94d80ee8e",
        "deploy": "91bab969b39f217fd91ed8a4807474f768a37e2752d90af375f5376fd856857a",
    },
    "backbone": {
        "train": "f9b42f9893ac5b3bc9e1258ccfa7fa9e26ae9ab787b85072ae577eadcb40935f",
        "test": "5242bf814301b10101bc10ad637ff688cb68e41d0eafdc5045ed5805731c62cc",
        "deploy": "30827e0bc549b8e70caa864b473bfbb4c2b9ab6c5349c20c24b023cb176d7e71",
        "solver": SCRATCH_SOLVER,
    },
    "both": {
        "train": "df945e898ec1667f0dbf838bdd116a6d8da3e7aaedb8d30c77180abd396afd38",
        "test": "100cf4003eddd58bd38a94b090940a427d738fcdb2778407b1c2d556a6750393",
        "deploy": "6e7f471235c30e1bd8222343d85d5ce2c64178faf84373b4469652af0cf719ca",
        "solver": SCRATCH_SOLVER,
    },
}
REFERENCES = {"voc0712": "ssd300_vgg_voc", "coco": "ssd300_vgg_coco"}


@pytest.mark.parametrize("model, data_name", FINGERPRINTS)
def test_fingerprints(model, data_name, fingerprints):
    assert fingerprints(model, data_name) == FINGERPRINTS[model, data_name]


@pytest.mark.parametrize("batch_norm", ABLATION_FINGERPRINTS)
def test_fingerprints_of_the_ablation(batch_norm, fingerprints):
    found = fingerprints("ssd300-vgg16", "voc0712", batch_norm=batch_norm)
    expected = ABLATION_FINGERPRINTS[batch_norm]
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("data_name", REFERENCES)
def test_same_as_the_official_files(data_name, differences):
    assert differences("ssd300-vgg16", data_name, REFERENCES[data_name]) == []


def test_other_voc_data_sets_follow_the_script_for_both_years(fingerprints):
    found, expected = fingerprints("ssd300-vgg16", "voc07"), FINGERPRINTS["ssd300-vgg16", "voc0712"]
    assert found == expected
    plus = fingerprints("ssd300-vgg16", "voc0712++")
    assert plus["train"] == expected["train"] and plus["solver"] != expected["solver"]


def graph_of(model, data=VOC0712, key="deploy", **options):
    return Graph(net_file(build(model, data, **options).net(key)), "TRAIN" if key == "train" else "TEST")


MAPS = [(512, 38), (1024, 19), (512, 10), (256, 5), (256, 3), (256, 1)]
# Model, data set, options: learned values, statistics, prior boxes.
NUMBERS = [
    ("ssd300-vgg16", VOC0712, {}, (26_285_486, 0), 8732),
    ("ssd300-vgg16", COCO, {}, (34_305_206, 0), 8732),
    ("ssd300-vgg16", VOC0712, {"batch_norm": "none"}, (26_284_974, 0), 8732),
    ("ssd300-vgg16", VOC0712, {"batch_norm": "backbone"}, (26_295_598, 26_314_441 - 26_295_598), 8732),
    ("ssd300-vgg16", VOC0712, {"batch_norm": "head"}, (26_285_724, 26_287_236 - 26_285_724), 8732),
    ("ssd300-vgg16", VOC0712, {"batch_norm": "both"}, (26_296_348, 26_316_703 - 26_296_348), 8732),
]


@pytest.mark.parametrize("model, data, options, values, priors", NUMBERS)
def test_numbers(model, data, options, values, priors):
    graph = graph_of(model, data, **options)
    assert (counts(graph), maps(graph)) == (values, MAPS)
    assert graph.shapes["mbox_priorbox"] == (1, 2, priors * 4)


def test_corrected_norms():
    """Five norms less, those behind the poolings (2 * 1472 values), and one more, that of conv9_2 (2 * 256)."""
    learned, statistics = 26_296_348 - 2 * 1472 + 2 * 256, 20_355 - (2 * 1472 + 5) + 2 * 256 + 1
    graph = graph_of("ssd300-vgg16", batch_norm="both", corrected=True)
    assert counts(graph) == (learned, statistics)
    layers = {layer.name: layer.proto for layer in graph.layers}
    assert layers["conv9_2_relu"].top == ["conv9_2"] == layers["conv9_2_mbox_loc"].bottom
    assert build("ssd300-vgg16", corrected=True).net("train") == build("ssd300-vgg16").net("train")


def test_numbering_of_the_norms():
    """Norms are numbered as by the release: 15 convolutions and 5 poolings of VGG-16, then the extra layers."""
    layers = graph_of("ssd300-vgg16", batch_norm="backbone").layers
    bottoms = {layer.name: layer.proto.bottom[0] for layer in layers if layer.type == "BatchNorm"}
    assert list(bottoms) == [f"BatchNorm{number}" for number in range(1, 28)]
    assert (bottoms["BatchNorm3"], bottoms["BatchNorm18"], bottoms["BatchNorm20"]) == ("pool1", "pool5", "fc7")
    assert bottoms["BatchNorm27"] == "conv9_1"  # that of conv9_2 is not read by anything


def prior_boxes(graph):
    params = [layer.proto.prior_box_param for layer in graph.layers if layer.type == "PriorBox"]
    return [(round(p.min_size[0], 4), round(p.max_size[0], 4), len(p.aspect_ratio), p.step) for p in params]


VOC512 = [35.84, 76.8, 153.6, 230.4, 307.2, 384, 460.8, 537.6]
COCO512 = [20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72]
STEPS512 = [8, 16, 32, 64, 128, 256, 512]


@pytest.mark.parametrize("data, values, sizes", [(VOC0712, 27_188_676, VOC512), (COCO, 36_038_196, COCO512)])
def test_ssd512(data, values, sizes):
    """The release's net, as DES (Zhang et al., CVPR 2018), which builds on it, has it in its files."""
    graph = graph_of("ssd512-vgg16", data)
    assert counts(graph) == (values, 0)
    assert maps(graph) == [(512, 64), (1024, 32), (512, 16), (256, 8), (256, 4), (256, 2), (256, 1)]
    assert graph.shapes["mbox_priorbox"] == (1, 2, 24_564 * 4)
    ratios = [1, 2, 2, 2, 2, 1, 1]
    assert prior_boxes(graph) == list(zip(sizes, sizes[1:], ratios, STEPS512, strict=False))
    last = next(layer.proto.convolution_param for layer in graph.layers if layer.name == "conv10_2")
    assert (last.kernel_size[0], last.pad[0], last.stride[0]) == (4, 1, 1)


SCHEDULES = [
    ("ssd512-vgg16", VOC0712, (80_000, 100_000, 120_000)),
    ("ssd512-vgg16", VOC0712PLUS, (160_000, 200_000, 240_000)),
    ("ssd512-vgg16", COCO, (280_000, 320_000, 360_000)),
    ("ssd300-vgg16", COCO, (280_000, 360_000, 400_000)),
    ("ssd300-resnet101", COCO, (280_000, 360_000, 400_000)),
]


@pytest.mark.parametrize("model, data, steps", SCHEDULES)
def test_schedules(model, data, steps):
    schedule = build(model, data).schedule
    assert (schedule.steps, schedule.max_iter, schedule.stepsize) == (steps, steps[-1], None)
    assert (schedule.batch_size, schedule.device_batch_size, schedule.iter_size) == (32, 8, 1)


@pytest.mark.parametrize("batch_norm, rate", [("none", 0.001), ("backbone", 0.05), ("head", 0.01), ("both", 0.05)])
def test_ablation_trains_from_scratch(batch_norm, rate):
    schedule = build("ssd300-vgg16", batch_norm=batch_norm).schedule
    assert (schedule.base_lr, schedule.batch_size, schedule.weights) == (rate, 128, None)


def test_unknown_place_of_norms():
    with pytest.raises(UserError) as error:
        build("ssd300-vgg16", batch_norm="heads")
    assert str(error.value) == (
        '--batch-norm is "heads" (did you mean "head"?); expected one of none, backbone, head, both'
    )


def test_vgg16_without_holes_halves_once_more():
    net = Net("x")
    net.data = L.Input(shape={"dim": [1, 3, 320, 480]})
    ssd_extras(net, vgg16(net), SSD300_EXTRAS[:1])
    shapes = Graph(net_file(net.to_proto()), "TEST").shapes
    assert shapes["conv4_3"] == (1, 512, 40, 60)
    assert (shapes["fc7"], shapes["conv6_2"]) == ((1, 1024, 10, 15), (1, 512, 5, 8))


# ---- in PyTorch

BUILDS = [
    ("ssd300-vgg16", {}),
    ("ssd300-vgg16", {"batch_norm": "both"}),
    ("ssd512-vgg16", {}),
    ("ssd300-resnet101", {}),
]


@pytest.mark.parametrize("model, options", BUILDS)
def test_deploy_net_runs(model, options):
    graph = graph_of(model, **options)
    net = CaffeNet(graph, seed=0)
    for blob in net.blobs():  # statistics of nothing are all 0; these leave maps as they are
        if blob.lr_mult == 0:
            torch.nn.init.constant_(blob.tensor, blob.index > 0)
    image = torch.from_numpy(np.random.default_rng(0).uniform(-120, 120, graph.inputs["data"]).astype(np.float32))
    with torch.no_grad():
        tops = net({"data": image}, keep=["mbox_conf_flatten"])
    assert tops["detection_out"].shape[3] == 7 and tops["detection_out"].isfinite().all()
    torch.testing.assert_close(
        tops["mbox_conf_flatten"].reshape(-1, 21).sum(1), torch.ones(graph.shapes["mbox_priorbox"][2] // 4)
    )


LABELS = torch.tensor([(0, 2, 0, 0.1, 0.2, 0.6, 0.7, 0), (1, 3, 0, 0.3, 0.1, 0.8, 0.9, 0)])[None, None]


@pytest.mark.parametrize("model, first", [("ssd300-vgg16", "conv1_1"), ("ssd300-resnet101", "conv1")])
def test_train_net_learns(model, first):
    options = {"batch_norm": "both"} if model == "ssd300-vgg16" else {}
    detector = build(model, replace(VOC0712, num_classes=4), **options)
    schedule = replace(detector.schedule, batch_size=2, gpus="0")
    detector = replace(detector, input_hw=(272, 272), schedule=schedule)
    net = CaffeNet(Graph(net_file(detector.net("train")), "TRAIN"), seed=1)
    image = torch.from_numpy(np.random.default_rng(1).uniform(-120, 120, (2, 3, 272, 272)).astype(np.float32))
    tops = net({"data": image, "label": LABELS})
    assert list(tops) == ["mbox_loss"]
    net.loss(tops).backward()
    grads = {blob.layer: blob.tensor.grad.abs().max() for blob in net.blobs() if blob.index == 0 and blob.lr_mult}
    assert grads[first] > 0 and all(grad.isfinite() for grad in grads.values())
    heads = {kind: sum(grad for name, grad in grads.items() if name.endswith(kind)) for kind in ("loc", "conf")}
    assert heads["loc"] > 0 and heads["conf"] > 0


def test_every_data_set_has_its_classes():
    for name in DATASETS:
        graph = graph_of("ssd512-vgg16", DATASETS[name])
        assert graph.shapes["mbox_conf"] == (1, 24_564 * DATASETS[name].num_classes), name
