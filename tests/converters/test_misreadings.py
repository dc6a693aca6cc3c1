"""Each thing that an importer is known to read otherwise than Caffe, on the smallest net that shows it."""

from __future__ import annotations

import numpy as np
import pytest

from converters.caffemodel import write_weights
from converters.proof.misreadings import MISREADINGS, known_misreadings
from converters.proof.verify import verify
from prototxt.graph import Graph

INPUT = 'layer {{ name: "in" type: "Input" top: "data" input_param {{ shape {{ dim: {} dim: 3 dim: 12 dim: 16 }} }} }}'
PREDICTOR = """
layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}"
  convolution_param {{ num_output: {count} kernel_size: 3 pad: 1 }} }}
layer {{ name: "{name}_p" type: "Permute" bottom: "{name}" top: "{name}_p"
  permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
layer {{ name: "{name}_f" type: "Flatten" bottom: "{name}_p" top: "{name}_f" }}
"""
SCORES = """
layer {{ name: "{name}_r" type: "Reshape" bottom: "{name}_p" top: "{name}_r"
  reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes} }} }} }}
layer {{ name: "{name}_s" type: "Softmax" bottom: "{name}_r" top: "{name}_s" softmax_param {{ axis: 2 }} }}
layer {{ name: "{name}_sf" type: "Flatten" bottom: "{name}_s" top: "{name}_sf" }}
"""
FOUND = """
layer {{ name: "prior" type: "PriorBox" bottom: "loc" bottom: "data" top: "prior"
  prior_box_param {{ min_size: {size} {priors} }} }}
layer {{ name: "found" type: "DetectionOutput" bottom: "loc_f" bottom: "conf_sf" bottom: "prior" {first_stage}
  top: "found" detection_output_param {{ num_classes: 3 share_location: true nms_param {{ nms_threshold: {nms} }}
    keep_top_k: 30 confidence_threshold: 0.1 {more} }} }}
"""
FIRST_STAGE = 'bottom: "arm_sf" bottom: "move_f"'


VARIANCES = "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2"


def net(batch=1, size="4", priors=f"clip: false {VARIANCES}", first_stage="", nms="0.45", more="") -> str:
    """Boxes of 3 classes from the image itself, one a pixel."""
    text = INPUT.format(batch) + PREDICTOR.format(name="loc", count=4) + PREDICTOR.format(name="conf", count=3)
    text += SCORES.format(name="conf", classes=3)
    if first_stage:
        text += PREDICTOR.format(name="move", count=4) + PREDICTOR.format(name="arm", count=2)
        text += SCORES.format(name="arm", classes=2)
    more += " background_label_id: 0" * ("background" not in more) + " code_type: CENTER_SIZE" * (
        "code_type" not in more
    )
    more += " objectness_score: 0.4" * bool(first_stage)
    return text + FOUND.format(size=size, priors=priors, first_stage=first_stage, nms=nms, more=more)


def compare(folder, text):
    """The Comparison of a net with random weights on noise."""
    (folder / "net.prototxt").write_text(text)
    graph, rng = Graph.load(folder / "net.prototxt"), np.random.default_rng(0)
    weights = {n.name: [rng.normal(0, 0.4, shape).astype(np.float32) for shape in n.blob_shapes] for n in graph.layers}
    write_weights(folder / "net.caffemodel", graph, {name: blobs for name, blobs in weights.items() if blobs})
    noise = {"data": rng.standard_normal(graph.inputs["data"], np.float32)}
    return verify(folder / "net.prototxt", folder / "net.caffemodel", [noise])


def apart(found, backend) -> dict[str, float]:
    if backend in found.skipped:
        pytest.skip(found.skipped[backend])
    return {d.blob: d.largest for d in found.differences if d.backend == backend}


def test_a_net_that_all_read_as_caffe_does(tmp_path):
    found = compare(tmp_path, net())
    assert not found.misread and max(d.largest for d in found.differences) < 1e-5


