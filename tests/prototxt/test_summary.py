"""Costs of nets, by hand on a small net and against the published counts of whole ones."""

from __future__ import annotations

import json

import pytest

from netgen.commands.summary import summary
from prototxt import schema
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.summary import summarize
from prototxt.text import parse

NET = """name: "toy"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 20 dim: 30 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 group: 3 stride: 2 } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "up" type: "Deconvolution" bottom: "c" top: "up" param { name: "w" } param { name: "b" }
        convolution_param { num_output: 6 kernel_size: 2 stride: 2 } }
layer { name: "up2" type: "Deconvolution" bottom: "c" top: "up2" param { name: "w" } param { name: "b" }
        convolution_param { num_output: 6 kernel_size: 2 stride: 2 } }
layer { name: "flat" type: "Flatten" bottom: "up" top: "flat" }
layer { name: "ip" type: "InnerProduct" bottom: "flat" top: "ip"
        inner_product_param { num_output: 7 bias_term: false } }
layer { name: "cut" type: "Slice" bottom: "ip" top: "x" top: "y" slice_param { slice_point: 3 } }
"""


@pytest.fixture
def costs():
    parsed = parse(NET, schema.NetParameter())
    return summarize(Graph(net_file(parsed.message)))


def test_costs_of_each_layer(costs):
    by_name = {layer.pop("name"): layer for layer in costs["layers"]}
    assert by_name["c"] == {
        "type": "Convolution",
        "tops": ["c"],
        "shapes": [[2, 6, 9, 13]],
        "parameters": 6 * 1 * 3 * 5 + 6,
        "statistics": 0,
        "macs": (2 * 6 * 9 * 13) * (1 * 3 * 5),
        "activation_bytes": 4 * 2 * 6 * 9 * 13,
    }
    assert by_name["cut"]["tops"] == ["x", "y"] and by_name["cut"]["shapes"] == [[2, 3], [2, 4]]
    numbers = ("parameters", "statistics", "macs", "activation_bytes")
    assert {name: tuple(layer[n] for n in numbers) for name, layer in by_name.items() if name != "c"} == {
        "data": (0, 0, 0, 4 * 3600),
        "bn": (0, 6 + 6 + 1, 0, 0),
        "s": (12, 0, 0, 0),
        "r": (0, 0, 0, 0),
        "up": (6 * 6 * 2 * 2 + 6, 0, (2 * 6 * 9 * 13) * (6 * 2 * 2), 4 * 2 * 6 * 18 * 26),
        "up2": (0, 0, (2 * 6 * 9 * 13) * (6 * 2 * 2), 4 * 2 * 6 * 18 * 26),  # its blobs are those of "up"
        "flat": (0, 0, 0, 0),
        "ip": (6 * 18 * 26 * 7, 0, 2 * 6 * 18 * 26 * 7, 4 * 2 * 7),
        "cut": (0, 0, 0, 4 * 2 * 7),
    }


def test_totals_are_sums(costs):
    assert (costs["name"], costs["phase"]) == ("toy", "TEST")
    assert costs["total"]["layers"] == len(costs["layers"]) == 10
    for number in ("parameters", "statistics", "macs", "activation_bytes"):
        assert costs["total"][number] == sum(layer[number] for layer in costs["layers"])


@pytest.mark.parametrize(
    ("model", "parameters", "statistics"),
    [
        ("scratchdet300_root34_voc", 24_553_262, 17_322),
        ("scratchdet300_root34_coco", 28_151_852, 22_434),
        ("ssd300_vgg_voc", 26_285_486, 0),
        ("dsod300_voc", 14_715_804, 80_024),
        ("grp_dsod320_voc", 15_928_690, 26_637),
    ],
)
def test_published_models(shared, model, parameters, statistics):
    for name, phase in (("deploy", "TEST"), ("train", "TRAIN")):
        total = summarize(Graph.load(shared / f"reference/prototxt/{model}/{name}.prototxt", phase))["total"]
        assert (total["parameters"], total["statistics"]) == (parameters, statistics), name


def test_macs_of_ssd300(shared):
    """The paper's VGG SSD300 costs 31.4 G multiply-accumulates an image; a batch of 32 costs 32 times that."""
    folder = shared / "reference/prototxt/ssd300_vgg_voc"
    one = summarize(Graph.load(folder / "deploy.prototxt"))["total"]["macs"]
    batch = summarize(Graph.load(folder / "train.prototxt", "TRAIN"))
    assert one == 31_373_537_792
    assert batch["total"]["macs"] == one * batch["layers"][0]["shapes"][0][0]


def test_command(tmp_path, capsys):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    summary(path, "json", "TEST")
    costs = json.loads(capsys.readouterr().out)
    assert costs["total"]["parameters"] == 19914
    assert costs["layers"][1]["shapes"] == [[2, 6, 9, 13]]
    summary(path, "text", "TEST")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["toy,", "phase", "TEST"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert rows["Layer"] == ["Type", "Output", "Parameters", "Statistics", "MACs", "Memory"]
    assert rows["c"] == ["Convolution", "2×6×9×13", "96", "21.06", "k", "5.5", "KiB"]
    assert rows["bn"] == ["BatchNorm", "2×6×9×13", "13"]
    assert rows["10"] == ["layers", "19,914", "13", "127.76", "k", "63.5", "KiB"]
