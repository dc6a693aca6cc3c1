"""DetectionOutput in ONNX Runtime against PyTorch, where no measured case says enough; and what is refused."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from converters.onnx import to_onnx
from converters.pytorch import CaffeNet
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.text import parse

PRIORS, CLASSES = 40, 4
BOTTOMS = ("loc", "conf", "priors", "arm_conf", "arm_loc")


def graph_of(parameters: str, batch: int, bottoms: int, loc_sets: int = 1, **shapes: tuple[int, ...]) -> Graph:
    sizes = {
        "loc": (batch, PRIORS * 4 * loc_sets),
        "conf": (batch, PRIORS * CLASSES),
        "priors": (1, 2, PRIORS * 4),
        "arm_conf": (batch, PRIORS * 2),
        "arm_loc": (batch, PRIORS * 4),
        **shapes,
    }
    text = "".join(
        f'layer {{ name: "in_{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in sizes[name])
        + " } } }\n"
        for name in BOTTOMS[:bottoms]
    )
    text += f"""layer {{ name: "d" type: "DetectionOutput" {" ".join(f'bottom: "{name}"' for name in BOTTOMS[:bottoms])}
        top: "d" detection_output_param {{ num_classes: {CLASSES} {parameters} }} }}"""
    parsed = parse(text, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(parsed.message, parsed.path, parsed.lines))


def arrays_of(graph: Graph, spread: float) -> dict[str, np.ndarray]:
    """Priors all over the image, offsets of a normal distribution of that width, scores that tell all boxes apart."""
    rng = np.random.default_rng(5)
    low = rng.uniform(0, 0.7, (PRIORS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.3, (PRIORS, 2))], axis=1)
    found = {name: rng.normal(0, spread, shape) for name, shape in graph.inputs.items() if name.endswith("loc")}
    for name, classes in (("conf", CLASSES), ("arm_conf", 2)):
        if name in graph.inputs:
            scores = np.exp(rng.normal(0, 1, (graph.inputs[name][0], PRIORS, classes)))
            found[name] = (scores / scores.sum(axis=2, keepdims=True)).reshape(graph.inputs[name])
    found["priors"] = np.stack([boxes, np.tile([0.1, 0.1, 0.2, 0.3], (PRIORS, 1))]).reshape(1, 2, -1)
    return {name: array.astype(np.float32) for name, array in found.items()}


def both(graph: Graph, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The detections of ONNX Runtime and of PyTorch."""
    inputs = {name: array for name, array in arrays.items() if name != "priors"}
    model = to_onnx(graph, {}, {"priors": arrays["priors"]})
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    return found, CaffeNet(graph)({name: torch.from_numpy(array) for name, array in arrays.items()})["d"].numpy()


@pytest.mark.parametrize("code_type", ["CORNER", "CORNER_SIZE", "CENTER_SIZE"])
@pytest.mark.parametrize("variance", ["variance_encoded_in_target: true", ""])
@pytest.mark.parametrize("bottoms", [3, 4, 5])
def test_codes_and_first_stages(code_type, variance, bottoms):
    parameters = f"""code_type: {code_type} {variance} background_label_id: 0 keep_top_k: 25 confidence_threshold: 0.2
        objectness_score: 0.4 nms_param {{ nms_threshold: 0.4 top_k: 15 }}"""
    graph = graph_of(parameters, 3, bottoms)
    found, wanted = both(graph, arrays_of(graph, 0.1 if variance else 0.8))
    assert found.shape == wanted.shape and set(found[0, 0, :, 0]) == {0, 1, 2}
    np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize("parameters", ["keep_top_k: 9", "keep_top_k: -1", "nms_param { top_k: 3 } keep_top_k: 6"])
@pytest.mark.parametrize("background", [-1, 0, 2])
def test_boxes_of_each_class_in_a_batch(parameters, background):
    parameters += f" share_location: false code_type: CENTER_SIZE background_label_id: {background}"
    graph = graph_of(parameters, 2, 4, loc_sets=CLASSES)
    found, wanted = both(graph, arrays_of(graph, 0.8))
    assert found.shape == wanted.shape and set(found[0, 0, :, 0]) == {0, 1}
    assert set(found[0, 0, :, 1]) == set(range(CLASSES)) - {background}
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_images_without_detections():
    """They have no row beside others that have some; each has one of -1 when none has any."""
    graph = graph_of("code_type: CENTER_SIZE background_label_id: 0 confidence_threshold: 0.3 keep_top_k: 5", 4, 3)
    arrays = arrays_of(graph, 0.8)
    arrays["conf"][[0, 2]] = 0.25
    found, wanted = both(graph, arrays)
    assert found[0, 0, :, 0].tolist() == [1] * 5 + [3] * 5
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    arrays["conf"][:] = 0.25
    found, wanted = both(graph, arrays)
    assert found[0, 0].tolist() == wanted[0, 0].tolist() == [[image, *[-1] * 6] for image in range(4)]


def test_each_image_keeps_its_best():
    """A batch gives what its images give one by one, though one image has by far the better scores."""
    parameters = "code_type: CENTER_SIZE background_label_id: 0 keep_top_k: 7 nms_param { top_k: 20 }"
    graph, single = graph_of(parameters, 3, 5), graph_of(parameters, 1, 5)
    arrays = arrays_of(graph, 0.8)
    arrays["conf"][1] *= 0.01
    found, _ = both(graph, arrays)
    rows = []
    for image in range(3):
        own = {name: array if name == "priors" else array[image : image + 1] for name, array in arrays.items()}
        rows.append(both(single, own)[0])
        rows[-1][..., 0] = image
    np.testing.assert_allclose(found, np.concatenate(rows, axis=2), atol=1e-6)
    assert found.shape[2] == 21


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ("background_label_id: -1", {}, "background_label_id: -1 with share_location: true"),
        ("nms_param { nms_threshold: -0.1 }", {}, "nms_threshold is -0.1; expected 0 or more"),
        ("nms_param { eta: 0.5 }", {}, "eta is 0.5: NonMaxSuppression has one threshold; expected 1"),
        ("nms_param { eta: 0 }", {}, "eta of nms_param is 0; expected above 0 and at most 1"),
        ("visualize: true", {}, "visualize opens windows, which is not supported"),
        ("", {"conf": (2, PRIORS * CLASSES)}, "its locations are of 1 images, its scores of 2"),
        ("", {"arm_conf": (1, 8)}, r'bottom "arm_conf" \(of a first stage\) has 8 values; expected 2 for each of 40'),
        ("", {"arm_loc": (1, 8)}, r'bottom "arm_loc" \(of a first stage\) has 8 values; expected 4 for each of 40'),
        ("share_location: false", {"loc_sets": CLASSES}, "locations of a first stage need share_location: true"),
    ],
)
def test_what_is_refused(parameters, options, message):
    bottoms = 5 if "arm_conf" in options or "arm_loc" in options or "loc_sets" in options else 3
    graph = graph_of(parameters, 1, bottoms, **options)
    with pytest.raises(UserError, match=f'layer "d" .*: {message}'):
        to_onnx(graph, {}, {"priors": np.zeros((1, 2, PRIORS * 4), np.float32)})


def test_computed_prior_boxes_are_refused():
    with pytest.raises(UserError, match='its prior boxes "priors" are computed; expected PriorBox layers and their'):
        to_onnx(graph_of("", 1, 3), {})
