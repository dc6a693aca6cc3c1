"""`netgen build` and `netgen list` as they are called."""

from __future__ import annotations

import json
import re
import subprocess
import sys
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


FILES = ["train.prototxt", "test.prototxt", "deploy.prototxt", "solver.prototxt", "score.prototxt"]
FILES += ["train.sh", "score.sh"]


def test_seven_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = netgen("build", "scratchdet300-root34", "--dataset", "voc0712", "-o", "job")
    assert (result.exit_code, result.output.splitlines()) == (0, [f"wrote job/{name}" for name in FILES])
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


def schedule_of(out):
    solver, train = read_solver(out / "solver.prototxt").message, read_net(out / "train.prototxt").message
    return train.layer[0].data_param.batch_size, solver.iter_size


@pytest.mark.parametrize(
    "args, device_batch, iter_size",
    [
        ([], 32, 1),
        (["--gpus", "0,1"], 64, 1),
        (["--batch-size", "32"], 8, 4),
        (["--batch-size", "48", "--gpus", "0,1,2"], 16, 3),  # 144 images, as SSD's scripts round up
        (["--batch-size", "256"], 64, 1),
        (["--batch-size", "4", "--gpus", "0", "--iter-size", "2"], 4, 2),
        (["--batch-size", "5", "--solver-mode", "cpu", "--iter-size", "1"], 5, 1),
    ],
)
def test_an_update_keeps_its_images(args, device_batch, iter_size, tmp_path):
    netgen("build", "scratchdet300-root34", "--dataset", "voc0712", *args, "-o", tmp_path)
    assert schedule_of(tmp_path) == (device_batch, iter_size)


def test_only_deploy_for_own_classes(tmp_path):
    labelmap, out = tmp_path / "labelmap.prototxt", tmp_path / "job"
    labelmap.write_text('item { name: "background" label: 0 } item { name: "cell" label: 1 }')
    args = ["--labelmap", labelmap, "--only", "deploy", "--batch", 4, "--input-size", "320x544", "-o", out]
    result = netgen("build", "scratchdet300-root18", *args)
    assert [path.name for path in out.iterdir()] == ["deploy.prototxt"]
    assert result.output == f"wrote {out / 'deploy.prototxt'}\n"
    net = read_net(out / "deploy.prototxt").message
    layers = {layer.name: layer for layer in net.layer}
    assert list(layers["data"].input_param.shape[0].dim) == [4, 3, 320, 544]
    assert not layers["detection_out"].detection_output_param.HasField("save_output_param")
    steps = [layer.prior_box_param.step for layer in net.layer if layer.type == "PriorBox"]
    sizes = [layer.prior_box_param.min_size[0] for layer in net.layer if layer.type == "PriorBox"]
    # Maps of 40x68, 20x34, 10x17, 5x9, 3x7 and 1x5: the steps 100 and 300 were those of an image of 300.
    assert (steps, sizes) == ([8, 16, 32, 64, 0, 0], [30, 60, 111, 162, 213, 264])


def test_the_published_size_changes_nothing(tmp_path):
    for name, size in (("a", []), ("b", ["--input-size", "300x300"])):
        args = ["--dataset", "voc0712", *size, "--results-dir", "r", "--snapshot-prefix", "p", "-o", tmp_path / name]
        netgen("build", "scratchdet300-root34", *args)
    for key in ("train", "test", "deploy"):
        a, b = ((tmp_path / name / f"{key}.prototxt").read_text() for name in "ab")
        assert a == b


@pytest.mark.parametrize(
    "args, message",
    [
        (["scratchdet", "--dataset", "voc0712"], 'no model called "scratchdet"'),
        (["scratchdet-mini", "--dataset", "voc"], 'no data set called "voc"'),
        (["scratchdet-mini"], "missing: --labelmap --train-lmdb --test-lmdb --num-test-images (or --name-size)"),
        (["scratchdet-mini", "--dataset", "voc0712", "--steps", "1;2"], "--steps is 1;2; expected whole numbers"),
        (["scratchdet-mini", "--dataset", "voc0712", "--max-iter", "0"], "--max-iter is 0"),
        (["scratchdet-mini", "--dataset", "voc0712", "--iter-size", "0"], "--iter-size is 0"),
        (["scratchdet-mini", "--dataset", "voc0712", "--extras", "ssd"], '"scratchdet-mini" has no option --extras'),
        (["scratchdet-mini", "--dataset", "voc0712", "--only", "deploi"], '--only is deploi (did you mean "deploy"?)'),
        (["scratchdet-mini", "--dataset", "voc0712", "--input-size", "300"], "--input-size is 300; expected HEIGHTxW"),
        (["scratchdet-mini", "--dataset", "voc0712", "--input-size", "0x9"], "--input-size 0x9: the size is out of"),
        (
            ["scratchdet300-root18", "--dataset", "voc0712", "--input-size", "128x300"],
            '--input-size 128x300: this net cannot be built for that size: layer "conv8_2" (Convolution)',
        ),
        (
            ["scratchdet300-root34", "--dataset", "voc0712", "--batch-size", "30"],
            "30 images of a pass do not divide among 4 GPUs (0,1,2,3); expected a multiple of 4, such as 32",
        ),
        (["scratchdet300-root34", "--dataset", "voc0712", "--gpus", "0,0"], "--gpus is 0,0; expected the numbers of"),
        (["scratchdet300-root34", "--dataset", "voc0712", "--gpus", "a"], "--gpus is a; expected the numbers of"),
    ],
)
def test_mistakes_leave_nothing_behind(args, message, tmp_path):
    with pytest.raises(UserError) as error:
        netgen("build", *args, "-o", tmp_path / "job")
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_list():
    text = netgen("list").output
    assert re.search(r"scratchdet300-root34 +ScratchDet on 300x300 images", text)
    assert re.search(r"voc0712 +20 classes, 4,952 test images", text)
    assert netgen("list", "coco").output == "Data sets:\n  coco  80 classes, 5,000 test images\n"
    with pytest.raises(UserError, match=r'no model or data set matches "voc" \(did you mean "voc07"\?\)'):
        netgen("list", "voc")


def test_building_loads_nothing_heavy(tmp_path):
    code = """
import json, sys
from netgen.commands.build import build
from pathlib import Path
build("scratchdet300-root34", Path(sys.argv[1]), dataset="voc0712")
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(run.stderr)}
    assert not loaded & {"torch", "numpy", "cv2", "onnx", "onnxruntime", "lmdb", "h5py", "matplotlib", "rich"}
