"""Fingerprints of the files of a model: the sha256 of what they say, as the official files' were taken."""

from __future__ import annotations

import hashlib
import json
import runpy
import struct
from pathlib import Path

import pytest
from google.protobuf import text_format

from netgen.datasets import DATASETS
from netgen.jobs import FILES, JobPaths
from netgen.zoo import build

# Where somebody's files lie says nothing about a net.
PATHS = {"source", "label_map_file", "name_size_file", "output_directory", "output_name_prefix"}
PATHS |= {"train_net", "test_net", "snapshot_prefix"}


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
    """The sha256 of a net's or a solver's canonical form; the order of layers and the net's name do not count."""
    net = canonical(message)
    net.pop("name", None)
    layers = {layer["name"]: layer for layer in net.pop("layer", [])}
    return hashlib.sha256(json.dumps({"net": net, "layers": layers}, sort_keys=True).encode()).hexdigest()


def job_messages(model, data_name, **options):
    """Every prototxt of a model's job, as messages."""
    detector = build(model, DATASETS[data_name], **options)
    return {key: make(detector, JobPaths(Path("job"), Path("job/net"))) for key, make in FILES.items()}


@pytest.fixture
def fingerprints():
    """Call it with a model, the name of a data set and the model's options: `{"train": sha256, …}`."""

    def of(model, data_name, **options):
        messages = job_messages(model, data_name, **options)
        return {key: fingerprint(messages[key]) for key in ("train", "test", "deploy", "solver")}

    return of


@pytest.fixture
def differences(shared, tmp_path):
    """Call it with a model, the name of a data set and the folder of the official files: all that differs.

    This is the comparison that the fingerprints stand for, made by the tool that they were taken with.
    """
    tool = runpy.run_path(str(shared / "tools/same_net.py"))

    def of(model, data_name, reference):
        rows = []
        messages = job_messages(model, data_name)
        for key in ("train", "test", "deploy", "solver"):
            path = tmp_path / f"{key}.prototxt"
            path.write_text(text_format.MessageToString(messages[key]), "utf-8")
            official = shared / "reference/prototxt" / reference / path.name
            rows += tool["differences"](tool["read"](path), tool["read"](official))
        return rows

    return of
