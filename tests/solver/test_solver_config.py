"""Solver prototxts: what is read, where nets are looked for, and every complaint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prototxt.errors import UserError
from solver.config import SolverConfig, read_config

NET = """
name: "tiny"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "left" type: "ReLU" bottom: "x" top: "a" include { phase: TRAIN } }
layer { name: "right" type: "ReLU" bottom: "x" top: "b" include { phase: TEST stage: "final" } }
layer { name: "other" type: "ReLU" bottom: "x" top: "c" include { phase: TEST not_stage: "final" } }
"""
GOOD = 'net: "net.prototxt"\nbase_lr: 0.1\nmax_iter: 5\nlr_policy: "fixed"\n'


def config(tmp_path: Path, text: str) -> SolverConfig:
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(text)
    return read_config(tmp_path / "solver.prototxt")


def tops(graph) -> list[str]:
    return list(graph.shapes)


def test_net_with_test_iter_is_trained_and_tested(tmp_path):
    made = config(tmp_path, GOOD + "test_iter: 7\ntest_interval: 3\ntest_state { stage: 'final' }")
    assert tops(made.train.graph()) == ["x", "a"]
    assert [(tops(net.graph()), net.iterations) for net in made.tests] == [(["x", "b"], 7)]


def test_test_nets_come_in_caffes_order(tmp_path):
    text = GOOD + 'test_interval: 1 test_iter: [1, 2, 3] test_net: "net.prototxt"'
    text += " test_net_param { name: 'inline' " + NET.split("\n")[2] + "}"
    assert [(net.graph().name, net.iterations) for net in config(tmp_path, text).tests] == [
        ("inline", 1),
        ("tiny", 2),
        ("tiny", 3),
    ]


def test_inline_train_net(tmp_path):
    text = GOOD.replace('net: "net.prototxt"', f"net_param {{ {NET} }}")
    assert tops(config(tmp_path, text).train.graph()) == ["x", "a"]


def test_paths_start_from_the_current_folder_before_the_solvers(tmp_path, monkeypatch):
    (tmp_path / "net.prototxt").write_text(NET)
    own = tmp_path / "own"
    own.mkdir()
    assert config(own, GOOD + 'snapshot_prefix: "out/x"').prefix == own / "out/x"
    monkeypatch.chdir(tmp_path)
    assert config(own, GOOD + 'snapshot_prefix: "out/x"').prefix == Path("out/x")
    assert config(own, GOOD).prefix == Path("solver")


def test_seed(tmp_path):
    assert config(tmp_path, GOOD).seed == 1
    assert config(tmp_path, GOOD + "random_seed: 0").seed == 0


def test_published_solvers_are_accepted(shared):
    for path in sorted((shared / "reference/prototxt").glob("*/solver.prototxt")):
        with pytest.raises(UserError, match="is neither in the current folder nor in that of the solver file"):
            read_config(path)  # all that is wrong is that their nets are elsewhere


COMPLAINTS = {
    "no net": (GOOD.replace('net: "net.prototxt"', ""), r"it names no net to train; expected one of net, net_param"),
    "two nets": (GOOD + 'train_net: "net.prototxt"', r":5: it names more than one net to train: net, train_net;"),
    "missing net": (GOOD.replace("net.prototxt", "x.prototxt"), r':1: the net "x.prototxt" is neither in the current'),
    "missing test net": (
        GOOD + 'test_net: "t.prototxt" test_iter: 1 test_interval: 1',
        r"t.prototxt: there is no such",
    ),
    "unknown policy": (
        GOOD.replace("fixed", "mutlistep"),
        r':4: lr_policy "mutlistep" is unknown \(did you mean "mult',
    ),
    "no policy": (GOOD.replace('lr_policy: "fixed"', ""), r"it gives no lr_policy; expected one of exp, fixed"),
    "unknown type": (GOOD + 'type: "SDG"', r':5: type "SDG" is unknown \(did you mean "SGD"\?\); expected one of Ada'),
    "momentum": (GOOD + 'type: "AdaGrad" momentum: 0.9', r":5: AdaGrad has no momentum, yet it is 0.9\n  fix: take it"),
    "rms_decay": (GOOD + 'type: "RMSProp" rms_decay: 1', r":5: rms_decay is 1; expected at least 0, below 1"),
    "stepvalue": (
        GOOD.replace("fixed", "multistep") + "gamma: 0.1",
        r':4: .*"multistep" needs stepvalue, which is not',
    ),
    "gamma": (GOOD.replace("fixed", "step") + "stepsize: 3", r'lr_policy "step" needs gamma, .*\n  fix: add gamma'),
    "stepsize": (GOOD.replace("fixed", "step") + "gamma: 1 stepsize: 0", r":5: stepsize is 0; expected at least 1"),
    "base_lr": (GOOD.replace("base_lr: 0.1", ""), r"it gives no base_lr"),
    "max_iter": (GOOD.replace("max_iter: 5", ""), r"it gives no max_iter"),
    "iter_size": (GOOD + "iter_size: 0", r":5: iter_size is 0; expected at least 1"),
    "average_loss": (GOOD + "average_loss: 0", r":5: average_loss is 0; expected at least 1"),
    "negative": (GOOD + "momentum: -0.9", r":5: momentum is -0.9; expected at least 0"),
    "regularisation": (GOOD + 'regularization_type: "L3"', r'regularization_type "L3" is unknown.*one of L1, L2'),
    "eval_type": (GOOD + 'eval_type: "detect"', r'"detect" is unknown.*; expected one of classification, detection'),
    "ap_version": (GOOD + 'ap_version: "11points"', r'ap_version "11points" is unknown \(did you mean "11point"\?\)'),
    "test_iter": (GOOD + 'test_net: "net.prototxt"', r"it gives 0 test_iter for 1 test net; expected one test_iter"),
    "too many": (
        GOOD.replace("net:", "train_net:") + "test_iter: [1, 2] test_net: 'net.prototxt' test_interval: 1",
        r"it gives 2 test_iter for 1 test net",
    ),
    "test_iter 0": (GOOD + "test_iter: 0 test_interval: 1", r":5: test_iter is 0; expected at least 1"),
    "test_state": (GOOD + "test_state {} test_iter: [1, 2] test_interval: 1", r"1 test_state for 2 test_iter"),
    "test_interval": (GOOD + "test_iter: 3", r"it has a test net but no test_interval\n  fix: add test_interval"),
    "snapshot_diff": (GOOD + "snapshot_diff: true", r":5: snapshot_diff: true is not covered"),
    "unknown field": (GOOD + "gama: 0.1", r"gama.*\(did you mean \"gamma\"\?\)"),
}


@pytest.mark.parametrize("name", COMPLAINTS)
def test_complaint(tmp_path, name):
    text, message = COMPLAINTS[name]
    with pytest.raises(UserError) as error:
        config(tmp_path, text)
    assert re.search(message, str(error.value), re.DOTALL), str(error.value)


def test_all_complaints_come_together(tmp_path):
    with pytest.raises(UserError) as error:
        config(tmp_path, 'lr_policy: "stpe"\ntype: "Adamm"\niter_size: 0\n')
    for part in ("stpe", "Adam", "iter_size is 0", "no base_lr", "no max_iter", "no net to train"):
        assert part in str(error.value)
