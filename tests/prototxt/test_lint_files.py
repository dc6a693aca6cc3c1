"""Which nets are built of the files that are given, and which are held against which."""

from __future__ import annotations

import pytest

from prototxt.io import read_net
from prototxt.lint import lint_files, lint_nets
from tests.prototxt.lint_cases.nets import (
    BODY,
    CLEAN,
    CONV,
    DATA,
    DEPLOY,
    INPUT,
    LABEL,
    LOSS,
    OUTPUT,
    SCORES,
    TARGET,
    layer,
)

EVALUATE = "detection_evaluate_param { num_classes: 3 }"
IN_TRAIN, IN_TEST = "include { phase: TRAIN }", "include { phase: TEST }"
TRAIN_VAL = (
    layer("data", "AnnotatedData", "", "data label", f"{DATA} {IN_TRAIN}")
    + layer("test_data", "AnnotatedData", "", "data label", f"{DATA} {IN_TEST}")
    + BODY
    + layer("loss", "MultiBoxLoss", "loc conf prior label", body=f"{LOSS} {IN_TRAIN}")
    + SCORES.replace(" }\n", f" {IN_TEST} }}\n")
    + layer("out", "DetectionOutput", "loc flat prior", body=f"{OUTPUT} {IN_TEST}")
    + layer("eval", "DetectionEvaluate", "out label", body=f"{EVALUATE} {IN_TEST}")
)
UNFILLED = INPUT + LABEL + CONV.replace("weight_filler", "bias_filler") + TARGET


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files into the current folder, which is empty."""
    monkeypatch.chdir(tmp_path)

    def write_files(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)

    return write_files


def ids(findings):
    return [(finding.check, finding.layer) for finding in findings]


def test_both_phases_of_a_file_are_linted_and_what_both_show_is_reported_once(write):
    wrong = TRAIN_VAL.replace("min_size: 16 step: 4", "min_size: 16 step: 20")
    write({"net.prototxt": wrong.replace(EVALUATE, EVALUATE.replace("3", "4"))})
    assert ids(lint_files(["net.prototxt"])) == [("prior-step", "c2_prior"), ("class-count", "eval")]


def test_a_file_of_one_phase_is_linted_in_that_phase_alone(write):
    """The train net has no data in phase TEST; that is no mistake. A label map that is nowhere is not asked for."""
    write({name: text for name, text in CLEAN.items() if name != "labelmap.prototxt"})
    for name in ("train.prototxt", "test.prototxt", "deploy.prototxt"):
        assert lint_files([name]) == []


def test_without_rules_a_loss_tells_that_a_net_trains(write):
    write({"net.prototxt": UNFILLED})
    assert ids(lint_files(["net.prototxt"])) == [("no-filler", "c")]


def test_stages_are_built_one_by_one(write):
    """A file with a stage for training and one for deployment, as DIGITS writes them."""
    only = {stage: f'include {{ stage: "{stage}" }} }}\n' for stage in ("train", "deploy")}
    read = layer("p", "Pooling", "data", body="pooling_param { kernel_size: 1 }")
    write(
        {
            "net.prototxt": INPUT.replace("}\n", only["deploy"])
            + INPUT.replace("dim: [2, 3, 8, 8]", "dim: [4, 3, 8, 8]").replace("}\n", only["train"])
            + read
            + layer("q", "ReLU", "gone").replace("}\n", only["train"])
            + layer("r", "ReLU", "lost").replace("}\n", only["deploy"])
        }
    )
    assert ids(lint_files(["net.prototxt"])) == [("wiring", "q"), ("wiring", "r")]


def test_every_bad_file_is_a_finding_and_the_others_are_linted(write, tmp_path):
    write({"a.prototxt": "layer {\n  nme: 3 }", "c.prototxt": INPUT + layer("r", "ReLU", "dat")})
    (tmp_path / "b.prototxt").write_bytes(b"\xff\xfe\x00")
    found = lint_files(["a.prototxt", "b.prototxt", "gone.prototxt", "c.prototxt"])
    assert [(f.check, f.file, f.line) for f in found] == [
        ("unreadable", "a.prototxt", 2),
        ("unreadable", "b.prototxt", 1),
        ("unreadable", "gone.prototxt", 0),
        ("wiring", "c.prototxt", 2),
    ]
    assert "not UTF-8" in found[1].reason and found[2].reason == "there is no such file"


def test_a_solver_brings_its_nets(write):
    write({**CLEAN, "train.prototxt": CLEAN["train.prototxt"].replace("num_classes: 3", "num_classes: 4")})
    found = lint_files(["solver.prototxt"])
    assert {f.file for f in found} == {"train.prototxt"}
    assert ids(found) == [("class-count", "loss"), ("labelmap-classes", "loss")]
    # Given as well, a net is not linted twice.
    assert lint_files(["solver.prototxt", "train.prototxt"]) == found


def test_a_solver_whose_net_is_no_prototxt(write):
    write({**CLEAN, "train.prototxt": "layer {\n  nme: 3 }"})
    found = lint_files(["solver.prototxt"])
    assert [(f.check, f.file, f.line) for f in found] == [("unreadable", "train.prototxt", 2)]
    assert lint_files(["train.prototxt", "solver.prototxt"]) == found


def test_a_solver_is_found_from_another_folder(write):
    write({f"job/{name}": text for name, text in CLEAN.items()})
    assert lint_files(["job/solver.prototxt"]) == []


def test_a_solver_with_one_net_for_both_phases(write):
    solver = CLEAN["solver.prototxt"].replace('train_net: "train.prototxt"\ntest_net: "test', 'net: "net')
    solver = solver.replace("test_iter: 5", "test_iter: 3")
    write({"solver.prototxt": solver, "net.prototxt": TRAIN_VAL})
    assert [(f.check, f.line) for f in lint_files(["solver.prototxt"])] == [("solver-test-images", 2)]


def test_a_solver_with_its_net_inside(write):
    write({"solver.prototxt": f'base_lr: 0.1\nlr_policy: "fixed"\ntrain_net_param {{\n{UNFILLED}}}\n'})
    found = lint_files(["solver.prototxt"])
    assert [(f.check, f.layer, f.file) for f in found] == [("no-filler", "c", "solver.prototxt: train_net_param")]


def test_state_of_the_solver_is_merged_in(write):
    extra = layer("r", "ReLU", "c", body='include { stage: "extra" }')
    solver = 'net: "net.prototxt"\nbase_lr: 0.1\ntrain_state { stage: "extra" }\n'
    write({"net.prototxt": INPUT + LABEL + CONV + TARGET + extra, "solver.prototxt": solver})
    assert ids(lint_files(["solver.prototxt"])) == [("dangling-top", "r")]


def test_nets_of_several_folders_are_held_against_the_train_net_of_their_own(write):
    for folder, width in (("a", "num_output: 6"), ("b", "num_output: 9")):
        for name in ("train.prototxt", "deploy.prototxt"):
            text = CLEAN[name].replace("num_output: 6 kernel_size: 4", f"{width} kernel_size: 4")
            write({f"{folder}/{name}": text})
    assert lint_files([f"{folder}/{name}.prototxt" for folder in "ab" for name in ("train", "deploy")]) == []
    # A single train net is everybody's.
    found = lint_files(["a/train.prototxt", "b/deploy.prototxt"])
    assert ids(found) == [("shared-weights", name) for name in ("c1", "c2", "c1_loc", "c1_conf")]


def test_the_first_stage_of_refinedet_has_two_classes_whatever_the_label_map(write):
    arm = layer("arm", "MultiBoxLoss", "loc bin prior label", body=LOSS.replace("num_classes: 3", "num_classes: 2"))
    odm = layer("odm", "MultiBoxLoss", "loc conf prior label binary loc", body=LOSS)
    more = "".join(line for line in BODY.replace("conf", "bin").splitlines(keepends=True) if "bin" in line)
    for old, new in ((6, 4), (3, 2)):
        more = more.replace(f"num_output: {old} kernel_size: 3", f"num_output: {new} kernel_size: 3")
    more += layer("shaped", "Reshape", "bin", body="reshape_param { shape { dim: [0, -1, 2] } }")
    more += layer("soft", "Softmax", "shaped", body="softmax_param { axis: 2 }") + layer("binary", "Flatten", "soft")
    start = layer("data", "AnnotatedData", "", "data label", DATA) + BODY + more + arm
    write({"labelmap.prototxt": CLEAN["labelmap.prototxt"], "train.prototxt": start + odm})
    assert lint_files(["train.prototxt"]) == []
    write({"train.prototxt": start})
    assert ("labelmap-classes", "arm") in ids(lint_files(["train.prototxt"]))


def test_nets_in_memory(write):
    write({"deploy.prototxt": DEPLOY.replace("num_classes: 3", "num_classes: 4")})
    found = lint_nets([("model/deploy", read_net("deploy.prototxt").message)])
    assert [(f.check, f.file, f.line, f.layer) for f in found] == [("class-count", "model/deploy", 0, "out")]


def test_old_files_are_upgraded(write):
    write(
        {
            "net.prototxt": 'input: "data"\ninput_dim: [1, 3, 8, 8]\nlayers {\n  name: "c" type: CONVOLUTION\n'
            '  bottom: "data" top: "c"\n  convolution_param { num_output: 2 kernel_size: 9 }\n}\n'
        }
    )
    assert [(f.check, f.line, f.layer) for f in lint_files(["net.prototxt"])] == [("shapes", 3, "c")]
