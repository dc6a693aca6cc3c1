"""Prior boxes against a real Caffe, bit for bit."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from converters.priors import prior_boxes
from converters.pytorch.layers import MODULES
from prototxt.graph import Graph

CASES = ("priorbox_*",)
MODELS = ("ssd300_vgg_voc", "dsod300_voc", "grp_dsod320_voc", "scratchdet300_root34_voc", "refinedet320_vgg_voc")


def test_case(case):
    (top,) = case.tops.values()
    np.testing.assert_array_equal(top.numpy(), case.wanted[f"out/{case.layer.tops[0]}"])


@pytest.mark.parametrize("model", MODELS)
def test_priors_of_published_nets_to_the_last_bit(shared, model):
    graph = Graph.load(shared / "reference" / "prototxt" / model / "deploy.prototxt")
    layers = [layer for layer in graph.layers if layer.type == "PriorBox"]
    each = [prior_boxes(layer.p, *(shape[2:] for shape in layer.bottom_shapes)) for layer in layers]
    blob = "arm_priorbox" if model.startswith("refinedet") else "mbox_priorbox"
    numbers = np.load(shared / "oracle" / "models" / f"{model}.npz")
    assert zlib.crc32(np.concatenate(each, axis=2).tobytes()) == int(numbers[f"prior/{blob}/crc32_float32_bytes"])


def test_one_cell_by_hand(make_layer):
    text = """type: "PriorBox" name: "p" top: "y"
        prior_box_param { min_size: 16 max_size: 25 aspect_ratio: 4 flip: true variance: 0.5 }"""
    layer = make_layer(text, {"x": (2, 8, 1, 1), "data": (2, 3, 50, 100)})
    blob = MODULES["PriorBox"](layer)(torch.zeros(2, 8, 1, 1), torch.zeros(2, 3, 50, 100)).numpy()
    sizes_wh = np.array([(16, 16), (20, 20), (32, 8), (8, 32)])
    corners = np.concatenate([(np.array([50, 25]) - sizes_wh / 2), (np.array([50, 25]) + sizes_wh / 2)], axis=1)
    np.testing.assert_allclose(blob[0, 0].reshape(-1, 4), corners / (100, 50, 100, 50), rtol=1e-6)
    assert blob.shape == (1, 2, 16)
    assert (blob[0, 1] == 0.5).all()


def test_module_follows_the_size_of_the_map(make_layer):
    text = 'type: "PriorBox" name: "p" top: "y" prior_box_param { min_size: 16 }'
    module = MODULES["PriorBox"](make_layer(text, {"x": (1, 8, 2, 3), "data": (1, 3, 60, 90)}))
    small = module(torch.zeros(1, 8, 2, 3), torch.zeros(1, 3, 60, 90))
    assert module(torch.zeros(1, 8, 2, 3), torch.zeros(1, 3, 60, 90)) is small
    assert module(torch.zeros(1, 8, 4, 3), torch.zeros(1, 3, 120, 90)).shape == (1, 2, 48)
