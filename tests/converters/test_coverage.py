"""What prior boxes cover, against comparing every box with every prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.coverage import Coverage, PriorLayer, best_overlaps, prior_layers
from converters.priors import prior_boxes
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.params import PriorBox
from prototxt.schema import NetParameter
from prototxt.text import parse


def make_layer(minimum=(30,), maximum=(), ratios=(), *, clip=False, map_hw=(1, 1), image_hw=(100, 100), step_hw=None):
    variances = (0.1, 0.1, 0.2, 0.2)
    p = PriorBox(tuple(minimum), tuple(maximum), tuple(ratios), variances, clip, 0.5, step_hw, None)
    return PriorLayer("p", p, False, map_hw, image_hw)


def every_pair(layer: PriorLayer, boxes: np.ndarray) -> np.ndarray:
    """The largest IoU of each box, from the corners of every prior."""
    blob = prior_boxes(layer.p, layer.map_hw, layer.image_hw)
    priors = blob[0, 0].reshape(-1, 4).astype(np.float64)
    boxes = boxes.astype(np.float64)[:, None]
    sides = np.minimum(boxes[..., 2:], priors[:, 2:]) - np.maximum(boxes[..., :2], priors[:, :2])
    inside = sides.clip(0).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (boxes, priors)]
    return (inside / (areas[0] + areas[1] - inside)).max(axis=1)


def random_boxes(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre, half = rng.random((count, 2)), np.exp(rng.normal(-1.6, 0.8, (count, 2))) / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1).clip(0, 1)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)].astype(np.float32)


sizes = st.integers(1, 300)
layers = st.builds(
    lambda low, more, ratios, clip, map_hw, image_hw, step_hw: make_layer(
        [low], [low + more] if more else [], ratios, clip=clip, map_hw=map_hw, image_hw=image_hw, step_hw=step_hw
    ),
    sizes,
    st.integers(0, 100),
    st.lists(st.floats(0.2, 5), max_size=3),
    st.booleans(),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(30, 300), st.integers(30, 300)),
    st.none() | st.tuples(st.integers(4, 90), st.integers(4, 90)),  # priors may lie outside the image
)


@given(layers, st.integers(0, 2**32 - 1))
def test_as_comparing_every_pair(layer, seed):
    boxes = random_boxes(seed, 40)
    np.testing.assert_allclose(best_overlaps(layer, boxes), every_pair(layer, boxes), atol=2e-6)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("model", ["ssd300_vgg_voc", "scratchdet300_root34_voc", "refinedet512_vgg_voc"])
def test_published_nets_as_comparing_every_pair(shared, model, clip):
    graph = Graph.load(shared / "reference" / "prototxt" / model / "deploy.prototxt")
    counts = {"ssd300_vgg_voc": 8732, "scratchdet300_root34_voc": 8892, "refinedet512_vgg_voc": 16320}
    boxes = random_boxes(1, 200)
    found = [replace(layer, p=replace(layer.p, clip=clip)) for layer in prior_layers(graph)]
    assert sum(layer.count for layer in found) == counts[model]
    for layer in found:
        np.testing.assert_allclose(best_overlaps(layer, boxes), every_pair(layer, boxes), atol=2e-6)


@pytest.mark.parametrize("shift", [0, 3, 10, 40])
def test_a_shifted_square_by_hand(shift):
    """A square of 30 moved by d along one axis: (30 - d) / (30 + d)."""
    box = np.array([[0.35 + shift / 100, 0.35, 0.65 + shift / 100, 0.65]])
    assert best_overlaps(make_layer(), box)[0] == pytest.approx(max(0, (30 - shift) / (30 + shift)), abs=1e-6)


def test_the_nearest_cell_counts():
    """Cells 25 pixels apart along x: a box of the prior's shape is never farther than 12.5 from one."""
    wide = make_layer(map_hw=(1, 4))
    boxes = np.array([[(x - 15) / 100, 0.35, (x + 15) / 100, 0.65] for x in (37.5, 50, 62.5)])
    np.testing.assert_allclose(best_overlaps(wide, boxes), [1, 17.5 / 42.5, 1], atol=1e-6)


def test_parts_change_nothing(monkeypatch):
    boxes = random_boxes(2, 500)
    for clip in (False, True):
        layer = make_layer([20], [50], (2, 0.5), clip=clip, map_hw=(5, 7))
        whole = best_overlaps(layer, boxes)
        monkeypatch.setattr("converters.coverage._MOST_PAIRS", 100)
        np.testing.assert_array_equal(best_overlaps(layer, boxes), whole)
        monkeypatch.undo()


