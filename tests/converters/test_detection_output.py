"""DetectionOutput and non-maximum suppression against a real Caffe and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.priors import prior_boxes
from converters.pytorch.layers import MODULES
from converters.pytorch.nms import Suppression, greedy_nms
from prototxt.errors import UserError
from prototxt.graph import Graph

CASES = ("detectionoutput_*", "refinedet_detectionoutput_*")
SHAPES = {"loc": (2, 24), "conf": (2, 18), "priors": (1, 2, 24)}


def test_case(case):
    if case.name.endswith("score_ties_keep10"):  # which of the equal scores stay hangs on Caffe's unstable sort
        found, wanted = case.tops["detection_out"].numpy()[0, 0], case.wanted["out/detection_out"][0, 0]
        assert len(found) == len(wanted)
        np.testing.assert_allclose(np.sort(found[:, 2]), np.sort(wanted[:, 2]), atol=1e-6)
    else:
        case.check_tops()


@pytest.mark.parametrize("model", ["ssd300_vgg", "dsod300", "grp_dsod320", "scratchdet300_root34", "refinedet320_vgg"])
def test_detections_of_published_nets(shared, model):
    """From the predictions that Caffe made: the same rows in the same order."""
    graph = Graph.load(shared / "reference" / "prototxt" / f"{model}_voc" / "deploy.prototxt")
    numbers = np.load(shared / "oracle" / "models" / f"{model}_voc.npz")
    layers = [layer for layer in graph.layers if layer.type == "PriorBox"]
    priors = [prior_boxes(layer.p, *(shape[2:] for shape in layer.bottom_shapes)) for layer in layers]
    predicted = {key: torch.from_numpy(numbers[key]) for key in numbers if key.startswith("out/")}
    stage = "odm" if "out/odm_loc" in predicted else "mbox"
    bottoms = [predicted[f"out/{stage}_loc"], probabilities(predicted[f"out/{stage}_conf"], 21)]
    bottoms.append(torch.from_numpy(np.concatenate(priors, axis=2)))
    if stage == "odm":
        bottoms += [probabilities(predicted["out/arm_conf"], 2), predicted["out/arm_loc"]]
    (layer,) = (layer for layer in graph.layers if layer.type == "DetectionOutput")
    found = MODULES["DetectionOutput"](layer)(*bottoms).numpy()
    np.testing.assert_allclose(found, numbers["out/detection_out"], rtol=0, atol=2e-5)


def probabilities(scores: torch.Tensor, classes: int) -> torch.Tensor:
    return scores.reshape(1, -1, classes).softmax(2).flatten(1)


def squares(corners: list[float], size: float = 0.2) -> np.ndarray:
    return np.array([(x, 0, x + size, size) for x in corners], np.float32)


def test_nms_keeps_what_overlaps_at_the_threshold():
    boxes = np.array([(0, 0, 1, 1), (0, 0, 1, 0.5), (0, 0.5, 1, 1), (0, 0, 1, 0.75)], np.float32)
    assert greedy_nms(boxes, 0.5, limit=9) == [0, 1, 2]
    assert greedy_nms(boxes, 0.49, limit=9) == [0]
    assert greedy_nms(boxes, 0.5, limit=2) == [0, 1]


def test_nms_compares_with_kept_boxes_only():
    assert greedy_nms(squares([0, 0.1, 0.2]), 0.2, limit=9) == [0, 2]


def test_eta_lowers_the_threshold_for_later_boxes():
    boxes = squares([0, 0.5, 0.05])  # the third overlaps the first by 0.6
    for eta, wanted in ((1.0, [True, True, True]), (0.9, [True, True, False])):
        suppression = Suppression(boxes, 0.61, eta)
        assert [suppression.keeps(i) for i in range(3)] == wanted


def random_bottoms(images: int, priors: int, classes: int) -> list[torch.Tensor]:
    random = np.random.default_rng(5)
    low = random.uniform(0, 0.7, (priors, 2))
    boxes = np.concatenate([low, low + random.uniform(0.05, 0.3, (priors, 2))], axis=1)
    blob = np.stack([boxes.reshape(-1), np.full(priors * 4, 0.1)])[None]
    scores = random.dirichlet(np.full(classes, 0.3), (images, priors))
    arrays = (random.normal(size=(images, priors * 4)), scores.reshape(images, -1), blob)
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def test_keep_top_k_is_the_best_of_all_classes_in_class_order(make_layer):
    bottoms = random_bottoms(images=2, priors=300, classes=5)
    shapes = {name: tuple(b.shape) for name, b in zip(("loc", "conf", "priors"), bottoms)}
    text = """type: "DetectionOutput" name: "d" top: "y" detection_output_param { num_classes: 5 keep_top_k: %d
        code_type: CENTER_SIZE nms_param { nms_threshold: 0.45 } }"""
    kept, every = (MODULES["DetectionOutput"](make_layer(text % k, shapes))(*bottoms)[0, 0] for k in (50, -1))
    for image in range(2):
        rows = every[every[:, 0] == image]
        assert len(rows) > 200
        best = rows[:, 2].argsort(descending=True)[:50].sort().values
        assert torch.equal(kept[kept[:, 0] == image], rows[best])


def test_save_output_is_left_to_the_caller(make_layer):
    text = 'type: "DetectionOutput" name: "d" top: "y" detection_output_param { num_classes: 3 %s }'
    assert MODULES["DetectionOutput"](make_layer(text % "", SHAPES)).save_output is None
    text %= 'save_output_param { output_directory: "out" }'
    assert MODULES["DetectionOutput"](make_layer(text, SHAPES)).save_output.output_directory == "out"


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("num_classes: 3 background_label_id: -1", "background_label_id: -1 with share_location: true"),
        ("num_classes: 3 nms_param { nms_threshold: -0.1 }", "nms_threshold is -0.1; expected 0 or more"),
        ("num_classes: 3 nms_param { eta: 0 }", "eta of nms_param is 0; expected above 0 and at most 1"),
        ("num_classes: 3 nms_param { eta: 1.5 }", "eta of nms_param is 1.5"),
        ("num_classes: 3 visualize: true", "visualize opens windows, which is not supported"),
    ],
)
def test_refused(make_layer, param, message):
    with pytest.raises(UserError, match=message):
        MODULES["DetectionOutput"](
            make_layer(f'type: "DetectionOutput" name: "d" top: "y" detection_output_param {{ {param} }}', SHAPES)
        )


def test_background_alone_is_refused(make_layer):
    text = 'type: "DetectionOutput" name: "d" top: "y" detection_output_param { num_classes: 1 }'
    with pytest.raises(UserError, match="num_classes is missing or too small: 1"):
        MODULES["DetectionOutput"](make_layer(text, SHAPES | {"conf": (2, 6)}))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"conf": (3, 18)}, "its locations are of 2 images, its scores of 3"),
        ({"arm_conf": (2, 11)}, 'bottom "arm_conf" .*has 22 values; expected 2 for each of 6 priors and 2 images'),
        ({"arm_conf": (2, 12), "arm_loc": (2, 12)}, 'bottom "arm_loc" .*has 24 values; expected 4 for each'),
    ],
)
def test_bottoms_that_do_not_fit(make_layer, shapes, message):
    text = 'type: "DetectionOutput" name: "d" top: "y" detection_output_param { num_classes: 3 }'
    with pytest.raises(UserError, match=message):
        MODULES["DetectionOutput"](make_layer(text, SHAPES | shapes))


def test_first_stage_needs_shared_locations(make_layer):
    text = 'type: "DetectionOutput" name: "d" top: "y" detection_output_param { num_classes: 3 share_location: false }'
    shapes = SHAPES | {"loc": (2, 72), "arm_conf": (2, 12), "arm_loc": (2, 24)}
    with pytest.raises(UserError, match="locations of a first stage need share_location: true"):
        MODULES["DetectionOutput"](make_layer(text, shapes))


def test_prior_moved_to_no_width_gives_a_box_without_width(make_layer):
    text = 'type: "DetectionOutput" name: "d" top: "y" detection_output_param { num_classes: 3 code_type: CENTER_SIZE }'
    shapes = SHAPES | {"arm_conf": (2, 12), "arm_loc": (2, 24)}
    arm_loc = torch.zeros(2, 24)
    arm_loc[:, 2] = -5000.0
    priors = torch.tensor([[0.1, 0.1, 0.3, 0.4]] * 6 + [[0.1] * 4] * 6).reshape(1, 2, 24)
    conf = torch.full((2, 18), 0.1)
    conf[:, 1] = 0.9
    module = MODULES["DetectionOutput"](make_layer(text, shapes))
    rows = module(torch.zeros(2, 24), conf, priors, torch.ones(2, 12), arm_loc)[0, 0]
    first = rows[(rows[:, 2] == conf[0, 1]) & (rows[:, 0] == 0)][0]
    assert first[3:].tolist() == pytest.approx([0.2, 0.1, 0.2, 0.4])


def test_prior_without_width(make_layer):
    text = 'type: "DetectionOutput" name: "d" top: "y" detection_output_param { num_classes: 3 code_type: CENTER_SIZE }'
    priors = torch.tensor([[0.1, 0.1, 0.3, 0.4]] * 6 + [[0.1] * 4] * 6).reshape(1, 2, 24)
    priors[0, 0, 8:12] = torch.tensor([0.5, 0.25, 0.5, 0.75])
    module = MODULES["DetectionOutput"](make_layer(text, SHAPES))
    with pytest.raises(UserError, match=r"prior 2 is \[0.5, 0.25, 0.5, 0.75\], which has no width or no height"):
        module(torch.zeros(2, 24), torch.zeros(2, 18), priors)
