"""A job that trains in seconds: ten small images of squares in an LMDB, an SSD with one prediction map."""

from __future__ import annotations

from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from prototxt.schema import AnnotatedDatum

DATA = """
layer {{ name: "data" type: "AnnotatedData" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ mean_value: 104 mean_value: 117 mean_value: 123 mirror: {mirror}
    resize_param {{ prob: 1 resize_mode: WARP height: 48 width: 64 interp_mode: LINEAR }} }}
  data_param {{ source: "squares_lmdb" batch_size: {batch} backend: LMDB }}
  annotated_data_param {{ batch_sampler {{ max_sample: 1 max_trials: 1 }} label_map_file: "labels.prototxt" }} }}
"""
BODY = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 4 bias_term: false
    weight_filler { type: "xavier" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "loc" type: "Convolution" bottom: "conv2" top: "loc"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" }
layer { name: "conf" type: "Convolution" bottom: "conv2" top: "conf"
  convolution_param { num_output: 12 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_perm" top: "conf_flat" }
layer { name: "prior" type: "PriorBox" bottom: "conv2" bottom: "data" top: "prior"
  prior_box_param { min_size: 16 max_size: 24 aspect_ratio: 2 variance: [0.1, 0.1, 0.2, 0.2] } }
layer { name: "mbox_loss" type: "MultiBoxLoss" bottom: "loc_flat" bottom: "conf_flat" bottom: "prior" bottom: "label"
  top: "mbox_loss" include { phase: TRAIN } propagate_down: true propagate_down: true propagate_down: false
  propagate_down: false loss_param { normalization: VALID }
  multibox_loss_param { loc_loss_type: SMOOTH_L1 conf_loss_type: SOFTMAX loc_weight: 1 num_classes: 3
    share_location: true match_type: PER_PREDICTION overlap_threshold: 0.5 use_prior_for_matching: true
    background_label_id: 0 use_difficult_gt: true neg_pos_ratio: 3 neg_overlap: 0.5 code_type: CENTER_SIZE
    mining_type: MAX_NEGATIVE } }
layer { name: "conf_3" type: "Reshape" bottom: "conf_flat" top: "conf_3" include { phase: TEST }
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "conf_softmax" type: "Softmax" bottom: "conf_3" top: "conf_softmax" include { phase: TEST }
  softmax_param { axis: 2 } }
layer { name: "scores" type: "Flatten" bottom: "conf_softmax" top: "scores" include { phase: TEST } }
layer { name: "found" type: "DetectionOutput" bottom: "loc_flat" bottom: "scores" bottom: "prior" top: "found"
  include { phase: TEST } detection_output_param { num_classes: 3 share_location: true background_label_id: 0
    nms_param { nms_threshold: 0.45 top_k: 50 } keep_top_k: 20 code_type: CENTER_SIZE confidence_threshold: 0.01
    save_output_param { output_directory: "results" output_name_prefix: "det_" output_format: "VOC"
      label_map_file: "labels.prototxt" name_size_file: "sizes.txt" } } }
layer { name: "detection_eval" type: "DetectionEvaluate" bottom: "found" bottom: "label" top: "detection_eval"
  include { phase: TEST } detection_evaluate_param { num_classes: 3 background_label_id: 0 overlap_threshold: 0.5
    evaluate_difficult_gt: false } }
"""
SOLVER = """
net: "net.prototxt"
test_iter: 5
test_interval: 4
test_initialization: false
base_lr: 0.01
lr_policy: "multistep"
gamma: 0.1
stepvalue: 5
momentum: 0.9
weight_decay: 0.0005
max_iter: 6
display: 2
average_loss: 2
snapshot: 3
snapshot_prefix: "out/squares"
solver_mode: CPU
eval_type: "detection"
ap_version: "11point"
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder with solver.prototxt, net.prototxt and the data they name."""
    (tmp_path / "labels.prototxt").write_text(
        "".join(
            f'item {{ name: "{name}" label: {i} display_name: "{name}" }}'
            for i, name in enumerate(("none", "red", "blue"))
        )
    )
    (tmp_path / "sizes.txt").write_text("".join(f"img{i} 60 80\n" for i in range(10)))
    (tmp_path / "net.prototxt").write_text(
        'name: "squares"'
        + DATA.format(phase="TRAIN", mirror="true", batch=4)
        + DATA.format(phase="TEST", mirror="false", batch=2)
        + BODY
    )
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    rng = np.random.default_rng(0)
    with lmdb.open(str(tmp_path / "squares_lmdb"), map_size=1 << 24) as database, database.begin(write=True) as write:
        for i in range(10):
            write.put(f"{i:08d}".encode(), _record(rng, 1 + i % 2).SerializeToString())
    return tmp_path


def _record(rng: np.random.Generator, label: int) -> AnnotatedDatum:
    """A noisy image of 60 x 80 with one square of 24."""
    image = rng.integers(90, 130, (60, 80, 3), np.uint8)
    x, y = int(rng.integers(0, 56)), int(rng.integers(0, 36))
    image[y : y + 24, x : x + 24] = (20, 20, 230) if label == 1 else (230, 20, 20)
    record = AnnotatedDatum(type=AnnotatedDatum.BBOX)
    record.datum.encoded, record.datum.label = True, -1
    record.datum.data = cv2.imencode(".png", image)[1].tobytes()
    box = record.annotation_group.add(group_label=label).annotation.add(instance_id=0).bbox
    box.xmin, box.ymin, box.xmax, box.ymax = x / 80, y / 60, (x + 24) / 80, (y + 24) / 60
    return record