@given(st.lists(layers, min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_more_layers_cover_more_and_higher_thresholds_less(several, seed):
    boxes = random_boxes(seed, 30)
    coverage = Coverage.of([replace(layer, image_hw=several[0].image_hw) for layer in several], boxes)
    assert ((coverage.overlaps >= 0) & (coverage.overlaps <= 1 + 1e-6)).all()
    report = coverage.report(np.zeros(len(boxes), np.int64), ["a"])
    for row in (report["all"], *report["layers"], *report["classes"]):
        assert row["covered"]["0.5"] >= row["covered"]["0.7"]
    for row in report["layers"]:
        assert all(report["all"]["covered"][t] >= share for t, share in row["covered"].items())
    assert sum(row["best_here"] for row in report["layers"]) == len(boxes)
    assert sum(row["boxes"] for row in report["sizes"]) == len(boxes)


def test_report_by_hand():
    """Two layers of one cell each, 30 and 60 pixels wide, on an image of 100: IoUs 1, 1/4 and 1, 1/4, 25/90."""
    fine, coarse = replace(make_layer([30]), name="fine"), replace(make_layer([60]), name="coarse")
    side = np.array([0.3, 0.6, 0.5])  # centred squares
    boxes = np.stack([0.5 - side / 2, 0.5 - side / 2, 0.5 + side / 2, 0.5 + side / 2], axis=1)
    report = Coverage.of([fine, coarse], boxes).report(np.array([0, 2, 2]), ["a", "b", "c"])
    assert report["all"]["mean_iou"] == pytest.approx((1 + 1 + 25 / 36) / 3, abs=1e-6)
    assert report["all"]["covered"] == {"0.5": 1, "0.7": pytest.approx(2 / 3)}
    assert [row["covered"]["0.7"] for row in report["classes"]] == [1, None, 0.5]
    assert report["classes"][1] == {"name": "b", "boxes": 0, "mean_iou": None, "covered": {"0.5": None, "0.7": None}}
    assert [(row["name"], row["boxes"]) for row in report["sizes"]] == [("small", 1), ("medium", 2), ("large", 0)]
    first, second = report["layers"]
    assert (first["name"], first["best_here"], first["priors"]) == ("fine", 1, 1)
    assert first["covered"] == {"0.5": pytest.approx(1 / 3), "0.7": pytest.approx(1 / 3)}
    assert second["mean_iou"] == pytest.approx((1 / 4 + 1 + 25 / 36) / 3, abs=1e-6)
    assert (second["best_here"], second["min_sizes"], second["sizes_wh"]) == (2, [60], [[60, 60]])


def test_of_equal_overlaps_the_first_layer_counts():
    twins = [replace(make_layer(), name=name) for name in "ab"]
    report = Coverage.of(twins, np.array([[0.3, 0.3, 0.7, 0.7]])).report(np.zeros(1, np.int64), ["x"])
    assert [row["best_here"] for row in report["layers"]] == [1, 0]


NET = """layer { name: "in" type: "Input" top: "data" input_param { shape { dim: [2, 3, 60, 90] } } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "map" pooling_param { kernel_size: 30 stride: 30 } }
"""
PRIORS = """layer { name: "p" type: "PriorBox" bottom: "map" bottom: "data" top: "%s"
  prior_box_param { min_size: 16.9 max_size: 25 aspect_ratio: 4 flip: %s clip: true } }
"""


def graph_of(text: str) -> Graph:
    return Graph(net_file(parse(text, NetParameter(), "net.prototxt").message, "net.prototxt"))


def test_layers_of_a_net():
    (layer,) = prior_layers(graph_of(NET + PRIORS % ("y", "true")))
    assert (layer.name, layer.map_hw, layer.image_hw, layer.step_hw) == ("p", (2, 3), (60, 90), (30, 30))
    assert (layer.count, layer.ratios) == (24, (4,))
    np.testing.assert_allclose(layer.sizes_wh, [(16, 16), (20, 20), (32, 8), (8, 32)], rtol=1e-6)
    (layer,) = prior_layers(graph_of(NET + PRIORS % ("y", "false")))
    assert (layer.count, layer.ratios, layer.flip) == (18, (4,), False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            NET,
            "net.prototxt: the net has no PriorBox layer, so no prior boxes; expected a detector's train, test or "
            "deploy net",
        ),
        (
            NET + PRIORS % ("y", "true") + PRIORS % ("z", "true"),
            'net.prototxt: 2 PriorBox layers are called "p"\n  fix: give each layer a name of its own',
        ),
    ],
)
def test_nets_that_have_none(text, message):
    with pytest.raises(UserError) as error:
        prior_layers(graph_of(text))
    assert str(error.value) == message