# (the net, the importers that read it otherwise, what is known of that)
CASES = {
    "fractions": ({"size": "4.6"}, ("OpenCV", "MNN"), "does not cut the sizes of prior boxes to whole pixels"),
    "clip left open": ({"priors": VARIANCES}, ("OpenCV",), "clips prior boxes where no `clip: false` is written"),
    "img_size": (
        {"priors": f"clip: false {VARIANCES} img_size: 20"},
        ("OpenCV",),
        "heeds no img_size of prior boxes",
    ),
    "one variance": ({"priors": "clip: false variance: 0.1"}, ("MNN",), "needs four variances of prior boxes"),
    "first stage": ({"first_stage": FIRST_STAGE}, ("OpenCV",), "leaves out the first stage"),
    "batch": ({"batch": 2}, ("MNN",), "detects in one image only"),
    "top_k": ({"nms": "0.45 top_k: 5"}, ("MNN",), "heeds no top_k of nms_param"),
    "eta": ({"nms": "0.75 eta: 0.9"}, ("OpenCV", "MNN"), "heeds no eta of nms_param"),
    "code_type": ({"more": "code_type: CORNER"}, ("MNN",), "takes every code_type for CENTER_SIZE"),
    "variance": ({"more": "variance_encoded_in_target: true"}, ("MNN",), "heeds no variance_encoded_in_target"),
    "background": ({"more": "background_label_id: 1"}, ("MNN",), "takes class 0 for the background"),
}


def test_the_cases_are_all():
    assert [(m.backends, m.reason) for m in MISREADINGS if m.type in ("PriorBox", "DetectionOutput")] == [
        (backends, reason) for _, backends, reason in CASES.values()
    ]


@pytest.mark.parametrize("kind", CASES)
def test_misreading(kind, tmp_path):
    """The detections differ where that is known, and only there; what they are made of is the same."""
    options, backends, reason = CASES[kind]
    found = compare(tmp_path, net(**options))
    for backend in {"ONNX Runtime", "OpenCV", "MNN"} & found.seconds.keys():
        apart = {d.blob: d.largest for d in found.differences if d.backend == backend}
        assert found.misread.get(("found", backend)) == (f"{backend} {reason}" if backend in backends else None)
        assert (apart["found"] > 1e-3) == (backend in backends)
        assert apart["loc_f"] < 1e-5 and apart["conf_sf"] < 1e-5
    assert not found.unexplained(1e-5)


def test_opencv_without_the_first_stage_is_a_plain_detection(tmp_path):
    """What it makes of five bottoms is what Caffe makes of the first three."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 has no Caffe importer")
    text = net(first_stage=FIRST_STAGE)
    compare(tmp_path, text)
    weights = str(tmp_path / "net.caffemodel")
    rows = []
    for name, changed in (
        ("five", text),
        ("three", text.replace(FIRST_STAGE, "").replace("objectness_score: 0.4", "")),
    ):
        (tmp_path / f"{name}.prototxt").write_text(changed)
        importer = cv2.dnn.readNetFromCaffe(str(tmp_path / f"{name}.prototxt"), weights)
        importer.setInput(np.random.default_rng(1).standard_normal((1, 3, 12, 16), np.float32))
        rows.append(importer.forward("found"))
    assert rows[0].shape == (1, 1, 30, 7) and np.array_equal(*rows)


@pytest.mark.parametrize("is_shared", [True, False])
def test_mnn_needs_a_scale_for_each_channel(tmp_path, is_shared):
    """Of a Normalize whose channels share one; OpenCV cannot read the blob without axes at all."""
    norm = f"""layer {{ name: "norm" type: "Normalize" bottom: "data" top: "norm"
      norm_param {{ across_spatial: false channel_shared: {str(is_shared).lower()} }} }}"""
    found = compare(tmp_path, INPUT.format(1) + norm)
    assert (apart(found, "MNN")["norm"] > 0.1) == is_shared
    assert ("MNN needs a scale for each channel of Normalize" in found.misread.values()) == is_shared
    assert not found.unexplained(1e-6)


CONV = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 3 kernel_size: 1 } }
"""
AXPY = """
layer { name: "mean" type: "Pooling" bottom: "c" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "y" type: "Axpy" bottom: "mean" bottom: "c" bottom: "data" top: "y" }
"""
LRN = 'layer { name: "y" type: "LRN" bottom: "c" top: "y" lrn_param { local_size: 3 alpha: 0.1 k: %d } }'


