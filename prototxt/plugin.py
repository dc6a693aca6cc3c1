"""Layer types of a user's own: a Python file that enters them into the tables."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from prototxt.errors import UserError

_LOADED: set[Path] = set()


def load_plugin(path: str | Path) -> None:
    """Run a Python file that registers layer types (SHAPES, BLOBS, MODULES, NODES), once however often it is named.

    The messages of their parameters are declared there with `prototxt.schema.extend`.

    Raises:
        UserError: the file is missing, raises an error, or registers a type that exists.
    """
    file = Path(path).resolve()
    if file in _LOADED:
        return
    if not file.is_file():
        raise UserError("there is no such file", where=str(path), expected="a Python file that registers layer types")
    try:
        _run(file)
    except UserError as error:
        raise UserError(error.found, where=_line(path, file, error), snippet=error.snippet, fix=error.fix) from error
    except Exception as error:  # whatever a stranger's file raises
        found = f"{type(error).__name__}: {error}"
        raise UserError(found, where=_line(path, file, error), fix="correct the plug-in") from error
    _LOADED.add(file)


def _run(file: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"plugin_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where classes look for the names of their module
    spec.loader.exec_module(module)


def _line(path: str | Path, file: Path, error: BaseException) -> str:
    """`FILE:LINE` of the plug-in's own line that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{path}:{lines[-1]}" if lines else str(path)
