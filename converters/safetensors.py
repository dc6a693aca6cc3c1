"""safetensors files: a header of JSON that says where each array lies, then the arrays. Nothing in one can run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from prototxt.errors import UserError
from prototxt.files import atomic_write
from prototxt.io import read_bytes

_LONGEST_HEADER = 100_000_000  # the format's own limit
_MOST_AXES = 32
# Weights are float32 here; the others widen to it exactly, or round as Caffe rounds double_data.
_TYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2"}


class _Damaged(ValueError):
    """Bytes that are no safetensors file."""


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name, float32; those that are stored so are read-only views of its bytes.

    Raises:
        UserError: the file is missing, is something else or damaged, or holds other numbers than floats.
    """
    data = read_bytes(path)
    try:
        header, start = _header(data)
        spans = {name: _span(name, entry, len(data) - start) for name, entry in header.items()}
        _check_layout(list(spans.values()), len(data) - start)
    except _Damaged as error:
        raise UserError(
            f"this is no whole safetensors file: {error}", where=str(path), fix="fetch or save the file again"
        ) from error
    unknown = [name for name, entry in header.items() if entry["dtype"] not in _TYPES]
    if unknown:
        kinds = ", ".join(f"{name} ({header[name]['dtype']})" for name in unknown)
        raise UserError(f"these are no weights: {kinds}", where=str(path), expected="floating-point arrays")
    return {name: _array(data, start + spans[name][0], **header[name]) for name in header}


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The entries by name, and where the arrays begin."""
    if len(data) < 8:
        raise _Damaged("it has no header")
    size = int.from_bytes(data[:8], "little")
    if size > min(_LONGEST_HEADER, len(data) - 8):
        raise _Damaged(f"its header announces {size:,} bytes where {len(data) - 8:,} are left")
    try:
        header = json.loads(data[8 : 8 + size], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _Damaged("its header is no JSON") from error
    if not isinstance(header, dict):
        raise _Damaged("its header is no table")
    header.pop("__metadata__", None)
    return header, 8 + size


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands twice")
    return table


def _span(name: str, entry: Any, size: int) -> tuple[int, int]:
    """Where an array lies among `size` bytes of arrays."""
    fields = entry if isinstance(entry, dict) else {}
    shape, offsets, kind = fields.get("shape"), fields.get("data_offsets"), fields.get("dtype")
    if not (_counts(shape) and _counts(offsets) and isinstance(kind, str) and len(offsets) == 2):
        raise _Damaged(f"its entry {name!r} lacks dtype, shape or data_offsets")
    first, last = offsets
    if not first <= last <= size:
        raise _Damaged(f"{name!r} lies at bytes {first:,} to {last:,} of {size:,}")
    if len(shape) > _MOST_AXES:
        raise _Damaged(f"{name!r} has {len(shape)} axes")
    if kind in _TYPES and prod(shape) * np.dtype(_TYPES[kind]).itemsize != last - first:
        raise _Damaged(f"{name!r} has {prod(shape):,} values in {last - first:,} bytes")
    return first, last


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_layout(spans: list[tuple[int, int]], size: int) -> None:
    """Raise _Damaged unless the arrays fill the file without gaps, and share nothing."""
    at = 0
    for first, last in sorted(spans):
        if first != at:
            raise _Damaged(f"byte {min(first, at):,} of its arrays belongs to {'none' if first > at else 'two'}")
        at = last
    if at != size:
        raise _Damaged(f"{size - at:,} bytes after its last array belong to none")


def _array(data: bytes, start: int, dtype: str, shape: list[int], **_: Any) -> np.ndarray:
    values = np.frombuffer(data, _TYPES[dtype], prod(shape), start)
    if dtype == "BF16":  # the upper half of a float32
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float32, copy=False).reshape(shape)


def write_safetensors(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as float32; the file appears whole or not at all."""
    values = {name: np.asarray(array, "<f4", order="C") for name, array in arrays.items()}
    header, at = {}, 0
    for name, array in values.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in values.values():
            file.write(array.data)
