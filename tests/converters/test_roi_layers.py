"""Proposal, ROIPooling and PSROIPooling against NumPy, written from the definitions, and OpenCV."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from converters.anchors import anchors
from converters.proof.misreadings import known_misreadings
from converters.pytorch import CaffeNet
from prototxt.errors import UserError
from prototxt.fork_params import Proposal
from prototxt.io import write_text
from tests.converters.layer_cases import RNG, Case, close, graph_of, layer_text

# Regions of 2 images: inside, cut by the border, outside, swapped corners, halves, of one cell.
REGIONS = np.array(
    [
        [0, 0, 0, 159, 127],
        [1, 16, 24, 100, 90],
        [0, 120, 100, 300, 220],
        [1, -60, -33, 40, 17],
        [0, 500, 500, 700, 700],
        [1, 90, 70, 40, 30],
        [0, 24, 8, 56.5, 41.5],
        [1, 33, 47, 33, 47],
        [0, 7.6, 3.2, 150.9, 120.4],
    ],
    np.float32,
)


def rounded(value: float) -> int:
    """To the nearest whole number, halves away from zero, as C rounds."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def max_of_regions(x: np.ndarray, regions: np.ndarray, pooled_hw: tuple[int, int], scale: float) -> np.ndarray:
    top = np.zeros((len(regions), x.shape[1], *pooled_hw), np.float32)
    for n, (image, *corners) in enumerate(regions.tolist()):
        x0, y0, x1, y1 = (rounded(c * scale) for c in corners)
        sides = (y1 - y0 + 1, x1 - x0 + 1)
        bin_h, bin_w = (np.float32(max(side, 1)) / np.float32(k) for side, k in zip(sides, pooled_hw))
        for i, j in np.ndindex(*pooled_hw):
            rows = [y0 + math.floor(np.float32(i) * bin_h), y0 + math.ceil(np.float32(i + 1) * bin_h)]
            columns = [x0 + math.floor(np.float32(j) * bin_w), x0 + math.ceil(np.float32(j + 1) * bin_w)]
            (r0, r1), (c0, c1) = np.clip(rows, 0, x.shape[2]), np.clip(columns, 0, x.shape[3])
            if r0 < r1 and c0 < c1:
                top[n, :, i, j] = x[int(image), :, r0:r1, c0:c1].max(axis=(1, 2))
    return top


@pytest.mark.parametrize("pooled_hw", [(7, 7), (6, 6), (2, 3), (1, 1)])
@pytest.mark.parametrize("scale", [0.0625, 0.125])
def test_roi_pooling(pooled_hw, scale, tmp_path):
    x = RNG(14).normal(size=(2, 3, 8, 10))
    params = f"roi_pooling_param {{ pooled_h: {pooled_hw[0]} pooled_w: {pooled_hw[1]} spatial_scale: {scale} }}"
    case = Case(layer_text("ROIPooling", "x regions", params), {"x": x, "regions": REGIONS})
    case.check(max_of_regions(x.astype(np.float32), REGIONS, pooled_hw, scale))
    close(case.opencv(tmp_path)[0], case.pytorch()[0])


def test_roi_pooling_takes_regions_of_four_axes():
    x = RNG(15).normal(size=(2, 3, 8, 10))
    params = "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 }"
    case = Case(layer_text("ROIPooling", "x regions", params), {"x": x, "regions": REGIONS[:, :, None, None]})
    case.check(max_of_regions(x.astype(np.float32), REGIONS, (2, 2), 0.0625))


def test_gradient_of_roi_pooling():
    """Each maximum's goes to where it stood: each value here is the largest of as many bins as hold it last."""
    params = "roi_pooling_param { pooled_h: 1 pooled_w: 2 }"
    graph = graph_of(layer_text("ROIPooling", "x regions", params), {"x": (1, 1, 1, 3), "regions": (1, 5)}, "TRAIN")
    x = torch.tensor([[[[1.0, 9.0, 2.0]]]], requires_grad=True)
    top = CaffeNet(graph)({"x": x, "regions": torch.tensor([[0.0, 0, 0, 2, 0]])})["top"]
    assert top.flatten().tolist() == [9, 9]  # bins of one and a half cells: 0-1 and 1-2
    top.sum().backward()
    assert x.grad.flatten().tolist() == [0, 2, 0]


