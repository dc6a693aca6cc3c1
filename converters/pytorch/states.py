"""state_dicts in files: .pth, read without running anything in it, and safetensors."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.safetensors import read_safetensors, write_safetensors
from prototxt.errors import UserError, UserErrors
from prototxt.files import atomic_write
from prototxt.io import read_bytes

_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# What torch.load lets through when bytes are not what it takes them for.
_UNREADABLE = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError)
_UNREADABLE += (ValueError, zipfile.BadZipFile, AssertionError, struct.error)
_WRAPPED = "state_dict"  # where training frameworks put it, beside their counters and the optimiser's state
_ONLY_STATE = "save the weights alone: torch.save(model.state_dict(), path)"


def read_state(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a state_dict, float32; .safetensors by its name, every other file as PyTorch wrote it.

    Integers, which only count in a state_dict (`num_batches_tracked`), become floats as well.

    Raises:
        UserError: the file is missing or damaged, or holds more than tensors by name.
    """
    if str(path).endswith(".safetensors"):
        return read_safetensors(path)
    return {key: tensor.float().numpy() for key, tensor in load_plain(path).items()}


def write_state(path: str | Path, state: Mapping[str, np.ndarray]) -> None:
    """Write a state_dict: .safetensors by its name, else as torch.save does. The file appears whole or not at all."""
    if str(path).endswith(".safetensors"):
        write_safetensors(path, state)
        return
    tensors = {key: torch.from_numpy(np.array(array, np.float32)) for key, array in state.items()}
    with atomic_write(path) as file:
        torch.save(tensors, file)


def load_plain(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a state_dict in their own types; .safetensors by its name, every other as PyTorch wrote it.

    Raises:
        UserError: as `read_state`.
    """
    if str(path).endswith(".safetensors"):
        return {key: torch.from_numpy(array.copy()) for key, array in read_safetensors(path).items()}
    loaded = _load(path)
    if isinstance(loaded, Mapping) and isinstance(loaded.get(_WRAPPED), Mapping):
        loaded = loaded[_WRAPPED]
    if not isinstance(loaded, Mapping):
        raise UserError(f"this holds a {type(loaded).__name__}, not a state_dict", where=str(path), fix=_ONLY_STATE)
    others = [str(key) for key, value in loaded.items() if not isinstance(value, Tensor)]
    if others:
        raise UserError(f"not only tensors are in it, but also {', '.join(others)}", where=str(path), fix=_ONLY_STATE)
    errors = [
        UserError(f'"{key}" {reason}', where=str(path), expected="a plain tensor of numbers")
        for key, tensor in loaded.items()
        if (reason := _flaw(tensor))
    ]
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    return {str(key): tensor.detach() for key, tensor in loaded.items()}


def _load(path: str | Path) -> Any:
    data = io.BytesIO(read_bytes(path))
    try:
        if zipfile.is_zipfile(data):
            with zipfile.ZipFile(data) as archive:
                if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                    raise RuntimeError("its parts are compressed, which PyTorch never does")
        data.seek(0)
        return torch.load(data, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            "this is no file of plain weights: reading it would run code that it names, or it is damaged",
            where=str(path),
            expected="a state_dict",
            fix=f"{_ONLY_STATE}, where you trust the file",
        ) from error
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"PyTorch cannot read it: {reason}", where=str(path), fix=_ONLY_STATE) from error


def _flaw(tensor: Tensor) -> str:
    """What keeps a tensor from being an array of floats; empty when nothing does."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return f"is {'quantized' if tensor.is_quantized else 'sparse'}"
    if tensor.is_meta:
        return "has a shape but no values"
    if tensor.dtype not in _FLOATS and (tensor.is_complex() or tensor.numel() > 1):
        return f"is of {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"announces {tensor.numel():,} values that are not there"
    return ""
