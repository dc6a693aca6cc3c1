"""Stand-alone PyTorch code: against the numbers of a real Caffe, against CaffeNet on whole nets, and as a file."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.caffemodel import read_weights
from converters.files import Trained, write_source
from converters.pytorch import CaffeNet
from converters.pytorch.source import source_layout, source_text
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from tests.converters.source_nets import (
    FORKS,
    PROPOSAL,
    REGIONS,
    TRAINING,
    check_same,
    graph_of,
    module_of,
    random_weights,
    run,
)

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "oracle" / "layers"
INDEX = json.loads((FOLDER / "index.json").read_text()) if FOLDER.is_dir() else {}
# Of equal scores an unstable sort chooses.
ELSEWHERE = {"detectionoutput_score_ties_keep10"}
RUN = [
    name
    for name, about in sorted(INDEX.items())
    if about["phase"] == "test" and not TRAINING & set(about["layers"]) and name not in ELSEWHERE
]
REFUSED = {"batchnorm_use_batch_stats_test": "it normalises a deployed net by the batch; expected use_global_stats"}


def pytest_generate_tests(metafunc):
    if "case_name" in metafunc.fixturenames:
        metafunc.parametrize("case_name", RUN or ["absent"])


def test_against_caffe(shared, case_name):
    arrays = dict(np.load(FOLDER / f"{case_name}.npz"))
    graph = Graph.load(FOLDER / f"{case_name}.prototxt")
    if case_name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[case_name]):
            source_text(graph, "net.pth")
        return
    weights: dict[str, dict[int, np.ndarray]] = {}
    for key, array in arrays.items():
        if key.startswith("param/"):
            layer, _, index = key.removeprefix("param/").rpartition("/")
            weights.setdefault(layer, {})[int(index)] = array
    blobs = {layer: [found[i] for i in sorted(found)] for layer, found in weights.items()}
    found = run(module_of(graph, blobs), graph, {name: arrays[f"in/{name}"] for name in graph.inputs})
    for name, top in found.items():
        wanted = arrays[f"out/{name}"]
        assert top.shape == wanted.shape
        np.testing.assert_allclose(top, wanted, rtol=0, atol=1e-6 + 1e-5 * np.abs(wanted).max(initial=0))


def test_every_case_is_run():
    if not INDEX:
        pytest.skip("needs the folder of reference data beside the checkout (../shared)")
    assert len(RUN) > 170


@pytest.mark.parametrize("net", ["detect", "sr"])
def test_nets_of_the_real_world(shared, net):
    folder = shared / "models/wechat_qr"
    graph = Graph.load(folder / f"{net}.prototxt")
    inputs = {"data": np.random.default_rng(0).random((1, *graph.inputs["data"][1:]), np.float32)}
    check_same(graph, read_weights(folder / f"{net}.caffemodel"), inputs)


def test_a_mobile_net():
    from netgen.zoo import build

    graph = Graph(net_file(build("mobilenet-ssd300").nets()["deploy"]))
    images = np.random.default_rng(0).normal(0, 1, (1, *graph.inputs["data"][1:])).astype(np.float32)
    check_same(graph, CaffeNet(graph, seed=0).weights(), {"data": images})


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    ["scratchdet300_root34_voc", "ssd300_vgg_voc", "dsod300_voc", "grp_dsod320_voc", "refinedet320_vgg_voc"],
)
def test_published_nets(shared, model):
    spec = importlib.util.spec_from_file_location("formula", shared / "oracle" / "weights.py")
    formula = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formula)
    graph = Graph.load(shared / "reference" / "prototxt" / model / "deploy.prototxt")
    weights = {
        layer.name: [formula.fill(layer.type, layer.name, i, shape) for i, shape in enumerate(layer.blob_shapes)]
        for layer in graph.layers
        if layer.blob_shapes
    }
    check_same(graph, weights, {"data": formula.image(*graph.inputs["data"][2:])[None]}, atol=2e-6)


DETECTOR = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "conv/relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "loc" type: "Convolution" bottom: "pool" top: "loc" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" }
layer { name: "conf" type: "Convolution" bottom: "pool" top: "conf" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_rows" type: "Reshape" bottom: "conf_perm" top: "conf_rows"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "conf_soft" type: "Softmax" bottom: "conf_rows" top: "conf_soft" softmax_param { axis: 2 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_soft" top: "conf_flat" }
layer { name: "priors" type: "PriorBox" bottom: "pool" bottom: "data" top: "priors"
  prior_box_param { min_size: 4 max_size: 9 clip: true variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "out" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat" bottom: "priors" top: "out"
  detection_output_param { num_classes: 3 code_type: CENTER_SIZE keep_top_k: 20 confidence_threshold: 0.2
    nms_param { nms_threshold: 0.45 top_k: 50 } } }
"""

