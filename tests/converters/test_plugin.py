"""A user's own layer types: one file that registers them, for the library and for the verbs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from converters.caffemodel import read_weights, write_weights
from converters.onnx import to_onnx
from converters.pytorch import CaffeNet, load_net
from prototxt import schema
from prototxt.diff import compare
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import read_net, write_text
from prototxt.plugin import load_plugin

pytestmark = pytest.mark.usefixtures("own_tables")

GUIDE = Path(__file__).resolve().parents[2] / "docs/extend.md"
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "gate" type: "Gate" bottom: "data" top: "gate" gate_param { channel_shared: false } }
"""


@pytest.fixture
def gated(tmp_path, monkeypatch) -> str:
    """The plug-in of the guide, with a net that needs it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(# my_layers.py\n.*?)^```", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    Path("my_layers.py").write_text(block, "utf-8")
    Path("net.prototxt").write_text(NET)
    return "my_layers.py"


def test_without_it_the_net_is_refused(gated):
    with pytest.raises(UserError) as error:
        Graph.load("net.prototxt")
    assert str(error.value) == (
        'net.prototxt:3: layer "gate" (Gate): this layer type is not known\n'
        "  fix: correct the type, or register it in a Python file and give that with --plugin"
    )


def test_shapes_module_and_onnx_form(gated):
    load_plugin(gated)
    load_plugin(Path(gated).resolve())  # a file is loaded once, whatever it is called
    graph = Graph.load("net.prototxt")
    assert graph.shapes["gate"] == (2, 3, 4, 5) and graph.layers[1].blob_shapes == ((3,),)
    slope = np.array([1, -0.5, 2], np.float32)
    write_weights("net.caffemodel", graph, {"gate": [slope]})
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    wanted = x / (1 + np.exp(-slope[:, None, None] * x))
    net = load_net("net.prototxt", "net.caffemodel")
    np.testing.assert_allclose(net({"data": torch.from_numpy(x)})["gate"].detach(), wanted, atol=1e-6)
    assert net.weights()["gate"][0].tobytes() == slope.tobytes()
    session = onnxruntime.InferenceSession(to_onnx(graph, read_weights("net.caffemodel")).SerializeToString())
    np.testing.assert_allclose(session.run(None, {"data": x})[0], wanted, atol=1e-6)


def test_parameters_of_its_own(gated):
    """They are read with lines, written as they were, copied with the layer, and compared."""
    load_plugin(gated)
    net = read_net("net.prototxt")
    assert net.where("layer", 1, "gate_param", "channel_shared") == "net.prototxt:3"
    write_text(net.message, "again.prototxt")
    assert "  gate_param {\n    channel_shared: false\n  }\n" in Path("again.prototxt").read_text()
    again = read_net("again.prototxt").message
    assert again == net.message and type(again).FromString(again.SerializeToString()) == again
    Path("other.prototxt").write_text(NET.replace("false", "true"))
    (found,) = compare("net.prototxt", "other.prototxt").differences
    assert (found.field, found.a, found.b) == ("gate_param.channel_shared", "false (default)", "true")
    for text, message in (("gate_param { } gate_param { }", "is given twice"), ("gate_param: 3", "is a message")):
        Path("wrong.prototxt").write_text("layer { " + text + " }")
        with pytest.raises(UserError, match=f'"gate_param" {message}'):
            read_net("wrong.prototxt")


def test_its_layers_are_trained(gated):
    load_plugin(gated)
    net = CaffeNet(Graph.load("net.prototxt", "TRAIN"))
    net({"data": torch.ones(2, 3, 4, 5)})["gate"].sum().backward()
    (blob,) = net.blobs()
    assert blob.lr_mult == 1 and blob.tensor.grad.tolist() == [10, 10, 10]  # 40 values of gradient 1 / 4


@pytest.mark.parametrize("verb", ["summary", "lint", "diff net.prototxt", "draw -o net.svg"])
def test_verbs_take_it(gated, verb, capsys):
    from netgen.commands.main import app

    name, *more = verb.split()
    with pytest.raises(SystemExit) as end:
        app([name, "net.prototxt", *more, "--plugin", gated])
    assert not end.value.code, capsys.readouterr()


def test_every_verb_that_reads_nets_takes_it(capsys):
    from netgen.commands.main import app

    for verb in ("summary", "diff", "draw", "lint", "priors", "train", "test", "detect", "convert", "verify"):
        with pytest.raises(SystemExit):
            app([verb, "--help"])
        assert "--plugin FILE" in capsys.readouterr().out, verb


def test_a_table_that_is_left_out(gated):
    text = Path(gated).read_text()
    Path("half.py").write_text(text[: text.index("@NODES")])
    load_plugin("half.py")
    graph = Graph.load("net.prototxt")
    with pytest.raises(UserError, match=r'layer "gate" \(Gate\): this layer type has no ONNX form'):
        to_onnx(graph, {"gate": [np.ones(3)]})


def test_a_layer_in_python(tmp_path):
    """Known by module and class; its parameters are the text that Caffe would give the class."""
    (tmp_path / "own.py").write_text(
        "from converters.pytorch.layers import MODULES\n"
        "from prototxt.shapes import SHAPES\n"
        "SHAPES.register('my.layers.Times')(lambda p, bottoms: [bottoms[0]])\n"
        "MODULES.register('my.layers.Times')(lambda layer: lambda x: x * float(layer.p.param_str))\n"
    )
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }\n'
        'layer { name: "y" type: "Python" bottom: "x" top: "y"'
        ' python_param { module: "my.layers" layer: "Times" param_str: "2.5" } }\n'
    )
    with pytest.raises(UserError, match=r'layer "y" \(my.layers.Times\): this layer type is not known'):
        Graph.load(tmp_path / "net.prototxt")
    load_plugin(tmp_path / "own.py")
    net = CaffeNet(Graph.load(tmp_path / "net.prototxt"))
    assert net({"x": torch.tensor([2.0, 4.0])})["y"].tolist() == [5, 10]


EXTEND = "from prototxt.schema import extend\nextend('{}')\n"
MISTAKES = {
    "x = (\n": r"own.py:1: SyntaxError: '\(' was never closed",
    "import prototxt\n\n1 / 0\n": r"own.py:3: ZeroDivisionError: division by zero\n  fix: correct the plug-in",
    "import no_such_module\n": "own.py:1: ModuleNotFoundError: No module named 'no_such_module'",
    "from prototxt.shapes import SHAPES\nSHAPES.register('ReLU')(len)\n": (
        r"own.py:2: ValueError: shape rule for 'ReLU' is registered twice"
    ),
    EXTEND.format("message LayerParameter { optional bool a_param = 1; }"): (
        r"own.py:2: this does not fit Caffe's schema: a_param is not an optional message"
    ),
    EXTEND.format(
        "message LayerParameter { repeated FillerParameter a_param = 1; }"
    ): "own.py:2: .*: a_param is not an",
    EXTEND.format("message LayerParameter { optional Lost a_param = 1; }"): "own.py:2: .*: a_param is not an optional",
    EXTEND.format("message LayerParameter { optional ReLUParameter relu_param = 1; }"): (
        r"own.py:2: this does not fit Caffe's schema: LayerParameter has a field relu_param already"
    ),
    EXTEND.format(
        "message ReLUParameter { optional bool a = 1; }"
    ): r"own.py:2: this does not fit Caffe's schema: .*ReLU",
    EXTEND.format("message NewParameter {"): (
        r'own.py:2: .*: the message NewParameter has no "\}" at its end\nmessage NewParameter \{'
    ),
    EXTEND.format("message A { optional B b = 1; }"): r"own.py:2: this does not fit Caffe's schema: ",
    EXTEND.format("message A { optional bool b = x; }"): r"own.py:2: this does not fit Caffe's schema: invalid literal",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_in_the_file(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(text)
    added = dict(schema.extensions())
    with pytest.raises(UserError) as error:
        load_plugin("own.py")
    assert re.match(MISTAKES[text], str(error.value)), str(error.value)
    assert schema.extensions() == added


def test_no_such_file():
    with pytest.raises(UserError, match=r"nowhere.py: there is no such file; expected a Python file that registers"):
        load_plugin("nowhere.py")
