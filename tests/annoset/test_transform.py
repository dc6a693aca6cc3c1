"""One image and its boxes through the whole layer: boxes stay on their pixels, and each parameter does what it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from annoset.augment.transform import BOX, Transformer
from prototxt.errors import UserError
from prototxt.graph import Layer
from prototxt.schema import BlobProto, EmitConstraint, LayerParameter
from prototxt.text import parse

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
WHOLE = np.array([0, 0, 1, 1], np.float32)

SSD = """
  transform_param {
    mirror: true  mean_value: [104, 117, 123]
    resize_param { height: 300 width: 300 interp_mode: [LINEAR, AREA, NEAREST, CUBIC, LANCZOS4] }
    emit_constraint { emit_type: CENTER }
    expand_param { prob: 0.5 max_expand_ratio: 4 }
  }
  annotated_data_param {
    batch_sampler { max_sample: 1 max_trials: 1 }
    batch_sampler {
      sampler { min_scale: 0.3 max_scale: 1 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }
      sample_constraint { min_jaccard_overlap: 0.1 } max_sample: 1 max_trials: 50
    }
    batch_sampler {
      sampler { min_scale: 0.3 max_scale: 1 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }
      sample_constraint { max_jaccard_overlap: 1 } max_sample: 1 max_trials: 50
    }
  }