FORWARD = """
    def forward(self, data: Tensor) -> Tensor:
        x = F.relu(self.conv(data))
        pool = self.pool(x)
        loc_flat = self.loc(pool).permute(0, 2, 3, 1).flatten(1)
        x = self.conf(pool).permute(0, 2, 3, 1).reshape(-1, 60, 3).softmax(2).flatten(1)
        return self.out(loc_flat, x, self.priors)
"""


def test_the_code_reads_as_a_person_would_write_it():
    text = source_text(graph_of(DETECTOR, (1, 3, 12, 9)), "net.pth")
    assert FORWARD in text
    assert "        self.conv = nn.Conv2d(3, 8, 3, padding=1)\n" in text
    assert "        self.pool = nn.MaxPool2d(2, ceil_mode=True)\n" in text
    assert "mvn" not in text and "class AvgPool" not in text


def test_it_stands_alone(tmp_path):
    """The files alone, in a process that cannot see this toolkit."""
    graph = graph_of(DETECTOR, (1, 3, 12, 9))
    weights = random_weights(graph)
    what = write_source(Trained(graph, weights), tmp_path / "net.py")
    assert what.endswith("its state_dict of 6 tensors is in net.pth")
    text = (tmp_path / "net.py").read_text("utf-8")
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes}
    assert imported == {"__future__", "dataclasses", "math", "pathlib", "torch", "torch.nn.functional"}
    code = "import runpy, sys; runpy.run_path('net.py', run_name='__main__'); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = run(module_of(graph, weights), graph, {"data": np.zeros((1, 3, 12, 9), np.float32)})["out"]
    assert done.stdout.startswith(f"{torch.from_numpy(rows)}\n") and "converters" not in done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory, shared):
    """The code of many nets in one folder."""
    folder = tmp_path_factory.mktemp("written")
    for name in RUN:
        if name not in REFUSED:
            (folder / f"{name}.py").write_text(source_text(Graph.load(FOLDER / f"{name}.prototxt"), "n.pth"), "utf-8")
    for path in sorted((shared / "reference/prototxt").glob("*/deploy.prototxt")):
        (folder / f"{path.parent.name}.py").write_text(source_text(Graph.load(path), "n.pth"), "utf-8")
    for name in ("detect", "sr"):
        text = source_text(Graph.load(shared / f"models/wechat_qr/{name}.prototxt"), "n.pth")
        (folder / f"{name}.py").write_text(text, "utf-8")
    others = [(f"forks_{i}", f'layer {{ name: "it" {text} }}', (2, 4, 6, 5)) for i, text in enumerate(FORKS)]
    others += [("regions", REGIONS, (2, 18, 8, 10)), ("proposal", PROPOSAL % ("", "min_size: 8"), (1, 4, 6, 8))]
    for name, text, shape in others:
        (folder / f"{name}.py").write_text(source_text(graph_of(text, shape), "n.pth"), "utf-8")
    return folder


@pytest.mark.parametrize("arguments", [("check", "--select", "E,F,W,I,B,UP,SIM"), ("format", "--check")])
def test_formatters_and_linters_have_nothing_to_say(written, arguments):
    options = ["--isolated", "--line-length", "120", "--target-version", "py310"]
    options += ["--ignore", "B905"] if arguments[0] == "check" else []
    command = [sys.executable, "-m", "ruff", *arguments, *options, str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_names_that_python_does_not_allow():
    text = "".join(
        f'layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}" '
        "convolution_param { num_output: 2 kernel_size: 1 } }\n"
        for name in ("conv1/3x3", "conv1_3x3", "2nd", "class", "forward", "F", "x", "größe", "__a", "😀")
    )
    graph = graph_of(text, name="300 nets")
    code = source_text(graph, "net.pth")
    assert "class Net300Nets(nn.Module):" in code
    assert "self.conv1_3x3 = nn.Conv2d(4, 2, 1)  # conv1/3x3" in code
    for attribute, name in (("conv1_3x3_2", "conv1_3x3"), ("_2nd", "2nd"), ("class_2", "class"), ("gr__e", "größe")):
        assert f"self.{attribute} = nn.Conv2d(4, 2, 1)  # {name}" in code
    inputs = {"data": np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)}
    check_same(graph, random_weights(graph), inputs)


