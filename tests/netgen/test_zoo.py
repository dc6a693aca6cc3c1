"""Every model on every data set: the nets fit together, share their weights, and follow the data set."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from netgen.datasets import DATASETS, VOC0712
from netgen.heads.sources import Source, sources
from netgen.jobs import FILES, JobPaths
from netgen.zoo import MODELS, build, options
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file

PHASES = {"train": "TRAIN", "test": "TEST", "deploy": "TEST"}


def job_paths(folder):
    return JobPaths(Path(folder), Path(folder) / "net")


def graphs(detector):
    return {key: Graph(net_file(net), PHASES[key]) for key, net in detector.nets().items()}


def weights(graph):
    return {layer.name: layer.blob_shapes for layer in graph.layers if layer.blob_shapes}


def check(detector):
    """The three nets of a detector, which have been held against each other."""
    nets = graphs(detector)
    head, classes = detector.head, detector.data.num_classes
    for graph in nets.values():
        layers = {layer.name: layer for layer in graph.layers}
        priors = 0
        for source in head.sources:
            maps = layers[source.name].top_shapes[0]
            priors += source.num_priors * prod(maps[2:])
        boxes = [shape for name, shape in graph.shapes.items() if name in ("mbox_priorbox", "arm_priorbox")]
        scores = [shape for name, shape in graph.shapes.items() if name in ("mbox_conf", "odm_conf")]
        assert boxes == [(1, 2, priors * 4)]
        assert [shape[1] for shape in scores] == [priors * classes]
        assert graph.inputs["data"][2:] == detector.input_hw
    assert weights(nets["train"]) == weights(nets["test"]) == weights(nets["deploy"])
    assert nets["deploy"].outputs == ["detection_out"] and nets["test"].outputs == ["detection_eval"]
    assert all(output.endswith("_loss") for output in nets["train"].outputs)
    return nets


@pytest.mark.parametrize("data_name", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_nets_fit_together(model, data_name):
    nets = check(build(model, DATASETS[data_name]))
    assert nets["deploy"].name == f"{model}_{data_name}_deploy"


CHOICES = {"extras": ("ssd", "residual"), "batch_norm": ("none", "backbone", "head", "both"), "corrected": (True,)}


@pytest.mark.parametrize(
    "model, option, value",
    [(model, option, value) for model in MODELS for option in options(model) for value in CHOICES[option]],
)
def test_options_build_nets_that_fit_together(model, option, value):
    check(build(model, VOC0712, **{option: value}))


@pytest.mark.parametrize("model", MODELS)
def test_own_data_set_decides_on_the_head(model):
    data = replace(VOC0712, name="", num_classes=4, num_test_images=6, test_lmdb="there")
    detector = build(model, data)
    nets = check(detector)
    layers = {layer.name: layer.proto for layer in nets["test"].layers}
    assert nets["test"].name == f"{model}_test"
    assert layers["data"].data_param.source == "there"
    assert layers["detection_out"].detection_output_param.num_classes == 4
    assert layers["detection_eval"].detection_evaluate_param.num_classes == 4
    assert 6 % layers["data"].data_param.batch_size == 0
    solver = FILES["score"](detector, job_paths("a"))
    assert solver.test_iter[0] * layers["data"].data_param.batch_size == 6


def test_without_names_of_the_images_no_results_are_written():
    net = build("scratchdet-mini", replace(VOC0712, name_size="")).net("test")
    found, evaluated = net.layer[-2].detection_output_param, net.layer[-1].detection_evaluate_param
    assert not found.HasField("save_output_param") and not evaluated.HasField("name_size_file")


def test_prior_counts():
    assert [Source("x", 30, 60, ratios, 8).num_priors for ratios in ((), (2,), (2, 3))] == [2, 4, 6]
    assert Source("x", 32).num_priors == 3
    made = sources((("a", (2,), 8, 20), ("b", (2, 3), 16)), (30, 60, 111))
    assert made == (Source("a", 30, 60, (2,), 8, 20), Source("b", 60, 111, (2, 3), 16))
    assert [source.name for source in made] == ["a_norm", "b"]


def test_unknown_model_and_option():
    with pytest.raises(UserError, match=r'no model called "scratchdet300-rot34" \(did you mean "scratchdet300-root34"'):
        build("scratchdet300-rot34")
    with pytest.raises(UserError, match=r'"scratchdet-mini" has no option --extras; expected one of the models'):
        build("scratchdet-mini", extras="ssd")
    with pytest.raises(UserError, match=r'--extras is "resdual" \(did you mean "residual"\?\); expected one of ssd'):
        build("scratchdet300-root18", extras="resdual")
    # Every model can be built as its paper says, also those that were released so.
    assert build("scratchdet-mini", corrected=True).net("deploy") == build("scratchdet-mini").net("deploy")