"""


def transformer(text: str, phase: str = "TRAIN", channels: int = 3, root: Path | None = None) -> Transformer:
    proto = parse(f'name: "data" type: "AnnotatedData" {text}', LayerParameter()).message
    return Transformer(Layer(proto, "net.prototxt:7", phase), channels, root or Path())


def rows_of(*boxes: tuple[float, ...]) -> np.ndarray:
    rows = np.zeros((len(boxes), 8), np.float32)
    rows[:, 1] = np.arange(1, len(boxes) + 1)
    rows[:, 2] = 5
    rows[:, BOX] = np.reshape(boxes, (-1, 4))
    rows[:, 7] = np.arange(len(boxes)) % 2
    return rows


def normalised(transform: Transformer, image: np.ndarray) -> np.ndarray:
    out = np.empty((transform.channels, *image.shape[:2]), np.float32)
    transform.normalise(image, out)
    return out


def test_boxes_stay_on_their_pixels_through_the_full_augmentation():
    image = np.full((450, 600, 3), 90, np.uint8)
    cv2.rectangle(image, (150, 120), (329, 299), (0, 255, 0), -1)  # [150, 330) x [120, 300)
    rows = rows_of((150 / 600, 120 / 450, 330 / 600, 300 / 450))
    transform, shown = transformer(SSD), 0
    for seed in range(400):
        result, left = transform(image, rows, np.random.default_rng(seed))
        assert result.shape == (300, 300, 3) and result.dtype == np.uint8
        if not len(left):
            continue
        shown += 1
        green = (result[:, :, 1] > 200) & (result[:, :, 0] < 60)
        ys, xs = np.nonzero(green)
        seen = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        np.testing.assert_allclose(left[0, BOX] * 300, seen, atol=4)  # a source pixel covers up to 2.4 here
        assert left[0, [0, 1, 2, 7]].tolist() == [0, 1, 5, 0]
    assert shown > 300
    assert (image[0, 0] == 90).all() and rows[0, 3] == np.float32(0.25)


def test_expansion_fills_with_the_mean():
    transform = transformer("transform_param { mean_value: [103.94, 117, 123] expand_param { max_expand_ratio: 4 } }")
    grown, rows = transform(IMAGE, rows_of((0, 0, 1, 1)), np.random.default_rng(1))
    height, width = grown.shape[:2]
    assert height > 90 and width > 150
    left, top, right, bottom = np.rint(rows[0, BOX] * np.array([width, height, width, height])).astype(int)
    np.testing.assert_array_equal(grown[top:bottom, left:right], IMAGE)
    outside = np.ones((height, width), bool)
    outside[top:bottom, left:right] = False
    assert (grown[outside] == [104, 117, 123]).all()


def test_projection_clips_and_drops_boxes_by_hand():
    transform = transformer("transform_param {}")
    rows = rows_of((0.1, 0.1, 0.4, 0.4), (0.5, 0.5, 0.7, 0.7), (0.6, 0, 0.9, 0.5), (0.3, 0.3, 0.3, 0.4))
    kept = transform.project(rows, np.float32([0.2, 0.2, 0.6, 0.6]))
    np.testing.assert_allclose(kept[:, BOX], [[0, 0, 0.5, 0.5], [0.75, 0.75, 1, 1]], atol=1e-6)
    assert kept[:, 1].tolist() == [1, 2] and kept[:, 7].tolist() == [0, 1]


def test_emit_constraints():
    window = np.float32([0, 0, 0.5, 1])
    rows = rows_of((0.2, 0, 0.7, 1), (0.3, 0, 0.8, 1), (0.4, 0, 0.6, 1))  # shown: 60 %, 40 %, 50 %
    centre = transformer("transform_param { emit_constraint { emit_type: CENTER } }")
    assert centre.project(rows, window)[:, 1].tolist() == [1, 3]
    overlap = transformer("transform_param { emit_constraint { emit_type: MIN_OVERLAP emit_overlap: 0.45 } }")
    assert overlap.project(rows, window)[:, 1].tolist() == [1, 3]
    strict = EmitConstraint(emit_type=EmitConstraint.MIN_OVERLAP, emit_overlap=0.55)
    overlap.param.emit_constraint.CopyFrom(strict)
    assert overlap.project(rows, window)[:, 1].tolist() == [1]


def test_mirror():
    transform, generator, draws = transformer("transform_param { mirror: true }"), np.random.default_rng(3), 2000
    mirrored = 0
    for _ in range(draws):
        image, rows = transform(IMAGE, rows_of((0.1, 0.2, 0.4, 0.8)), generator)
        if np.array_equal(image, IMAGE):
            np.testing.assert_allclose(rows[0, BOX], [0.1, 0.2, 0.4, 0.8], atol=1e-6)
        else:
            mirrored += 1
            np.testing.assert_array_equal(image, IMAGE[:, ::-1])
            np.testing.assert_allclose(rows[0, BOX], [0.6, 0.2, 0.9, 0.8], atol=1e-6)
    assert abs(mirrored - draws / 2) < 4 * (draws / 4) ** 0.5


def test_crop_size_is_central_in_the_test_phase():
    transform = transformer("transform_param { crop_size: 41 }", "TEST")
    image, rows = transform(IMAGE, rows_of((0, 0, 1, 1), (0.3, 0.2, 0.5, 0.4)), np.random.default_rng(0))
    np.testing.assert_array_equal(image, IMAGE[9:50, 29:70])
    np.testing.assert_allclose(rows[1, BOX], [1 / 41, 3 / 41, 21 / 41, 15 / 41], atol=1e-6)
    assert rows[0, BOX].tolist() == [0, 0, 1, 1]
    assert transform.output_shape((60, 100)) == (3, 41, 41)


def test_crop_h_and_crop_w_are_random_in_training():
    transform, generator = transformer("transform_param { crop_h: 58 crop_w: 97 }"), np.random.default_rng(0)
    places = {f"{top},{left}": IMAGE[top : top + 58, left : left + 97] for top in range(3) for left in range(4)}
    seen = [transform(IMAGE, rows_of(), generator)[0] for _ in range(400)]
    counts = [sum(np.array_equal(image, place) for image in seen) for place in places.values()]
    assert sum(counts) == 400 and min(counts) > 10


def test_resize_comes_before_crop():
    transform = transformer("transform_param { resize_param { height: 30 width: 40 } crop_size: 20 }", "TEST")
    image, _ = transform(IMAGE, rows_of(), np.random.default_rng(0))
    np.testing.assert_array_equal(image, cv2.resize(IMAGE, (40, 30))[5:25, 10:30])


@pytest.mark.parametrize(("values", "mean"), [("[104, 117, 123]", [104, 117, 123]), ("7.5", [7.5] * 3)])
def test_mean_values_and_scale(values, mean):
    transform = transformer(f"transform_param {{ mean_value: {values} scale: 0.25 }}")
    expected = (IMAGE.transpose(2, 0, 1) - np.reshape(mean, (3, 1, 1))) * 0.25
    np.testing.assert_array_equal(normalised(transform, IMAGE), expected.astype(np.float32))


def test_no_mean():
    np.testing.assert_array_equal(normalised(transformer(""), IMAGE), IMAGE.transpose(2, 0, 1))


def test_a_mean_file_is_not_mirrored_with_the_image(tmp_path):
    mean = np.arange(3 * 60 * 100, dtype=np.float32).reshape(3, 60, 100) / 100
    blob = BlobProto(num=1, channels=3, height=60, width=100, data=mean.ravel())
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    transform = transformer('transform_param { mirror: true mean_file: "mean.binaryproto" }', root=tmp_path)
    results = []
    for seed in range(20):
        image, _ = transform(IMAGE, rows_of(), np.random.default_rng(seed))
        results.append(normalised(transform, image))
    plain, mirrored = IMAGE.transpose(2, 0, 1) - mean, IMAGE[:, ::-1].transpose(2, 0, 1) - mean
    same = [np.array_equal(result, plain) for result in results]
    assert 3 < sum(same) < 17
    assert all(one or np.array_equal(result, mirrored) for one, result in zip(same, results, strict=True))
    with pytest.raises(UserError, match=r"holds a mean of 60x100 \(height x width\); expected 30x40, the size of the"):
        transform.output_shape((30, 40))


def test_grey_images():
    transform = transformer("transform_param { mean_value: 100 expand_param { max_expand_ratio: 2 } }", channels=1)
    grown, _ = transform(IMAGE[:, :, 0], rows_of(), np.random.default_rng(1))
    assert grown.ndim == 2 and grown[-1, -1] == 100
    assert normalised(transform, grown)[0, -1, -1] == 0


def test_distortion_is_applied_before_expansion():
    text = """transform_param { expand_param { max_expand_ratio: 3 } mean_value: 100 distort_param {
        brightness_prob: 1 brightness_delta: 60 } }"""
    image, transform = np.full((60, 100, 3), 200, np.uint8), transformer(text)
    grown, _ = transform(image, rows_of(), np.random.default_rng(1))
    colours = {tuple(pixel) for pixel in grown.reshape(-1, 3)}
    assert (100, 100, 100) in colours and len(colours) == 2 and (200, 200, 200) not in colours


IMPOSSIBLE = [
    ("transform_param { noise_param { prob: 0.5 } }", "transform_param.noise_param.prob is 0.5; expected 1"),
    ("transform_param { mean_value: [1, 2] }", "has 2 mean_values; expected one, or one for each of the 3 channels"),
    ('transform_param { mean_file: "m" expand_param { max_expand_ratio: 2 } }', "has both expand_param and mean_file"),
    ("transform_param { expand_param {} }", "max_expand_ratio is 1"),
    ("transform_param { resize_param {} }", "height 0 and width 0"),
    ("annotated_data_param { batch_sampler { sampler { max_scale: 2 } } }", "batch_sampler[0].sampler has min_scale 1"),
]


@pytest.mark.parametrize(("text", "message"), IMPOSSIBLE)
def test_impossible_parameters(text, message):
    with pytest.raises(UserError) as error:
        transformer(text)
    assert 'layer "data" (AnnotatedData): ' in str(error.value) and message in str(error.value)


def test_colour_distortion_of_grey_images_is_refused():
    with pytest.raises(UserError, match=r"changes colours, but the images have 1 channel\(s\)\n  fix: set transform"):
        transformer("transform_param { distort_param { hue_prob: 0.5 } }", channels=1)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(UserError, match=r"crops 70x70 \(height x width\) from an image of 60x100; expected a crop no"):
        transformer("transform_param { crop_size: 70 }").output_shape((60, 100))


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (
            BlobProto(num=1, channels=1, height=2, width=2, data=[1] * 4),
            "shape (1, 1, 2, 2) and 4 values; expected 1 x 3",
        ),
        (BlobProto(num=1, channels=3, height=2, width=2, data=[1] * 4), "shape (1, 3, 2, 2) and 4 values"),
    ],
)
def test_a_mean_file_of_another_shape_is_refused(tmp_path, blob, message):
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    with pytest.raises(UserError) as error:
        transformer('transform_param { mean_file: "mean.binaryproto" }', root=tmp_path)
    assert f"{tmp_path / 'mean.binaryproto'}: the mean has {message}" in str(error.value)
