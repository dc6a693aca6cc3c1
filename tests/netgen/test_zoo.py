"""Every model on every data set: fingerprints of the official nets, wiring, shapes, counts."""

from __future__ import annotations

import hashlib
import json
import runpy
import struct
from dataclasses import replace
from math import prod

import pytest
from google.protobuf import text_format

from netgen.backbones.root_resnet import ROOT_RESNET34
from netgen.datasets import COCO, DATASETS, VOC0712
from netgen.heads.multibox import Source
from netgen.jobs import JobPaths, solver_proto
from netgen.zoo import MODELS, build
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file

# Where somebody's files lie says nothing about a net.
PATHS = {"source", "label_map_file", "name_size_file", "output_directory", "output_name_prefix"}
PATHS |= {"train_net", "test_net", "snapshot_prefix"}

# sha256 of the canonical form of the files that ScratchDet's own scripts write.
FINGERPRINTS = {
    ("scratchdet300-root34", "voc0712"): {
        "train": "b643238d7317f69d81d9b0a77e315678b7a54b16e8af34fa05c0940086d5ae48",
        "test": "e7f9db0a3feaa4cdac36e975a1ef9ee5ef4e8fe1015b3c3bfaee8f327222dde2",
        "deploy": "bb609a55314b408aeeec78ec1cb104857dfc20bfe7dbc2423e110354f0cba230",
        "solver": "f7999d2010702dd697e4a7a7a63ec68017a4f10ed7830f101ba32f04459aec99",
    },
    ("scratchdet300-root34", "coco"): {
        "train": "49949116ace3d66721f8a970b2e0801f58b272ef774f08f6fa5dca67a537a518",
        "test": "db1cd9be7e4a7b6cf3182abc31b885518a3f5d90928dbf762dae0d72afd2ed2d",
        "deploy": "81280b2126a122c2b913fb274f11e03d8a3fc97d55593494d77c8a3d7dd3b9b6",
        "solver": "3199b44c2ceccecae0e72232b0d732924401e834842845787178c7cf8f153333",
    },
}
REFERENCES = {"voc0712": "scratchdet300_root34_voc", "coco": "scratchdet300_root34_coco"}


def files(model, data_name, tmp_path):
    detector = build(model, DATASETS[data_name])
    paths = JobPaths(tmp_path, tmp_path / model)
    return {**detector.nets(), "solver": solver_proto(detector.schedule, paths, detector.data.num_test_images)}


def canonical(message):
    """A message as plain data: without paths and defaults, floats as float32 shows them."""
    plain = {}
    for field, value in message.ListFields():
        if field.name in PATHS:
            continue
        repeated = hasattr(value, "extend")
        values = [_plain(field, item) for item in (value if repeated else [value])]
        if repeated:
            plain[field.name] = values
        elif field.message_type:
            if values != [{}] or field.name == "sampler":
                plain[field.name] = values[0]
        elif values[0] != _plain(field, field.default_value) or (field.enum_type and not field.has_default_value):
            plain[field.name] = values[0]
    return plain


def _plain(field, value):
    if field.message_type:
        return canonical(value)
    if field.enum_type:
        return field.enum_type.values_by_number[value].name
    if field.cpp_type == field.CPPTYPE_FLOAT:
        return format(struct.unpack("f", struct.pack("f", value))[0], ".6g")
    return value


