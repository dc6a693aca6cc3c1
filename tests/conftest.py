"""Fixtures of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference files and measured numbers that lies beside the project on its own machines."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of reference data beside the checkout (../shared)")
    return SHARED
