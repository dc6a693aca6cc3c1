"""`netgen convert model.onnx`: what it writes, and what it says."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters import files
from converters.caffemodel import read_weights
from converters.proof.verify import verify
from netgen.commands.main import app
from prototxt.errors import UserError
from prototxt.graph import Graph


def run(*arguments: str) -> None:
    app(["convert", *arguments], standalone_mode=False)


@pytest.fixture
def model(tmp_path, monkeypatch) -> str:
    """A net of two heads whose image size is open."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in (("w", (4, 3, 3, 3)), ("v", (6, 4, 1, 1)))
    }
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["map"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["map", "v"], ["loc"], name="loc"),
        helper.make_node("Erf", ["loc"], ["end"], name="erf"),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("map", "end")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "two.onnx")
    return "two.onnx"


@pytest.mark.parametrize("shape", ["data=1,3,8,6", "data=1x3x8x6", "1×3×8×6"])
def test_prototxt_and_caffemodel(model, shape, capsys):
    run(model, "--input-shape", shape, "--outputs", "map,loc", "-o", "two.prototxt")
    assert capsys.readouterr().out.startswith("wrote two.prototxt: 4 layers; their weights are in two.caffemodel")
    graph = Graph.load("two.prototxt")
    assert graph.inputs == {"data": (1, 3, 8, 6)} and set(graph.outputs) == {"map", "loc"}
    assert [blob.shape for blob in read_weights("two.caffemodel")["stem"]] == [(4, 3, 3, 3)]
    inputs = [{"data": np.random.default_rng(1).standard_normal((1, 3, 8, 6)).astype(np.float32)}]
    assert not verify("two.prototxt", "two.caffemodel", inputs).unexplained(1e-4)


def test_what_is_refused(model):
    with pytest.raises(UserError, match=r'two.onnx: node "erf" \(Erf\): no Caffe layers') as error:
        run(model, "--input-shape", "data=1,3,8,6", "-o", "two.prototxt")
    assert "--outputs loc" in str(error.value)
    with pytest.raises(UserError, match="an ONNX model holds its weights itself"):
        run(model, "two.caffemodel", "-o", "two.prototxt")
    with pytest.raises(UserError, match="2 shapes are given for 1 inputs; expected data"):
        run(model, "--input-shape", "1,3,8,6", "--input-shape", "1,3,8,6", "-o", "two.prototxt")
    with pytest.raises(UserError, match="some inputs are named and some are not"):
        run(model, "--input-shape", "1,3,8,6", "--input-shape", "b=1,3,8,6", "-o", "two.prototxt")
    with pytest.raises(UserError, match='"1,3,0,6" is no shape'):
        run(model, "--input-shape", "data=1,3,0,6", "-o", "two.prototxt")


def test_only_onnx_is_cut(model):
    run(model, "--input-shape", "1,3,8,6", "--outputs", "loc", "-o", "two.prototxt")
    with pytest.raises(UserError, match="which only an ONNX"):
        run("two.prototxt", "two.caffemodel", "--outputs", "loc", "-o", "two.pth")
    with pytest.raises(UserError, match="inputs by name are given"):
        run("two.prototxt", "two.caffemodel", "--input-shape", "data=1,3,8,6", "-o", "two.pth")


def test_weights_beyond_a_message_are_hdf5(model, monkeypatch, capsys):
    monkeypatch.setattr(files, "LARGEST_MESSAGE", 100)
    run(model, "--input-shape", "1,3,8,6", "--outputs", "loc", "-o", "two.prototxt")
    assert "their weights are in two.caffemodel.h5" in capsys.readouterr().out
    assert read_weights("two.caffemodel.h5")["loc"][0].shape == (6, 4, 1, 1)
