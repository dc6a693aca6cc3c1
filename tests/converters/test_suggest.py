"""Sizes of prior boxes from the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from converters.coverage import Coverage, PriorLayer, prior_layers
from converters.suggest import snippet, suggest, with_sizes
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.params import PriorBox
from prototxt.schema import NetParameter
from prototxt.text import parse


def make_layer(name, minimum, maximum=(), ratios=(), *, flip=True, clip=False, cells=10, step=None):
    p = PriorBox(minimum, maximum, ratios, (0.1,) * 4, clip, 0.5, step and (step, step), None)
    return PriorLayer(name, p, flip, (cells, cells), (300, 300))


def make_boxes(seed: int, count: int, side: tuple[float, float], ratio: float) -> np.ndarray:
    """Boxes of sides within bounds (pixels of 300) and of widths `ratio` times their heights."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(*np.log(side), count)) / 300
    size = np.stack([sides * ratio**0.5, sides / ratio**0.5], axis=1)
    low = rng.random((count, 2)) * (1 - size)
    return np.concatenate([low, low + size], axis=1)


def shares(layers, boxes):
    best = Coverage.of(layers, boxes).best
    return [(best >= threshold).mean() for threshold in (0.5, 0.7)]


def sound(before, after) -> bool:
    """Whether `after` has the priors of `before` in number, and sizes that rise with the steps."""
    counts = [(layer.count, len(set(layer.p.ratios)), layer.flip, layer.p.clip) for layer in before]
    assert counts == [(layer.count, len(set(layer.p.ratios)), layer.flip, layer.p.clip) for layer in after]
    mins = [size for layer in sorted(after, key=lambda each: each.step_hw) for size in layer.p.min_sizes]
    assert mins == sorted(set(mins))
    assert all(low < high for layer in after for low, high in zip(layer.p.min_sizes, layer.p.max_sizes))
    assert all(isinstance(size, int) for layer in after for size in (*layer.p.min_sizes, *layer.p.max_sizes))
    return True


def test_one_shape_is_found():
    """Boxes of 60 by 30 pixels: a square of 42 and its ratio of 2."""
    boxes = make_boxes(0, 300, (41, 44), 2)
    (found,) = suggest([make_layer("p", (100,), (), (3, 1 / 3), cells=60)], boxes, np.zeros(300, int))
    assert found.p.ratios == (2, 0.5)
    assert 40 <= found.p.min_sizes[0] <= 45
    assert shares([found], boxes)[1] > 0.95


def test_ratios_without_flip_stand_either_way():
    boxes = make_boxes(0, 300, (41, 44), 0.4)
    (found,) = suggest([make_layer("p", (100,), (), (3,), flip=False, cells=60)], boxes, np.zeros(300, int))
    assert found.p.ratios == (0.4,)


PYRAMID = [
    make_layer("b", (120, 150, 190), (), (2, 0.5), cells=9),
    make_layer("a", (60, 75, 95), (), (2, 0.5), cells=19),
]
SSD = [
    make_layer("a", (30,), (60,), (2, 0.5), cells=38),
    make_layer("b", (60,), (111,), (2, 0.5, 3, 1 / 3), cells=19),
    make_layer("c", (111,), (162,), (2, 0.5), cells=5),
]


@pytest.mark.parametrize("head", [PYRAMID, SSD, [replace(each, p=replace(each.p, clip=True)) for each in SSD]])
@pytest.mark.parametrize("side", [(12, 25), (20, 60), (70, 250)])
def test_heads_of_every_kind_cover_more(head, side):
    boxes = make_boxes(1, 400, side, 1.3)
    found = suggest(head, boxes, np.arange(400) % 3)
    assert sound(head, found)
    before, after = shares(head, boxes), shares(found, boxes)
    assert sum(after) > sum(before) and after[0] >= before[0] and after[1] >= before[1]


def test_no_size_is_shorter_than_a_step_or_longer_than_ten():
    boxes = make_boxes(1, 400, (10, 280), 1)
    for layer in suggest([make_layer("p", (40,), (80,), cells=20)], boxes, np.zeros(400, int)):
        assert 15 <= layer.p.min_sizes[0] < layer.p.max_sizes[0] <= 150