def mean_of_regions(x: np.ndarray, regions: np.ndarray, outputs: int, group: int, scale: float) -> np.ndarray:
    top = np.zeros((len(regions), outputs, group, group), np.float32)
    one = np.float32(1)
    for n, (image, *corners) in enumerate(regions.tolist()):
        x0, y0 = (one * rounded(c) * np.float32(scale) for c in corners[:2])
        x1, y1 = (one * (rounded(c) + 1) * np.float32(scale) for c in corners[2:])
        bin_h, bin_w = (np.float32(max(b - a, np.float32(0.1))) / np.float32(group) for a, b in ((y0, y1), (x0, x1)))
        for d, i, j in np.ndindex(outputs, group, group):
            rows = [math.floor(np.float32(i) * bin_h + y0), math.ceil(np.float32(i + 1) * bin_h + y0)]
            columns = [math.floor(np.float32(j) * bin_w + x0), math.ceil(np.float32(j + 1) * bin_w + x0)]
            (r0, r1), (c0, c1) = np.clip(rows, 0, x.shape[2]), np.clip(columns, 0, x.shape[3])
            if r0 < r1 and c0 < c1:
                top[n, d, i, j] = x[int(image), (d * group + i) * group + j, r0:r1, c0:c1].mean()
    return top


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(("outputs", "group", "scale"), [(2, 3, 0.0625), (1, 7, 0.0625), (3, 2, 0.125)])
def test_psroi_pooling(images, outputs, group, scale, tmp_path):
    x = RNG(16).normal(size=(images, outputs * group * group, 8, 10))
    regions = REGIONS * np.array([images - 1, 1, 1, 1, 1], np.float32)
    params = f"psroi_pooling_param {{ spatial_scale: {scale} output_dim: {outputs} group_size: {group} }}"
    case = Case(layer_text("PSROIPooling", "x regions", params), {"x": x, "regions": regions})
    case.check(mean_of_regions(x.astype(np.float32), regions, outputs, group, scale))
    close(case.opencv(tmp_path)[0], case.pytorch()[0])


def test_regions_of_an_image_that_is_not_there():
    params = "roi_pooling_param { pooled_h: 1 pooled_w: 2 }"
    net = CaffeNet(graph_of(layer_text("ROIPooling", "x regions", params), {"x": (1, 1, 1, 3), "regions": (1, 5)}))
    with pytest.raises(UserError, match="a region is of image 3; expected 0 to 0"):
        net({"x": torch.ones(1, 1, 1, 3), "regions": torch.tensor([[3.0, 0, 0, 2, 0]])})


def test_anchors_of_faster_rcnn():
    """The nine of the paper's models, at the first cell and one row and one column on."""
    found = anchors(Proposal(16, 16, (0.5, 1, 2), (8, 16, 32), 16, 6000, 300, 0.7), (2, 2))
    first = [[-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199]]
    first += [[-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263]]
    first += [[-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359]]
    assert found.reshape(2, 2, 9, 4)[0, 0].tolist() == first
    assert (found.reshape(2, 2, 9, 4)[0, 1] - first).tolist() == [[16, 0, 16, 0]] * 9
    assert (found.reshape(2, 2, 9, 4)[1, 0] - first).tolist() == [[0, 16, 0, 16]] * 9


def proposals(inputs: dict[str, np.ndarray], stride: int, boxes: list[list[float]], min_size, before, most, overlap):
    """Regions and scores, box by box; `boxes` are the anchors of the first cell."""
    scores, offsets, (height, width, factor) = inputs["scores"][0], inputs["offsets"][0], inputs["info"][0]
    count, found = len(boxes), []
    for i, j, a in np.ndindex(*scores.shape[1:], count):
        x0, y0, x1, y1 = np.array(boxes[a]) + stride * np.array([j, i, j, i])
        wide, high = x1 - x0 + 1, y1 - y0 + 1
        dx, dy, dw, dh = offsets[4 * a : 4 * a + 4, i, j].astype(float)
        x, y, w, h = x0 + wide / 2 + dx * wide, y0 + high / 2 + dy * high, wide * np.exp(dw), high * np.exp(dh)
        box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [width - 1, height - 1] * 2)
        if min(box[2] - box[0] + 1, box[3] - box[1] + 1) >= min_size * factor:
            found.append((scores[count + a, i, j], box))
    found = sorted(found, key=lambda pair: -pair[0])[:before]
    kept = []
    for score, box in found:
        if len(kept) < most and all(overlap_of(box, other) <= overlap for _, other in kept):
            kept.append((score, box))
    return np.array([[0, *box] for _, box in kept]), np.array([[score] for score, _ in kept])


