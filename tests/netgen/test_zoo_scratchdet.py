"""ScratchDet's nets: the official scripts' fingerprints, parameter counts, maps and numbering."""

from __future__ import annotations

import pytest

from netgen.backbones.root_resnet import RESIDUAL_EXTRAS, ROOT_RESNET34
from netgen.datasets import COCO, VOC0712
from netgen.zoo import build
from prototxt.graph import Graph
from prototxt.io import net_file
from tests.netgen.zoo_nets import counts, maps

# What ScratchDet's own scripts write; that for VOC also with the release's other body, Root-ResNet-18, in its place.
FINGERPRINTS = {
    ("scratchdet300-root34", "voc0712"): {
        "train": "b643238d7317f69d81d9b0a77e315678b7a54b16e8af34fa05c0940086d5ae48",
        "test": "e7f9db0a3feaa4cdac36e975a1ef9ee5ef4e8fe1015b3c3bfaee8f327222dde2",
        "deploy": "bb609a55314b408aeeec78ec1cb104857dfc20bfe7dbc2423e110354f0cba230",
        "solver": "f7999d2010702dd697e4a7a7a63ec68017a4f10ed7830f101ba32f04459aec99",
    },
    ("scratchdet300-root34", "coco"): {
        "train": "49949116ace3d66721f8a970b2e0801f58b272ef774f08f6fa5dca67a537a518",
        "test": "db1cd9be7e4a7b6cf3182abc31b885518a3f5d90928dbf762dae0d72afd2ed2d",
        "deploy": "81280b2126a122c2b913fb274f11e03d8a3fc97d55593494d77c8a3d7dd3b9b6",
        "solver": "3199b44c2ceccecae0e72232b0d732924401e834842845787178c7cf8f153333",
    },
    ("scratchdet300-root18", "voc0712"): {
        "train": "44bc07c4fc91f824efd5ff831468fb32a8c3ce7c885331a25c0209551a543934",
        "test": "8a7059a30aa11fe155e915d66792f154e5aa7efa07108f7163db85132e30070f",
        "deploy": "d40694ee7396577691105f6262e66d2705442f91cff27ae5d4da76fd048fae35",
        "solver": "f7999d2010702dd697e4a7a7a63ec68017a4f10ed7830f101ba32f04459aec99",
    },
}
REFERENCES = {"voc0712": "scratchdet300_root34_voc", "coco": "scratchdet300_root34_coco"}


@pytest.mark.parametrize("model, data_name", FINGERPRINTS)
def test_fingerprints(model, data_name, fingerprints):
    assert fingerprints(model, data_name) == FINGERPRINTS[model, data_name]


@pytest.mark.parametrize("data_name", REFERENCES)
def test_same_as_the_official_files(data_name, differences):
    assert differences("scratchdet300-root34", data_name, REFERENCES[data_name]) == []


SSD_MAPS = [(256, 38), (512, 19), (512, 10), (256, 5), (256, 3), (256, 1)]
RESIDUAL_MAPS = [(256, 38), (512, 19), (128, 10), (128, 5), (128, 5), (128, 5)]
PAPER_MAPS = [(256, 38), (512, 19), (128, 10), (128, 5), (128, 3), (128, 1)]
# Model, data set, options: learned values, statistics, maps, prior boxes.
NUMBERS = [
    ("scratchdet300-resnet18", VOC0712, {}, (15_924_654, 11_289), SSD_MAPS, 8732),
    ("scratchdet300-resnet18-a", VOC0712, {}, (15_924_654, 11_289), SSD_MAPS, 8732),
    ("scratchdet300-resnet18-b", VOC0712, {}, (15_924_654, 11_289), SSD_MAPS, 8732),
    ("scratchdet300-root18", VOC0712, {}, (15_990_958, 11_547), SSD_MAPS, 8732),
    ("scratchdet300-root18", VOC0712, {"extras": "residual"}, (14_445_230, 10_011), RESIDUAL_MAPS, 8892),
    ("scratchdet300-root34", VOC0712, {}, (24_553_262, 17_322), RESIDUAL_MAPS, 8892),
    ("scratchdet300-root34", COCO, {}, (28_151_852, 22_434), RESIDUAL_MAPS, 8892),
    ("scratchdet300-root34", VOC0712, {"extras": "ssd"}, (26_098_990, 18_858), SSD_MAPS, 8732),
    ("scratchdet300-root34", VOC0712, {"corrected": True}, (24_586_286, 17_579), PAPER_MAPS, 8732),
]


@pytest.mark.parametrize("model, data, options, values, sizes, priors", NUMBERS)
def test_numbers(model, data, options, values, sizes, priors):
    graph = Graph(net_file(build(model, data, **options).net("deploy")))
    assert (counts(graph), maps(graph)) == (values, sizes)
    assert graph.shapes["mbox_priorbox"][2] // 4 == priors


def test_scratchdet512_has_ssd512s_maps():
    graph = Graph(net_file(build("scratchdet512-root34").net("deploy")))
    assert maps(graph) == [(256, 64), (512, 32), (128, 16), (128, 8), (128, 4), (128, 2), (128, 1)]
    assert graph.shapes["mbox_priorbox"][2] // 4 == 24_564


def test_stems_differ_in_the_two_first_down_samplings():
    def sizes(model):
        graph = Graph(net_file(build(model).net("deploy")))
        return [graph.shapes[name][2] for name in ("stem_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")]

    assert sizes("scratchdet300-resnet18") == [150, 75, 38, 38, 19]
    assert sizes("scratchdet300-resnet18-a") == [150, 150, 75, 38, 19]
    assert sizes("scratchdet300-resnet18-b") == [300, 150, 75, 38, 19]
    assert sizes("scratchdet300-root18") == [300, 150, 75, 38, 19]


def test_numbering_of_root_resnet34():
    """Norms, sums and projections are numbered as in the released weights, which load by these names."""
    net = build("scratchdet300-root34").net("deploy")
    layers = {layer.name: layer for layer in net.layer}
    assert len(net.layer) == 244
    assert "Eltwise19" in layers and "Eltwise20" not in layers  # nothing reads the last sum
    assert list(layers["Convolution3"].bottom) == ["BatchNorm29"]
    assert list(layers["Eltwise14"].bottom) == ["Convolution3", "conv5_2"]
    assert list(layers["Eltwise1"].bottom) == ["pool1", "conv2_2"]
    assert list(layers["Eltwise19"].bottom) == ["Eltwise18", "conv8_2"]
    assert (list(layers["BatchNorm9"].bottom), list(layers["BatchNorm9"].top)) == (["Eltwise3"], ["BatchNorm9"])
    assert (list(layers["BatchNorm42"].bottom), list(layers["BatchNorm42"].top)) == (["conv9_1"], ["conv9_1"])
    assert list(layers["conv2_1"].bottom) == ["pool1"]
    assert [stage.blocks for stage in ROOT_RESNET34 + RESIDUAL_EXTRAS] == [3, 4, 6, 3, 1, 1, 1, 1]


def test_corrected_heads_read_the_normalised_sums():
    net = build("scratchdet300-root34", corrected=True).net("deploy")
    layers = {layer.name: layer for layer in net.layer}
    norm = layers["conv4_mbox_loc"].bottom[0]
    assert layers[norm].type == "BatchNorm" and layers[layers[norm].bottom[0]].type == "Eltwise"
    assert layers["conv4"].type == "ReLU" and list(layers["conv4"].top) == [norm]
    # The last sum is read now, so it is written.
    assert layers[layers["conv9_mbox_loc"].bottom[0]].bottom[0] == "Eltwise20"
