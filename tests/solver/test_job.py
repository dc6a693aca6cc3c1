"""Whole jobs on files: training, stopping, resuming, testing, and what goes wrong."""

from __future__ import annotations

import io
import os
import re
import signal
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
import typer
from rich.console import Console
from typer.testing import CliRunner

from converters.caffemodel import read_weights
from netgen.commands import test as test_command
from netgen.commands import train as train_command
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, SolverParameter
from solver import job as jobs
from solver.log import Screen, plot_losses, read_log
from solver.stop import StopSignal


class Lines(Screen):
    """A screen that remembers; `on` maps a line's beginning to what is done when it comes."""

    def __init__(self, on=None) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.lines, self.on = [], on or {}

    def line(self, text: str) -> None:
        self.lines.append(text)
        for start, act in self.on.items():
            if text.startswith(start):
                act()

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def edit(job: Path, file: str, old: str, new: str) -> None:
    text = (job / file).read_text()
    assert old in text
    (job / file).write_text(text.replace(old, new))


def run(job: Path, **options) -> tuple[bool, Lines]:
    screen = options.pop("screen", Lines())
    return jobs.train(job / "solver.prototxt", screen=screen, **options), screen


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def test_a_job_runs_and_leaves_what_it_should(job):
    done, screen = run(job)
    assert done and screen.lines[-1] == "Optimization done."
    names = {path.name for path in (job / "out").iterdir()}
    assert names == {
        "squares.log.csv",
        *(f"squares_iter_{i}.{kind}" for i in (3, 6) for kind in ("caffemodel", "solverstate")),
    }
    shown = [line for line in screen.lines if line.startswith("Iteration")]
    assert re.search(r" \([\d.]+ iterations/s, 0:00:\d\d left\)$", shown[0])
    assert [re.sub(r"loss = [\d.]+", "loss = X", line.split(" (", 1)[0]) for line in shown] == [
        "Iteration 0, loss = X, lr = 0.01",
        "Iteration 2, loss = X, lr = 0.01",
        "Iteration 4, Testing net",
        "Iteration 4, loss = X, lr = 0.01",
    ]
    assert sum("Train net output #0: mbox_loss = " in line for line in screen.lines) == 3
    log = read_log(job / "out/squares.log.csv")
    assert [(i, q) for i, q, _ in log if q != "train/mbox_loss"] == [
        *((i, q) for i in (0, 2) for q in ("loss", "lr")),
        (4, "test/detection_eval"),
        (4, "loss"),
        (4, "lr"),
    ]
    assert {path.name for path in (job / "results").iterdir()} == {"det_red.txt", "det_blue.txt"}
    plot_losses(job / "out/squares.log.csv", job / "loss.png")
    assert cv2.imread(str(job / "loss.png")) is not None


def test_training_finds_the_squares(job):
    edit(job, "solver.prototxt", "max_iter: 6", "max_iter: 120")
    edit(job, "solver.prototxt", "stepvalue: 5", "stepvalue: 100")
    edit(job, "solver.prototxt", "test_interval: 4", "test_interval: 60")
    edit(job, "solver.prototxt", "test_initialization: false", "show_per_class_result: true")
    edit(job, "solver.prototxt", "snapshot: 3", "snapshot_after_train: false")
    _, screen = run(job)
    scores = [value for _, name, value in read_log(job / "out/squares.log.csv") if name == "test/detection_eval"]
    assert len(scores) == 3 and scores[0] < 0.2 < 0.6 < scores[-1]
    assert "class1: " in screen and "class2: " in screen
    assert not list((job / "out").glob("*.caffemodel"))


