"""MobileNet-SSD: its generator's fingerprints, parameter counts, maps and detections; it runs and learns."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.pytorch import CaffeNet
from netgen.backbones.mobilenet import mobilenet, mobilenet_extras
from netgen.datasets import COCO, DATASETS, VOC0712
from netgen.zoo import build
from prototxt.graph import Graph
from prototxt.io import net_file
from tests.netgen.zoo_nets import counts

fingerprint = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["fingerprint"]

# What the release's generator writes for 21 classes, and for half of the channels. Its solver's test_iter is 673,
# more than VOC has images; here it is 619 batches of 8.
TRAIN = "b7bb3b21556ebf921c4040ce9945bdd07e214b0a28f6683c3b25b66da9ab2b51"
TRAIN_HALF = "ee7c0199d8b9cab86f8314ec58793aec1fbff6ecf75c985d9973fba99b820172"
TEST = "815d7a9ee9f19251e0ffbf1514cd0f80920c87493ecd9b780b74adca8508e26c"
MERGED_DEPLOY = "5214b6124c953f7aab3b91aba789f17ec02fc76b9b4bba9bbae95abdbe420043"
SOLVER = "3be02f0570ccd396c05376cea3bbdb4be82e481621bd07ea8434bc52868df5e1"


@pytest.mark.parametrize("data_name", ["voc0712", "voc07"])
def test_fingerprints(data_name, fingerprints):
    found = fingerprints("mobilenet-ssd300", data_name)
    assert (found["train"], found["test"]) == (TRAIN, TEST)


def test_schedule_is_the_releases():
    from netgen.jobs import JobPaths, solver_proto

    solver = solver_proto(build("mobilenet-ssd300"), JobPaths(Path("job"), Path("job/net")))
    assert solver.test_iter == [619]
    solver.test_iter[0] = 673
    assert fingerprint(solver) == SOLVER


def test_deploy_net_is_the_releases_before_its_norms_are_merged():
    net = build("mobilenet-ssd300").net("deploy")
    kept = [layer for layer in net.layer if layer.type not in ("BatchNorm", "Scale")]
    for layer in kept:
        if layer.type == "Convolution" and not layer.convolution_param.bias_term:
            layer.convolution_param.ClearField("bias_term")
            layer.convolution_param.bias_filler.SetInParent()
            layer.param.add(lr_mult=2, decay_mult=0)
    merged = type(net)()
    merged.layer.extend(kept)
    assert fingerprint(merged) == MERGED_DEPLOY


def half(net):
    mobilenet_extras(net, mobilenet(net, width=0.5))


def test_half_of_the_channels():
    assert fingerprint(replace(build("mobilenet-ssd300"), backbone=half).net("train")) == TRAIN_HALF


@pytest.mark.parametrize("data, learned", [(VOC0712, 5_796_089), (COCO, 6_673_589)])
def test_numbers(data, learned):
    graph = Graph(net_file(build("mobilenet-ssd300", data).net("deploy")))
    assert counts(graph) == (learned, 25_379)
    maps = [layer.bottom_shapes[0][1:3] for layer in graph.layers if layer.type == "PriorBox"]
    assert maps == [(512, 19), (1024, 10), (512, 5), (256, 3), (256, 2), (128, 1)]
    assert graph.shapes["mbox_priorbox"] == (1, 2, 1917 * 4)


def test_names_and_groups():
    layers = {layer.name: layer for layer in build("mobilenet-ssd300").net("deploy").layer}
    assert [name for name in layers if name.startswith("conv13")][:8] == [
        *("conv13/dw", "conv13/dw/bn", "conv13/dw/scale", "conv13/dw/relu"),
        *("conv13", "conv13/bn", "conv13/scale", "conv13/relu"),
    ]
    depthwise = layers["conv13/dw"].convolution_param
    assert (depthwise.group, depthwise.num_output, depthwise.Engine.Name(depthwise.engine)) == (1024, 1024, "CAFFE")
    assert list(layers["conv14_1"].bottom) == ["conv13"] == list(layers["conv13_mbox_loc"].bottom)
    assert layers["conv17_2_mbox_conf"].convolution_param.kernel_size == [1]


@pytest.mark.parametrize("key, kept", [("test", (400, 200, 0.01)), ("deploy", (100, 100, 0.25))])
def test_fewer_detections_are_deployed_than_tested(key, kept):
    net = build("mobilenet-ssd300").net(key)
    (layer,) = (layer.detection_output_param for layer in net.layer if layer.type == "DetectionOutput")
    found = layer.nms_param.top_k, layer.keep_top_k, layer.confidence_threshold
    assert found == pytest.approx(kept) and not layer.HasField("save_output_param")


def test_images_are_scaled_in_training_and_testing():
    for key in ("train", "test"):
        transform = build("mobilenet-ssd300").net(key).layer[0].transform_param
        assert list(transform.mean_value) == [127.5] * 3 and transform.scale == pytest.approx(0.007843)


@pytest.mark.parametrize("data_name", DATASETS)
def test_schedule_is_one_for_every_data_set(data_name):
    schedule = build("mobilenet-ssd300", DATASETS[data_name]).schedule
    assert (schedule.type, schedule.base_lr, schedule.max_iter, schedule.batch_size) == ("RMSProp", 0.0005, 120_000, 32)


LABELS = torch.tensor([(0, 2, 0, 0.1, 0.2, 0.6, 0.7, 0), (1, 3, 0, 0.3, 0.1, 0.8, 0.9, 0)])[None, None]


def image(shape):
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))


def test_train_net_learns_and_what_it_learnt_is_deployed():
    detector = build("mobilenet-ssd300", replace(VOC0712, num_classes=4))
    detector = replace(detector, schedule=replace(detector.schedule, batch_size=2))
    net = CaffeNet(Graph(net_file(detector.net("train")), "TRAIN"), seed=1)
    optimizer = torch.optim.SGD([blob.tensor for blob in net.blobs() if blob.lr_mult], lr=0.001, momentum=0.9)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        losses.append(net.loss(net({"data": image((2, 3, 300, 300)), "label": LABELS})))
        losses[-1].backward()
        optimizer.step()
    assert 0 < losses[-1] < losses[0] < np.inf
    deployed = CaffeNet(Graph(net_file(detector.net("deploy"))), seed=0)
    deployed.load(net.weights())
    with torch.no_grad():
        tops = deployed({"data": image((1, 3, 300, 300))}, keep=["mbox_conf_flatten"])
    assert tops["detection_out"].shape[3] == 7 and tops["detection_out"].isfinite().all()
    torch.testing.assert_close(tops["mbox_conf_flatten"].reshape(1917, 4).sum(1), torch.ones(1917))
