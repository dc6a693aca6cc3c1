"""`netgen lint`: its three formats and its exit status."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from netgen.commands.main import app
from prototxt.errors import UserError
from prototxt.lint.finding import Finding
from prototxt.lint.report import closing, github, text
from tests.prototxt.lint_cases.nets import CLEAN, INPUT, layer

FINDING = Finding(
    "scores", "warning", "a,b:c/100%.prototxt", 7, "x", "Softmax", "50% of it\nis wrong, or so: see", "mend it"
)
# What a runner makes of escaped text.
UNESCAPED = (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in CLEAN.items():
        (tmp_path / name).write_text(content)
    wrong = layer("r", "ReLU", "data", body="param { }") + layer("s", "SPP", "r", "")
    (tmp_path / "wrong.prototxt").write_text(INPUT + wrong)
    (tmp_path / "noted.prototxt").write_text(INPUT + layer("s", "SPP", "data", ""))
    return lambda *arguments: CliRunner().invoke(app, ["lint", *arguments])


def test_clean_files(run):
    result = run(*CLEAN)
    assert (result.exit_code, result.output) == (0, "5 files: 0 errors, 0 warnings, 0 notes\n")


def test_text(run):
    result = run("wrong.prototxt")
    assert result.exit_code == 1
    assert result.output == (
        'wrong.prototxt:2: error: layer "r" (ReLU): it has 1 `param` but 0 learned blobs [param-count]\n'
        "  fix: remove them\n"
        'wrong.prototxt:3: note: layer "s" (SPP): this toolkit cannot compute this type: shapes behind it are not '
        "checked [unknown-type]\n"
        "  fix: none needed for Caffe\n"
        "1 file: 1 error, 0 warnings, 1 note\n"
    )


def test_notes_do_not_fail(run):
    assert run("noted.prototxt").exit_code == 0


def test_json(run):
    result = run("wrong.prototxt", "--format", "json")
    data = json.loads(result.output)
    assert result.exit_code == 1
    assert data["summary"] == {"files": 1, "error": 1, "warning": 0, "note": 1}
    assert data["findings"][0] == {
        "check": "param-count",
        "severity": "error",
        "file": "wrong.prototxt",
        "line": 2,
        "layer": "r",
        "type": "ReLU",
        "reason": "it has 1 `param` but 0 learned blobs",
        "fix": "remove them",
    }


def test_github(run):
    result = run("wrong.prototxt", "--format", "github")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "::error file=wrong.prototxt,line=2,title=netgen lint%3A param-count::"
        'layer "r" (ReLU): it has 1 `param` but 0 learned blobs%0Afix: remove them',
        '::notice file=wrong.prototxt,line=3,title=netgen lint%3A unknown-type::layer "s" (SPP): this toolkit '
        "cannot compute this type: shapes behind it are not checked%0Afix: none needed for Caffe",
    ]


def test_github_escapes_what_would_end_the_command():
    line = github(FINDING)
    assert "\n" not in line
    place, message = re.fullmatch(r"::warning (.*?)::(.*)", line).groups()
    properties = dict(pair.split("=") for pair in place.split(","))
    assert list(properties) == ["file", "line", "title"]
    for escaped, letter in UNESCAPED:
        message, properties["file"] = message.replace(escaped, letter), properties["file"].replace(escaped, letter)
    assert properties["file"] == FINDING.file
    assert message == 'layer "x" (Softmax): 50% of it\nis wrong, or so: see\nfix: mend it'


def test_many_alike_are_shown_in_part():
    findings = [Finding("scores", "note", "f", line, f"l{line}", "T", "same", "fix it") for line in range(1, 9)]
    shown = list(text(findings))
    assert len(shown) == 4
    assert shown[3] == "f:4: note: the same of 5 more layers [scores]"
    assert closing(findings, 1) == "1 file: 0 errors, 0 warnings, 8 notes"


def test_colours_are_for_terminals(run):
    assert "\x1b" not in run("wrong.prototxt").output


def test_a_file_that_is_not_there_is_a_mistake_in_the_command(run):
    result = run("gone.prototxt", "wrong.prototxt", "lost.prototxt")
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == "there is no such file: gone.prototxt, lost.prototxt"
