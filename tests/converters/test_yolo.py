"""YOLO's detections against loops written from the definition of MobileNet-YOLO's layers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.caffemodel import write_weights
from converters.onnx.deploy import Deployment, deploy
from converters.pytorch import CaffeNet
from prototxt.errors import UserError, UserErrors
from prototxt.io import write_text
from tests.converters.layer_cases import RNG, Case, close, graph_of, layer_text
from tests.converters.source_nets import module_of

BIASES = (10.0, 14.0, 23.0, 27.0, 37.0, 58.0, 81.0, 82.0)
MASK = ((2, 3), (0, 1))


def v2(classes: int, boxes: int, threshold: float, overlap: float) -> str:
    biases = " ".join(f"biases: {side / 16}" for side in BIASES[: 2 * boxes])
    return f"""yolo_detection_output_param {{ num_classes: {classes} num_box: {boxes} coords: 4 {biases}
      confidence_threshold: {threshold} nms_threshold: {overlap} }}"""


def v3(classes: int, scales: tuple[int, ...], threshold: float, overlap: float) -> str:
    lists = {"biases": BIASES, "mask": itertools.chain(*MASK[: len(scales)]), "anchors_scale": scales}
    values = " ".join(f"{name}: {value}" for name, each in lists.items() for value in each)
    return f"""yolov3_detection_output_param {{ num_classes: {classes} num_box: 2 mask_group_num: {len(scales)} {values}
      confidence_threshold: {threshold} nms_threshold: {overlap} }}"""


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def overlap_of(one: list[float], other: list[float]) -> float:
    """Intersection over union of boxes given by centre and size."""
    sides = [
        min(one[k] + one[k + 2] / 2, other[k] + other[k + 2] / 2)
        - max(one[k] - one[k + 2] / 2, other[k] - other[k + 2] / 2)
        for k in (0, 1)
    ]
    inside = max(sides[0], 0) * max(sides[1], 0)
    return inside / (one[2] * one[3] + other[2] * other[3] - inside)


def detections(maps, classes, anchors, threshold, overlap, has_one_class) -> np.ndarray:
    """Every class of every box that scores enough, by score; each drops the later ones that overlap it, of any class.

    `anchors` are width and height of those of a map's cells, in cells.
    """
    found = []
    for x, sides in zip(maps, anchors):
        _, channels, height, width = x.shape
        length = channels // len(sides)
        for j, i, n in itertools.product(range(height), range(width), range(len(sides))):
            values = x[0, n * length : (n + 1) * length, j, i].astype(np.float64)
            box = [(i + sigmoid(values[0])) / width, (j + sigmoid(values[1])) / height]
            box += [np.exp(values[2]) * sides[n][0] / width, np.exp(values[3]) * sides[n][1] / height]
            own = values[5 : 5 + classes]
            if has_one_class:
                own = np.exp(own - own.max()) / np.exp(own - own.max()).sum()
                pairs = [(sigmoid(values[4]) * own.max(), own.argmax())]
                found += [(score, c, box) for score, c in pairs if score >= threshold]
            else:
                scores = sigmoid(values[4]) * sigmoid(own)
                found += [(score, c, box) for c, score in enumerate(scores) if score > threshold]
    found.sort(key=lambda each: -each[0])
    kept = []
    for score, c, box in found:
        if all(overlap_of(box, other) < overlap for _, _, other in kept):
            kept.append((score, c, box))
    rows = [
        [0, c + 1, score, x - w / 2, y - h / 2, x + w / 2, y + h / 2] for score, c, (x, y, w, h) in kept
    ] or [[0] + [-1] * 6]  # fmt: skip
    return np.array(rows)[None, None]


def in_cells(scales, groups):
    pairs = list(zip(BIASES[::2], BIASES[1::2]))
    return [[(pairs[i][0] / scale, pairs[i][1] / scale) for i in group] for group, scale in zip(groups, scales)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 4),
    threshold=st.sampled_from([0.05, 0.2, 0.5, 0.99]),
    overlap=st.sampled_from([0.1, 0.3, 0.45, 0.9]),
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=2),
)
def test_version_3(seed, classes, threshold, overlap, sizes):
    scales = (16, 8)[: len(sizes)]
    maps = {f"m{i}": RNG(seed + i).normal(size=(1, 2 * (5 + classes), *size)) for i, size in enumerate(sizes)}
    case = Case(layer_text("Yolov3DetectionOutput", " ".join(maps), v3(classes, scales, threshold, overlap)), maps)
    case.check(detections(maps.values(), classes, in_cells(scales, MASK), threshold, overlap, False))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 4),
    boxes=st.integers(1, 4),
    threshold=st.sampled_from([0.05, 0.2, 0.5, 0.99]),
    overlap=st.sampled_from([0.1, 0.3, 0.45, 0.9]),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=2),
)
def test_version_2(seed, classes, boxes, threshold, overlap, sizes):
    maps = {f"m{i}": RNG(seed + i).normal(size=(1, boxes * (5 + classes), n, n)) for i, n in enumerate(sizes)}
    case = Case(layer_text("YoloDetectionOutput", " ".join(maps), v2(classes, boxes, threshold, overlap)), maps)
    anchors = in_cells((16,) * len(sizes), (range(boxes),) * len(sizes))
    case.check(detections(maps.values(), classes, anchors, threshold, overlap, True))


def test_thresholds_are_as_in_the_layers():
    """A score of exactly one half: above it in version 3, at it in version 2; so with the overlap of one half."""
    blank = np.zeros((1, 7, 1, 1))
    blank[0, 5] = 50  # sigmoid(0) for the object times 1 for the class
    one = "num_classes: 2 num_box: 1 biases: 1 biases: 1 confidence_threshold: 0.5"
    text = layer_text("YoloDetectionOutput", "m", f"yolo_detection_output_param {{ {one} }}")
    assert Case(text, {"m": blank}).pytorch()[0][..., 2] == 0.5 == Case(text, {"m": blank}).onnx()[0][..., 2]
    one += " mask: 0 mask_group_num: 1 anchors_scale: 1"
    text = layer_text("Yolov3DetectionOutput", "m", f"yolov3_detection_output_param {{ {one} }}")
    assert Case(text, {"m": blank}).pytorch()[0][..., 2] == -1 == Case(text, {"m": blank}).onnx()[0][..., 2]
    # Two boxes in one place, the second half as wide.
    twins = np.zeros((1, 14, 1, 1))
    twins[0, [4, 5, 11, 12], 0, 0] = 9, 9, 8, 8
    params = "num_classes: 2 num_box: 2 biases: 0.5 biases: 1 biases: 0.25 biases: 1 nms_threshold: 0.5"
    case = Case(layer_text("YoloDetectionOutput", "m", f"yolo_detection_output_param {{ {params} }}"), {"m": twins})
    assert case.pytorch()[0].shape == case.onnx()[0].shape == (1, 1, 1, 7)


NET = (
    'layer { name: "a" type: "Convolution" bottom: "data" top: "a" '
    "convolution_param { num_output: 16 kernel_size: 3 stride: 2 pad: 1 } } "
    'layer { name: "b" type: "Convolution" bottom: "a" top: "b" '
    "convolution_param { num_output: 16 kernel_size: 3 stride: 2 pad: 1 } } "
    'layer { name: "c" type: "Convolution" bottom: "a" top: "c" convolution_param { num_output: 16 kernel_size: 1 } } '
) + layer_text("Yolov3DetectionOutput", "b c", v3(3, (4, 2), 0.1, 0.45))


@pytest.fixture(scope="module")
def net():
    graph = graph_of(NET, {"data": (1, 3, 16, 20)})
    weights = {
        layer.name: [RNG(i + k).normal(0, 0.02, shape).astype(np.float32) for k, shape in enumerate(layer.blob_shapes)]
        for i, layer in enumerate(graph.layers)
        if layer.blob_shapes
    }
    return graph, weights, {"data": RNG(9).normal(size=(1, 3, 16, 20)).astype(np.float32)}


def test_the_stand_alone_code(net):
    graph, weights, inputs = net
    with torch.no_grad():
        wanted = CaffeNet(graph, weights)({"data": torch.from_numpy(inputs["data"])})["top"].numpy()
        found = module_of(graph, weights)(torch.from_numpy(inputs["data"])).numpy()
    assert wanted.shape[2] > 4
    close(found, wanted)


def test_the_end_of_a_model(net):
    graph, weights, _ = net
    model, _ = deploy(graph, weights, Deployment(postprocess="none"))
    assert [value.name for value in model.graph.output] == ["b", "c"]
    with pytest.raises(UserError, match=r'layer "top".*EfficientNMS_TRT suppresses class by class'):
        deploy(graph, weights, Deployment(postprocess="efficient-nms"))


@pytest.mark.parametrize("options", ["", "--fp16", "--postprocess none"])
def test_the_command_proves_it(net, options, tmp_path, capsys):
    from netgen.commands.main import app

    graph, weights, _ = net
    files = [str(tmp_path / f"net.{ending}") for ending in ("prototxt", "caffemodel", "onnx")]
    write_text(graph.net.message, files[0])
    write_weights(files[1], graph, weights)
    app(["convert", *files[:2], "-o", files[2], *options.split()], standalone_mode=False)
    app(["verify", *files[:2], "--onnx", files[2]], standalone_mode=False)
    text = capsys.readouterr().out
    assert "detections" in text and "above" not in text


SQUARE, V3 = {"m": (1, 14, 3, 3)}, v3(2, (8,), 0.1, 0.4)
MISTAKES = [
    ("YoloDetectionOutput", {"m": (1, 14, 3, 4)}, v2(2, 2, 0.1, 0.4), "it takes square maps, not 3 x 4"),
    ("YoloDetectionOutput", {"m": (2, 14, 3, 3)}, v2(2, 2, 0.1, 0.4), "it takes one image, not 2"),
    ("YoloDetectionOutput", {"m": (1, 15, 3, 3)}, v2(2, 2, 0.1, 0.4), "need 2 * (5 + 2) = 14 channels"),
    ("YoloDetectionOutput", SQUARE, v2(2, 2, 0.1, 0.4).replace("num_box: 2", ""), "num_box 5 needs so many pairs"),
    ("YoloDetectionOutput", SQUARE, v2(2, 2, 0.1, 0.4).replace("num_classes: 2", ""), "num_classes must be given"),
    ("Yolov3DetectionOutput", SQUARE, V3.replace("mask_group_num: 1", ""), "mask_group_num is 2, and it has 1 bottoms"),
    ("Yolov3DetectionOutput", SQUARE, V3.replace("anchors_scale: 8", ""), "the pixels of a cell for each of 1 maps"),
    ("Yolov3DetectionOutput", SQUARE, V3.replace("mask: 3", ""), "1 maps of 2 anchors a cell (num_box) need so many"),
    ("Yolov3DetectionOutput", SQUARE, V3.replace("mask: 3", "mask: 4"), "mask 4 needs so many pairs of biases and one"),
    ("Yolov3DetectionOutput", SQUARE, V3.replace("biases: 10.0", ""), "biases must be pairs of a width and a height"),
    ("Yolov3DetectionOutput", SQUARE, V3.replace("biases: 10.0", "biases: -1"), "a width and a height above 0"),
    ("Yolov3DetectionOutput", SQUARE, V3.replace("0.4", "1.4"), "nms_threshold is 1.4; it must be above 0"),
    ("Yolov3DetectionOutput", SQUARE, V3.replace("num_box: 2", "num_box: 0"), "num_box must be at least 1"),
    (
        "Yolov3DetectionOutput",
        SQUARE,
        V3.replace("num_box", "gaussian_box: true num_box"),
        "gaussian_box is not supported",
    ),
]


@pytest.mark.parametrize(("layer_type", "shapes", "params", "message"), MISTAKES)
def test_mistakes(layer_type, shapes, params, message):
    with pytest.raises((UserError, UserErrors)) as error:
        graph_of(layer_text(layer_type, " ".join(shapes), params), shapes)
    assert message in str(error.value) and 'layer "top"' in str(error.value)
