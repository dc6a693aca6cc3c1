"""DetectionEvaluate against a real Caffe, and by hand where sizes of images come in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.pytorch.layers import MODULES
from converters.pytorch.pixels import read_name_sizes, to_pixels
from prototxt import schema
from prototxt.errors import UserError

CASES = ("detectionevaluate_*",)
SHAPES = {"detection_out": (1, 1, 1, 7), "label": (1, 1, 1, 8)}


def test_case(case):
    case.check_tops()


def evaluate(make_layer, param: str):
    text = f'type: "DetectionEvaluate" name: "e" top: "y" detection_evaluate_param {{ {param} }}'
    return MODULES["DetectionEvaluate"](make_layer(text, SHAPES))


def rows(*values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[None, None]


def test_border_pixels_count_when_sizes_are_given(make_layer, tmp_path):
    """Boxes of 5 x 5 and 5 x 4 of 10 x 10 pixels: 0.8 in 0-1, but (6 * 5) / (6 * 6) = 0.83 with the border pixel."""
    (tmp_path / "sizes.txt").write_text("a 10 10\n")
    found, truth = rows((0, 1, 0.9, 0, 0, 0.5, 0.5)), rows((0, 1, 0, 0, 0, 0.5, 0.4, 0))
    param = "num_classes: 2 overlap_threshold: 0.82"
    assert evaluate(make_layer, param)(found, truth)[0, 0, 1, 3:].tolist() == [0, 1]
    sized = evaluate(make_layer, f'{param} name_size_file: "{tmp_path / "sizes.txt"}"')
    assert sized(found, truth)[0, 0, 1, 3:].tolist() == [1, 0]


def test_sizes_follow_the_database_and_start_again(make_layer, tmp_path):
    (tmp_path / "sizes.txt").write_text("a 10 10\nb 1000 1000\n\nc 10 10\n")
    module = evaluate(make_layer, f'num_classes: 2 overlap_threshold: 0.82 name_size_file: "{tmp_path / "sizes.txt"}"')
    found = rows((0, 1, 0.9, 0, 0, 0.5, 0.5), (1, 1, 0.9, 0, 0, 0.5, 0.5))
    truth = rows((0, 1, 0, 0, 0, 0.5, 0.4, 0), (1, 1, 0, 0, 0, 0.5, 0.4, 0))
    verdicts = []
    for wanted_position in (0, 2, 1):
        assert module.position == wanted_position
        verdicts += module(found, truth)[0, 0, 1:, 3].tolist()
    assert verdicts == [1, 0, 1, 1, 0, 1]  # images a b, c a, b c
    assert module.position == 0


def test_an_image_without_rows_is_counted(make_layer, tmp_path):
    (tmp_path / "sizes.txt").write_text("".join(f"{i} 10 10\n" for i in range(9)))
    module = evaluate(make_layer, f'num_classes: 2 name_size_file: "{tmp_path / "sizes.txt"}"')
    module(rows((2, 1, 0.9, 0, 0, 1, 1)), rows((-1, 0, 0, 0, 0, 0, 0, 0)))
    assert module.position == 3


def test_with_two_classes_every_object_is_one(make_layer):
    found, truth = rows((0, 1, 0.9, 0, 0, 0.5, 0.5)), rows((0, 7, 0, 0, 0, 0.5, 0.5, 0))
    assert evaluate(make_layer, "num_classes: 2")(found, truth)[0, 0].tolist() == [
        [-1, 1, 1, -1, -1],
        [0, 1, pytest.approx(0.9), 1, 0],
    ]


HALF = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32)


@pytest.mark.parametrize(
    ("resize", "size_hw", "box", "area"),
    [
        ("", (100, 200), (50, 25, 150, 75), 101 * 51),
        ("resize_mode: WARP height: 300 width: 300", (100, 200), (50, 25, 150, 75), 101 * 51),
        # The image fills the middle half of the input's height.
        ("resize_mode: FIT_LARGE_SIZE_AND_PAD height: 300 width: 300", (100, 200), (50, 0, 150, 100), 101 * 101),
        ("resize_mode: FIT_LARGE_SIZE_AND_PAD height: 300 width: 300", (200, 100), (0, 50, 100, 150), 101 * 101),
        ("resize_mode: FIT_SMALL_SIZE height: 300 width: 300", (100, 200), (50, 25, 150, 75), 101 * 51),
        # Scaled by the given size and cut to the image; no border pixel.
        (
            "resize_mode: FIT_SMALL_SIZE height: 300 width: 300 height_scale: 80 width_scale: 400",
            (50, 200),
            (100, 20, 200, 50),
            100 * 30,
        ),
        ("", (1, 1), (0.25, 0.25, 0.75, 0.75), 0.25),
    ],
)
def test_to_pixels(resize, size_hw, box, area):
    from google.protobuf import text_format

    param = text_format.Parse(resize, schema.ResizeParameter()) if resize else None
    boxes, areas = to_pixels(HALF, size_hw, param)
    np.testing.assert_allclose(boxes, [box], rtol=1e-6)
    np.testing.assert_allclose(areas, [area], rtol=1e-6)


def test_a_box_in_the_padding_stays_as_caffe_leaves_it():
    param = schema.ResizeParameter(resize_mode=schema.ResizeParameter.FIT_LARGE_SIZE_AND_PAD, height=300, width=300)
    boxes, _ = to_pixels(np.array([[0.1, 0.0, 0.2, 0.25]], np.float32), (100, 200), param)
    np.testing.assert_allclose(boxes, [[20, 0, 40, 25]], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 10 10\nb 10\n", r'sizes.txt:2: "b 10" is not a line of a name_size file; expected NAME HEIGHT WIDTH'),
        ("a 10 0\n", r'sizes.txt:1: "a 10 0" is not a line'),
        ("\n", "the name_size file is empty"),
        (None, "there is no such file"),
    ],
)
def test_bad_name_size_file(tmp_path, text, message):
    if text is not None:
        (tmp_path / "sizes.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_name_sizes(tmp_path / "sizes.txt")


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("", "num_classes is missing or 0"),
        ("num_classes: 3 overlap_threshold: 0", "overlap_threshold is 0; expected above 0"),
        ("num_classes: 3 resize_param { height: 300 }", "resize_param lacks height or width"),
    ],
)
def test_refused(make_layer, param, message):
    with pytest.raises(UserError, match=message):
        evaluate(make_layer, param)


@pytest.mark.parametrize(
    ("found", "truth", "what"),
    [
        ((4, 0, 0.9, 0, 0, 1, 1), (0, 1, 0, 0, 0, 1, 1, 0), "detection"),
        ((0, 1, 0.9, 0, 0, 1, 1), (4, 0, 0, 0, 0, 1, 1, 0), "ground truth"),
    ],
)
def test_background_is_no_object(make_layer, found, truth, what):
    with pytest.raises(UserError, match=rf"image 4 of the batch has a {what} of the background class \(0\)"):
        evaluate(make_layer, "num_classes: 3")(rows(found), rows(truth))
