"""Caffemodels: against Caffe's own files, protobuf's parser, OpenCV's importer, and files that are none."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.caffemodel import Weights, check, read_weights, require_all, write_weights
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.text import parse

NET = """
name: "two" layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 4 } } }
layer { name: "a/conv" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "fc" type: "InnerProduct" bottom: "a" top: "y" inner_product_param { num_output: 4 } }
"""
SHAPES = {"a/conv": [(2, 3, 3, 3), (2,)], "fc": [(4, 12), (4,)]}


@pytest.fixture
def graph() -> Graph:
    return Graph(net_file(parse(NET, schema.NetParameter(), "two.prototxt").message, "two.prototxt"))


@pytest.fixture
def weights() -> Weights:
    rng = np.random.default_rng(0)
    return Weights({name: [rng.random(s, np.float32) for s in shapes] for name, shapes in SHAPES.items()}, "two.bin")


def same(one, other) -> None:
    assert list(one) == list(other)
    for name in one:
        for a, b in zip(one[name], other[name], strict=True):
            assert a.shape == b.shape and a.dtype == np.float32 and a.tobytes() == b.tobytes(), name


@pytest.mark.parametrize("suffix", ["_iter_6.caffemodel", "_hdf5_iter_6.caffemodel.h5"])
def test_caffes_snapshots(shared, suffix):
    folder = shared / "oracle/solver"
    weights = read_weights(folder / f"sgd_multistep{suffix}")
    data = np.load(folder / "sgd_multistep.npz")
    keys = [key for key in data.files if key.startswith("param_iter6/")]
    assert sum(len(blobs) for blobs in weights.values()) == len(keys) == 26
    for key in keys:
        _, name, index = key.split("/")
        blob = weights[name][int(index)]
        assert blob.shape == data[key].shape and blob.tobytes() == data[key].tobytes()


def test_as_protobuf_reads_it(shared):
    path = shared / "models/wechat_qr/detect.caffemodel"
    message = schema.NetParameter.FromString(path.read_bytes())
    wanted = {
        layer.name: [np.array(blob.data, np.float32).reshape(blob.shape.dim) for blob in layer.blobs]
        for layer in message.layer
        if layer.blobs
    }
    assert len(wanted) == 84
    same(read_weights(path), wanted)


@pytest.mark.parametrize("name", ["two.caffemodel", "two.caffemodel.h5"])
def test_round_trip_changes_no_bit(graph, weights, tmp_path, name):
    odd = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    weights["fc"][1][:] = odd
    write_weights(tmp_path / name, graph, weights)
    same(read_weights(tmp_path / name), weights)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_protobuf_reads_what_we_write(graph, weights, tmp_path):
    write_weights(tmp_path / "w", graph, weights)
    message = schema.NetParameter.FromString((tmp_path / "w").read_bytes())
    assert message.name == "two"
    assert [(layer.name, layer.type) for layer in message.layer] == [
        ("in", "Input"), ("a/conv", "Convolution"), ("relu", "ReLU"), ("fc", "InnerProduct")]  # fmt: skip
    assert message.layer[3].bottom == ["a"] and message.layer[3].inner_product_param.num_output == 4
    for layer in message.layer:
        for blob, wanted in zip(layer.blobs, weights.get(layer.name, ()), strict=True):
            assert tuple(blob.shape.dim) == wanted.shape
            assert np.array_equal(np.array(blob.data, np.float32), wanted.reshape(-1))


def test_hdf5_is_laid_out_as_caffes(graph, weights, tmp_path):
    write_weights(tmp_path / "w.h5", graph, weights)
    with h5py.File(tmp_path / "w.h5") as file:
        assert set(file) == {"data"} and set(file["data"]) == {"in", "a", "relu", "fc"}
        assert file["data/a/conv/0"].shape == (2, 3, 3, 3) and file["data/fc/1"].dtype == np.float32


def test_opencv_reads_what_we_write(graph, weights, tmp_path):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 has no Caffe importer")
    write_weights(tmp_path / "w.caffemodel", graph, weights)
    (tmp_path / "net.prototxt").write_text(NET)
    net = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "w.caffemodel"))
    image = np.random.default_rng(1).random((1, 3, 5, 4), np.float32)
    net.setInput(image)
    kernel, bias = weights["a/conv"]
    windows = np.lib.stride_tricks.sliding_window_view(image[0], (3, 3), (1, 2))
    maps = np.maximum(np.einsum("chwij,ocij->ohw", windows, kernel) + bias[:, None, None], 0)
    np.testing.assert_allclose(net.forward(), [weights["fc"][0] @ maps.reshape(-1) + weights["fc"][1]], rtol=1e-5)


def test_write_refuses_what_does_not_fit(graph, weights, tmp_path):
    (tmp_path / "w").write_bytes(b"old")
    weights["fc"][0] = np.zeros((4, 11), np.float32)
    with pytest.raises(UserError, match=r'layer "fc" .*: its blob 0 has the shape 4×11 in two.bin; expected 4×12'):
        write_weights(tmp_path / "w", graph, weights)
    del weights["fc"]
    with pytest.raises(
        UserError, match=r"two.bin: it has no blobs for these layers of two.prototxt: fc\n  fix: give the"
    ):
        write_weights(tmp_path / "w", graph, weights)
    assert (tmp_path / "w").read_bytes() == b"old"


def blob(data, **fields):
    proto = schema.BlobProto(**fields)
    proto.data.extend(data)
    return proto


def test_generations_of_files(tmp_path):
    """V0 and V1 layers, shapes of four numbers, doubles, and no shape at all for a scalar."""
    old = schema.BlobProto(num=1, channels=1, height=2, width=3, data=range(6))
    double = schema.BlobProto(shape=schema.BlobShape(dim=[2]), double_data=[0.1, 0.2])
    v1 = schema.NetParameter()
    v1.layers.add(name="conv1", blobs=[old, double])
    v1.layers.add(name="relu1")
    v0 = schema.NetParameter()
    v0.layers.add().layer.MergeFrom(schema.V0LayerParameter(name="conv1", type="conv", blobs=[old]))
    new = schema.NetParameter()
    new.layer.add(name="scale", blobs=[blob([7])])
    for number, net in enumerate((v1, v0, new)):
        (tmp_path / str(number)).write_bytes(net.SerializeToString())
    found = [read_weights(tmp_path / str(number)) for number in range(3)]
    same(found[0], {"conv1": [np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), np.array([0.1, 0.2], np.float32)]})
    same(found[1], {"conv1": [np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)]})
    same(found[2], {"scale": [np.array(7, np.float32)]})
    assert found[0].path == str(tmp_path / "0")


def test_unpacked_floats(tmp_path):
    values = np.arange(5, dtype=np.float32)
    data = b"".join(b"\x2d" + value.tobytes() for value in values)  # field 5, four bytes
    message = b"\x3a\x03\x0a\x01\x05" + data
    layer = b"\x0a\x01c" + b"\x3a" + bytes([len(message)]) + message
    (tmp_path / "w").write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    same(read_weights(tmp_path / "w"), {"c": [values]})


def test_old_shapes_fit_the_graph(graph, weights):
    weights["fc"] = [weights["fc"][0].reshape(1, 1, 4, 12), weights["fc"][1].reshape(1, 1, 1, 4)]
    weights["gone"] = [np.zeros(1, np.float32)]
    assert check(graph, weights) == (["a/conv", "fc"], [], ["gone"])
    assert require_all(graph, weights) == ["gone"]
    weights["fc"][0] = weights["fc"][0].reshape(1, 1, 12, 4)
    with pytest.raises(UserError, match=r"blob 0 has the shape 1×1×12×4 in two.bin; expected 4×12"):
        check(graph, weights)


def test_every_blob_that_does_not_fit_is_named(graph, weights):
    weights["a/conv"].pop()
    weights["fc"] = [np.zeros((4, 13), np.float32), np.zeros(5, np.float32)]
    with pytest.raises(UserError) as caught:
        check(graph, weights)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert 'layer "a/conv" (Convolution): two.bin has 1 blobs for it; expected 2' in lines[0]
    assert 'layer "fc" (InnerProduct): its blob 1 has the shape 5 in two.bin; expected 4' in lines[2]


def test_names_that_look_like_text(tmp_path):
    """The name's length may be a byte that is white space in a text."""
    for name in ("layernet1", "inputnet01", "name: " + "x" * 26):
        net = schema.NetParameter(name=name)
        net.layer.add(name="scale", blobs=[blob([7])])
        (tmp_path / "w").write_bytes(net.SerializeToString())
        assert list(read_weights(tmp_path / "w")) == ["scale"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>404</html>", "this is an HTML or XML page, not a caffemodel\n  fix: the download went"),
        (b"\n  <?xml version='1.0'?><Error/>", "this is an HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "this is a Git LFS pointer"),
        (b"PK\x03\x04\x00\x00\x08\x08", "this is a PyTorch or zip file"),
        (b"\x1f\x8b\x08\x00", "this is a gzip file, not a caffemodel\n  fix: unpack it first"),
        (NET.encode(), "this is a prototxt, not a caffemodel\n  fix: give the .caffemodel, not the .prototxt"),
        (b"input: 'data'\n", "this is a prototxt"),
        (b"", "this file is empty; expected a trained caffemodel"),
        (b"\x0a\x01n", "no layer in this file has weights"),
        (b"\x89HDF\r\n\x1a\n and no more", "this HDF5 file is no whole caffemodel"),
        (b"\xa2\x06\xff\x01\x0a\x01c", "it is cut short: 255 bytes are announced where 3 are left"),
        (b"\xa2\x06\x04\x3a\x04\x0a\x00", "it is cut short: 4 bytes are announced where 2 are left"),
        (b"\xa2\x06" + b"\xff" * 11, "a number has more than ten bytes"),
        (b"\xff\xff", "this is no whole caffemodel"),
    ],
)
def test_files_that_are_no_caffemodel(tmp_path, content, message):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "w")
    assert str(caught.value).startswith(f"{tmp_path / 'w'}: ") and message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": schema.BlobShape(dim=[3]), "data": [1, 2]}, 'blob 0 of layer "c" has the shape 3 but 2 values'),
        ({"shape": schema.BlobShape(dim=[-1, -2]), "data": [1, 2]}, "has the shape -1×-2 but 2 values"),
        ({"shape": schema.BlobShape(dim=[2**62, 4]), "data": []}, "but 0 values"),
        ({"num": 1, "channels": 2, "data": [1, 2]}, "has the shape 1×2×0×0 but 2 values"),
        ({"data": [1, 2]}, "has the shape scalar but 2 values"),
        ({"shape": schema.BlobShape(dim=[1000, 1000, 1000]), "data": [1]}, "has the shape 1000×1000×1000 but 1 values"),
        ({"shape": schema.BlobShape(dim=[2**31 - 1, 0, 2])}, "has the shape 2147483647×0×2 but 0 values"),
        ({"num": -1, "data": []}, "×0×0×0 but 0 values"),
        ({"shape": schema.BlobShape(dim=[1] * 33), "data": [1]}, 'blob 0 of layer "c" has 33 axes'),
    ],
)
def test_shapes_that_lie(tmp_path, values, message):
    net = schema.NetParameter()
    net.layer.add(name="c").blobs.add(**values)
    (tmp_path / "w").write_bytes(net.SerializeToString())
    with pytest.raises(UserError, match=f"no whole caffemodel: .*{message}"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.create_dataset("data/c/0", (10**15,), "f4", chunks=(9,)), "c/0 announces 1,000,000,000,000"),
        (lambda file: file.create_dataset("data/c/0", (10**9,), "f4"), "/data/c/0 announces 1,000,000,000 values that"),
        (lambda file: file.create_dataset("data/c/1", data=[1.0]), 'layer "c" has blob 1 but not all before it\n  fix'),
        (
            lambda file: file.create_dataset("data/c/0", data="text"),
            "/data/c/0 is no array of numbers; expected arrays",
        ),
        (lambda file: file.create_dataset("data", data=[1.0]), 'no whole caffemodel: "data" is no group; expected'),
        (lambda file: file.create_group("other"), 'no whole caffemodel: "data" is absent, or a link'),
        (lambda file: file.create_group("data"), "no layer in this file has weights; expected a trained caffemodel"),
    ],
)
def test_hdf5_files_that_lie(tmp_path, make, message):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        make(file)
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "w.h5")
    assert str(caught.value).startswith(f"{tmp_path / 'w.h5'}: ") and message in str(caught.value)