@pytest.mark.parametrize("extra", ["", "iter_size: 2", "snapshot_format: HDF5"])
def test_a_resumed_job_changes_no_bit(job, extra):
    edit(job, "solver.prototxt", "display: 2", f"display: 2 {extra}")
    h5 = ".h5" if "HDF5" in extra else ""
    model, state = (job / f"out/squares_iter_6.{kind}{h5}" for kind in ("caffemodel", "solverstate"))
    run(job)
    straight = read_weights(model), jobs.snapshot.read_state(state)
    log = (job / "out/squares.log.csv").read_text()
    model.unlink()
    state.unlink()
    _, screen = run(job, resume=job / f"out/squares_iter_3.solverstate{h5}")
    assert "at iteration 3" in screen and "Iteration 2," not in screen
    resumed = read_weights(model), jobs.snapshot.read_state(state)
    assert straight[1].progress == resumed[1].progress
    for one, other in zip(straight[1].history, resumed[1].history, strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(straight[0]) == set(resumed[0])
    for name, arrays in straight[0].items():
        for one, other in zip(arrays, resumed[0][name], strict=True):
            np.testing.assert_array_equal(one, other)
    if not extra:  # the mean of the last two losses begins anew, the rest of the log is the same
        same = [line for line in log.splitlines() if ",loss," not in line]
        assert same == [line for line in (job / "out/squares.log.csv").read_text().splitlines() if ",loss," not in line]


def test_random_seed_decides(job):
    run(job)
    first = bytes_of(job / "out/squares_iter_6.caffemodel")
    run(job)
    assert bytes_of(job / "out/squares_iter_6.caffemodel") == first
    edit(job, "solver.prototxt", "display: 2", "display: 2 random_seed: 5")
    run(job)
    assert bytes_of(job / "out/squares_iter_6.caffemodel") != first


def test_ctrl_c_snapshots_and_stops_and_the_run_goes_on(job):
    run(job)
    whole = bytes_of(job / "out/squares_iter_6.caffemodel")
    before = signal.getsignal(signal.SIGINT)
    (job / "out/squares_iter_6.caffemodel").unlink()
    done, screen = run(job, screen=Lines({"Iteration 4, loss": lambda: os.kill(os.getpid(), signal.SIGINT)}))
    assert not done and screen.lines[-1] == "Stopped at iteration 5."
    assert "Press Ctrl-C again" in screen
    assert signal.getsignal(signal.SIGINT) is before
    run(job, resume=job / "out/squares_iter_5.solverstate")
    assert bytes_of(job / "out/squares_iter_6.caffemodel") == whole


def test_ctrl_c_in_the_test_phase(job):
    edit(job, "solver.prototxt", "snapshot: 3", "snapshot_after_train: false")
    done, screen = run(job, screen=Lines({"Iteration 4, Testing": lambda: os.kill(os.getpid(), signal.SIGINT)}))
    assert not done and "Test interrupted." in screen
    assert (job / "out/squares_iter_4.solverstate").exists()


def test_a_second_ctrl_c_ends_the_process():
    with StopSignal(lambda text: None) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_weights_start_the_net(job):
    run(job)
    model = job / "out/squares_iter_6.caffemodel"
    edit(job, "solver.prototxt", "base_lr: 0.01", "base_lr: 0")
    _, screen = run(job, weights=[model])
    assert f"Loaded 6 layers from {model}" in screen
    before, after = read_weights(model), read_weights(job / "out/squares_iter_3.caffemodel")
    np.testing.assert_array_equal(before["conv2"][0], after["conv2"][0])


def test_weights_of_another_net(job):
    run(job)
    model = job / "out/squares_iter_6.caffemodel"
    text = (
        (job / "net.prototxt")
        .read_text()
        .replace("num_output: 16 kernel_size: 3 pad: 1 stride: 2", "num_output: 20 kernel_size: 3 pad: 1 stride: 2")
    )
    (job / "net.prototxt").write_text(text)
    with pytest.raises(UserError) as error:
        run(job, weights=[model])
    assert "conv2" in str(error.value) and "loc" in str(error.value)
    with pytest.raises(UserError):
        run(job, resume=job / "out/squares_iter_6.solverstate")


def test_weights_without_a_common_layer(job):
    run(job)
    model = job / "out/squares_iter_6.caffemodel"
    text = (job / "net.prototxt").read_text()
    (job / "net.prototxt").write_text(
        re.sub(r'name: "(conv1|bn1|scale1|conv2|loc|conf)" type', r'name: "new_\1" type', text)
    )
    with pytest.raises(UserError, match="not one layer of the net is in it"):
        run(job, weights=[model])


def test_a_loss_that_explodes_is_said_once(job):
    edit(job, "solver.prototxt", "base_lr: 0.01", "base_lr: 1e30")
    edit(job, "solver.prototxt", "test_iter: 5\ntest_interval: 4", "")
    _, screen = run(job)
    assert sum("Warning: the loss of iteration" in line for line in screen.lines) == 1


def test_debug_info_writes_means(job):
    edit(job, "solver.prototxt", "display: 2", "display: 2 debug_info: true")
    run(job)
    rows = [line.split(",") for line in (job / "out/squares.debug.csv").read_text().splitlines()]
    assert rows[0] == ["iteration", "kind", "name", "data", "diff"]
    assert {row[0] for row in rows[1:]} == {"0", "2", "4"}
    table = {(row[0], row[1], row[2]): tuple(map(float, row[3:])) for row in rows[1:]}
    for name in ("blob,conv1", "blob,loc_flat", "param,conv1/0", "param,conf/1"):
        kind, name = name.split(",")
        data, diff = table["2", kind, name]
        assert data > 0 and diff > 0, name
    assert table["2", "blob", "data"][1] == 0 and table["2", "param", "bn1/2"] == (pytest.approx(2.997001), 0)


def test_debug_info_changes_no_number(job):
    run(job)
    first = bytes_of(job / "out/squares_iter_6.caffemodel")
    edit(job, "solver.prototxt", "display: 2", "display: 2 debug_info: true")
    run(job)
    assert bytes_of(job / "out/squares_iter_6.caffemodel") == first


def test_test_of_a_net_sees_every_image_once(job, monkeypatch):
    run(job)
    model = job / "out/squares_iter_6.caffemodel"
    monkeypatch.chdir(job)
    screen = Lines()
    (by_solver,) = jobs.test([model], solver=job / "solver.prototxt", screen=Lines())
    (by_net,) = jobs.test([model], net=job / "net.prototxt", screen=screen)
    assert by_net[2] == by_solver[2] and set(by_net[2].classes["detection_eval"]) == {1, 2}
    assert jobs.class_names(by_net[0], Path()) == {0: "none", 1: "red", 2: "blue"}
    assert "Test net output #0: detection_eval = " in screen
    images = {line.split()[0] for path in (job / "results").iterdir() for line in path.read_text().splitlines()}
    assert images == {f"img{i}" for i in range(10)}


def test_classification_outputs_are_averaged(job):
    run(job)
    edit(job, "solver.prototxt", 'eval_type: "detection"', 'eval_type: "classification" test_compute_loss: true')
    text = (job / "net.prototxt").read_text()
    text = text.replace('top: "mbox_loss" include { phase: TRAIN }', 'top: "mbox_loss"')
    text = re.sub(r'layer \{ name: "conf_3".*', "", text, flags=re.DOTALL)
    (job / "net.prototxt").write_text(text)
    screen = Lines()
    ((_, _, result),) = jobs.test(
        [job / "out/squares_iter_6.caffemodel"], solver=job / "solver.prototxt", screen=screen
    )
    assert result.outputs[0][0] == "mbox_loss" and result.loss == pytest.approx(result.outputs[0][1], rel=1e-6)
    assert "Test loss: " in screen


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("solver.prototxt", 'eval_type: "detection"', "", '(DetectionEvaluate): eval_type "classification" '),
        (
            "net.prototxt",
            'top: "mbox_loss" include { phase: TRAIN }',
            'top: "mbox_loss"',
            '"mbox_loss" of the test net is scalar; expected rows of 5',
        ),
        (
            "net.prototxt",
            '"labels.prototxt" name_size',
            '"nolabels.prototxt" name_size',
            "nolabels.prototxt: there is no such",
        ),
    ],
)
def test_test_phase_complaints(job, file, old, new, message):
    edit(job, file, old, new)
    edit(job, "solver.prototxt", "test_interval: 4", "test_interval: 1")
    with pytest.raises(UserError) as error:
        run(job)
    assert message in str(error.value)


