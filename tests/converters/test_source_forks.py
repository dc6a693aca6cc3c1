"""Stand-alone PyTorch code of the layers that forks of Caffe added, those of two-stage detectors among them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.converters.source_nets import FORKS, PROPOSAL, REGIONS, TRAINING, check_same, graph_of, random_weights


@pytest.mark.parametrize("text", FORKS)
def test_layers_of_forks(text):
    graph = graph_of(f'layer {{ name: "it" {text} }}')
    inputs = {"data": np.random.default_rng(1).normal(1, 4, (2, 4, 6, 5)).astype(np.float32)}
    check_same(graph, random_weights(graph), inputs, atol=1e-5)


def test_what_is_pooled_from_regions():
    """Inside, cut by the border, outside, swapped corners, halves, of one cell."""
    graph = graph_of(REGIONS, (2, 18, 8, 10))
    rois = [[0, 0, 0, 79, 63], [1, 8, 12, 50, 45], [0, 60, 50, 150, 110], [1, -30, -16, 20, 8]]
    rois += [[0, 250, 250, 350, 350], [1, 45, 35, 20, 15], [0, 12, 4, 28.5, 20.5], [1, 17, 23, 17, 23]]
    rng = np.random.default_rng(2)
    inputs = {"data": rng.normal(size=(2, 18, 8, 10)).astype(np.float32), "rois": np.float32(rois)}
    check_same(graph, {}, inputs)


@pytest.mark.parametrize("top", ["", 'top: "rois_score"'])
@pytest.mark.parametrize(
    "limits", ["min_size: 8", "pre_nms_topn: 100 post_nms_topn: 7 nms_thresh: 0.3 min_size: 8", "min_size: 300"]
)
def test_proposals(top, limits):
    graph = graph_of(PROPOSAL % (top, limits), (1, 4, 6, 8))
    rng = np.random.default_rng(3)
    inputs = {
        "data": rng.normal(size=(1, 4, 6, 8)),
        "scores": rng.permutation(12 * 48).reshape(1, 12, 6, 8) / 1e3,  # no two are equal
        "offsets": rng.normal(0, 0.3, (1, 24, 6, 8)),
        "info": [[96, 128, 1.6]],
    }
    check_same(graph, random_weights(graph), {name: np.asarray(x, np.float32) for name, x in inputs.items()}, 1e-5)


def test_every_type_of_a_deployed_net_has_a_form():
    from converters.pytorch.layers import MODULES
    from converters.pytorch.source.layers import FORMS

    assert set(MODULES) - set(FORMS) == TRAINING
    assert set(FORMS) <= set(MODULES)
