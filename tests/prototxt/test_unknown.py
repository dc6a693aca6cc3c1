"""Layer types and parameters that nobody knows: all of them in one error, each with its line."""

from __future__ import annotations

import pytest

from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import read_net

FIX = "\n  fix: correct the type, or register it in a Python file and give that with --plugin"
INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }\n'


def refused(tmp_path, monkeypatch, text: str, read=Graph.load) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(UserError) as error:
        read("net.prototxt")
    return str(error.value)


def test_all_types_of_a_net_at_once(tmp_path, monkeypatch):
    text = (
        INPUT
        + """layer { name: "a" type: "Whirl" bottom: "x" top: "a" }
layer { name: "b" type: "Convlution" bottom: "a" top: "b" }
layer { name: "c" type: "Whirl" bottom: "b" top: "c" }
layer { name: "d" type: "Python" bottom: "c" top: "d" python_param { module: "rpn.data" layer: "Loader" } }
layer { name: "e" type: "Whirl" bottom: "d" top: "e" }
layer { name: "f" type: "Never" bottom: "e" top: "f" include { phase: TRAIN } }
"""
    )
    assert refused(tmp_path, monkeypatch, text) == (
        'net.prototxt:2: layer "a" (Whirl): this layer type is not known; '
        'so are "c" (net.prototxt:4), "e" (net.prototxt:6)\n'
        'net.prototxt:3: layer "b" (Convlution): this layer type is not known (did you mean "Convolution"?)\n'
        'net.prototxt:5: layer "d" (rpn.data.Loader): this layer type is not known' + FIX
    )


def test_types_with_parameters_of_their_own(tmp_path, monkeypatch):
    """The parameters of an unknown type are unknown too; only what belongs to a known type is a mistake of its own."""
    text = (
        INPUT
        + """layer { name: "a" type: "Whirl" bottom: "x" top: "a" whirl_param { engine: CUDNN deep < a: 1 "}" > } }
layer { name: "b" type: "ReLU" bottom: "a" top: "b" relo_param { negative_slope: 1 } }
layer { name: "c" type: "Yolo" bottom: "b" top: "c" yolo_param: { anchors: [1, 2] } }
"""
    )
    for read in (Graph.load, read_net):
        assert refused(tmp_path, monkeypatch, text, read) == (
            'net.prototxt:3:53: LayerParameter has no field "relo_param" (did you mean "relu_param"?)\n'
            + "    " + text.splitlines()[2] + "\n" + " " * 56 + "^\n"
            'net.prototxt:2: layer "a" (Whirl): this layer type is not known\n'
            'net.prototxt:4: layer "c" (Yolo): this layer type is not known' + FIX
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { type: "ReLU" relo_param: 3 }', 'net.prototxt:1:22: LayerParameter has no field "relo_param"'),
        ("layer { nmae { a: 1 } }", 'net.prototxt:1:9: LayerParameter has no field "nmae" (did you mean "name"?)'),
        ("layer { relo_param { a { b: 1 }", 'net.prototxt:1:32: the file ends inside relo_param; expected "}"'),
        ("state_param { a: 1 }", 'net.prototxt:1:1: NetParameter has no field "state_param"'),
        (
            'layer { type: "ReLU" relu_param { x_param { } } }',
            'net.prototxt:1:35: ReLUParameter has no field "x_param"',
        ),
    ],
)
def test_mistakes(text, message, tmp_path, monkeypatch):
    assert refused(tmp_path, monkeypatch, text).startswith(message)


def test_all_fields_of_a_net_at_once(tmp_path, monkeypatch):
    """Numbers, strings, lists and messages; one that stands in many layers is told once, with its lines."""
    lines = [
        'name: "a" speed: 3',
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } colour: "red" "dish" }',
        'layer { name: "a" type: "ReLU" bottom: "x" top: "a" relu_param { negative_slop: 0.1 bits: [1, 2] } }',
        'layer { name: "b" type: "ReLU" bottom: "a" top: "b" relu_param { bits: [] } many { of: { them: 1 } } }',
        'layer { name: "c" type: "ReLU" bottom: "b" top: "c" relu_param { bits: -3 } }',
    ]

    def at(number: int, word: str) -> str:
        column = lines[number - 1].index(word)
        return f"    {lines[number - 1]}\n    {' ' * column}^"

    fix = "\n  fix: take it out if the result does not depend on it; the fields of forks that are known: "
    for read in (Graph.load, read_net):
        assert refused(tmp_path, monkeypatch, "\n".join(lines), read) == "\n".join([
            'net.prototxt:1:11: NetParameter has no field "speed"', at(1, "speed"),
            'net.prototxt:2:82: LayerParameter has no field "colour"', at(2, "colour"),
            'net.prototxt:3:66: ReLUParameter has no field "negative_slop" (did you mean "negative_slope"?)',
            at(3, "negative_slop"),
            'net.prototxt:3:85: ReLUParameter has no field "bits"; nor on the lines 4, 5', at(3, "bits"),
            'net.prototxt:4:77: LayerParameter has no field "many"', at(4, "many"),
        ]) + fix + "docs/compatibility.md"  # fmt: skip


@pytest.mark.parametrize("text", ["speed", "speed 3", "speed: }", "speed: :", "speed ["])
def test_what_has_no_value_is_no_field(text, tmp_path, monkeypatch):
    assert refused(tmp_path, monkeypatch, text) == (
        f'net.prototxt:1:1: NetParameter has no field "speed"\n    {text}\n    ^'
    )


def test_deep_nesting_is_read_over(tmp_path, monkeypatch):
    deep = "layer { x_param " + "{ a " * 100_000 + "}" * 100_001
    assert refused(tmp_path, monkeypatch, deep).startswith('net.prototxt:1: layer "" (): this layer type is not known')


def test_many_types_are_counted(tmp_path, monkeypatch):
    text = INPUT + "".join(f'layer {{ name: "n{i}" type: "T{i}" bottom: "x" top: "t{i}" }}\n' for i in range(300))
    found = refused(tmp_path, monkeypatch, text)
    assert found.count("this layer type is not known") == 100
    assert found.endswith("; and 200 further types are not" + FIX)


def test_many_parameters_are_refused_early(tmp_path, monkeypatch):
    text = "".join(f'layer {{ type: "ReLU" x{i}_param {{ }} }}\n' for i in range(1001))
    found = refused(tmp_path, monkeypatch, text)
    assert found.startswith('net.prototxt:1001:22: LayerParameter has no field "x1000_param"')
