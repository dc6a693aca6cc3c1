"""Solver and training script, and that a job's files appear together or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from netgen.datasets import VOC0712
from netgen.job_scripts import train_script
from netgen.jobs import FILES, JobPaths, job_texts, score_proto, solver_proto, write_files
from netgen.schedule import Schedule, check_schedule, fit_test_batch
from netgen.zoo import build
from prototxt import schema
from prototxt.errors import UserError

SCHEDULE = Schedule(base_lr=0.01, steps=(10, 20), max_iter=30, batch_size=4, test_interval=5, test_batch_size=8)
ROOT = Path(__file__).resolve().parents[2]


def paths(out):
    return JobPaths(out, out / "net")


def detector(**changes):
    """A small net that is trained as SCHEDULE says, and as `changes` say."""
    data = replace(VOC0712, num_test_images=36)
    return replace(build("scratchdet-mini", data), schedule=replace(SCHEDULE, **changes))


def test_solver():
    solver = solver_proto(detector(), paths(Path("jobs/a")))
    assert (solver.train_net, list(solver.test_net)) == ("jobs/a/train.prototxt", ["jobs/a/test.prototxt"])
    assert (list(solver.test_iter), solver.test_interval, solver.snapshot_prefix) == ([6], 5, "jobs/a/net")
    assert (list(solver.stepvalue), solver.lr_policy, solver.max_iter) == ([10, 20], "multistep", 30)
    assert (solver.solver_mode, solver.debug_info, solver.HasField("random_seed")) == (schema.SolverParameter.GPU, 0, 0)
    solver = solver_proto(detector(random_seed=7, solver_mode="CPU"), paths(Path("b")))
    assert (solver.random_seed, solver.solver_mode) == (7, schema.SolverParameter.CPU)


def test_solver_without_tests():
    solver = solver_proto(detector(test_interval=None), paths(Path("jobs/a")))
    assert not solver.test_net and not solver.test_iter and not solver.HasField("eval_type")


def test_solver_with_even_steps():
    solver = solver_proto(detector(steps=(), stepsize=8, accum_batch_size=12), paths(Path("a")))
    assert (solver.lr_policy, solver.stepsize, list(solver.stepvalue), solver.iter_size) == ("step", 8, [], 3)


def test_solver_that_only_scores():
    solver = score_proto(detector(test_interval=None), paths(Path("a")))
    assert (solver.max_iter, solver.test_initialization, solver.snapshot_after_train) == (0, True, False)
    assert (list(solver.test_iter), solver.ap_version) == ([6], "11point")


@pytest.mark.parametrize("limit, images, batch", [(8, 36, 6), (8, 4952, 8), (1, 4952, 1), (8, 97, 1), (8, 5, 5)])
def test_each_image_is_tested_once(limit, images, batch):
    assert fit_test_batch(limit, images) == batch


@pytest.mark.parametrize(
    "change, message",
    [
        ({"base_lr": 0.0}, "--base-lr is 0.0; expected a number above 0"),
        ({"base_lr": float("nan")}, "--base-lr is nan"),
        ({"max_iter": 2**31}, "--max-iter is 2147483648"),
        ({"batch_size": -1}, "--batch-size is -1"),
        ({"test_interval": 0}, "--test-interval is 0"),
        ({"random_seed": -1}, "--random-seed is -1; expected a number from 0 to 2^31 - 1"),
        ({"steps": (20, 10)}, "--steps is 20,10; expected rising numbers of iterations, such as 40000,75000"),
        ({"steps": (10, 10)}, "--steps is 10,10"),
        ({"steps": (0, 10)}, "--steps is 0,10"),
        ({"gpus": "0,x"}, "--gpus is 0,x; expected the numbers of different GPUs, such as 0,1,2,3"),
        ({"gpus": "1,01"}, "--gpus is 1,01"),
        ({"gpus": ""}, "--gpus is ;"),
        (
            {"gpus": "0,1,2"},
            "4 images of a pass do not divide among 3 GPUs (0,1,2); expected a multiple of 3, such as 3",
        ),
    ],
)
def test_bad_schedules(change, message):
    with pytest.raises(UserError) as error:
        check_schedule(replace(SCHEDULE, **change))
    assert message in str(error.value)


NAMES = [*(f"{key}.prototxt" for key in FILES), "train.sh", "score.sh"]


def test_job_files(tmp_path):
    out = tmp_path / "a" / "b"
    written = write_files(job_texts(detector(), paths(out)), out)
    assert [path.name for path in written] == NAMES
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
    assert written[0].read_text().startswith('name: "scratchdet-mini_voc0712_train"\n')
    assert [path.name for path in written if os.access(path, os.X_OK)] == ["train.sh", "score.sh"]
    assert list(job_texts(detector(), paths(out), ["deploy", "solver"])) == ["deploy.prototxt", "solver.prototxt"]


def test_a_full_disk_leaves_the_old_job_whole(tmp_path):
    """A later file is the one too large for the disk: still none of the files before it has changed."""
    for name in ("train.prototxt", "test.prototxt", "deploy.prototxt"):
        (tmp_path / name).write_text("old")
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from netgen.jobs import write_files
        from prototxt.errors import UserError
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        texts = {{"train.prototxt": "new", "test.prototxt": "new", "deploy.prototxt": "x" * 5000}}
        try:
            write_files(texts, Path({str(tmp_path)!r}))
        except UserError as error:
            print(error)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "deploy.prototxt: cannot be written: File too large" in run.stdout, run.stderr
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"} and len(list(tmp_path.iterdir())) == 3


def test_the_folder_is_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match="a: this folder cannot be made: File exists"):
        write_files({"b": ""}, tmp_path / "a")


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Write a job as from `tmp_path` and run its script: stand-ins for netgen and Caffe print how they are called."""
    monkeypatch.chdir(tmp_path)
    for tool in ("bin/netgen", "caffe/build/tools/caffe"):
        path = tmp_path / tool
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/sh\necho "{path.name} $@ in $PWD"\n')
        path.chmod(0o755)

    def run(changes, out, *args, script="train.sh", status=0, **environment):
        write_files(job_texts(detector(**changes), paths(Path(out))), Path(out))
        environment["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        command = [str(tmp_path / out / script), *args]
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return (done.stdout + done.stderr).splitlines()

    return run


def test_script_runs_netgen_from_the_folder_of_the_build(script, tmp_path):
    assert script({}, "job s/a", "--weights", "w") == [
        f"netgen train --solver=job s/a/solver.prototxt --weights w in {tmp_path}"
    ]
    assert script({}, tmp_path / "c") == [f"netgen train --solver={tmp_path}/c/solver.prototxt in {tmp_path}"]


def test_script_prefers_caffe(script, tmp_path):
    root = str(tmp_path / "caffe")
    line = "caffe train --solver=a/solver.prototxt{} in " + str(tmp_path)
    assert script({"gpus": "0,1"}, "a", CAFFE_ROOT=root) == [line.format(" --gpu=0,1")]
    assert (tmp_path / "a/net.log").read_text() == line.format(" --gpu=0,1") + "\n"
    assert script({}, "a", CAFFE_ROOT=root, GPUS="3") == [line.format(" --gpu=3")]
    assert script({"solver_mode": "CPU"}, "a", CAFFE_ROOT=root) == [line.format("")]


def test_script_resumes_from_the_newest_snapshot(script, tmp_path):
    (tmp_path / "a").mkdir()
    for iteration in (5, 100, 20):
        (tmp_path / f"a/net_iter_{iteration}.solverstate").touch()
    assert script({}, "a") == [
        "resuming from a/net_iter_100.solverstate",
        f"netgen train --solver=a/solver.prototxt --snapshot=a/net_iter_100.solverstate in {tmp_path}",
    ]


def test_script_makes_the_folder_of_the_snapshots(script, tmp_path):
    job = JobPaths(Path("a"), Path("snapshots/net"))
    write_files(job_texts(detector(), job), Path("a"))
    subprocess.run(["a/train.sh"], env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}, check=True)
    assert (tmp_path / "snapshots").is_dir()


