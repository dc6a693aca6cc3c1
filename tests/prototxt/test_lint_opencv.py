"""What the notes on OpenCV's importer say, shown with OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from tests.prototxt.lint_cases.nets import layer

cv2 = pytest.importorskip("cv2")
if not hasattr(cv2.dnn, "readNetFromCaffe"):
    pytest.skip("this OpenCV has no Caffe importer", allow_module_level=True)

SIZES = {"data": (1, 3, 32, 32), "loc": (1, 16), "conf": (1, 12)}
PRIORS = "".join(
    layer(name, "Input", body=f"input_param {{ shape {{ dim: {list(sizes)} }} }}") for name, sizes in SIZES.items()
)
PRIORS += layer("map", "Pooling", "data", body="pooling_param { pool: AVE kernel_size: 16 stride: 16 }")
PRIOR = "prior_box_param { min_size: 30 clip: false variance: [0.1, 0.1, 0.2, 0.2] }"
PRIORS += layer("prior", "PriorBox", "map data", body=PRIOR)
OUTPUT = (
    "detection_output_param { num_classes: 3 share_location: true background_label_id: 0 code_type: CENTER_SIZE "
    "keep_top_k: 20 confidence_threshold: 0.01 nms_param { nms_threshold: 0.45 top_k: 40 } }"
)
DETECTIONS = PRIORS + layer("out", "DetectionOutput", "loc conf prior", body=OUTPUT)


def forward(path, text, blob):
    path.write_text(text)
    net = cv2.dnn.readNetFromCaffe(str(path))
    for name, sizes in SIZES.items():
        net.setInput(np.full(sizes, 0.1, np.float32), name)
    return net.forward(blob)


def test_boxes_are_clipped_unless_clip_is_given(tmp_path):
    given = forward(tmp_path / "net.prototxt", DETECTIONS, "prior")[0, 0]
    absent = forward(tmp_path / "net.prototxt", DETECTIONS.replace("clip: false", ""), "prior")[0, 0]
    assert given.min() < 0 and given.max() > 1
    assert np.array_equal(absent, given.clip(0, 1))


@pytest.mark.parametrize(
    "parameter",
    [
        "variance: [0.1, 0.1, 0.2, 0.2]",
        "share_location: true",
        "background_label_id: 0",
        "code_type: CENTER_SIZE",
        "keep_top_k: 20",
        "nms_threshold: 0.45",
    ],
)
def test_it_refuses_a_net_without(tmp_path, parameter):
    assert forward(tmp_path / "net.prototxt", DETECTIONS, "out").shape[3] == 7
    assert parameter in DETECTIONS
    with pytest.raises(cv2.error):
        forward(tmp_path / "net.prototxt", DETECTIONS.replace(parameter, ""), "out")