def fingerprint(message):
    net = canonical(message)
    net.pop("name", None)
    layers = {layer["name"]: layer for layer in net.pop("layer", [])}
    return hashlib.sha256(json.dumps({"net": net, "layers": layers}, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("model, data_name", FINGERPRINTS)
def test_fingerprints(model, data_name, tmp_path):
    written = {key: fingerprint(message) for key, message in files(model, data_name, tmp_path).items()}
    assert written == FINGERPRINTS[model, data_name]


@pytest.mark.parametrize("model, data_name", FINGERPRINTS)
def test_same_as_the_official_files(model, data_name, tmp_path, shared):
    tool = runpy.run_path(str(shared / "tools/same_net.py"))
    for key, message in files(model, data_name, tmp_path).items():
        path = tmp_path / f"{key}.prototxt"
        path.write_text(text_format.MessageToString(message), "utf-8")
        official = shared / "reference/prototxt" / REFERENCES[data_name] / path.name
        assert list(tool["differences"](tool["read"](path), tool["read"](official))) == []


@pytest.mark.parametrize("data_name", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_nets_fit_together(model, data_name):
    detector = build(model, DATASETS[data_name])
    nets = detector.nets()
    outputs = {}
    for key, phase in (("train", "TRAIN"), ("test", "TEST"), ("deploy", "TEST")):
        graph = Graph(net_file(nets[key]), phase)
        outputs[key] = graph.outputs
        assert nets[key].name == f"{model}_{data_name}_{key}"
        assert graph.inputs["data"][2:] == detector.input_hw
        priors = sum(s.num_priors * prod(graph.shapes[s.blob][2:]) for s in detector.sources)
        assert graph.shapes["mbox_priorbox"] == (1, 2, priors * 4)
        assert graph.shapes["mbox_conf"][1] == priors * DATASETS[data_name].num_classes
    assert outputs == {"train": ["mbox_loss"], "test": ["detection_eval"], "deploy": ["detection_out"]}


def test_same_weights_in_every_net():
    nets = build("scratchdet300-root34").nets()
    blobs = {}
    for key, phase in (("train", "TRAIN"), ("test", "TEST"), ("deploy", "TEST")):
        layers = Graph(net_file(nets[key]), phase).layers
        blobs[key] = {layer.name: layer.blob_shapes for layer in layers if layer.blob_shapes}
    assert blobs["train"] == blobs["test"] == blobs["deploy"]


@pytest.mark.parametrize(
    "data, layers, priors, learned, statistics",
    [(VOC0712, 244, 8892, 24_553_262, 17_322), (COCO, 268, 8892, 28_151_852, 22_434)],
    ids=["voc0712", "coco"],
)
def test_scratchdet300_root34_in_numbers(data, layers, priors, learned, statistics):
    graph = Graph(net_file(build("scratchdet300-root34", data).nets()["deploy"]))
    counts = {True: 0, False: 0}
    for layer in graph.layers:
        counts[layer.type == "BatchNorm"] += sum(prod(shape) for shape in layer.blob_shapes)
    assert len(graph.layers) == layers
    assert graph.shapes["mbox_priorbox"][2] // 4 == priors
    assert counts == {False: learned, True: statistics}
    maps = [graph.shapes[source.blob] for source in build("scratchdet300-root34", data).sources]
    sizes = [(256, 38), (512, 19), (128, 10), (128, 5), (128, 5), (128, 5)]
    assert maps == [(1, channels, size, size) for channels, size in sizes]


def test_numbering_of_root_resnet34():
    """Norms, sums and projections are numbered as in the released weights, which load by these names."""
    net = build("scratchdet300-root34").nets()["deploy"]
    layers = {layer.name: layer for layer in net.layer}
    assert "Eltwise19" in layers and "Eltwise20" not in layers  # nothing reads the last sum
    assert list(layers["Convolution3"].bottom) == ["BatchNorm29"]
    assert list(layers["Eltwise14"].bottom) == ["Convolution3", "conv5_2"]
    assert list(layers["Eltwise1"].bottom) == ["pool1", "conv2_2"]
    assert list(layers["Eltwise19"].bottom) == ["Eltwise18", "conv8_2"]
    assert (list(layers["BatchNorm9"].bottom), list(layers["BatchNorm9"].top)) == (["Eltwise3"], ["BatchNorm9"])
    assert (list(layers["BatchNorm42"].bottom), list(layers["BatchNorm42"].top)) == (["conv9_1"], ["conv9_1"])
    assert list(layers["conv2_1"].bottom) == ["pool1"]
    assert [stage.blocks for stage in ROOT_RESNET34] == [3, 4, 6, 3, 1, 1, 1, 1]


def test_own_data_set_decides_on_the_head():
    data = replace(VOC0712, name="", num_classes=4, num_test_images=6, test_lmdb="there")
    net = build("scratchdet300-root34", data).nets()["test"]
    layers = {layer.name: layer for layer in net.layer}
    assert net.name == "scratchdet300-root34_test"
    assert layers["data"].data_param.source == "there"
    assert layers["conv4_12_mbox_conf"].convolution_param.num_output == 4 * 4
    assert layers["conv5_6_mbox_loc"].convolution_param.num_output == 6 * 4
    assert list(layers["mbox_conf_reshape"].reshape_param.shape.dim) == [0, -1, 4]
    assert layers["detection_out"].detection_output_param.save_output_param.num_test_image == 6
    assert layers["detection_eval"].detection_evaluate_param.num_classes == 4


def test_prior_counts():
    assert [Source("x", 30, 60, ratios, 8).num_priors for ratios in ((), (2,), (2, 3))] == [2, 4, 6]


def test_unknown_model():
    with pytest.raises(UserError, match=r'no model called "scratchdet300-rot34" \(did you mean "scratchdet300-root34"'):
        build("scratchdet300-rot34")
