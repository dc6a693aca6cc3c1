"""Differences by meaning: what counts, what does not, and what is recognised under another name."""

from __future__ import annotations

import itertools
import json
import re
import sys

import pytest
import typer

from netgen.commands.diff import diff as diff_command
from prototxt.diff import compare
from prototxt.errors import UserError

NET = """name: "first"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 20 dim: 30 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
        convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" batch_norm_param { eps: 0.001 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "loc" type: "Convolution" bottom: "conv1" top: "loc" convolution_param { num_output: 4 pad: 1 } }
layer { name: "conf" type: "Convolution" bottom: "conv1" top: "conf" convolution_param { num_output: 4 pad: 1 } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm" permute_param { order: [0, 2, 3, 1] } }
layer { name: "both" type: "Concat" bottom: "loc" bottom: "conf" top: "both" }
"""


@pytest.fixture
def files(tmp_path):
    def write(a: str, b: str):
        (tmp_path / "a.prototxt").write_text(a)
        (tmp_path / "b.prototxt").write_text(b)
        return tmp_path / "a.prototxt", tmp_path / "b.prototxt"

    return write


def change(*pairs: tuple[str, str]) -> str:
    text = NET
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def brief(result) -> list[tuple]:
    return [(d.kind, d.layer, d.field, d.a, d.b) for d in result.differences]


