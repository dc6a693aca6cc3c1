"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A run of continuous integration judges the change, not the draw; everywhere else each run tries new examples.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference files and measured numbers that lies beside the project on its own machines."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of reference data beside the checkout (../shared)")
    return SHARED


@pytest.fixture
def own_tables() -> Iterator[None]:
    """What a test's plug-ins add to the tables of layer types is gone after it."""
    from converters.onnx.layers import NODES
    from converters.pytorch.layers import MODULES
    from prototxt import plugin
    from prototxt.shapes import BLOBS, SHAPES

    tables = [table._entries for table in (SHAPES, BLOBS, MODULES, NODES)]
    before = [dict(entries) for entries in tables]
    loaded = set(plugin._LOADED)
    yield
    for entries, old in zip(tables, before):
        entries.clear()
        entries.update(old)
    plugin._LOADED.clear()
    plugin._LOADED.update(loaded)
