"""ONNX files of strangers: an error with the file's name, in little time and memory, whatever they hold."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.from_onnx import OnnxFile, read_onnx, to_caffe
from prototxt.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def conv(weight: TensorProto | None = None, **attributes) -> onnx.ModelProto:
    weight = weight or numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)
    return model([node], [weight])


def model(nodes, initializers=(), shape=(1, 3, 8, 8), outputs=("y",)) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, values, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def external(location: str, dims=(2, 3, 3, 3), **entries) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def refused(made: onnx.ModelProto, folder: Path) -> str:
    """What is said of a model that lies in `folder`."""
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(UserError) as error:
        to_caffe(read_onnx(folder / "model.onnx"))
    assert str(folder / "model.onnx") in str(error.value)
    return str(error.value)


def test_files_that_are_no_models(tmp_path):
    whole = conv().SerializeToString()
    for data in (b"", b"\x08\x08", b"name: 'net'\nlayer {", whole[: len(whole) // 2], b"PK\x03\x04" + bytes(60)):
        (tmp_path / "model.onnx").write_bytes(data)
        with pytest.raises(UserError, match=r"no ONNX file, or it is cut short|this file holds no ONNX graph"):
            to_caffe(read_onnx(tmp_path / "model.onnx"))
    with pytest.raises(UserError, match="there is no such file"):
        read_onnx(tmp_path / "none.onnx")
    with pytest.raises(UserError, match="this is a folder"):
        read_onnx(tmp_path)


def test_every_end_of_a_file(tmp_path):
    """A file cut short anywhere is refused, or is a smaller model that is whole."""
    whole = conv().SerializeToString()
    for end in range(len(whole)):
        (tmp_path / "model.onnx").write_bytes(whole[:end])
        with pytest.raises(UserError):
            to_caffe(read_onnx(tmp_path / "model.onnx"))


def test_a_file_larger_than_a_message(tmp_path):
    path = tmp_path / "model.onnx"
    with open(path, "wb") as file:
        file.truncate(2**31 + 5)  # holes take no space
    with pytest.raises(UserError, match="more than an ONNX file can") as error:
        read_onnx(path)
    assert "save_as_external_data=True" in error.value.fix


OUTSIDE = ("../w.bin", "a/../../w.bin", "/etc/hostname", "..\\w.bin", "C:\\w.bin", "\\\\host\\w.bin", "", "link.bin")


@pytest.mark.parametrize("location", OUTSIDE)
def test_data_outside_the_folder(location, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(4 * 54))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    assert "outside the model's folder; expected a file name relative to that folder" in refused(
        conv(external(location)), folder
    )


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (external("none.bin"), "tensor \"w\" has its data in 'none.bin', which is not there"),
        (external("."), "which is not there"),
        (external("a\0b"), 'tensor "w" has its data in'),
        (external("w.bin", offset=20), 'tensor "w" ends at byte 236 of w.bin, which has 216'),
        (external("w.bin", length=4), 'tensor "w" has 4 bytes of external data; expected 216 bytes'),
        (external("w.bin", offset=-4), "the offset of the external data of tensor \"w\" is '-4'"),
        (external("w.bin", offset=10**30), "the offset of the external data"),
        (external("w.bin", dims=(2**40,)), "has the shape 1099511627776"),
        (external("w.bin", dims=(-2, 3, 3, 3)), "has the shape -2×3×3×3"),
        (external("w.bin", dims=(2**22, 3, 6, 4)), "ends at byte 1,207,959,552 of w.bin"),
    ],
)
def test_data_that_is_not_there(tensor, reason, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(4 * 54))
    assert reason in refused(conv(tensor), tmp_path)


def test_data_beside_the_model(tmp_path):
    kernel = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)
    (tmp_path / "w.bin").write_bytes(b"12345" + kernel.tobytes())
    onnx.save(conv(external("w.bin", offset=5, length=216)), tmp_path / "model.onnx")
    _, weights = to_caffe(read_onnx(tmp_path / "model.onnx"))
    assert (weights["conv"][0] == kernel).all()


@pytest.mark.slow
def test_more_than_two_gigabytes(tmp_path):
    """Weights of 2.4 GB in holes of a file: mapped one by one, and written as HDF5, which Caffe can read."""
    nodes, tensors, size = [], [], 4 * 10_000 * 15_000
    for i in range(4):
        dims = (15_000, 10_000) if i % 2 else (10_000, 15_000)
        tensors.append(external("w.bin", dims=dims, offset=i * size, length=size))
        tensors[-1].name = f"w{i}"
        nodes.append(
            helper.make_node("MatMul", ["x" if i == 0 else f"v{i - 1}", f"w{i}"], [f"v{i}"], name=f"product{i}")
        )
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(4 * size)
    onnx.save(model(nodes, tensors, (1, 10_000), ["v3"]), tmp_path / "model.onnx")
    graph, weights = to_caffe(read_onnx(tmp_path / "model.onnx"))
    assert sum(blob.nbytes for blobs in weights.values() for blob in blobs) == 4 * size > 2**31
    assert graph.shapes["v3"] == (1, 10_000)


def raw(data_type=TensorProto.FLOAT, dims=(2, 3, 3, 3), data=bytes(216)) -> TensorProto:
    return TensorProto(name="w", data_type=data_type, dims=dims, raw_data=data)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (raw(data=bytes(8)), 'tensor "w" of the shape 2×3×3×3 has other data'),
        (raw(dims=(10**7, 3, 3, 3)), 'tensor "w" of the shape 10000000×3×3×3 has other data'),
        (raw(dims=(10**9, 3, 3, 3)), "has the shape 1000000000×3×3×3"),
        (raw(dims=(-1, 3, 3, 3)), "has the shape -1×3×3×3"),
        (raw(TensorProto.UINT4, (10**7, 3, 3, 3)), 'tensor "w" is of type UINT4'),
        (raw(TensorProto.STRING), 'tensor "w" is of type STRING'),
        (raw(99), 'tensor "w" is of type type 99'),
        (raw(dims=(1,) * 40, data=bytes(4)), "expected at most 32 sizes"),
    ],
)
def test_tensors_that_lie(tensor, reason, tmp_path):
    assert reason in refused(conv(tensor), tmp_path)


def node(op: str, inputs: str, outputs: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"{op}-{outputs}", **attributes)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([node("Relu", "b", "a"), node("Relu", "a", "b"), node("Relu", "a", "y")], "or turns in a circle"),
        ([node("Relu", "y", "y")], "or turns in a circle"),
        ([node("Relu", "a", "y"), node("Relu", "x", "a")], "the graph is not in order"),
        ([node("Relu", "z", "y")], 'it reads "z", which nothing makes'),
        ([node("Relu", "x", "a"), node("Tanh", "x", "a"), node("Add", "a a", "y")], 'its output "a" is made twice'),
        ([node("Relu", "x", "x"), node("Relu", "x", "y")], 'its output "x" is made twice'),
        ([node("Relu", "x", "z")], 'there is no value "y"'),
        ([node("Relu", "x x", "y")], "it is no valid node"),
        ([node("Relu", "x", "y", alpha=1.0)], "Unrecognized attribute: alpha"),
    ],
)
def test_graphs_that_are_none(nodes, reason, tmp_path):
    assert reason in refused(model(nodes), tmp_path)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"strides": [0, 0]}, "strides is [0, 0], and must be at least 1"),
        ({"dilations": [0, 1]}, "dilations is [0, 1], and must be at least 1"),
        ({"group": 0}, "group is 0, and must be at least 1"),
        ({"group": 2}, "weights of (2, 3, 3, 3) for (1, 3, 8, 8)"),
        ({"pads": [0, 0, 0]}, "pads of 3 values"),
        ({"pads": [2**62, 0, 0, 0]}, "beyond any blob"),
        ({"pads": [2**30, 2**30, 2**30, 2**30]}, "a blob has at most 2,147,483,647 values"),
        ({"pads": [-4, 0, 0, 0]}, "padding that is not negative"),
        ({"pads": [100, 0, 0, 0]}, "cannot be said with one padding for both ends"),
        ({"strides": [1.5, 1.0]}, "Mismatched attribute type"),
        ({"auto_pad": "ALL"}, 'auto_pad is "ALL"'),
    ],
)
def test_attributes_of_any_value(attributes, reason, tmp_path):
    assert reason in refused(conv(**attributes), tmp_path)


def numbers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


@pytest.mark.parametrize(
    ("nodes", "constants", "shape", "reason"),
    [
        (
            [node("ConstantOfShape", "s", "a"), node("Add", "a x", "y")],
            [numbers("s", 2**15, 2**15)],
            (1,),
            "a constant of 1,073,741,824 values",
        ),
        (
            [node("ConstantOfShape", "s", "a"), node("Add", "a x", "y")],
            [numbers("s", 2**32, 8)],
            (1,),
            "a blob has at most",
        ),
        (
            [node("Range", "a b c", "r"), node("Cast", "r", "y", to=1)],
            [numbers(*p) for p in (("a", 0), ("b", 10**12), ("c", 1))],
            (1,),
            "a blob has at most",
        ),
        ([node("Expand", "x s", "y")], [numbers("s", 2**20, 2**20)], (1,), "a blob has at most"),
        ([node("Reshape", "x s", "y")], [numbers("s", -1, -1)], (1, 4), "do not fit each other"),
        ([node("Reshape", "x s", "y")], [numbers("s", 5)], (1, 4), "(1, 4) as (5,)"),
        ([node("GlobalAveragePool", "x", "y")], [], (10**9, 10**9, 1, 1), "a blob has at most"),
        (
            [node("Pad", "x s", "y")],
            [numbers("s", 0, 0, 10, 0, 0, 0, 0, 0)],
            (1, 10**8, 1, 1),
            "kernel would have the shape",
        ),
        ([node("Transpose", "x", "y", perm=[0, 5])], [], (2, 3), "perm [0, 5] of (2, 3)"),
        ([node("Softmax", "x", "y", axis=7)], [], (2, 3), "axis 7 of 2"),
    ],
)
def test_sizes_beyond_memory(nodes, constants, shape, reason, tmp_path):
    assert reason in refused(model(nodes, constants, shape), tmp_path)


def test_names_that_are_no_text(tmp_path):
    data = conv().SerializeToString().replace(b"conv", b"c\xff\xfev")
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(UserError, match=r"the name b.c.xff.xfev. is no UTF-8 text"):
        to_caffe(read_onnx(tmp_path / "model.onnx"))


def test_deep_nesting(tmp_path):
    """Graphs inside graphs, deeper than protobuf reads."""
    inner = helper.make_graph([node("Relu", "x", "y")], "g", [], [])
    data = model([node("If", "x", "y", then_branch=inner, else_branch=inner)])
    assert "no Caffe layers compute this operator" in refused(data, tmp_path)
    body = b""
    for _ in range(400):  # node { attribute { g { … } } }
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            body = tag + onnx_varint(len(body)) + body
    (tmp_path / "deep.onnx").write_bytes(b"\x3a" + onnx_varint(len(body)) + body)
    with pytest.raises(UserError, match="no ONNX file"):
        read_onnx(tmp_path / "deep.onnx")


def onnx_varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def test_many_nodes(tmp_path):
    """Five thousand nodes: time grows with their number, not with its square."""
    nodes = [node("Relu", f"v{i - 1}" if i else "x", f"v{i}") for i in range(5000)]
    graph, _ = to_caffe(OnnxFile(model(nodes, outputs=["v4999"])))
    assert len(graph.layers) == 5001


SIZES = (-1, 0, 1, 2, 3, 7, 64, 5000, 10**6, 10**9, 2**31 - 1, 2**31, 2**62, -(2**63))


def mutated(seed: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """A model with some of its numbers, names, types or bytes changed."""
    if draw.random() < 0.4:
        data = bytearray(seed)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data) + 1)
            data[at : at + draw.randint(0, 12)] = draw.randbytes(draw.randint(0, 6))
        return bytes(data)
    changed = onnx.ModelProto.FromString(seed)
    for _ in range(draw.randint(1, 3)):
        try:
            draw.choice(CHANGES)(changed.graph, draw, onnx.ModelProto.FromString(draw.choice(others)).graph)
        except (IndexError, ValueError, TypeError):
            continue  # it has no such thing to change, or the message cannot hold it
    return changed.SerializeToString()


def change_attribute(graph, draw, other):
    attribute = draw.choice(draw.choice(graph.node).attribute)
    if attribute.ints:
        attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(SIZES)
    attribute.i, attribute.f = draw.choice(SIZES), draw.choice(SIZES)


def change_dims(graph, draw, other):
    tensor = draw.choice(graph.initializer)
    tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(SIZES)


def change_input(graph, draw, other):
    draw.choice(draw.choice(graph.input).type.tensor_type.shape.dim).dim_value = draw.choice(SIZES)


def change_operator(graph, draw, other):
    draw.choice(graph.node).op_type = draw.choice(other.node).op_type


def change_attributes(graph, draw, other):
    draw.choice(graph.node).attribute.extend(draw.choice(other.node).attribute)


def change_wiring(graph, draw, other):
    changed = draw.choice(graph.node)
    names = [name for each in graph.node for name in [*each.input, *each.output]]
    changed.input[draw.randrange(len(changed.input))] = draw.choice(["", *names])


def change_type(graph, draw, other):
    draw.choice(graph.initializer).data_type = draw.randrange(25)


def change_values(graph, draw, other):
    tensor = draw.choice(graph.initializer)
    tensor.raw_data = np.array([draw.choice(SIZES[:12]) for _ in range(len(tensor.raw_data) // 8)], np.int64).tobytes()


CHANGES = (
    change_attribute,
    change_dims,
    change_input,
    change_operator,
    change_attributes,
    change_wiring,
    change_type,
    change_values,
)


def fuzz(count: int, start: int) -> None:
    """Convert `count` damaged models in this process; ends with an error when one gives any but a UserError."""
    import importlib.util
    import tempfile

    spec = importlib.util.spec_from_file_location("ops", Path(__file__).with_name("test_from_onnx_ops.py"))
    ops = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ops)
    seeds = [made.SerializeToString() for made in [*ops.CASES.values(), *(made for made, _ in ops.REFUSED.values())]]
    draw, done = random.Random(start), {"whole": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        for _ in range(count):
            path.write_bytes(mutated(draw.choice(seeds), seeds, draw))
            try:
                to_caffe(read_onnx(path))
                done["whole"] += 1
            except UserError:
                done["refused"] += 1
            except BaseException:
                Path(tempfile.gettempdir(), "refuted.onnx").write_bytes(path.read_bytes())
                raise
    print(count, done, f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def test_damaged_models():
    """Some thousands of them, in a process of their own: one that dies, hangs or takes 2 GB fails here."""
    code = f"import runpy; runpy.run_path({__file__!r}, run_name='fuzz')['fuzz'](1500, {os.getpid()})"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout.split()[-2]) < 2000
