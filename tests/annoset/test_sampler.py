"""Batch samplers: closed-form overlaps, the laws of the drawn boxes, and every kind of constraint."""

from __future__ import annotations

import numpy as np
import pytest

from annoset.augment.sampler import CropSamplers, check_samplers, coverage, draw_boxes, jaccard, scale_and_ratio
from prototxt.errors import UserError
from prototxt.schema import BatchSampler, SampleConstraint, Sampler

OBJECTS = np.array([[0.1, 0.1, 0.5, 0.4], [0.6, 0.5, 0.9, 0.95], [0.45, 0.45, 0.55, 0.55]], np.float32)


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def boxes(*corners: tuple[float, ...]) -> np.ndarray:
    return np.array(corners, np.float32)


def draw(sampler: Sampler, count: int, generator: np.random.Generator) -> np.ndarray:
    return draw_boxes(np.tile(np.float32(scale_and_ratio(sampler)), (count, 1)), generator)


def sample_boxes(sampler: BatchSampler, objects: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return CropSamplers([sampler]).sample(objects, generator)[0]


def satisfies(drawn: np.ndarray, objects: np.ndarray, constraint: SampleConstraint) -> np.ndarray:
    samplers = CropSamplers([BatchSampler(sample_constraint=constraint)])
    return samplers.satisfied(drawn, np.zeros(len(drawn), int), objects)


def pick_crop(samplers: list[BatchSampler], objects: np.ndarray, generator: np.random.Generator):
    return CropSamplers(samplers).pick(objects, generator)


def test_overlaps_by_hand():
    one = boxes((0, 0, 0.5, 0.5))
    others = boxes((0.25, 0.25, 0.75, 0.75), (0.5, 0.5, 1, 1), (0, 0, 1, 1), (0.1, 0.1, 0.1, 0.3))
    np.testing.assert_allclose(jaccard(one, others), [[0.0625 / 0.4375, 0, 0.25, 0]], rtol=1e-6)
    np.testing.assert_allclose(coverage(one, others), [[0.25, 0, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(coverage(others, one)[:, 0], [0.25, 0, 0.25, 0], rtol=1e-6)


def test_drawn_boxes_follow_the_bounds_of_scale_and_aspect_ratio():
    sampler = Sampler(min_scale=0.3, max_scale=1, min_aspect_ratio=0.5, max_aspect_ratio=2)
    drawn = draw(sampler, 50_000, rng()).astype(float)
    width, height = drawn[:, 2] - drawn[:, 0], drawn[:, 3] - drawn[:, 1]
    scale, ratio = np.sqrt(width * height), width / height

    assert drawn.min() >= 0 and drawn.max() <= 1
    assert scale.min() >= 0.3 - 1e-5 and scale.max() <= 1 + 1e-5
    assert (ratio >= np.maximum(0.5, scale**2) - 1e-4).all()
    assert (ratio <= np.minimum(2, 1 / scale**2) + 1e-4).all()
    # Even draws: the means of scale (0.65), of the position among the possible ones (0.5), their spread.
    assert scale.mean() == pytest.approx(0.65, abs=0.005)
    assert scale.std() == pytest.approx(0.7 / 12**0.5, abs=0.005)
    small = scale < 0.6
    for low, side in ((drawn[small, 0], width[small]), (drawn[small, 1], height[small])):
        assert (low / (1 - side)).mean() == pytest.approx(0.5, abs=0.01)
    assert ratio[small].mean() == pytest.approx(1.25, abs=0.01)


def test_boxes_of_nearly_the_whole_image_survive_rounding():
    sampler = Sampler(min_scale=0.999, max_scale=1, min_aspect_ratio=0.5, max_aspect_ratio=2)
    drawn = draw(sampler, 200_000, rng())
    assert np.isfinite(drawn).all()
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert (drawn[:, 2:] > drawn[:, :2]).all()


def test_the_default_sampler_takes_the_whole_image():
    np.testing.assert_array_equal(draw(Sampler(), 3, rng()), [[0, 0, 1, 1]] * 3)


CONSTRAINTS = [
    {"min_jaccard_overlap": 0.1},
    {"min_jaccard_overlap": 0.3},
    {"max_jaccard_overlap": 0.2},
    {"min_jaccard_overlap": 0.1, "max_jaccard_overlap": 0.3},
    {"min_sample_coverage": 0.2},
    {"max_sample_coverage": 0.1},
    {"min_object_coverage": 0.9},
    {"max_object_coverage": 0.5},
    {"min_object_coverage": 0.25, "max_object_coverage": 0.75},
]


def overlap(kind: str, box: np.ndarray, thing: np.ndarray) -> float:
    """The measure that a constraint bounds, one pair at a time."""
    width = min(box[2], thing[2]) - max(box[0], thing[0])
    height = min(box[3], thing[3]) - max(box[1], thing[1])
    shared = max(width, 0) * max(height, 0)
    size, thing_size = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, thing))
    whole = {"jaccard_overlap": size + thing_size - shared, "sample_coverage": size, "object_coverage": thing_size}
    return shared / whole[kind]


@pytest.mark.parametrize("bounds", CONSTRAINTS, ids=str)
def test_every_sample_satisfies_its_constraint(bounds):
    sampler = BatchSampler(
        sampler=Sampler(min_scale=0.3, max_scale=1, min_aspect_ratio=0.5, max_aspect_ratio=2),
        sample_constraint=SampleConstraint(**bounds),
        max_trials=3000,
    )
    found = sample_boxes(sampler, OBJECTS, rng()).astype(float)
    drawn = 3000
    assert 30 < len(found) <= drawn
    kind = next(iter(bounds)).split("_", 1)[1]
    low, high = bounds.get(f"min_{kind}", -1), bounds.get(f"max_{kind}", 2)
    for box in found:
        assert any(low - 1e-5 <= overlap(kind, box, thing) <= high + 1e-5 for thing in OBJECTS.astype(float))


@pytest.mark.parametrize("bounds", CONSTRAINTS, ids=str)
def test_no_good_box_is_rejected(bounds):
    sampler = Sampler(min_scale=0.1, max_scale=1, min_aspect_ratio=0.5, max_aspect_ratio=2)
    drawn = draw(sampler, 500, rng(3))
    kind = next(iter(bounds)).split("_", 1)[1]
    low, high = bounds.get(f"min_{kind}", -1), bounds.get(f"max_{kind}", 2)
    expected = [any(low <= overlap(kind, box, thing) <= high for thing in OBJECTS) for box in drawn]
    np.testing.assert_array_equal(satisfies(drawn, OBJECTS, SampleConstraint(**bounds)), expected)


def test_only_the_first_kind_of_several_counts_as_in_ssd_caffe():
    drawn = boxes((0.1, 0.1, 0.5, 0.4), (0.7, 0.1, 0.9, 0.3))  # the first object, and nothing
    both = SampleConstraint(min_jaccard_overlap=0.5, min_sample_coverage=2)
    assert satisfies(drawn, OBJECTS, both).tolist() == [True, False]
    later = SampleConstraint(min_sample_coverage=0.5, max_object_coverage=-1)
    assert satisfies(drawn, OBJECTS, later).tolist() == [True, False]


def test_without_objects_only_samplers_without_a_constraint_find_boxes():
    nothing = np.empty((0, 4), np.float32)
    free = BatchSampler(max_sample=1, max_trials=1)
    bound = BatchSampler(sample_constraint=SampleConstraint(max_jaccard_overlap=1), max_sample=1, max_trials=50)
    assert len(sample_boxes(free, nothing, rng())) == 1
    assert len(sample_boxes(bound, nothing, rng())) == 0
    assert pick_crop([bound], nothing, rng()) is None


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({"max_trials": 50}, 50),
        ({}, 100),
        ({"max_sample": 1, "max_trials": 50}, 1),
        ({"max_sample": 0, "max_trials": 50}, 0),
        ({"max_sample": 500, "max_trials": 300}, 300),
        ({"max_trials": 0}, 0),
    ],
)
def test_limits_on_trials_and_samples(limits, count):
    assert sample_boxes(BatchSampler(**limits), OBJECTS, rng()).shape == (count, 4)


