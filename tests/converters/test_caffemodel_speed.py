"""How long a large caffemodel takes, and how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from converters.caffemodel import write_weights
from prototxt.graph import Graph

MEASURE = """
import json, sys, time, tracemalloc
from converters.caffemodel import read_weights
tracemalloc.start()
weights = read_weights(sys.argv[1])
peak = tracemalloc.get_traced_memory()[1]
tracemalloc.stop()
del weights
times = []
for _ in range(3):
    start = time.perf_counter()
    read_weights(sys.argv[1])
    times.append(time.perf_counter() - start)
print(json.dumps([peak, min(times)]))
"""


def test_sixty_megabytes_take_a_third_of_a_second(tmp_path):
    """A net of DSOD's size: 300 layers, 15 million weights."""
    root = Path(__file__).resolve().parents[2]
    text = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 224 dim: 8 dim: 8 } } }\n'
    for i in range(100):
        text += f"""
        layer {{ name: "conv{i}" type: "Convolution" bottom: "x" top: "c{i}"
          convolution_param {{ num_output: 72 kernel_size: 3 bias_term: false }} }}
        layer {{ name: "bn{i}" type: "BatchNorm" bottom: "c{i}" top: "c{i}" }}
        layer {{ name: "scale{i}" type: "Scale" bottom: "c{i}" top: "c{i}" scale_param {{ bias_term: true }} }}"""
    (tmp_path / "net.prototxt").write_text(text)
    graph = Graph.load(tmp_path / "net.prototxt")
    shapes = {layer.name: layer.blob_shapes for layer in graph.layers if layer.blob_shapes}
    path = tmp_path / "net.caffemodel"
    start = time.perf_counter()
    write_weights(path, graph, {n: [np.ones(s, np.float32) for s in blobs] for n, blobs in shapes.items()})
    assert time.perf_counter() - start < 3
    size = path.stat().st_size
    assert size > 55_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True, cwd=root
    )
    peak, seconds = json.loads(done.stdout)
    assert peak < 1.1 * size
    assert seconds < 0.3
