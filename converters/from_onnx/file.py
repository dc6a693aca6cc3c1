"""ONNX files as strangers send them: parsed; their tensors as arrays, sizes checked before anything is allocated."""

from __future__ import annotations

from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper

from prototxt.errors import UserError
from prototxt.graph import show
from prototxt.io import read_bytes

_LARGEST = 2**31 - 1  # bytes of a protobuf message, and values of a Caffe blob
_MOST_AXES = 32
# Types whose values stand one after the other: a file can be mapped as an array of them, and its size foretold.
_TYPES = "BOOL INT8 UINT8 INT16 UINT16 FLOAT16 BFLOAT16 INT32 UINT32 FLOAT INT64 UINT64 DOUBLE"
_KNOWN = {TensorProto.DataType.Value(name) for name in _TYPES.split()}


class OnnxFile:
    """A parsed ONNX file and the folder that its external data lies in.

    Attributes:
        model: the message; no tensor of it has been looked at.
        path: where it came from, for error messages.
    """

    def __init__(self, model: ModelProto, path: str | Path = "<model>") -> None:
        self.model, self.path = model, str(path)
        self._folder = Path(path).parent

    def error(self, found: str, *, expected: str = "", fix: str = "") -> UserError:
        """A UserError about this file."""
        return UserError(found, where=self.path, expected=expected, fix=fix)

    def inputs(self) -> list[str]:
        """The values that are fed, in order."""
        known = {tensor.name for tensor in self.model.graph.initializer}
        return [value.name for value in self.model.graph.input if value.name not in known]

    def array(self, tensor: TensorProto) -> np.ndarray:
        """A tensor's values in its own type; those of an external file are mapped, not read.

        Raises:
            UserError: sizes that are negative, beyond Caffe's blobs or not those of the data; a data file that is
                missing, too short, or outside the model's folder.
        """
        dims, what = self.dims(tensor), f'tensor "{tensor.name}"'
        if tensor.data_type not in _KNOWN:
            raise self.error(f"{what} is of type {type_name(tensor.data_type)}", expected=", ".join(_TYPES.split()))
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._external(tensor, dims, what)
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
            raise self.error(f"{what} of the shape {show(dims)} has other data: {error}") from error

    def dims(self, tensor: TensorProto) -> tuple[int, ...]:
        """The sizes that a tensor announces; the values are not looked at. Raises UserError as `array`."""
        dims = tuple(tensor.dims)
        if any(size < 0 for size in dims) or len(dims) > _MOST_AXES or prod(dims) > _LARGEST:
            found = f'tensor "{tensor.name}" has the shape {show(dims[:_MOST_AXES])}'
            raise self.error(found, expected=f"at most {_MOST_AXES} sizes, which make at most {_LARGEST:,} values")
        return dims

    def _external(self, tensor: TensorProto, dims: tuple[int, ...], what: str) -> np.ndarray:
        entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
        path = self._data_path(entries.get("location", ""), what)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        length = prod(dims) * dtype.itemsize
        start, announced = (self._number(entries, key, what) for key in ("offset", "length"))
        if announced not in (None, length):
            raise self.error(f"{what} has {announced:,} bytes of external data", expected=f"{length:,} bytes")
        start, held = start or 0, path.stat().st_size
        if start + length > held:
            raise self.error(
                f"{what} ends at byte {start + length:,} of {path.name}, which has {held:,}",
                fix="fetch the data file again",
            )
        if not length:
            return np.empty(dims, dtype)
        try:
            return np.memmap(path, dtype, "r", start, dims)
        except (OSError, ValueError) as error:
            raise self.error(f"{what} cannot be read from {path.name}: {error}") from error

    def _number(self, entries: dict[str, str], key: str, what: str) -> int | None:
        text = entries.get(key)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise self.error(f"the {key} of the external data of {what} is {text[:40]!r}", expected="a number of bytes")
        return int(text)

    def _data_path(self, location: str, what: str) -> Path:
        """The data file, which must lie in the model's folder: a model may come from a stranger."""
        parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
        absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
        folder = self._folder.resolve()
        try:
            path = (folder / location).resolve()
            outside = not location or absolute or ".." in parts or not path.is_relative_to(folder)
            is_file = not outside and path.is_file()
        except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name; links that turn in a circle
            raise self.error(f"{what} has its data in {location[:200]!r}: {error}") from error
        if outside:
            raise self.error(
                f"{what} has its data in {location[:200]!r}, outside the model's folder",
                expected="a file name relative to that folder",
                fix="put the data beside the model and save it again",
            )
        if not is_file:
            raise self.error(f"{what} has its data in {location[:200]!r}, which is not there", fix="fetch it, too")
        return path


def type_name(data_type: int) -> str:
    """ONNX's name of a tensor's type: `FLOAT16`."""
    known = TensorProto.DataType.values()
    return TensorProto.DataType.Name(data_type) if data_type in known else f"type {data_type}"


def read_onnx(path: str | Path) -> OnnxFile:
    """Parse an ONNX file; data beside it is read when it is asked for, so a model may be larger than 2 GB.

    Raises:
        UserError: the file is missing, cut short, or something else.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > _LARGEST:
        raise UserError(
            f"it has {path.stat().st_size:,} bytes, more than an ONNX file can",
            where=str(path),
            fix="save its tensors as external data: onnx.save(model, path, save_as_external_data=True)",
        )
    data = read_bytes(path)
    try:
        model = ModelProto.FromString(data)
    except DecodeError as error:
        raise UserError("this is no ONNX file, or it is cut short", where=str(path)) from error
    if not model.graph.node or not model.opset_import:
        raise UserError("this file holds no ONNX graph", where=str(path), expected="a model with nodes and an opset")
    return OnnxFile(model, path)