def test_the_crop_is_drawn_evenly_from_all_samplers():
    whole = BatchSampler(max_sample=1, max_trials=1)
    half = BatchSampler(sampler=Sampler(min_scale=0.5, max_scale=0.5), max_sample=3, max_trials=3)
    generator, draws = rng(), 4000
    crops = [pick_crop([whole, half], OBJECTS, generator) for _ in range(draws)]
    wholes = sum(bool(box[2] - box[0] == 1) for _, box in crops)
    assert all((index == 0) == (box[2] - box[0] == 1) for index, box in crops)
    assert abs(wholes - draws / 4) < 4 * (draws * 0.25 * 0.75) ** 0.5


def test_a_sampler_that_does_not_start_from_the_image_finds_nothing():
    assert pick_crop([BatchSampler(use_original_image=False)], OBJECTS, rng()) is None
    assert pick_crop([], OBJECTS, rng()) is None


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_scale": 0}, "min_scale 0 and max_scale 1; expected 0 < min_scale <= max_scale <= 1"),
        ({"min_scale": 0.5, "max_scale": 0.25}, "min_scale 0.5 and max_scale 0.25"),
        ({"max_scale": 1.5}, "min_scale 1 and max_scale 1.5"),
        ({"min_aspect_ratio": 0}, "min_aspect_ratio 0 and max_aspect_ratio 1; expected 0 < min_aspect_ratio"),
        ({"min_aspect_ratio": 3}, "min_aspect_ratio 3 and max_aspect_ratio 1"),
    ],
)
def test_bounds_that_leave_nothing_to_draw(bounds, message):
    with pytest.raises(UserError) as error:
        check_samplers([BatchSampler(), BatchSampler(sampler=Sampler(**bounds))], 'layer "data"')
    assert str(error.value).startswith('layer "data": annotated_data_param.batch_sampler[1].sampler has ')
    assert message in str(error.value)
