"""Snapshots: a caffemodel with the weights and a solverstate with the history, both whole or not there.

Files are Caffe's: `<prefix>_iter_<n>.caffemodel` and `.solverstate`, with `.h5` behind for HDF5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converters.hdf5 import HDF5Error, read_hdf5
from converters.wire import header
from prototxt.errors import UserError
from prototxt.files import atomic_write, is_file
from prototxt.graph import MOST_AXES, MOST_VALUES, show
from prototxt.io import read_binary, write_binary
from prototxt.schema import BlobProto, SolverState
from solver.policies import Progress

_STATE_FIELDS = {"iter": "iteration", "current_step": "current_step", "minimum_loss": "minimum_loss",
                 "iter_last_event": "iter_last_event"}  # fmt: skip
_COUNTS = ("iter", "current_step", "iter_last_event")
_DATA = BlobProto.DESCRIPTOR.fields_by_name["data"].number


@dataclass
class State:
    """What a solverstate holds.

    Attributes:
        progress: where the run stands.
        learned_net: path of the caffemodel, as the run that wrote it saw it.
        history: one float32 array a learned blob of the net, BatchNorm's included, in Caffe's order; Adam and
            AdaDelta keep a second array of each blob behind them all.
    """

    progress: Progress
    learned_net: str = ""
    history: list[np.ndarray] = field(default_factory=list)


def paths(prefix: Path, iteration: int, hdf5: bool) -> tuple[Path, Path]:
    """The caffemodel and the solverstate of a snapshot."""
    suffix = ".h5" if hdf5 else ""
    return tuple(Path(f"{prefix}_iter_{iteration}.{kind}{suffix}") for kind in ("caffemodel", "solverstate"))


def write_state(path: str | Path, state: State) -> None:
    """Write a solverstate, HDF5 if `path` ends in .h5. Raises UserError when it cannot be written."""
    values = {name: getattr(state.progress, attribute) for name, attribute in _STATE_FIELDS.items()}
    if str(path).endswith(".h5"):
        _write_hdf5(path, values, state)
        return
    message = SolverState(learned_net=state.learned_net, **values)
    for array in state.history:
        _to_blob(array, message.history.add())
    write_binary(message, path)


def read_state(path: str | Path) -> State:
    """Read a solverstate, binary or (.h5) HDF5. Raises UserError when it is not one or is cut short."""
    if str(path).endswith(".h5"):
        return _read_hdf5(path)
    message = read_binary(path, "SolverState")
    if not message.HasField("iter"):
        raise UserError("this is not a solverstate: it holds no iteration", where=str(path))
    progress = _progress(path, {name: getattr(message, name) for name in _STATE_FIELDS})
    learned_net = message.learned_net  # protobuf gives bytes where they are no UTF-8
    if isinstance(learned_net, bytes):
        learned_net = learned_net.decode("utf-8", "surrogateescape")
    return State(progress, learned_net, [_from_blob(blob) for blob in message.history])


def _progress(path: str | Path, values: dict[str, float]) -> Progress:
    wrong = [name for name in _COUNTS if not (isinstance(values[name], int) and values[name] >= 0)]
    if wrong:
        found = f"its {wrong[0]} is {values[wrong[0]]}"
        raise UserError(found, where=str(path), expected="a whole number of 0 or more")
    return Progress(**{attribute: values[name] for name, attribute in _STATE_FIELDS.items()})


def find_net(path: str | Path, state: State) -> Path:
    """The caffemodel a solverstate names: where it says, or beside the solverstate if the folder has moved."""
    named = Path(state.learned_net)
    beside = Path(path).parent / named.name
    for candidate in (named, beside):
        if state.learned_net and is_file(candidate):
            return candidate
    raise UserError(
        f'its weights "{state.learned_net}" are neither there nor beside it',
        where=str(path),
        fix=f"put {named.name} beside the solverstate" if state.learned_net else "take a complete solverstate",
    )


def check_history(path: str | Path, state: State, blobs: Sequence[Any], each: int) -> None:
    """Raise UserError unless the history fits `blobs` (`CaffeNet.blobs()`), `each` arrays for each of them."""
    if len(state.history) != each * len(blobs):
        raise UserError(
            f"it holds {len(state.history)} histories",
            where=str(path),
            expected=f"{each} for each of the net's {len(blobs)} blobs",
            fix="resume with the solver and the net that wrote this snapshot",
        )
    for array, blob in zip(state.history, [*blobs] * each):
        if array.shape != tuple(blob.tensor.shape):
            raise UserError(
                f'the history of blob {blob.index} of layer "{blob.layer}" is {show(array.shape)}',
                where=str(path),
                expected=f"{show(tuple(blob.tensor.shape))}, the net's",
                fix="resume with the solver and the net that wrote this snapshot",
            )


def _to_blob(array: np.ndarray, blob: Any) -> None:
    # Appending number by number would make a Python object of each; protobuf takes the bytes as they are.
    raw = np.ascontiguousarray(array, "<f4").tobytes()
    blob.shape.dim.extend(array.shape)
    blob.MergeFromString(header(_DATA, len(raw)) + raw)


def _from_blob(blob: Any) -> np.ndarray:
    only = BlobProto()
    only.data.MergeFrom(blob.data)
    count = len(blob.data)
    raw = only.SerializeToString()  # tag and length, then the packed floats
    values = np.frombuffer(raw, "<f4", count, len(raw) - 4 * count)
    shape = tuple(blob.shape.dim)
    whole = len(shape) <= MOST_AXES and all(0 <= size <= MOST_VALUES for size in shape) and math.prod(shape) == count
    return values.reshape(shape) if whole else values


def _write_hdf5(path: str | Path, values: dict[str, float], state: State) -> None:
    import h5py

    with atomic_write(path, "w+b") as raw, h5py.File(raw, "w") as file:
        for name, value in values.items():
            file[name] = np.array([value], np.float32 if name == "minimum_loss" else np.int32)
        name = state.learned_net.encode()
        file["learned_net"] = np.array(name, f"S{len(name) + 1}")  # Caffe reads up to the final NUL
        history = file.create_group("history")
        for index, array in enumerate(state.history):
            history[str(index)] = np.asarray(array, np.float32)


def _read_hdf5(path: str | Path) -> State:
    if not Path(path).is_file():
        raise UserError("there is no such file", where=str(path))
    try:
        found = read_hdf5(path, [*_STATE_FIELDS, "history/"], ["learned_net"])
        values = {name: found.pop(name).reshape(()).item() for name in _STATE_FIELDS}
        learned_net = found.pop("learned_net")
        history = [found[f"history/{i}"] for i in range(len(found))]
    except (HDF5Error, LookupError, ValueError) as error:
        found = f"this is not a solverstate in HDF5, or it is cut short: {error}"
        raise UserError(found, where=str(path)) from error
    return State(_progress(path, values), learned_net, history)
