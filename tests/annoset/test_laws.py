"""The law of every random part of the training input, each with enough draws of one seed."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from annoset.augment.distort import draw_changes
from annoset.augment.sampler import CropSamplers, draw_boxes, jaccard, scale_and_ratio
from annoset.augment.transform import Plan, Transformer
from prototxt.graph import Layer
from prototxt.schema import BatchSampler, DistortionParameter, LayerParameter, SampleConstraint, Sampler
from prototxt.text import parse

OBJECTS = np.array([[0.1, 0.1, 0.5, 0.4], [0.6, 0.5, 0.9, 0.95], [0.45, 0.45, 0.55, 0.55]], np.float32)
DISTORT = DistortionParameter(
    brightness_prob=0.5,
    brightness_delta=32,
    contrast_prob=0.4,
    contrast_lower=0.5,
    contrast_upper=1.5,
    hue_prob=0.3,
    hue_delta=18,
    saturation_prob=0.6,
    saturation_lower=0.25,
    saturation_upper=1.75,
    random_order_prob=0.7,
)


def even(values, low: float, high: float) -> bool:
    """Whether values are even between low and high: Kolmogorov's statistic below its 0.1 % point."""
    return close(np.asarray(values, float), lambda x: np.clip((x - low) / (high - low), 0, 1))


def close(values: np.ndarray, law) -> bool:
    ordered, count = np.sort(values), len(values)
    steps = np.arange(count + 1) / count
    distance = max((steps[1:] - law(ordered)).max(), (law(ordered) - steps[:-1]).max())
    return distance * count**0.5 < 1.95


def same_law(one, other) -> bool:
    """Whether two samples may be of one law: Smirnov's statistic below its 0.1 % point."""
    one, other = np.sort(one), np.sort(other)
    at = np.concatenate((one, other))
    distance = np.abs(np.searchsorted(one, at, "right") / len(one) - np.searchsorted(other, at, "right") / len(other))
    return distance.max() * (len(one) * len(other) / (len(one) + len(other))) ** 0.5 < 1.95


def evenly(counts, total: int) -> bool:
    """Whether counts may be those of equally likely things: each within four standard deviations."""
    p = 1 / len(counts)
    return sum(counts) == total and all(abs(count - total * p) < 4 * (total * p * (1 - p)) ** 0.5 for count in counts)


def as_often(count: int, total: int, p: float) -> bool:
    return abs(count - total * p) < 4 * (total * p * (1 - p)) ** 0.5


def plans(text: str, count: int, image_hw: tuple[int, int] = (300, 400), phase: str = "TRAIN") -> list[Plan]:
    layer = Layer(parse(f'name: "data" {text}', LayerParameter()).message, "net.prototxt:7", phase)
    transformer, rng = Transformer(layer, 3, Path()), np.random.default_rng(11)
    return [transformer.plan(image_hw, np.zeros((0, 8), np.float32), rng) for _ in range(count)]


def test_the_statistics_tell_laws_apart():
    values = np.random.default_rng(0).random(4000)
    assert even(values, 0, 1) and not even(values**1.1, 0, 1) and not same_law(values[:2000], values[2000:] ** 1.2)


@pytest.mark.parametrize(
    ("name", "probability", "low", "high"),
    [("brightness", 0.5, -32, 32), ("contrast", 0.4, 0.5, 1.5), ("hue", 0.3, -18, 18), ("saturation", 0.6, 0.25, 1.75)],
)
def test_distortion_amounts(name, probability, low, high):
    rng = np.random.default_rng(3)
    drawn = [dict(draw_changes(DISTORT, rng)) for _ in range(8000)]
    amounts = [one[name] for one in drawn if name in one]
    assert as_often(len(amounts), 8000, probability) and even(amounts, low, high)
    # Changes are drawn apart from each other.
    both = sum(name in one and "order" in one for one in drawn)
    assert as_often(both, 8000, probability * 0.7)


def test_the_order_of_distortions():
    rng = np.random.default_rng(3)
    orders = [[name for name, _ in draw_changes(DISTORT, rng)] for _ in range(8000)]
    late = [one.index("contrast") > one.index("hue") for one in orders if {"contrast", "hue"} <= set(one)]
    assert as_often(sum(late), len(late), 0.5)
    assert all(one.index("saturation") < one.index("hue") for one in orders if {"saturation", "hue"} <= set(one))
    assert all(one[0] == "brightness" for one in orders if "brightness" in one)
    assert all(one[-1] == "order" for one in orders if "order" in one)


def test_channels_are_shuffled_evenly():
    rng = np.random.default_rng(3)
    drawn = [dict(draw_changes(DISTORT, rng)).get("order") for _ in range(8000)]
    shuffled = [one for one in drawn if one]
    assert as_often(len(shuffled), 8000, 0.7)
    assert evenly([shuffled.count(order) for order in permutations(range(3))], len(shuffled))


def test_expansion():
    drawn = plans("transform_param { expand_param { prob: 0.3 max_expand_ratio: 4 } }", 8000, (3000, 4000))
    grown = [plan.canvas for plan in drawn if plan.canvas != (0, 0, 3000, 4000)]
    assert as_often(len(grown), 8000, 0.3)
    assert even([canvas.width / 4000 for canvas in grown], 1, 4)
    assert all(abs(canvas.height / 3000 - canvas.width / 4000) < 1 / 3000 for canvas in grown)
    assert even([-canvas.left / (canvas.width - 4000) for canvas in grown if canvas.width > 5000], 0, 1)
    assert even([-canvas.top / (canvas.height - 3000) for canvas in grown if canvas.width > 5000], 0, 1)