SAME = {
    "name of the net": change(('name: "first"', 'name: "second"')),
    "format": re.sub(r"\s+", "\n", NET.replace('"', "'")),
    "defaults": change(("num_output: 6", "num_output: 6 bias_term: true group: 1 axis: 1"), ("lr_mult: 1", "")),
    "default messages": change(("num_output: 6", 'num_output: 6 bias_filler { type: "constant" value: 0 }')),
    "floats": change(("eps: 0.001", "eps: 1.0000000474974513e-3")),
    "order of fields": change(("num_output: 6 kernel_size: 3", "kernel_size: 3 num_output: 6")),
    "order of layers": "\n".join(
        [*NET.splitlines()[:7], *NET.splitlines()[8:7:-1], *NET.splitlines()[7:8], NET.splitlines()[9]]
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_count(files, what):
    assert compare(*files(NET, SAME[what])).differences == ()
    assert compare(*files(SAME[what], NET)).differences == ()


DIFFERENT = {
    "a parameter": (
        [("num_output: 6", "num_output: 8")],
        [("field", "conv1", "convolution_param.num_output", "6", "8")],
    ),
    "a default": (
        [("num_output: 6", "num_output: 6 bias_term: false")],
        [("field", "conv1", "convolution_param.bias_term", "true (default)", "false")],
    ),
    "a list": (
        [("kernel_size: 3", "kernel_size: 3 kernel_size: 5")],
        [("field", "conv1", "convolution_param.kernel_size", "[3]", "[3, 5]")],
    ),
    "one parameter spec more": (
        [("param { lr_mult: 2 }", "param { lr_mult: 2 } param { }")],
        [("field", "conv1", "param[2]", "absent", "{}")],
    ),
    "a multiplier": (
        [("param { lr_mult: 2 }", "param { lr_mult: 0 }")],
        [("field", "conv1", "param[1].lr_mult", "2", "0")],
    ),
    "a filler": (
        [('"msra"', '"xavier"')],
        [("field", "conv1", "convolution_param.weight_filler.type", '"msra"', '"xavier"')],
    ),
    "a phase": (
        [('name: "relu1"', 'name: "relu1" include { phase: TRAIN }')],
        [("field", "relu1", "include[0].phase", "absent", "TRAIN")],
    ),
    "statistics": (
        [("eps: 0.001", "eps: 0.001 use_global_stats: false")],
        [("field", "bn1", "batch_norm_param.use_global_stats", "absent", "false")],
    ),
    "a type": ([('type: "Permute"', 'type: "Flatten"')], [("field", "loc_perm", "type", "Permute", "Flatten")]),
    "a bottom": (
        [('bottom: "loc" top: "loc_perm"', 'bottom: "conf" top: "loc_perm"')],
        [("wiring", "loc_perm", "bottom[0]", "loc", "conf")],
    ),
    "an order of bottoms": (
        [('bottom: "loc" bottom: "conf"', 'bottom: "conf" bottom: "loc"')],
        [("wiring", "both", "bottom[0]", "loc", "conf"), ("wiring", "both", "bottom[1]", "conf", "loc")],
    ),
    "one bottom less": (
        [('bottom: "loc" bottom: "conf"', 'bottom: "loc"')],
        [("wiring", "both", "bottom[1]", "conf", "")],
    ),
    "a layer less": ([(NET.splitlines()[9], "")], [("only in A", "both", "", "", "")]),
    "an in-place layer less": ([(NET.splitlines()[5], "")], [("only in A", "relu1", "", "", "")]),
    "an in-place layer elsewhere": (
        [(f"{NET.splitlines()[4]}\n{NET.splitlines()[5]}", f"{NET.splitlines()[5]}\n{NET.splitlines()[4]}")],
        [
            ("wiring", "bn1", "bottom[0]", "conv1", "conv1 (of relu1)"),
            ("wiring", "relu1", "bottom[0]", "conv1 (of bn1)", "conv1"),
            ("wiring", "loc", "bottom[0]", "conv1 (of relu1)", "conv1 (of bn1)"),
            ("wiring", "conf", "bottom[0]", "conv1 (of relu1)", "conv1 (of bn1)"),
        ],
    ),
    "a new name": (
        [('"conv1"', '"stem"')],
        [("renamed layer", "conv1", "", "conv1", "stem")],
    ),
    "a new name of a blob": (
        [('top: "loc" ', 'top: "where" '), ('bottom: "loc"', 'bottom: "where"')],
        [("renamed blob", "loc", "top[0]", "loc", "where")],
    ),
    "a new name of one of two alike": (
        [('"loc"', '"where"')],
        [("renamed layer", "loc", "", "loc", "where")],
    ),
    "two new names of layers alike": (
        [('"loc"', '"x"'), ('"conf"', '"y"')],
        [("renamed layer", "loc", "", "loc", "x"), ("renamed layer", "conf", "", "conf", "y")],
    ),
    "a new name and a new number": (
        [('"conv1"', '"stem"'), ("num_output: 6", "num_output: 8")],
        [("renamed layer", "conv1", "", "conv1", "stem"), ("field", "conv1", "convolution_param.num_output", "6", "8")],
    ),
    "a blob of its own": (
        [
            ('type: "ReLU" bottom: "conv1" top: "conv1"', 'type: "ReLU" bottom: "conv1" top: "r"'),
            ('bottom: "conv1" top: "loc"', 'bottom: "r" top: "loc"'),
            ('bottom: "conv1" top: "conf"', 'bottom: "r" top: "conf"'),
        ],
        [("renamed blob", "relu1", "top[0]", "conv1", "r")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_counts(files, what):
    pairs, expected = DIFFERENT[what]
    result = compare(*files(NET, change(*pairs)))
    assert brief(result) == expected
    only_names = all(kind.startswith("renamed") for kind, *_ in expected)
    assert result.same_but_for_names == only_names
    back = compare(*files(change(*pairs), NET))
    assert len(back.differences) == len(expected) and not back.same
    assert compare(*files(NET, change(*pairs)), names=False).same == only_names


COUNTED = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1" inner_product_param { num_output: 3 } }
layer { name: "ReLU1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 3 } }
layer { name: "ReLU2" type: "ReLU" bottom: "ip2" top: "ip2" }
layer { name: "ip3" type: "InnerProduct" bottom: "ip2" top: "ip3" inner_product_param { num_output: 3 } }
"""


def test_counters_of_layers_without_weights_may_move(files):
    """B has one ReLU more, at the start, so that those after it count one further."""
    first, *rest = COUNTED.replace("ReLU2", "ReLU3").replace("ReLU1", "ReLU2").splitlines()
    other = [first, 'layer { name: "ReLU1" type: "ReLU" bottom: "data" top: "data" }', *rest]
    assert brief(compare(*files(COUNTED, "\n".join(other)))) == [
        ("renamed layer", "ReLU1", "", "ReLU1", "ReLU2"),
        ("renamed layer", "ReLU2", "", "ReLU2", "ReLU3"),
        ("only in B", "ReLU1", "", "", ""),
    ]


def test_where(files, tmp_path):
    a, b = files(NET, "\n" + change(("num_output: 6", "num_output: 8"), (NET.splitlines()[8], "")))
    changed, lost = compare(a, b).differences
    assert (changed.where_a, changed.where_b) == (f"{a}:4", f"{b}:5")
    assert (lost.where_a, lost.where_b) == (f"{a}:9", "")


TWO = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" param { name: "v" } }
"""


def test_shared_parameters_have_names(files):
    renamed, regrouped = (
        TWO.replace('"w"', '"shared"'),
        TWO.replace('"b" param { name: "w" }', '"b" param { name: "v" }'),
    )
    assert [d.field for d in compare(*files(TWO, renamed)).differences] == ["param[0].name"] * 2
    assert compare(*files(TWO, renamed), names=False).same
    assert brief(compare(*files(TWO, regrouped), names=False)) == [
        ("wiring", "a", "param[0] shared with", "b", ""),
        ("wiring", "b", "param[0] shared with", "a", "c"),
        ("wiring", "c", "param[0] shared with", "", "b"),
    ]


PHASES = """
layer { name: "data" type: "Data" top: "data" include { phase: TRAIN } data_param { source: "x" batch_size: 8 } }
layer { name: "data" type: "Data" top: "data" include { phase: TEST } data_param { source: "y" batch_size: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
"""


def test_two_layers_of_one_name(files):
    lines = PHASES.strip().splitlines()
    assert compare(*files(PHASES, "\n".join([lines[1], lines[0], lines[2]]))).same
    other = PHASES.replace("batch_size: 2", "batch_size: 1")
    assert brief(compare(*files(PHASES, other))) == [("field", "data", "data_param.batch_size", "2", "1")]


def test_paths_count_when_asked(files):
    other = PHASES.replace('"x"', '"/data/x"')
    assert compare(*files(PHASES, other)).same
    assert brief(compare(*files(PHASES, other), paths=True)) == [
        ("field", "data", "data_param.source", '"x"', '"/data/x"')
    ]


def test_old_files_are_read_as_new_ones(files):
    old = """input: "data" input_dim: 1 input_dim: 3 input_dim: 20 input_dim: 30
    layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2
             convolution_param { num_output: 6 kernel_size: 3 } }"""
    new = """layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { lr_mult: 1 } param { lr_mult: 2 }
             convolution_param { num_output: 6 kernel_size: 3 } }"""
    head = NET.splitlines()[1]
    assert compare(*files(old, f"{head}\n{new}")).same
    assert not compare(*files(old, f"{head}\n{new}".replace("dim: 20", "dim: 21"))).same


SOLVER = 'base_lr: 0.01\nlr_policy: "multistep"\nstepvalue: 10\nstepvalue: 20\nsnapshot_prefix: "x"\nmomentum: 0.9\n'


def test_solvers(files):
    assert compare(*files(SOLVER, SOLVER.replace('"x"', '"y"') + "iter_size: 1 type: 'SGD'")).same
    a, b = files(SOLVER, SOLVER.replace("stepvalue: 10\n", "").replace("0.01", "0.001"))
    rate, steps = compare(a, b).differences
    assert (rate.field, rate.a, rate.b, rate.where_b) == ("base_lr", "0.01", "0.001", f"{b}:1")
    assert (steps.field, steps.a, steps.b, steps.where_a) == ("stepvalue", "[10, 20]", "[20]", f"{a}:3")


def test_a_net_and_a_solver(files):
    a, b = files(SOLVER, NET)
    with pytest.raises(UserError, match=rf"^{a} is a solver and {b} is a net; expected two nets or two solvers$"):
        compare(a, b)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        compare(tmp_path / "a.prototxt", tmp_path / "b.prototxt")


def run(capsys, *paths, **options) -> tuple[int, str]:
    try:
        diff_command(*paths, **options)
        status = 0
    except typer.Exit as end:
        status = end.exit_code
    return status, capsys.readouterr().out


def test_command(files, capsys):
    a, b = files(NET, change(('"conv1"', '"stem"'), ("num_output: 6", "num_output: 8"), (NET.splitlines()[9], "")))
    assert run(capsys, a, a) == (0, "the same\n")
    assert run(capsys, a, b) == (
        1,
        f"layer conv1 (Convolution) {b}:3: is called stem in B\n"
        f"layer conv1 (Convolution) {b}:4: convolution_param.num_output: 6 → 8\n"
        f"layer both (Concat) {a}:10: only in A\n"
        "3 differences\n",
    )
    a, b = files(NET, change(('"conv1"', '"stem"'), ('top: "loc" ', 'top: "o" '), ('bottom: "loc"', 'bottom: "o"')))
    status, text = run(capsys, a, b)
    assert status == 1
    assert text.splitlines()[1:] == [
        f"layer loc (Convolution) {b}:7: its blob loc is called o in B",
        "2 differences, all of names; without names they are the same",
    ]
    assert run(capsys, a, b, ignore_names=True) == (0, "the same\n")


def test_command_as_json(files, capsys):
    a, b = files(NET, change(("num_output: 6", "num_output: 8")))
    status, text = run(capsys, a, b, format="json")
    assert status == 1
    assert json.loads(text) == {
        "same": False,
        "same_but_for_names": False,
        "differences": [
            {
                "kind": "field",
                "layer": "conv1",
                "type": "Convolution",
                "field": "convolution_param.num_output",
                "a": "6",
                "b": "8",
                "where_a": f"{a}:4",
                "where_b": f"{b}:4",
            }
        ],
    }


def test_colour_is_for_terminals(files, capsys, monkeypatch):
    a, b = files(NET, change(("num_output: 6", "num_output: 8")))
    assert "\x1b[" not in run(capsys, a, b)[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31m6\x1b[0m → \x1b[32m8\x1b[0m" in run(capsys, a, b)[1]


@pytest.mark.parametrize("kind", ["train", "test", "deploy", "solver"])
def test_agrees_with_an_independent_comparison(shared, monkeypatch, kind):
    """On every pair of the reference files: the same verdict, and the same layers differ."""
    monkeypatch.syspath_prepend(str(shared / "tools"))
    same_net = __import__("same_net")
    files = sorted((shared / "reference/prototxt").glob(f"*/{kind}.prototxt"))
    assert len(files) == 10
    known = {path: same_net.read(path) for path in files}
    for a, b in itertools.combinations_with_replacement(files, 2):
        theirs = list(same_net.differences(known[a], known[b]))
        ours = compare(a, b)
        assert ours.same == (not theirs), f"{a} and {b}"
        lost = {d.layer for d in ours.differences if d.kind == "only in A"}
        assert lost <= {
            row.split(": only in")[0].removeprefix("layer ") for row in theirs if "only in the first" in row
        }
    sys.modules.pop("same_net")


def test_a_published_net_under_other_names(shared, tmp_path):
    """Every layer and every blob of a net of 443 layers gets a name of its own; nothing else changes."""
    path = shared / "reference/prototxt/dsod300_voc/deploy.prototxt"
    text = re.sub(r'((?:name|top|bottom): ")', r"\1x_", path.read_text()).replace('"x_data"', '"data"')
    (tmp_path / "b.prototxt").write_text(text)
    assert compare(path, tmp_path / "b.prototxt", names=False).same
    found = compare(path, tmp_path / "b.prototxt")
    assert found.same_but_for_names
    assert sum(d.kind == "renamed layer" for d in found.differences) >= 440
    (tmp_path / "b.prototxt").write_text(text.replace("num_output: 48", "num_output: 32", 1))
    assert [(d.layer, d.a, d.b) for d in compare(path, tmp_path / "b.prototxt", names=False).differences] == [
        ("Convolution5", "48", "32")
    ]