@pytest.mark.parametrize(
    ("layers", "backends", "reason"),
    [
        (AXPY, ("OpenCV",), "multiplies the third bottom of Axpy and adds the second"),
        (LRN % 2, ("OpenCV", "MNN"), "takes 1 for the k of LRN"),
        (LRN % 1, (), ""),
    ],
)
def test_layers_that_importers_compute_otherwise(tmp_path, layers, backends, reason):
    found = compare(tmp_path, INPUT.format(1) + CONV + layers)
    for backend in {"ONNX Runtime", "OpenCV", "MNN"} & found.seconds.keys():
        assert (apart(found, backend)["y"] > 0.01) == (backend in backends)
        assert found.misread.get(("y", backend)) == (f"{backend} {reason}" if backend in backends else None)
    assert not found.unexplained(1e-5)


def test_reasons_follow_the_blobs(tmp_path):
    (tmp_path / "net.prototxt").write_text(net(batch=2, size="4.6", nms="0.45 top_k: 5"))
    graph = Graph.load(tmp_path / "net.prototxt")
    fractions = "does not cut the sizes of prior boxes to whole pixels"
    assert known_misreadings(graph, "OpenCV") == {blob: f"OpenCV {fractions}" for blob in ("prior", "found")}
    assert known_misreadings(graph, "MNN") == {
        "prior": f"MNN {fractions}",
        "found": f"MNN {fractions}; MNN detects in one image only; MNN heeds no top_k of nms_param",
    }
    assert known_misreadings(graph, "PyTorch") == {}


def test_mnn_says_that_it_leaves_out_a_crop_without_offset(tmp_path):
    """MNN reports that a check failed but writes a model, one that does not crop."""
    crop = """
        layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param {{ num_output: 3 kernel_size: 3 pad: 2 }} }}
        layer {{ name: "crop" type: "Crop" bottom: "conv" bottom: "data" top: "crop" crop_param {{ axis: 2 {} }} }}"""
    found = compare(tmp_path, INPUT.format(1) + crop.format(""))
    if found.skipped["MNN"] != "MNN is not installed":
        assert found.skipped["MNN"].endswith("cannot import the net: offsetSize >= 1 ==> crop offset error")
        assert apart(compare(tmp_path, INPUT.format(1) + crop.format("offset: 0")), "MNN")["crop"] < 1e-5


def test_detections_without_limit_end_neither_importer_nor_comparison(tmp_path):
    """OpenCV writes beyond its memory there, which may end the process; MNN makes an error of it, in its own."""
    found = compare(tmp_path, net().replace("keep_top_k: 30", "keep_top_k: -1"))
    for backend, reason in (
        ("OpenCV", "writes beyond its memory without a keep_top_k"),
        ("MNN", "cannot run the net: ValueError: negative dimensions are not allowed"),
    ):
        assert found.skipped[backend].endswith((reason, "is not installed", "the last with one is 4.x"))
    assert not found.unexplained(1e-5)


def test_the_command_names_the_reason_and_succeeds(tmp_path, capsys):
    from netgen.commands.verify import verify as command

    found = compare(tmp_path, net(first_stage=FIRST_STAGE))
    if "OpenCV" in found.skipped:
        pytest.skip(found.skipped["OpenCV"])
    command(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", None, [], "104,117,123", 0.01, 0, 1e-4, False)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[:2] == ["found", "OpenCV"])
    assert line.rstrip().endswith("known: OpenCV leaves out the first stage")