def test_mirror_interpolation_and_place_of_the_crop():
    modes = "interp_mode: [LINEAR, AREA, NEAREST, CUBIC, LANCZOS4]"
    text = f"transform_param {{ mirror: true crop_size: 30 resize_param {{ height: 34 width: 36 {modes} }} }}"
    drawn = plans(text, 7000)
    assert as_often(sum(plan.mirror for plan in drawn), 7000, 0.5)
    assert evenly([sum(plan.interpolation == mode for plan in drawn) for mode in range(5)], 7000)
    places = [(plan.crop.top, plan.crop.left) for plan in drawn]
    assert evenly([places.count((top, left)) for top in range(5) for left in range(7)], 7000)
    central = plans(text, 50, phase="TEST")
    assert {(plan.crop.top, plan.crop.left) for plan in central} == {(2, 3)}
    assert 10 < sum(plan.mirror for plan in central) < 40  # Caffe mirrors in both phases


def test_salt_and_pepper_fall_evenly():
    text = "transform_param { noise_param { saltpepper: true saltpepper_param { fraction: 0.25 value: 0 } } }"
    specks = np.concatenate([plan.specks for plan in plans(text, 200, (40, 60))])
    assert len(specks) == 200 * 600
    cells = np.bincount(specks[:, 0] // 8 * 6 + specks[:, 1] // 10, minlength=30)
    assert evenly(cells.tolist(), len(specks)) and specks.max(axis=0).tolist() == [39, 59]


def test_boxes_before_the_constraint():
    sampler = Sampler(min_scale=0.3, max_scale=0.7, min_aspect_ratio=0.5, max_aspect_ratio=2)
    drawn = draw_boxes(np.tile(np.float32(scale_and_ratio(sampler)), (20_000, 1)), np.random.default_rng(5)).astype(
        float
    )
    width, height = drawn[:, 2] - drawn[:, 0], drawn[:, 3] - drawn[:, 1]
    assert even(np.sqrt(width * height), 0.3, 0.7)
    assert even((width / height), 0.5, 2)  # 1/scale² is above 2, so that nothing is held back
    assert even(drawn[:, 0] / (1 - width), 0, 1) and even(drawn[:, 1] / (1 - height), 0, 1)


def test_the_aspect_ratio_is_held_to_what_fits():
    sampler = Sampler(min_scale=0.9, max_scale=0.9, min_aspect_ratio=0.5, max_aspect_ratio=2)
    drawn = draw_boxes(np.tile(np.float32(scale_and_ratio(sampler)), (20_000, 1)), np.random.default_rng(5)).astype(
        float
    )
    width, height = drawn[:, 2] - drawn[:, 0], drawn[:, 3] - drawn[:, 1]
    low, high = 0.81, 1 / 0.81
    ratio = width / height
    assert as_often(int((ratio < low + 1e-4).sum()), 20_000, (low - 0.5) / 1.5)
    assert as_often(int((ratio > high - 1e-4).sum()), 20_000, (2 - high) / 1.5)
    inside = ratio[(ratio > low + 1e-4) & (ratio < high - 1e-4)]
    assert even(inside, low, high)


def one_by_one(sampler: BatchSampler, rng: np.random.Generator) -> list[np.ndarray]:
    """GenerateSamples as it is told: a box, its constraint, the next box, until enough are found or trials are used."""
    found, bounds = [], np.float32([scale_and_ratio(sampler.sampler)])
    for _ in range(sampler.max_trials):
        if sampler.HasField("max_sample") and len(found) >= sampler.max_sample:
            break
        box = draw_boxes(bounds, rng)
        overlaps = jaccard(box, OBJECTS)[0]
        if (overlaps >= sampler.sample_constraint.min_jaccard_overlap).any():
            found.append(box[0])
    return found


@pytest.mark.parametrize(
    "limits", [{"max_sample": 1, "max_trials": 50}, {"max_sample": 2, "max_trials": 7}, {"max_trials": 55}], ids=str
)
def test_drawing_together_is_drawing_one_by_one(limits):
    sampler = BatchSampler(
        sampler=Sampler(min_scale=0.3, max_scale=1, min_aspect_ratio=0.5, max_aspect_ratio=2),
        sample_constraint=SampleConstraint(min_jaccard_overlap=0.3),
        **limits,
    )
    other = BatchSampler(sampler=sampler.sampler, sample_constraint=SampleConstraint(max_jaccard_overlap=0.1))
    rng = np.random.default_rng(8)
    together = [CropSamplers([other, sampler]).sample(OBJECTS, rng)[1] for _ in range(800)]
    apart = [one_by_one(sampler, rng) for _ in range(800)]
    assert same_law([len(boxes) for boxes in together], [len(boxes) for boxes in apart])
    ours, theirs = (np.array([box for boxes in runs for box in boxes[:2]]) for runs in (together, apart))
    assert all(same_law(ours[:, side], theirs[:, side]) for side in range(4))


def test_the_crop_is_drawn_from_all_boxes_that_were_found():
    whole = BatchSampler(max_sample=1, max_trials=1)
    two = BatchSampler(sampler=Sampler(min_scale=0.5, max_scale=0.5), max_sample=2, max_trials=9)
    never = BatchSampler(sample_constraint=SampleConstraint(min_jaccard_overlap=2), max_trials=9)
    samplers, rng = CropSamplers([whole, never, two]), np.random.default_rng(1)
    picks = [samplers.pick(OBJECTS, rng)[0] for _ in range(6000)]
    assert as_often(picks.count(0), 6000, 1 / 3) and picks.count(1) == 0 and as_often(picks.count(2), 6000, 2 / 3)