def test_script_starts_from_pretrained_weights_only_without_a_snapshot(script, tmp_path):
    given = {"weights": "vgg 16.caffemodel"}
    assert "vgg 16.caffemodel: no such file; get the pretrained weights, or set" in script(given, "a", status=2)[0]
    call = f"netgen train --solver=a/solver.prototxt{{}} in {tmp_path}"
    assert script(given, "a", WEIGHTS="") == [call.format("")]
    (tmp_path / "vgg 16.caffemodel").touch()
    assert script(given, "a") == [call.format(" --weights=vgg 16.caffemodel")]
    (tmp_path / "a/net_iter_5.solverstate").touch()
    assert script(given, "a")[1] == call.format(" --snapshot=a/net_iter_5.solverstate")


def test_script_says_that_netgen_takes_one_share_of_the_batch(script):
    lines = script({"gpus": "0,1"}, "a")
    assert "netgen trains on one device: batches of 2 images, not 4; for all, build with --gpus 0" in lines


def test_score_script(script, tmp_path):
    call = "{} --solver=a/score.prototxt --weights={}{} in " + str(tmp_path)
    assert script({}, "a", script="score.sh", status=2) == [
        "there is no snapshot a/net_iter_*.caffemodel yet; train first, or give a caffemodel"
    ]
    assert script({}, "a", "w.caffemodel", "--device", "cpu", script="score.sh") == [
        "scoring w.caffemodel",
        call.format("netgen test", "w.caffemodel", " --device cpu"),
    ]
    for iteration in (5, 100, 20):
        (tmp_path / f"a/net_iter_{iteration}.caffemodel").touch()
    root = str(tmp_path / "caffe")
    assert script({"gpus": "2,3"}, "a", script="score.sh", CAFFE_ROOT=root) == [
        "scoring a/net_iter_100.caffemodel",
        call.format("caffe train", "a/net_iter_100.caffemodel", " --gpu=2"),
    ]


def test_script_quotes_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = train_script(SCHEDULE, Path("a'b"), Path("a'b/solver.prototxt"), Path("$(touch x)"))
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert "prefix='$(touch x)'" in text and "solver='a'\"'\"'b/solver.prototxt'" in text
