"""Every check: what it finds, where, and that it finds nothing in the net without the mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from prototxt.lint import CHECKS, SEVERITIES, lint_files
from tests.prototxt.lint_cases import detection, heads, jobs, learning, wiring
from tests.prototxt.lint_cases.nets import CLEAN

# Check: cases of (files, findings), a finding as `SEVERITY LAYER: part of the reason => part of the fix`.
CASES = {**wiring.CASES, **learning.CASES, **heads.CASES, **detection.CASES, **jobs.CASES}


@pytest.fixture
def lint(tmp_path, monkeypatch):
    """Lint files given as name -> text, from the folder they are in."""
    monkeypatch.chdir(tmp_path)

    def write_and_lint(files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return lint_files(files)

    return write_and_lint


def test_every_check_has_a_case():
    assert set(CASES) == set(CHECKS)


def test_every_check_says_what_it_is_for():
    for name in CHECKS:
        assert CHECKS[name].run.__doc__ and CHECKS[name].severity in SEVERITIES, name


def test_the_clean_files_are_clean(lint):
    assert lint(CLEAN) == []


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [(name, *case) for name, cases in CASES.items() for case in cases],
    ids=[f"{name}-{i}" for name, cases in CASES.items() for i in range(len(cases))],
)
def test_check(lint, name, files, expected):
    findings = [finding for finding in lint(files) if finding.check == name]
    assert [f"{f.severity} {f.layer}".strip() for f in findings] == [text.split(":")[0] for text in expected]
    for finding, text in zip(findings, expected):
        reason, fix = text.split(": ", 1)[1].split(" => ")
        assert reason in finding.reason and fix in finding.fix
        assert finding.file in files and not finding.reason.endswith(".")
        if finding.layer:
            line = files[finding.file].splitlines()[finding.line - 1]
            assert f'name: "{finding.layer}" type: "{finding.type}"' in line


def test_a_mistake_in_the_heads_is_reported_where_it_is_made_and_only_there(lint):
    """The loss cannot take the shapes of a wrong head; that is not reported again."""
    findings = lint({"train.prototxt": CLEAN["train.prototxt"].replace("num_output: 8", "num_output: 12")})
    assert [(f.check, f.layer) for f in findings] == [("prior-count", "c1_loc")]


def test_the_guide_names_every_check():
    guide = (Path(__file__).resolve().parents[2] / "docs" / "build.md").read_text("utf-8")
    assert [name for name in CHECKS if f"`{name}`" not in guide] == []