def test_mistakes_of_the_test_net_show_before_training(job):
    (job / "sizes.txt").unlink()
    with pytest.raises(UserError, match=r"sizes.txt: there is no such file"):
        run(job)
    assert not (job / "out").exists()


def test_a_bad_record_does_not_cost_the_run(job):
    with lmdb.open(str(job / "squares_lmdb"), map_size=1 << 24) as database, database.begin(write=True) as write:
        record = AnnotatedDatum.FromString(bytes(write.get(b"00000009")))
        record.datum.data = record.datum.data[:50]
        write.put(b"00000009", record.SerializeToString())
    edit(job, "solver.prototxt", "snapshot: 3", "snapshot: 100")
    with pytest.raises(UserError, match="cannot be decoded"):
        run(job)  # batches of 4: record 9 is in the third
    assert {path.name for path in (job / "out").glob("*_iter_*")} == {
        "squares_iter_2.caffemodel",
        "squares_iter_2.solverstate",
    }


def test_test_net_with_another_shape(job):
    text = (job / "net.prototxt").read_text()
    other = text.replace("num_output: 8 kernel_size: 3", "num_output: 9 kernel_size: 3")
    (job / "test.prototxt").write_text(other)
    edit(job, "solver.prototxt", 'net: "net.prototxt"', 'train_net: "net.prototxt" test_net: "test.prototxt"')
    with pytest.raises(
        UserError, match=r'test.prototxt: blob 0 of layer "conv1" is 9×3×3×3 in the test net; expected 8×3'
    ):
        run(job)