def test_hdf5_may_be_packed(tmp_path):
    values = np.zeros((500, 700), np.float32)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("data/c/0", data=values, compression="gzip", compression_opts=9)
    same(read_weights(tmp_path / "w.h5"), {"c": [values]})


def test_hdf5_names_in_other_encodings(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        layer = h5py.h5g.create(file.create_group("data").id, b"caf\xe9")
        h5py.Group(layer).create_dataset("0", data=np.ones(2))
    same(read_weights(tmp_path / "w.h5"), {"caf\udce9": [np.ones(2, np.float32)]})


def test_hdf5_library_that_ends_its_process(tmp_path, monkeypatch):
    """As damaged files make it do."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("data/c/0", data=np.ones(2))
    (tmp_path / "h5py.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="no whole caffemodel: the HDF5 library comes to no end with it, or fails"):
        read_weights(tmp_path / "w.h5")


@pytest.mark.parametrize("name", ["two.caffemodel", "two.caffemodel.h5"])
def test_cut_at_every_byte(graph, weights, tmp_path, name):
    """Only a cut right after a layer cannot be seen here (`require_all` sees it); what is there is as it was."""
    write_weights(tmp_path / name, graph, weights)
    whole, path = (tmp_path / name).read_bytes(), tmp_path / f"cut {name}"
    unseen = 0
    for size in range(0, len(whole), 1 if name.endswith("caffemodel") else 997):
        path.write_bytes(whole[:size])
        try:
            found = read_weights(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            same(found, {layer: weights[layer] for layer in list(weights)[: len(found)]})
            unseen += 1
    assert unseen == (2 if name.endswith("caffemodel") else 0)  # after a/conv, after relu


@pytest.mark.parametrize("name", ["two.caffemodel", "two.caffemodel.h5"])
def test_full_disk_leaves_what_was_there(graph, weights, tmp_path, name):
    """In a process that may not write files beyond 200 bytes, as good as a full disk."""
    write_weights(tmp_path / name, graph, weights)
    before = (tmp_path / name).read_bytes()
    (tmp_path / "two.prototxt").write_text(NET)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "two.prototxt"), str(tmp_path / name)],
        capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.stdout.startswith(f"{tmp_path / name}: cannot be written: "), done.stderr
    assert (tmp_path / name).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "two.prototxt"])


FULL_DISK = """
import resource, signal, sys
from converters.caffemodel import read_weights, write_weights
from prototxt.errors import UserError
from prototxt.graph import Graph
graph, weights = Graph.load(sys.argv[1]), read_weights(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    write_weights(sys.argv[2], graph, weights)
except UserError as error:
    print(error)
"""


def test_layers_without_blobs_do_not_count(graph, weights):
    weights |= {"relu": [], "in": [], "gone": []}
    assert check(graph, weights) == (["a/conv", "fc"], [], [])
    del weights["fc"]
    assert check(graph, weights) == (["a/conv"], ["fc"], [])
    weights["relu"] = [np.zeros(1, np.float32)]
    with pytest.raises(UserError, match=r'layer "relu" \(ReLU\): two.bin has 1 blobs for it; expected 0'):
        check(graph, weights)


def test_layer_that_shares_its_name_with_one_without_blobs(tmp_path, weights):
    path = tmp_path / "two.prototxt"
    path.write_text(NET.replace('"relu"', '"fc"'))
    graph = Graph.load(path)
    assert check(graph, weights) == (["a/conv", "fc"], [], [])
    write_weights(tmp_path / "w", graph, weights)
    same(read_weights(tmp_path / "w"), weights)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_weights(tmp_path / "w")


@pytest.fixture(scope="module")
def snapshot(shared) -> bytes:
    return (shared / "oracle/solver/sgd_multistep_iter_6.caffemodel").read_bytes()


@settings(max_examples=300, deadline=2000)
@given(st.data())
def test_damaged_files_never_crash(snapshot, data):
    """Cut anywhere, or with any byte changed: weights or a UserError, and no memory beyond the file's size."""
    content = bytearray(snapshot)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            weights = read_weights(file.name)
        except UserError as error:
            assert str(error).startswith(file.name)
        else:
            assert sum(array.nbytes for blobs in weights.values() for array in blobs) <= len(content)
