"""A module of one's own, from a function in a Python file."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from converters.pytorch.states import load_plain
from prototxt.errors import UserError, nearest

Shapes = Sequence["tuple[int, ...]"]


def read_module(place: str, weights: str | Path | None = None, shapes: Shapes = ()) -> tuple[nn.Module, list[Tensor]]:
    """Call the function at `place` and give its module, and an input for each of the module's arguments.

    Args:
        place: `FILE.py:FUNCTION`; the function takes no arguments and returns a module, or a module and a tuple of
            example inputs. The file is run: it is the user's own code, unlike weights.
        weights: a state_dict to load into the module.
        shapes: those of the inputs, which are random then; without them the function gives examples.

    Raises:
        UserError: there is no such function, it fails or returns something else; weights of another module.
    """
    path, _, name = place.rpartition(":")
    code = _run(path, place)
    build = getattr(code, name, None)
    if not callable(build):
        known = [key for key, value in vars(code).items() if callable(value) and not key.startswith("_")]
        raise UserError(f'there is no function "{name}" in it{nearest(name, known)}', where=path)
    made = _guarded(build, path)
    module, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, ())
    if not isinstance(module, nn.Module):
        raise UserError(f"{name}() returns a {type(module).__name__}", where=place, expected="a torch.nn.Module")
    if shapes:
        generator = torch.Generator().manual_seed(0)
        examples = [torch.randn(shape, generator=generator) for shape in shapes]
    if isinstance(examples, Tensor):
        examples = [examples]
    if not examples or not all(isinstance(example, Tensor) for example in examples):
        fix = "give --input-shape 1x3x224x224, or let the function return (module, (example, …))"
        raise UserError("the shapes of the module's inputs are not known", where=place, fix=fix)
    if weights is not None:
        _load(module, weights)
    return module, list(examples)


def _run(path: str, place: str) -> ModuleType:
    if not path.endswith(".py") or not Path(path).is_file():
        expected = "FILE.py:FUNCTION, a function that returns a torch.nn.Module"
        raise UserError("there is no such Python file", where=path or place, expected=expected)
    spec = importlib.util.spec_from_file_location(f"netgen_traced_{Path(path).stem}", path)
    code = importlib.util.module_from_spec(spec)
    folder = str(Path(path).resolve().parent)
    sys.path.insert(0, folder)  # so that the file finds those beside it
    try:
        _guarded(lambda: spec.loader.exec_module(code), path)
    finally:
        sys.path.remove(folder)
    return code


def _guarded(call: Any, path: str) -> Any:
    """What `call` returns; an error of the user's code as one line, with its place in the file."""
    try:
        return call()
    except Exception as error:  # whatever that code raises
        lines = [
            step.lineno
            for step in traceback.extract_tb(error.__traceback__)
            if Path(step.filename).name == Path(path).name
        ]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        raise UserError(f"{type(error).__name__}: {error}", where=f"{path}:{line}" if line else path) from error


def _load(module: nn.Module, weights: str | Path) -> None:
    state = load_plain(weights)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:  # all keys that are missing, unexpected or of another shape
        raise UserError(
            " ".join(str(error).split()), where=str(weights), fix="give the weights of this module"
        ) from error