def test_a_net_without_data(job):
    edit(job, "solver.prototxt", "net.prototxt", "deploy.prototxt")
    (job / "deploy.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" '
        "convolution_param { num_output: 1 kernel_size: 1 } }"
    )
    with pytest.raises(UserError, match=r'layer "in" \(Input\): nothing feeds it in phase TRAIN; expected an Ann'):
        run(job)


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            r'layer \{ name: "mbox_loss".*?layer',
            "layer",
            r"net.prototxt: the train net has no loss\n  fix: end it with",
        ),
        (r" convolution_param", " param { lr_mult: 0 } param { lr_mult: 0 } convolution_param", "has nothing to learn"),
    ],
)
def test_nets_that_cannot_learn(job, old, new, message):
    text = (
        (job / "net.prototxt")
        .read_text()
        .replace("scale_param", "param { lr_mult: 0 } param { lr_mult: 0 } scale_param")
    )
    (job / "net.prototxt").write_text(re.sub(old, new, text, flags=re.DOTALL))
    with pytest.raises(UserError, match=message):
        run(job)


def test_options_that_exclude_each_other(job):
    with pytest.raises(UserError, match="weights and a snapshot are both given\n  fix: give one"):
        run(job, weights=["w"], resume="s")
    with pytest.raises(UserError, match="give either a solver or a net"):
        jobs.test(["w"])


def test_devices():
    said = []
    gpu = SolverParameter(solver_mode=SolverParameter.GPU)
    if not torch.cuda.is_available():
        assert jobs.choose_device(gpu, None, said.append).type == "cpu"
        assert said == ["solver_mode is GPU, but there is no CUDA GPU here: the CPU is used"]
        with pytest.raises(UserError, match=r'device "cuda:0" cannot be used: .*; expected cpu, cuda or cuda:NUMBER'):
            jobs.choose_device(gpu, "cuda:0", said.append)
    assert jobs.choose_device(gpu, "cpu", said.append).type == "cpu"
    with pytest.raises(UserError, match='device "gpu" cannot be used'):
        jobs.choose_device(gpu, "gpu", said.append)


@pytest.fixture
def cli():
    app = typer.Typer()
    app.command()(train_command.train)
    app.command()(test_command.test)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_command_line(job, cli):
    result = cli("train", "--solver", job / "solver.prototxt", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "Iteration 4, loss = " in result.output and "Optimization done." in result.output
    model = job / "out/squares_iter_6.caffemodel"
    result = cli("test", "--solver", job / "solver.prototxt", "--weights", model, "--ap-version", "Integral")
    assert result.exit_code == 0, result.output
    for word in ("detection_eval", "red", "blue", "mean"):
        assert word in result.output
    result = cli("test", "--solver", job / "solver.prototxt", "--iterations", 1)
    assert result.exit_code == 0 and "No weights are given" in result.output


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ("--gpus", "0,1"),
            "--gpu 0,1 asks for more than one GPU; expected the number of one GPU\n  fix: training on se",
        ),
        (("--gpu", "0", "--device", "cpu"), "--device and --gpu are both given\n  fix: give one"),
    ],
)
def test_command_line_complaints(job, cli, words, message):
    result = cli("train", "--solver", job / "solver.prototxt", *words)
    assert isinstance(result.exception, UserError) and message in str(result.exception)
