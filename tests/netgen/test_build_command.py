"""`netgen build` and `netgen list` as they are called."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from netgen.commands.build import build
from netgen.commands.list import list_
from prototxt.errors import UserError
from prototxt.io import read_net, read_solver

app = typer.Typer(rich_markup_mode=None)
app.command("build")(build)
app.command("list")(list_)
ROOT = Path(__file__).resolve().parents[2]


def netgen(*args):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if isinstance(result.exception, UserError):
        raise result.exception
    return result


def test_five_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = netgen("build", "scratchdet300-root34", "--dataset", "voc0712", "-o", "job")
    names = ["train.prototxt", "test.prototxt", "deploy.prototxt", "solver.prototxt", "train.sh"]
    assert (result.exit_code, result.output.splitlines()) == (0, [f"wrote job/{name}" for name in names])
    solver = read_solver("job/solver.prototxt").message
    assert read_net(solver.train_net).message.layer[0].data_param.batch_size == 32
    assert read_net(solver.test_net[0]).message.layer[-1].type == "DetectionEvaluate"
    assert solver.snapshot_prefix == "job/scratchdet300-root34"
    save = read_net("job/deploy.prototxt").message.layer[-1].detection_output_param.save_output_param
    assert save.output_directory == "job/results"


def test_own_data_set_and_schedule(tmp_path):
    labelmap, name_size, out = tmp_path / "labelmap.prototxt", tmp_path / "name_size.txt", tmp_path / "job"
    labelmap.write_text('item { name: "background" label: 0 } item { name: "cell" label: 1 }')
    name_size.write_text("".join(f"{i} 480 640\n" for i in range(12)))
    data = ["--labelmap", labelmap, "--name-size", name_size, "--train-lmdb", "t r", "--test-lmdb", "te"]
    paths = ["--results-dir", "found", "--snapshot-prefix", "snaps/a", "-o", out]
    schedule = ["--batch-size", 3, "--test-batch-size", 5, "--iter-size", 2, "--base-lr", 0.02, "--steps", "6,8"]
    schedule += ["--max-iter", 10, "--test-interval", 5, "--snapshot", 4, "--random-seed", 1, "--solver-mode", "cpu"]
    assert netgen("build", "scratchdet300-root34", *data, *paths, *schedule).exit_code == 0

    train, test, deploy = (read_net(out / f"{name}.prototxt").message for name in ("train", "test", "deploy"))
    solver = read_solver(out / "solver.prototxt").message
    source, evaluated = train.layer[0], test.layer[-1].detection_evaluate_param
    assert (source.data_param.source, source.data_param.batch_size) == ("t r", 3)
    assert source.annotated_data_param.label_map_file == str(labelmap)
    assert (test.layer[0].data_param.source, test.layer[0].data_param.batch_size) == ("te", 4)
    assert (evaluated.num_classes, evaluated.name_size_file) == (2, str(name_size))
    saved = deploy.layer[-1].detection_output_param.save_output_param
    assert (saved.output_directory, saved.num_test_image) == ("found", 12)
    assert (solver.iter_size, list(solver.stepvalue), solver.max_iter) == (2, [6, 8], 10)
    assert (list(solver.test_iter), solver.test_interval, solver.snapshot) == ([3], 5, 4)
    assert (solver.random_seed, solver.solver_mode, solver.debug_info) == (1, 0, False)
    assert (solver.snapshot_prefix, round(solver.base_lr, 6)) == ("snaps/a", 0.02)


@pytest.mark.parametrize(
    "args, message",
    [
        (["scratchdet", "--dataset", "voc0712"], 'no model called "scratchdet"'),
        (["scratchdet-mini", "--dataset", "voc"], 'no data set called "voc"'),
        (["scratchdet-mini"], "missing: --train-lmdb --test-lmdb --labelmap --name-size"),
        (["scratchdet-mini", "--dataset", "voc0712", "--steps", "1;2"], "--steps is 1;2; expected whole numbers"),
        (["scratchdet-mini", "--dataset", "voc0712", "--max-iter", "0"], "--max-iter is 0"),
    ],
)
def test_mistakes_leave_nothing_behind(args, message, tmp_path):
    with pytest.raises(UserError) as error:
        netgen("build", *args, "-o", tmp_path / "job")
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_list():
    text = netgen("list").output
    assert "scratchdet300-root34  ScratchDet on 300x300 images" in text
    assert "voc0712               20 classes, 4,952 test images" in text
    assert netgen("list", "coco").output == "Data sets:\n  coco  80 classes, 5,000 test images\n"
    with pytest.raises(UserError, match=r'no model or data set matches "voc" \(did you mean "voc0712"\?\)'):
        netgen("list", "voc")


def test_building_is_quick_and_loads_nothing_heavy(tmp_path):
    """From process start to the last file in under 0.4 s: the best of five, since the machine may be busy."""
    code = """
import json, sys
from netgen.commands.build import build
from pathlib import Path
build("scratchdet300-root34", Path(sys.argv[1]), dataset="voc0712")
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.4
    loaded = {name.split(".")[0] for name in json.loads(run.stderr)}
    assert not loaded & {"torch", "numpy", "cv2", "onnx", "onnxruntime", "lmdb", "h5py", "matplotlib", "rich"}
