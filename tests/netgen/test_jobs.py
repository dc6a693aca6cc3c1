"""Solver and training script, and that a job's files appear together or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from netgen.jobs import JobPaths, Schedule, check_schedule, fit_test_batch, solver_proto, train_script, write_job
from prototxt import schema
from prototxt.errors import UserError

SCHEDULE = Schedule(base_lr=0.01, steps=(10, 20), max_iter=30, batch_size=4, test_interval=5, test_batch_size=8)
ROOT = Path(__file__).resolve().parents[2]


def paths(out):
    return JobPaths(out, out / "net")


def test_solver():
    solver = solver_proto(SCHEDULE, paths(Path("jobs/a")), num_test_images=36)
    assert (solver.train_net, list(solver.test_net)) == ("jobs/a/train.prototxt", ["jobs/a/test.prototxt"])
    assert (list(solver.test_iter), solver.test_interval, solver.snapshot_prefix) == ([6], 5, "jobs/a/net")
    assert (list(solver.stepvalue), solver.lr_policy, solver.max_iter) == ([10, 20], "multistep", 30)
    assert (solver.solver_mode, solver.debug_info, solver.HasField("random_seed")) == (schema.SolverParameter.GPU, 0, 0)
    solver = solver_proto(replace(SCHEDULE, random_seed=7, solver_mode="CPU"), paths(Path("b")), 36)
    assert (solver.random_seed, solver.solver_mode) == (7, schema.SolverParameter.CPU)


def test_solver_without_tests():
    solver = solver_proto(replace(SCHEDULE, test_interval=None), paths(Path("jobs/a")), num_test_images=36)
    assert not solver.test_net and not solver.test_iter and not solver.HasField("eval_type")


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
    ],
)
def test_bad_schedules(change, message):
    with pytest.raises(UserError) as error:
        check_schedule(replace(SCHEDULE, **change))
    assert message in str(error.value)


def nets():
    return {key: schema.NetParameter(name=key) for key in ("train", "test", "deploy")}


def test_job_files(tmp_path):
    written = write_job(SCHEDULE, nets(), 36, paths(tmp_path / "a" / "b"))
    names = ["train.prototxt", "test.prototxt", "deploy.prototxt", "solver.prototxt", "train.sh"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == sorted(names)
    assert written[0].read_text() == 'name: "train"\n'
    assert os.access(written[4], os.X_OK) and not os.access(written[3], os.X_OK)


def test_a_full_disk_leaves_the_old_job_whole(tmp_path):
    """The last net is the one too large for the disk: still none of the files before it has changed."""
    for name in ("train.prototxt", "test.prototxt", "deploy.prototxt", "solver.prototxt", "train.sh"):
        (tmp_path / name).write_text("old")
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from netgen.jobs import *
        from prototxt import schema
        from prototxt.errors import UserError
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        nets = {{key: schema.NetParameter(name=key) for key in ("train", "test")}}
        nets["deploy"] = schema.NetParameter(name="x" * 5000)
        try:
            write_job(Schedule(0.01, (), 30, 4), nets, 36, JobPaths(Path({str(tmp_path)!r}), Path("p")))
        except UserError as error:
            print(error)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "deploy.prototxt: cannot be written: File too large" in run.stdout, run.stderr
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"} and len(list(tmp_path.iterdir())) == 5


def test_the_folder_is_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match="a: this folder cannot be made: File exists"):
        write_job(SCHEDULE, nets(), 36, paths(tmp_path / "a"))


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Write `train.sh` as from `tmp_path`, with stand-ins for netgen and Caffe that print how they are called."""
    monkeypatch.chdir(tmp_path)
    for tool in ("bin/netgen", "caffe/build/tools/caffe"):
        path = tmp_path / tool
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/sh\necho "{path.name} $@ in $PWD"\n')
        path.chmod(0o755)

    def run(schedule, out, *args, **environment):
        write_job(schedule, nets(), 36, paths(Path(out)))
        environment["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        command = [str(tmp_path / out / "train.sh"), *args]
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return run


def test_script_runs_netgen_from_the_folder_of_the_build(script, tmp_path):
    assert script(SCHEDULE, "job s/a", "--weights", "w") == [
        f"netgen train --solver=job s/a/solver.prototxt --weights w in {tmp_path}"
    ]
    assert script(SCHEDULE, tmp_path / "c") == [f"netgen train --solver={tmp_path}/c/solver.prototxt in {tmp_path}"]


def test_script_prefers_caffe(script, tmp_path):
    root = str(tmp_path / "caffe")
    line = "caffe train --solver=a/solver.prototxt{} in " + str(tmp_path)
    assert script(replace(SCHEDULE, gpus="0,1"), "a", CAFFE_ROOT=root) == [line.format(" --gpu=0,1")]
    assert (tmp_path / "a/net.log").read_text() == line.format(" --gpu=0,1") + "\n"
    assert script(SCHEDULE, "a", CAFFE_ROOT=root, GPUS="3") == [line.format(" --gpu=3")]
    assert script(replace(SCHEDULE, solver_mode="CPU"), "a", CAFFE_ROOT=root) == [line.format("")]


def test_script_resumes_from_the_newest_snapshot(script, tmp_path):
    (tmp_path / "a").mkdir()
    for iteration in (5, 100, 20):
        (tmp_path / f"a/net_iter_{iteration}.solverstate").touch()
    assert script(SCHEDULE, "a") == [
        "resuming from a/net_iter_100.solverstate",
        f"netgen train --solver=a/solver.prototxt --snapshot=a/net_iter_100.solverstate in {tmp_path}",
    ]


def test_script_makes_the_folder_of_the_snapshots(script, tmp_path):
    write_job(SCHEDULE, nets(), 36, JobPaths(Path("a"), Path("snapshots/net")))
    subprocess.run(["a/train.sh"], env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}, check=True)
    assert (tmp_path / "snapshots").is_dir()


def test_script_quotes_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = train_script(SCHEDULE, JobPaths(Path("a'b"), Path("$(touch x)")))
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert "prefix='$(touch x)'" in text and "solver='a'\"'\"'b/solver.prototxt'" in text
