"""A small SSD with random weights, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.caffemodel import write_weights
from prototxt.graph import Graph

NET = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 16 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 24 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "loc" type: "Convolution" bottom: "conv" top: "loc"
  convolution_param { num_output: 16 kernel_size: 1 } }
layer { name: "conf" type: "Convolution" bottom: "conv" top: "conf"
  convolution_param { num_output: 12 kernel_size: 1 } }
layer { name: "loc_p" type: "Permute" bottom: "loc" top: "loc_p"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_p" type: "Permute" bottom: "conf" top: "conf_p"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_f" type: "Flatten" bottom: "loc_p" top: "loc_f" }
layer { name: "conf_r" type: "Reshape" bottom: "conf_p" top: "conf_r"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "conf_s" type: "Softmax" bottom: "conf_r" top: "conf_s" softmax_param { axis: 2 } }
layer { name: "conf_f" type: "Flatten" bottom: "conf_s" top: "conf_f" }
layer { name: "prior" type: "PriorBox" bottom: "conv" bottom: "data" top: "prior"
  prior_box_param { min_size: 4 max_size: 6 aspect_ratio: 2 flip: true clip: false
    variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc_f" bottom: "conf_f" bottom: "prior" top: "found"
  detection_output_param { num_classes: 3 share_location: true background_label_id: 0
    nms_param { nms_threshold: 0.45 top_k: 40 } keep_top_k: 20
    code_type: CENTER_SIZE confidence_threshold: 0.1 } }
"""


def write_ssd(folder: Path, text: str = NET) -> tuple[Path, Path]:
    """Its prototxt and caffemodel. Variances, factors and the sums behind them are above 0."""
    net, weights = folder / "net.prototxt", folder / "net.caffemodel"
    net.write_text(text)
    graph = Graph.load(net)
    write_weights(weights, graph, random_weights(graph))
    return net, weights


def random_weights(graph: Graph) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    blobs = {}
    for layer in graph.layers:
        if layer.blob_shapes:
            blobs[layer.name] = [rng.normal(0, 0.3, shape).astype(np.float32) for shape in layer.blob_shapes]
        if layer.type == "BatchNorm":
            mean, variance, _ = blobs[layer.name]
            blobs[layer.name] = [mean, np.abs(variance) + 0.5, np.ones(1, np.float32)]
    return blobs
