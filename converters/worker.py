"""Modules of this package that run in a process of their own: what they read may end the process that reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]


def calling(module: str, arguments: Iterable[str | Path]) -> dict[str, Any]:
    """The arguments of `subprocess` that run a module with this Python, which finds this package wherever it stands."""
    paths = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {
        "args": [sys.executable, "-m", module, *map(str, arguments)],
        "env": {**os.environ, "PYTHONPATH": paths},
    }
