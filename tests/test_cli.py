"""The command line as a process: what it prints, where, and its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VERBS = (
    "build",
    "convert",
    "demo",
    "detect",
    "draw",
    "lint",
    "list",
    "lmdb",
    "plot",
    "summary",
    "test",
    "toy",
    "train",
    "verify",
)


def netgen(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    code = "from netgen.commands.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, env=None, check=False
    )


def test_help_names_every_verb(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = netgen("--help")
    assert run.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in run.stdout


def test_a_mistake_is_one_message_and_status_2(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "net.prototxt").write_text('layer {\n  nme: "a"\n}\n')
    run = netgen("summary", "net.prototxt", cwd=tmp_path)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr == (
        'netgen: net.prototxt:2:3: LayerParameter has no field "nme" (did you mean "name"?)\n      nme: "a"\n      ^\n'
    )


def test_unknown_model_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = netgen("build", "scratchdet300-root43", "--dataset", "voc0712", "-o", "out", cwd=tmp_path)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert 'did you mean "scratchdet300-root34"?' in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(tmp_path, monkeypatch, capsys):
    from netgen.commands import main

    def without_torch():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(main, "app", without_torch)
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "netgen: this needs torch, which is not installed\n  fix: pip install '.[train]'\n"
    )


def test_detect_refuses_what_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert netgen("build", "scratchdet-mini", "--dataset", "voc0712", "-o", "out", cwd=tmp_path).returncode == 0
    from converters.caffemodel import write_weights
    from converters.pytorch import load_net

    net = load_net(tmp_path / "out/deploy.prototxt")
    write_weights(tmp_path / "net.caffemodel", net.graph, net.weights())
    (tmp_path / "a.jpg").write_text("no picture")
    run = netgen("detect", "out/deploy.prototxt", "net.caffemodel", "a.jpg", "-o", "found.png", cwd=tmp_path)
    assert run.returncode == 2
    assert "a.jpg: this is not a picture that can be decoded; expected a JPEG or PNG file" in run.stderr
    assert not (tmp_path / "found.png").exists()
