"""state_dicts in .pth and safetensors files: there and back, what they may not hold, and what damage does."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.caffemodel import read_weights, write_weights
from converters.files import ending, read_blobs, read_trained, weights_of_state
from converters.pytorch import CaffeNet
from converters.pytorch.layout import caffe_layout
from converters.pytorch.source import source_layout
from converters.pytorch.states import load_plain, read_state, write_state
from converters.safetensors import read_safetensors, write_safetensors
from netgen.commands.main import app
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file, write_text
from prototxt.text import parse

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 5 } } }
layer { name: "conv.1" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "sc/1" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "slope" type: "PReLU" bottom: "conv" top: "conv" prelu_param { channel_shared: true } }
"""
KEYS = {
    "conv_1.weight": (4, 3, 3, 3),
    "conv_1.bias": (4,),
    "bn.mean_sum": (4,),
    "bn.variance_sum": (4,),
    "bn.scale_factor": (1,),
    "sc/1.weight": (4,),
    "sc/1.bias": (4,),
    "slope.slope": (),
}


@pytest.fixture
def graph() -> Graph:
    net = parse(NET, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(net.message, net.path, net.lines))


@pytest.fixture
def weights(graph) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        layer.name: [rng.uniform(0.5, 1.5, shape).astype(np.float32) for shape in layer.blob_shapes]
        for layer in graph.layers
        if layer.blob_shapes
    }


def same(one, other) -> bool:
    return {k: [b.tobytes() for b in v] for k, v in one.items()} == {
        k: [b.tobytes() for b in v] for k, v in other.items()
    }


def test_the_keys_are_those_of_the_module(graph, weights):
    layout = caffe_layout(graph)
    assert layout.shapes == KEYS
    module = CaffeNet(graph, weights)
    assert {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()} == KEYS
    for key, array in layout.state(weights).items():
        assert array.tobytes() == module.state_dict()[key].numpy().tobytes()


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
@pytest.mark.parametrize("layout", [caffe_layout, source_layout])
def test_there_and_back(graph, weights, tmp_path, name, layout):
    """Bit for bit, whichever PyTorch form the file is of; that of the source has BatchNorm's factor multiplied out."""
    if layout is source_layout:
        weights["bn"][2][:] = 1
    write_state(tmp_path / name, layout(graph).state(weights))
    found = read_blobs(graph, tmp_path / name)
    assert same(found, weights) and found.path == str(tmp_path / name)
    assert [os.listdir(tmp_path)] == [[name]]


def test_both_libraries_read_our_safetensors(tmp_path, graph, weights):
    library = pytest.importorskip("safetensors.numpy")
    state = caffe_layout(graph).state(weights)
    write_safetensors(tmp_path / "w.safetensors", state)
    theirs = library.load_file(str(tmp_path / "w.safetensors"))
    assert {key: array.tobytes() for key, array in theirs.items()} == {k: a.tobytes() for k, a in state.items()}
    library.save_file(state, str(tmp_path / "theirs.safetensors"))
    assert same(read_blobs(graph, tmp_path / "theirs.safetensors"), weights)


def test_safetensors_byte_for_byte(tmp_path):
    """The format's own words: length of the header, the header padded to eight bytes, the values."""
    write_safetensors(tmp_path / "w.safetensors", {"a": np.float32([[1, -2]]), "b": np.float32(3)})
    header = (
        b'{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}'
    )
    header += b" " * (-len(header) % 8)
    wanted = len(header).to_bytes(8, "little") + header + bytes.fromhex("0000803f000000c000004040")
    assert (tmp_path / "w.safetensors").read_bytes() == wanted
    found = read_safetensors(tmp_path / "w.safetensors")
    assert found["a"].tolist() == [[1, -2]] and found["b"].shape == () and found["b"] == 3