def overlap_of(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of boxes whose last pixel belongs to them."""
    sides = [max(0, min(a[k + 2], b[k + 2]) - max(a[k], b[k]) + 1) for k in (0, 1)]
    area = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return sides[0] * sides[1] / (area[0] + area[1] - sides[0] * sides[1])


def rpn(anchors_a_cell: int, seed: int = 17, map_hw: tuple[int, int] = (6, 8)) -> dict[str, np.ndarray]:
    """What a region proposal network might give for an image of 96 x 128 pixels."""
    rng = RNG(seed)
    scores = rng.permutation(2 * anchors_a_cell * map_hw[0] * map_hw[1]) / 1e4  # no two are equal
    return {
        "scores": scores.reshape(1, -1, *map_hw).astype(np.float32),
        "offsets": rng.normal(0, 0.3, (1, 4 * anchors_a_cell, *map_hw)).astype(np.float32),
        "info": np.array([[96, 128, 1.6]], np.float32),
    }


SMALL = "feat_stride: 16 base_size: 16 scale: 1 scale: 2.5 ratio: 1 ratio: 0.5 ratio: 2 min_size: 8"


@pytest.mark.parametrize(
    ("more", "before", "most", "overlap"),
    [
        ("", 6000, 300, 0.7),
        ("pre_nms_topn: 100 post_nms_topn: 7 nms_thresh: 0.3", 100, 7, 0.3),
        ("iou_threshold: 0.5 post_nms_topn: 1", 6000, 1, 0.5),
        ("nms_thresh: 1.5", 6000, 300, 1.5),
    ],
)
def test_proposal(more, before, most, overlap):
    inputs, first = rpn(6), anchors(Proposal(16, 16, (1, 0.5, 2), (1, 2.5), 8, 1, 1, 0.7), (1, 1)).tolist()
    text = layer_text("Proposal", "scores offsets info", f"proposal_param {{ {SMALL} {more} }}", "regions score")
    case = Case(text, inputs)
    wanted = proposals(inputs, 16, first, 8, before, most, overlap)
    assert 1 <= len(wanted[0]) <= most
    case.check(*wanted)
    assert case.graph.shapes["regions"] == (most, 5)


def test_proposal_of_py_faster_rcnn():
    inputs, first = rpn(9), anchors(Proposal(16, 16, (0.5, 1, 2), (8, 16, 32), 16, 1, 1, 0.7), (1, 1)).tolist()
    params = "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: \"'feat_stride': 16\" }"
    case = Case(layer_text("Python", "scores offsets info", params, "regions"), inputs)
    case.check(proposals(inputs, 16, first, 16, 6000, 300, 0.7)[0])


def test_proposal_of_nothing_large_enough():
    params = "proposal_param { min_size: 300 scale: 1 }"
    case = Case(layer_text("Proposal", "scores offsets info", params, "regions score"), rpn(3))
    case.check(np.zeros((0, 5)), np.zeros((0, 1)))


def test_proposal_of_opencv(tmp_path):
    """OpenCV heeds no least side, rounds the sides of other ratios otherwise, and fills up with rows of zeros."""
    params = "proposal_param { scale: 1 scale: 2 ratio: 1 min_size: 1 nms_thresh: 0.6 }"
    case = Case(layer_text("Proposal", "scores offsets info", params, "top"), rpn(2))
    ours, theirs = case.pytorch()[0], case.opencv(tmp_path)[0]
    assert len(ours) == 90 and theirs.shape == (300, 5)
    close(theirs[:90], ours)
    assert not theirs[90:].any()


def test_faster_rcnn_with_fewer_proposals_than_its_most():
    """What follows a Proposal is computed for as many regions as there are."""
    rng, inputs = RNG(18), rpn(6)
    layers = [
        layer_text("Proposal", "scores offsets info", f"proposal_param {{ {SMALL} }}").replace('"top"', '"rois"'),
        """layer { name: "pool" type: "ROIPooling" bottom: "maps" bottom: "rois" top: "pool"
             roi_pooling_param { pooled_h: 3 pooled_w: 3 spatial_scale: 0.0625 } }
           layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
           layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }""",
    ]
    inputs["maps"] = rng.normal(size=(1, 4, 6, 8))
    weights = {"fc": [rng.normal(size=(5, 36)), rng.normal(size=5)]}
    case = Case("\n".join(layers), inputs, weights)
    found = case.pytorch()[0]
    assert 10 < len(found) < 300
    close(case.onnx()[0], found)


def test_verify_knows_that_opencv_makes_other_proposals(tmp_path):
    text = layer_text("Proposal", "scores offsets info", f"proposal_param {{ {SMALL} }}", "top")
    case = Case(text, rpn(6))
    write_text(case.graph.net.message, tmp_path / "net.prototxt")
    (tmp_path / "net.caffemodel").write_bytes(b"")
    assert known_misreadings(case.graph, "OpenCV") == {
        "top": "OpenCV fills up with regions of zeros, heeds no min_size, rounds anchors otherwise"
    }
    assert case.opencv(tmp_path)[0].shape != case.pytorch()[0].shape