@pytest.mark.parametrize(
    "name", ['a\\"\\"\\"\\nimport os\\nos.abort()', "a\\nraise SystemExit", "a\\\\", "#\\rimport os", "{0}", "{me}"]
)
def test_names_cannot_become_code(name):
    text = (
        f'layer {{ name: "{name}" type: "PReLU" bottom: "data" top: "{name}" }}\n'
        'layer { name: "b" type: "AbsVal" bottom: "data" top: "b" }'
    )
    graph = graph_of(text, name=name)
    tree = ast.parse(source_text(graph, 'we"ights\n.pth'))
    assert {type(node) for node in tree.body} <= {ast.Expr, ast.Import, ast.ImportFrom, ast.ClassDef, ast.If}
    assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"os", "SystemExit"}
    assert set(run(module_of(graph, random_weights(graph)), graph, {"data": np.ones((2, 4, 6, 5), np.float32)})) == {
        graph.outputs[0],
        "b",
    }


def test_shared_blobs_stay_one():
    text = "".join(
        f'layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}" param {{ name: "w" }} '
        'param { name: "b" } convolution_param { num_output: 2 kernel_size: 1 } }\n'
        for name in ("one", "two")
    )
    graph = graph_of(text)
    code = source_text(graph, "net.pth")
    assert "self.two.weight = self.one.weight\n" in code and "self.two.bias = self.one.bias\n" in code
    weights = random_weights(graph)
    weights["two"] = weights["one"]
    module = module_of(graph, weights)
    assert module.one.weight is module.two.weight


def test_all_that_has_no_form_is_named_at_once():
    graph = graph_of(
        'layer { name: "loss" type: "EuclideanLoss" bottom: "data" bottom: "data" top: "loss" }'
        'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" '
        "batch_norm_param { use_global_stats: false } }"
    )
    with pytest.raises(UserError) as caught:
        source_text(graph, "net.pth")
    assert 'layer "loss" (EuclideanLoss): this layer type has no stand-alone PyTorch form' in str(caught.value)
    assert 'layer "bn" (BatchNorm): it normalises a deployed net by the batch' in str(caught.value)


def test_statistics_become_running_ones_and_come_back():
    graph = graph_of('layer { name: "bn" type: "BatchNorm" bottom: "data" top: "y" }')
    sums = [np.float32([2, 4, 6, 8]), np.float32([4, 4, 8, 8]), np.float32([4])]
    layout = source_layout(graph)
    state = layout.state({"bn": sums})
    assert state["bn.running_mean"].tolist() == [0.5, 1, 1.5, 2] and state["bn.running_var"].tolist() == [1, 1, 2, 2]
    back = layout.weights({**state, "bn.num_batches_tracked": np.zeros((), np.float32)})["bn"]
    assert [blob.tolist() for blob in back] == [[0.5, 1, 1.5, 2], [1, 1, 2, 2], [1]]
    never = layout.state({"bn": [*sums[:2], np.float32([0])]})
    assert not never["bn.running_mean"].any() and not never["bn.running_var"].any()


def test_an_inner_product_of_columns_is_turned():
    text = 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "y" '
    graph = graph_of(text + "inner_product_param { num_output: 3 transpose: true axis: 2 } }")
    weights = random_weights(graph)
    layout = source_layout(graph)
    assert layout.shapes == {"fc.weight": (3, 30), "fc.bias": (3,)}
    back = layout.weights(layout.state(weights))
    assert [blob.tobytes() for blob in back["fc"]] == [blob.tobytes() for blob in weights["fc"]]
    check_same(graph, weights, {"data": np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)}, 1e-5)


def test_the_class_docstring_names_inputs_and_outputs():
    code = source_text(graph_of('layer { name: "a" type: "Slice" bottom: "data" top: "y" top: "z" }'), "net.pth")
    assert '    """From data [2×4×6×5] to y, z."""\n' in code
    assert "def forward(self, data: Tensor) -> dict[str, Tensor]:" in code
    assert 'return {"y": y, "z": z}' in code