def safetensors_file(path: Path, header, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_narrower_and_wider_floats_become_float32(tmp_path):
    kinds = {"F16": np.float16([1.5, -2]).tobytes(), "F64": np.float64([0.1, 3]).tobytes(), "BF16": b"\xc0\x3f\x00\xc0"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for kind, raw in kinds.items():
        header[kind] = {"dtype": kind, "shape": [2], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    found = read_safetensors(safetensors_file(tmp_path / "w.safetensors", header, data))
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert found["F16"].tolist() == found["BF16"].tolist() == [1.5, -2]
    assert found["F64"].tolist() == [np.float32(0.1), 3]


def entry(shape=(2,), offsets=(0, 8), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "header, data, message",
    [
        ({"a": entry((10**9, 10**9))}, b"\0" * 8, "'a' has 1,000,000,000,000,000,000 values in 8 bytes"),
        ({"a": entry(offsets=(0, 800))}, b"\0" * 8, "'a' lies at bytes 0 to 800 of 8"),
        ({"a": entry(offsets=(8, 0))}, b"\0" * 8, "'a' lies at bytes 8 to 0 of 8"),
        ({"a": entry((-2,))}, b"\0" * 8, "its entry 'a' lacks dtype, shape or data_offsets"),
        ({"a": entry((True,), (0, 4))}, b"\0" * 4, "its entry 'a' lacks dtype, shape or data_offsets"),
        ({"a": 7}, b"", "its entry 'a' lacks dtype, shape or data_offsets"),
        ({"a": entry([1] * 33, (0, 4))}, b"\0" * 4, "'a' has 33 axes"),
        ({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12, "byte 4 of its arrays belongs to two"),
        ({"a": entry(offsets=(4, 12))}, b"\0" * 12, "byte 0 of its arrays belongs to none"),
        ({"a": entry()}, b"\0" * 12, "4 bytes after its last array belong to none"),
        (b'{"a": {}, "a": {}}', b"", "its header is no JSON"),
        (b"[" * 100_000, b"", "its header is no JSON"),
        (b"\xff\xfe", b"", "its header is no JSON"),
        ([1], b"", "its header is no table"),
    ],
)  # fmt: skip
def test_damaged_safetensors(tmp_path, header, data, message):
    path = safetensors_file(tmp_path / "w.safetensors", header, data)
    with pytest.raises(UserError) as caught:
        read_safetensors(path)
    assert str(caught.value).startswith(f"{path}: this is no whole safetensors file: {message}")


@pytest.mark.parametrize("raw", [b"", b"\0" * 7, b"\xff" * 8, (2**60).to_bytes(8, "little") + b"{}"])
def test_safetensors_without_a_header(tmp_path, raw):
    (tmp_path / "w.safetensors").write_bytes(raw)
    with pytest.raises(UserError, match=r"this is no whole safetensors file: (it has no header|its header announces)"):
        read_safetensors(tmp_path / "w.safetensors")


def test_integers_are_no_weights(tmp_path):
    path = safetensors_file(tmp_path / "w.safetensors", {"n": entry((1,), (0, 8), "I64")}, b"\0" * 8)
    with pytest.raises(UserError, match=r"these are no weights: n \(I64\); expected floating-point arrays"):
        read_safetensors(path)


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch i_ran",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_weight_file_does_not_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv_1.weight": Evil()}, "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError) as caught:
        read_state("w.pth")
    assert str(caught.value) == (
        "w.pth: this is no file of plain weights: reading it would run code that it names, or it is damaged; "
        "expected a state_dict\n"
        "  fix: save the weights alone: torch.save(model.state_dict(), path), where you trust the file"
    )
    assert not Path("i_ran").exists()
    pickle.loads(pickle.dumps(Evil()))  # it would have
    assert Path("i_ran").exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "w.pth")
    with pytest.raises(UserError, match="this is no file of plain weights: reading it would run code"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "value, message",
    [
        ([1], r"this holds a list, not a state_dict"),
        ({"model": {}, "epoch": 3}, r"not only tensors are in it, but also model, epoch"),
        ({"a": torch.ones(2, dtype=torch.int64)}, r'"a" is of int64; expected a plain tensor of numbers'),
        ({"a": torch.ones(1, dtype=torch.complex64)}, r'"a" is of complex64'),
        ({"a": torch.ones(2).to_sparse()}, r'"a" is sparse'),
        ({"a": torch.ones(1).expand(10**6, 10**5)}, r'"a" announces 100,000,000,000 values that are not there'),
        ({"a": torch.empty(10**6, 10**6, device="meta")}, r'"a" has a shape but no values'),
    ],
)
def test_what_a_pth_may_not_hold(tmp_path, value, message):
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(UserError, match=message):
        read_state(tmp_path / "w.pth")


def test_all_flaws_are_told_at_once(tmp_path):
    torch.save({"a": torch.ones(2).to_sparse(), "b": torch.ones(2, dtype=torch.int32)}, tmp_path / "w.pth")
    with pytest.raises(UserError) as caught:
        read_state(tmp_path / "w.pth")
    assert '"a" is sparse' in str(caught.value) and '"b" is of int32' in str(caught.value)


def test_other_kinds_of_floats_and_counters(tmp_path):
    state = {"a": torch.tensor([1.5], dtype=torch.bfloat16), "n": torch.tensor(7), "b": torch.tensor([0.1]).double()}
    torch.save(state, tmp_path / "w.pth")
    assert {key: (array.dtype, array.tolist()) for key, array in read_state(tmp_path / "w.pth").items()} == {
        "a": (np.float32, [1.5]),
        "n": (np.float32, 7),
        "b": (np.float32, [np.float32(0.1)]),
    }
    assert load_plain(tmp_path / "w.pth")["n"].dtype == torch.int64


def damaged(tmp_path: Path) -> list[Path]:
    """Files called .pth that are none."""
    torch.save({"a": torch.ones(1000)}, tmp_path / "whole.pth")
    raw = (tmp_path / "whole.pth").read_bytes()
    paths = []
    for i, data in enumerate((b"", b"\0" * 50, raw[: len(raw) // 2], raw[:-30], raw[100:], b"<html>", b"PK\x03\x04")):
        paths.append(tmp_path / f"{i}.pth")
        paths[-1].write_bytes(data)
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as archive,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in archive.namelist():
            packed.writestr(part, archive.read(part))
    return [*paths, tmp_path / "packed.pth"]


def test_damaged_pth(tmp_path):
    for path in damaged(tmp_path):
        with pytest.raises(UserError, match=r"PyTorch cannot read it|this is no file of plain weights|this holds a"):
            read_state(path)


def test_no_file(tmp_path):
    for name in ("w.pth", "w.safetensors"):
        with pytest.raises(UserError, match="there is no such file"):
            read_state(tmp_path / name)


def test_keys_that_do_not_fit_are_named_at_once(graph, weights):
    state = caffe_layout(graph).state(weights)
    state["conv_1.wieght"] = state.pop("conv_1.weight")
    state["sc/1.bias"] = np.zeros((4, 1), np.float32)
    with pytest.raises(UserError) as caught:
        weights_of_state(graph, state, "w.pth")
    assert str(caught.value).splitlines() == [
        'w.pth: it has no "conv_1.weight"; expected an array of 4×3×3×3',
        'w.pth: "sc/1.bias" has the shape 4×1; expected 4',
        'w.pth: the net has no "conv_1.wieght" (did you mean "conv_1.weight"?)',
    ]


def test_keys_of_the_source_are_told_in_its_own_words(graph, weights):
    state = source_layout(graph).state(weights)
    del state["sc_1.bias"]
    with pytest.raises(UserError, match=r'^the state_dict: it has no "sc_1\.bias"; expected an array of 4$'):
        weights_of_state(graph, state)


@pytest.fixture
def files(graph, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text(graph.net.message, "net.prototxt")
    write_weights("net.caffemodel", graph, weights)
    return tmp_path


def convert(*arguments: str) -> None:
    app(["convert", *arguments], standalone_mode=False)


def test_every_form_gives_the_caffemodel_back(files, weights, capsys):
    original = Path("net.caffemodel").read_bytes()
    given = "net.caffemodel"
    for name in ("a.pth", "b.safetensors", "c.caffemodel.h5", "d.pt", "e.caffemodel"):
        convert("net.prototxt", given, "-o", name)
        given = name
    assert Path("e.caffemodel").read_bytes() == original
    assert same(read_weights("c.caffemodel.h5"), weights)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("wrote a.pth: a state_dict of 8 tensors, 0.0 MB")
    assert out[2].startswith("wrote c.caffemodel.h5: the blobs of 4 layers, 0.0 MB")


def test_source_with_its_state_dict_and_back(files, weights):
    weights["bn"][2][:] = 1
    write_weights("net.caffemodel", read_trained("net.prototxt", "net.caffemodel").graph, weights)
    convert("net.prototxt", "net.caffemodel", "-o", "net.onnx", "--source", "mine.py")
    names = ["mine.pth", "mine.py", "net.caffemodel", "net.onnx", "net.prototxt"]
    assert sorted(path.name for path in files.iterdir()) == names
    convert("net.prototxt", "mine.pth", "-o", "back.caffemodel")
    assert Path("back.caffemodel").read_bytes() == Path("net.caffemodel").read_bytes()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("net.prototxt net.caffemodel", r"nothing is to be written\n  fix: give -o FILE, or --source FILE.py"),
        ("net.prototxt -o a.onnx", r"net.prototxt: its weights are missing\n  fix: netgen convert net.prototxt"),
        ("net.prototxt net.caffemodel -o a.tflite", r"a.tflite: cannot write a file with the ending '.tflite'; expec"),
        ("net.prototxt net.caffemodel --source a.txt", r"a.txt: the ending of --source is '.txt'; expected .py"),
        ("net.prototxt net.caffemodel -o a.pth --source a.py", r"a.py comes with a state_dict of its own, a.pth"),
        ("net.caffemodel net.caffemodel -o a.pth", r"cannot read a net from a file with the ending '.caffemodel'"),
        ("net.prototxt net.caffemodel -o no/a.safetensors", r"no/a.safetensors: cannot be written: No such file"),
        ("net.prototxt net.caffemodel -o no/a.pth", r"no/a.pth: cannot be written: No such file"),
        ("net.prototxt net.caffemodel --source no/a.py", r"no/a.pth: cannot be written: No such file"),
        ("net.prototxt net.caffemodel -o a.pth --input-shape 1x3x6", r"a prototxt says the shapes of its inputs"),
        ("net.prototxt net.caffemodel -o a.pth --input-shape 1x0", r"--input-shape"),
    ],
)
def test_commands_that_cannot_be(files, arguments, message):
    with pytest.raises(UserError, match=message):
        convert(*arguments.split())
    assert sorted(path.name for path in files.iterdir()) == ["net.caffemodel", "net.prototxt"]


@pytest.mark.parametrize("name", ["deploy.prototxt.txt", "test.pt"])
def test_other_endings_of_a_net(files, name):
    """As OpenCV's tutorials and py-faster-rcnn call theirs."""
    Path("net.prototxt").rename(name)
    convert(name, "net.caffemodel", "-o", "back.caffemodel")
    assert Path("back.caffemodel").read_bytes() == Path("net.caffemodel").read_bytes()


def test_endings():
    assert ending("a/b.caffemodel.h5") == ".h5" and ending(Path("net.pth")) == ".pth"
    assert ending("models/my.py:build") == ".py" and ending("net") == ""
