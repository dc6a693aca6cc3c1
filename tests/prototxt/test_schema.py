"""Our runtime reading of caffe.proto against protoc's, and against the recorded schema of SSD-Caffe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

import prototxt
from prototxt import schema

# What forks of Caffe added: the field of LayerParameter, and its number.
FORKS = {
    "continuation_indicator_param": 93,
    "lstm_param": 97,
    "swish_param": 147,
    "clip_param": 148,
    "upsample_param": 149,
    "mish_param": 150,
    "bn_param": 152,
    "reorg_param": 159,
    "reverse_param": 160,
    "shuffle_channel_param": 164,
    "relu6_param": 208,
    "yolo_detection_output_param": 601,
    "yolov3_detection_output_param": 602,
    "interp_param": 2143,
    "quantization_param": 2158,
    "proposal_param": 2201,
    "psroi_pooling_param": 10001,
    "transpose_param": 8266710,
    "roi_pooling_param": 8266711,
}

# Fields that later Caffes and forks added to a message of SSD-Caffe.
LATER = {
    "DataParameter": {"shuffle": 1011, "cache": 1012, "threads": 1013, "parser_threads": 1014, "precache": 1016},
    "BatchNormParameter": {"scale_filler": 5, "bias_filler": 6, "scale_bias": 7},
    "DropoutParameter": {"scale_train": 2, "sample_weights_test": 102},
    "NonMaximumSuppressionParameter": {"soft_nms": 104, "theta": 105},
    "PoolingParameter": {"round_mode": 13, "ceil_mode": 1013},
    "NetParameter": {
        **{"default_forward_type": 11, "default_backward_type": 12, "default_forward_math": 13},
        **{"default_backward_math": 14, "global_grad_scale": 15, "global_grad_scale_adaptive": 16},
        **{"default_conv_algos_override": 17, "reduce_buckets": 18, "default_cudnn_math_override": 19},
        **{"eltwise_mem_sharing": 20, "engine": 1009},
    },
    "LayerParameter": {
        **{"forward_type": 2145, "backward_type": 2146, "forward_math": 2147, "backward_math": 2148},
        **{"cudnn_math_override": 2150, "engine": 2149},
        **FORKS,
    },
}

PROTO = Path(prototxt.__file__).with_name("caffe.proto")


def run_protoc(*arguments: str) -> None:
    pytest.importorskip("grpc_tools", reason="needs protoc (the package grpcio-tools)")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", *arguments, PROTO.name]
    subprocess.run(command, check=True)


def resolved(file: FileDescriptorProto) -> FileDescriptorProto:
    """`file` as a pool understood it: every type name complete, every default in one spelling."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    result = FileDescriptorProto()
    pool.FindFileByName("caffe.proto").CopyToProto(result)
    for message in result.message_type:
        for field in message.field:
            field.ClearField("json_name")
    return result


def test_our_reader_and_protoc_agree(tmp_path):
    run_protoc(f"--descriptor_set_out={tmp_path / 'set'}")
    (protoc,) = FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    ours, theirs = resolved(schema.descriptors()), resolved(protoc)
    assert len(theirs.message_type) == 86 + len(FORKS)
    for our_message, their_message in zip(ours.message_type, theirs.message_type):
        assert our_message == their_message
    assert ours == theirs


def written_as_recorded(field: FieldDescriptor) -> dict:
    types = {getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name for name in schema._SCALARS}
    owner = field.message_type or field.enum_type
    is_list = hasattr(getattr(schema.message_class(field.containing_type.name)(), field.name), "extend")
    record = {
        "number": field.number,
        "label": "repeated" if is_list else "optional",
        "type": owner.full_name.removeprefix("caffe.") if owner else types[field.type],
    }
    if field.has_default_value:
        by_number = field.enum_type and field.enum_type.values_by_number
        record["default"] = by_number[field.default_value].name if by_number else field.default_value
    if field.GetOptions().packed:
        record["packed"] = True
    return record


def test_schema_is_that_of_ssd_caffe(shared):
    """Messages, fields, numbers, labels, types, defaults and packing; those of other forks are listed apart."""
    recorded = json.loads((shared / "reference/caffe_schema.json").read_text())
    messages = {name for name, kind in schema._NAMES.items() if hasattr(kind, "DESCRIPTOR") and hasattr(kind, "Clear")}
    fields = schema.LayerParameter.DESCRIPTOR.fields_by_name
    assert {name: fields[name].number for name in FORKS} == FORKS
    forks = {fields[name].message_type.name for name in FORKS}
    assert messages - forks == set(recorded["messages"]) and len(forks) == len(FORKS)
    for name, fields in recorded["messages"].items():
        later = LATER.get(name, {})
        ours = [f for f in schema.message_class(name).DESCRIPTOR.fields if later.get(f.name) != f.number]
        assert [f.name for f in ours] == list(fields), name
        for field in ours:
            ours_now, theirs = written_as_recorded(field), dict(fields[field.name])
            if isinstance(theirs.get("default"), float):  # recorded with nine digits
                assert ours_now.pop("default") == pytest.approx(theirs.pop("default"), rel=1e-8)
            assert ours_now == theirs, f"{name}.{field.name}"


def test_enums_are_those_of_ssd_caffe(shared):
    recorded = json.loads((shared / "reference/caffe_schema.json").read_text())["enums"]
    file = schema.NetParameter.DESCRIPTOR.file
    forks = {schema.LayerParameter.DESCRIPTOR.fields_by_name[name].message_type.name for name in FORKS}
    enums = list(file.enum_types_by_name.values())
    for message in file.message_types_by_name.values():
        enums += [] if message.name in forks else message.enum_types
    ours = {e.full_name.removeprefix("caffe."): {v.name: v.number for v in e.values} for e in enums}
    assert ours.pop("PoolingParameter.RoundMode") == {"CEIL": 0, "FLOOR": 1}
    assert list(ours.pop("Type")) == ["DOUBLE", "FLOAT", "FLOAT16", "INT", "UINT", "BOOL"]
    assert ours == recorded


@pytest.mark.parametrize("first", ["prototxt.schema", "caffe_pb2"])
def test_lives_beside_another_caffe_pb2(tmp_path, first):
    """pycaffe registers its own caffe.proto in the default pool of the process; ours is private."""
    run_protoc(f"--python_out={tmp_path}")
    second = "caffe_pb2" if first == "prototxt.schema" else "prototxt.schema"
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import {first}, {second}
ours, theirs = prototxt.schema.NetParameter(name="n"), caffe_pb2.NetParameter()
theirs.ParseFromString(ours.SerializeToString())
assert theirs.name == "n" and type(ours) is not type(theirs)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROTO.parents[1])


def test_names():
    assert schema.TEST == 1 and schema.Phase.Name(0) == "TRAIN"
    assert schema.PoolingParameter.AVE == 1
    assert schema.message_class("NetParameter") is schema.NetParameter
    with pytest.raises(AttributeError, match="Caffe's schema has no message or constant 'NetParam'"):
        _ = schema.NetParam