def test_nothing_better_leaves_the_layers():
    boxes = np.array([[0.35, 0.35, 0.65, 0.65]])
    layers = [make_layer("p", (90,), cells=1)]
    assert suggest(layers, boxes, np.zeros(1, int)) == layers


def test_a_rare_class_is_not_given_up():
    """100 small boxes among 3000 large ones, and two shapes of priors: one goes to the small."""
    boxes = np.concatenate([make_boxes(2, 3000, (60, 70), 1), make_boxes(3, 100, (18, 20), 1)])
    label = np.repeat([0, 1], [3000, 100])
    found = suggest([make_layer("a", (40,), cells=38), make_layer("b", (90,), cells=19)], boxes, label)
    best = Coverage.of(found, boxes).best
    assert [size for layer in found for size in layer.p.min_sizes] == [
        pytest.approx(20, abs=4),
        pytest.approx(65, abs=6),
    ]
    assert min((best[label == each] >= 0.5).mean() for each in (0, 1)) > 0.95


def test_it_is_the_same_every_time_and_a_part_of_many_boxes_is_enough(monkeypatch):
    boxes, label = make_boxes(4, 1500, (20, 60), 1), np.arange(1500) % 2
    whole = suggest(SSD, boxes, label)
    assert whole == suggest(SSD, boxes, label)
    monkeypatch.setattr("converters.suggest._MOST_BOXES", 500)
    np.testing.assert_allclose(shares(suggest(SSD, boxes, label), boxes), shares(whole, boxes), atol=0.05)


@pytest.mark.parametrize("model", ["scratchdet300_root34_voc", "refinedet320_vgg_voc", "dsod300_voc"])
def test_blood_cells(shared, model):
    """Sizes from the training images cover more of the test images, at both thresholds, and no class loses."""
    from annoset.truths import read_truths

    splits = [read_truths(shared / "data" / "bccd", split=split) for split in ("trainval", "test")]
    trained, tested = (truths.only(truths.has_area) for truths in splits)
    layers = prior_layers(Graph.load(shared / "reference" / "prototxt" / model / "deploy.prototxt"))
    found = suggest(layers, trained.boxes, trained.label)
    assert sound(layers, found)
    before, after = shares(layers, tested.boxes), shares(found, tested.boxes)
    assert before[0] < 0.97 and before[1] < 0.57
    assert after[0] > 0.98 and after[1] > 0.62
    for index in range(3):
        of_class = tested.boxes[tested.label == index]
        assert shares(found, of_class)[0] >= shares(layers, of_class)[0] - 0.01


NET = """name: "n"
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: [2, 3, 60, 90] } } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "map" pooling_param { kernel_size: 30 stride: 30 } }
layer { name: "p" type: "PriorBox" bottom: "map" bottom: "data" top: "p" prior_box_param {
  min_size: 16.9 max_size: 25 aspect_ratio: 4 aspect_ratio: 1 clip: true variance: 0.5 step: 30 offset: 0.25 } }
"""


def test_writing_changes_sizes_and_ratios_alone():
    net = net_file(parse(NET, NetParameter()).message)
    (layer,) = prior_layers(Graph(net))
    other = replace(layer, p=replace(layer.p, min_sizes=(20,), max_sizes=(40,), ratios=(1.5, 1 / 1.5)))
    before = net.message.SerializeToString()
    changed = with_sizes(net.message, [other])
    assert net.message.SerializeToString() == before
    (again,) = prior_layers(Graph(net_file(changed)))
    assert again == other
    param, old = (message.layer[-1].prior_box_param for message in (changed, net.message))
    assert (list(param.min_size), list(param.max_size), list(param.aspect_ratio)) == ([20], [40], [1.5])
    for field in ("min_size", "max_size", "aspect_ratio"):
        param.ClearField(field)
        getattr(param, field).extend(getattr(old, field))
    assert changed == net.message


def test_snippet():
    net = net_file(parse(NET, NetParameter()).message)
    text = snippet(net.message, prior_layers(Graph(net)))
    assert text.startswith(
        "# p\nprior_box_param {\n  min_size: 16.0\n  max_size: 25.0\n  aspect_ratio: 4.0\n  clip: true"
    )
    parsed = parse(text.split("\n", 1)[1], net.message.layer[0].__class__())
    assert list(parsed.message.prior_box_param.variance) == [0.5]
