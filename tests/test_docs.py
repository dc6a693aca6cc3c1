"""The commands of the guides, run as they are written, one guide after the other in an empty folder."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDES = sorted((ROOT / "docs").glob("*.md"))


def commands(text: str) -> list[str]:
    """The lines after `$ ` of a guide's console blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_commands_of_the_guides(guide, tmp_path, monkeypatch, own_tables):
    from netgen.commands.main import app

    monkeypatch.chdir(tmp_path)
    for block in python_blocks(guide):
        if name := re.match(r"# (\w+\.py)\n", block):  # a file that the commands run
            Path(name[1]).write_text(block, "utf-8")
    lines = commands(guide.read_text("utf-8"))
    if guide.stem not in ("compatibility", "peers"):
        assert lines
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "python":
            runpy.run_path(arguments[0], run_name="__main__")
            continue
        assert program == "netgen", line
        # `verify` ends with its status; the others return.
        try:
            app(arguments, standalone_mode=False)
        except SystemExit as end:
            assert not end.code, line


def run_python(page: Path, **names) -> dict:
    """Run the Python blocks of a page, one after the other, with `names` defined; what they define."""
    for block in python_blocks(page):
        if not block.startswith("# my_"):
            exec(compile(block, str(page), "exec"), names)
    return names


def test_python_of_the_guides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python(ROOT / "docs/extend.md")
    assert (tmp_path / "toy.prototxt").is_file()


def test_python_of_the_readme(tmp_path, monkeypatch):
    import torch

    from converters.caffemodel import write_weights
    from converters.pytorch import CaffeNet
    from netgen.zoo import build
    from prototxt.graph import Graph
    from prototxt.io import write_text

    monkeypatch.chdir(tmp_path)
    write_text(build("scratchdet-mini").nets()["deploy"], "deploy.prototxt")
    net = CaffeNet(Graph.load("deploy.prototxt"), seed=0)
    write_weights("net.caffemodel", net.graph, net.weights())
    rows = run_python(ROOT / "README.md", images=torch.zeros(1, 3, 96, 96))["rows"]
    assert rows.shape[:2] == (1, 1) and rows.shape[3] == 7


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", *GUIDES):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_shows_every_verb_that_exists():
    from netgen.commands.main import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    mentioned = set(
        re.findall(r"netgen (\w+)", " ".join(page.read_text("utf-8") for page in (ROOT / "README.md", *GUIDES)))
    )
    assert verbs - mentioned == set()
