"""The memory that a net takes, counted by hand, and what is said where there is less."""

from __future__ import annotations

import pytest

from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.memory import available_bytes, require_memory, size_text
from prototxt.summary import forward_bytes, weight_bytes

# Values: data 2*3*10*8 = 480, wide 2*16*10*8 = 2560, narrow 2*4*10*8 = 640, flat 640.
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 10 dim: 8 } } }
layer { name: "wide" type: "Convolution" bottom: "data" top: "wide"
  convolution_param { num_output: 16 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "wide" top: "wide" }
layer { name: "narrow" type: "Convolution" bottom: "wide" top: "narrow"
  convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }
layer { name: "flat" type: "Flatten" bottom: "narrow" top: "flat" }
"""


@pytest.fixture
def graph(tmp_path) -> Graph:
    (tmp_path / "net.prototxt").write_text(NET)
    return Graph.load(tmp_path / "net.prototxt")


def test_bytes(graph):
    assert weight_bytes(graph) == 4 * (16 * 3 + 16 + 4 * 16)
    assert forward_bytes(graph) == 4 * (2560 + 640)  # the input is gone when the second convolution runs
    assert forward_bytes(graph, keeps_all=True) == 4 * (480 + 2560 + 640 + 640)


def test_too_little_memory():
    require_memory(0, "nothing")
    assert available_bytes() > 1 << 20
    with pytest.raises(UserError, match=r"^net: its blobs would take 1,000,000\.0 GB of memory, and .* are free$"):
        require_memory(10**15, "its blobs", where="net")


def test_sizes_for_people():
    assert (size_text(1_500_000_000), size_text(2_500_000)) == ("1.5 GB", "2.5 MB")
