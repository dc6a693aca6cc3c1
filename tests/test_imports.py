"""Imports point one way, and what only generates prototxts never loads the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("prototxt", "netgen", "annoset", "converters", "solver")
MAY_IMPORT = {
    "prototxt": {"prototxt"},
    "netgen": {"netgen", "prototxt"},
    "annoset": {"annoset", "prototxt"},
    "converters": {"converters", "prototxt"},
    "solver": {"solver", "prototxt", "annoset", "converters"},
}
HEAVY = {"torch", "cv2", "onnx", "onnxruntime", "matplotlib", "h5py", "lmdb"}
FILES = [path for package in OURS for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return set(names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    """A package imports only those before it; the command line imports all and nobody imports it."""
    package = path.relative_to(ROOT).parts[0]
    in_commands = "commands" in path.relative_to(ROOT).parts
    allowed = set(OURS) if in_commands else MAY_IMPORT[package]
    for name in imports(path, top_level_only=False):
        first = name.split(".")[0]
        assert first not in OURS or first in allowed, f"{path.name} imports {name}"
        assert in_commands or not name.startswith("netgen.commands"), f"{path.name} imports a command"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_imports_stay_inside_functions(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] in ("prototxt", "netgen"):
        heavy = {name.split(".")[0] for name in imports(path, top_level_only=True)} & (HEAVY | {"numpy", "rich"})
        assert not heavy, f"{path.name} imports {heavy} when it is imported"


def test_command_line_loads_nothing_heavy():
    code = "import sys, netgen.commands.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not {name.split(".")[0] for name in loaded.split()} & (HEAVY | {"numpy"})
