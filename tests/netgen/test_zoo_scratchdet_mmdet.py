"""ScratchDet as mmdetection has it: maps, prior boxes and parameters of the release's two nets."""

from __future__ import annotations

from math import prod

import pytest

from netgen.datasets import COCO
from netgen.zoo import build
from prototxt.graph import Graph
from prototxt.io import net_file


@pytest.mark.parametrize(
    "side, maps, priors",
    [
        (300, [(256, 38), (512, 19), (128, 10), (128, 5), (128, 3), (128, 3)], 8764),
        (512, [(256, 64), (512, 32), (128, 16), (128, 8), (128, 4), (128, 2), (128, 1)], 24564),
    ],
)
def test_maps_and_prior_boxes(side, maps, priors):
    graph = Graph(net_file(build(f"scratchdet{side}-mmdet", COCO).net("deploy")))
    boxes = [layer for layer in graph.layers if layer.type == "PriorBox"]
    assert [layer.bottom_shapes[0][1:3] for layer in boxes] == maps
    assert graph.shapes["mbox_priorbox"] == (1, 2, 4 * priors)
    steps = [8, 16, 32, 64, 100, 300] if side == 300 else [8, 16, 32, 64, 128, 256, 512]
    assert [layer.p.step_hw[0] for layer in boxes] == steps
    means = build(f"scratchdet{side}-mmdet", COCO).net("train").layer[0].transform_param.mean_value
    assert list(means) == pytest.approx([103.53, 116.28, 123.675])


@pytest.mark.parametrize("side, boxes", [(300, [4, 6, 6, 6, 4, 4]), (512, [4, 6, 6, 6, 6, 4, 4])])
def test_as_many_parameters_as_the_pytorch_model(side, boxes):
    from tests.converters.foreign_models import ScratchDet

    graph = Graph(net_file(build(f"scratchdet{side}-mmdet", COCO).net("deploy")))
    ours = sum(prod(s) for layer in graph.layers if layer.type != "BatchNorm" for s in layer.blob_shapes)
    model = ScratchDet(side, (64, 128, 256, 512, 128, 128, 128, 128), boxes, 81)
    assert ours == sum(tensor.numel() for tensor in model.parameters())


def test_blocks_end_with_their_relu():
    graph = Graph(net_file(build("scratchdet300-mmdet", COCO).net("deploy")))
    layers = {layer.name: layer for layer in graph.layers}
    makers = {}
    for layer in graph.layers:
        makers.setdefault(layer.tops[0], []).append(layer.type)
    assert makers[layers["conv4_mbox_loc"].bottoms[0]] == ["Eltwise", "ReLU"]
    assert layers["conv4_1_shortcut_scale"].bottoms == ("conv4_1_shortcut",)
