"""Trained weights: `.caffemodel` files, binary or HDF5, as arrays and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from google.protobuf.message import DecodeError

from converters.hdf5 import HDF5Error, read_hdf5
from converters.wire import FIXED32, FIXED64, LENGTH, WireError, fields, header
from prototxt import schema
from prototxt.errors import UserError, UserErrors
from prototxt.files import atomic_write
from prototxt.graph import Graph, Layer, show
from prototxt.io import read_bytes

# What people pass for a caffemodel by accident: its first bytes, what it is, what to do. None of these is a message.
_MISTAKES = (
    ((b"<",), "an HTML or XML page", "the download went wrong; fetch the file again"),
    ((b"version https://git-lfs",), "a Git LFS pointer", "run `git lfs pull` in the repository it came from"),
    ((b"PK\x03\x04", b"\x80\x02"), "a PyTorch or zip file", "give the .caffemodel"),
    ((b"\x1f\x8b",), "a gzip file", "unpack it first"),
    ((b"name:", b"layer", b"input", b"#"), "a prototxt", "give the .caffemodel, not the .prototxt"),
)
_HDF5 = b"\x89HDF\r\n\x1a\n"


class Weights(dict):
    """Layer name -> its blobs, float32 arrays of Caffe's shapes.

    Attributes:
        path: the file they came from, for error messages; empty when they came from none.
    """

    def __init__(self, blobs: Mapping[str, Sequence[np.ndarray]], path: str = "") -> None:
        super().__init__(blobs)
        self.path = path


def read_weights(path: str | Path) -> Weights:
    """The blobs of a caffemodel, old (V0, V1) or new, binary or HDF5.

    The arrays of a binary file are read-only views of its bytes: no weight becomes a Python object or is copied.

    Raises:
        UserError: the file is missing, cut short, or is something else.
    """
    data = read_bytes(path)
    try:
        found = _read_hdf5(path).items() if data.startswith(_HDF5) else _layers(data)
        weights = Weights({name: blobs for name, blobs in found if blobs}, str(path))
    except WireError as error:
        raise _not_a_caffemodel(path, data, error) from error
    if not weights:
        raise UserError(
            "no layer in this file has weights" if data else "this file is empty",
            where=str(path),
            expected="a trained caffemodel",
        )
    return weights


def is_hdf5(path: str | Path) -> bool:
    """Whether a file that can be read holds HDF5, whatever it is called."""
    with open(path, "rb") as file:
        return file.read(len(_HDF5)) == _HDF5


def _not_a_caffemodel(path: str | Path, data: bytes, error: WireError) -> UserError:
    start = data[:64].lstrip()
    for beginnings, what, fix in _MISTAKES:
        if start.startswith(beginnings):
            return UserError(f"this is {what}, not a caffemodel", where=str(path), fix=fix)
    return UserError(
        f"this is no whole caffemodel: {error}",
        where=str(path),
        fix=f"fetch the file again, or check its size ({len(data):,} bytes)",
    )


def _number(message: str, field: str) -> int:
    return schema.message_class(message).DESCRIPTOR.fields_by_name[field].number


_LAYER, _LAYERS = _number("NetParameter", "layer"), _number("NetParameter", "layers")
_V0 = _number("V1LayerParameter", "layer")
_NAMES_AND_BLOBS = {
    message: (_number(message, "name"), _number(message, "blobs"))
    for message in ("LayerParameter", "V1LayerParameter", "V0LayerParameter")
}
_SHAPE, _DIM = _number("BlobProto", "shape"), _number("BlobShape", "dim")
_LEGACY = [_number("BlobProto", side) for side in ("num", "channels", "height", "width")]
_VALUES = {_number("BlobProto", "data"): "<f4", _number("BlobProto", "double_data"): "<f8"}
_UNPACKED = {FIXED32: "<f4", FIXED64: "<f8"}
_MOST_AXES, _LARGEST = 32, 2**31 - 1  # Caffe's limits of a blob: axes, and values (NumPy's hold without a 0, too)
_LONGEST_INDEX = 10  # digits of a blob's number
# Far above any net: a file can hold a layer or a blob in two bytes, of which each takes hundreds in memory.
_MOST_LAYERS, _MOST_BLOBS, _MOST_PIECES = 100_000, 100_000, 1000


def _layers(data: bytes) -> Iterator[tuple[str, list[np.ndarray]]]:
    layers = blobs = 0
    for name, found in _all_layers(data):
        layers, blobs = layers + 1, blobs + len(found)
        if layers > _MOST_LAYERS or blobs > _MOST_BLOBS:
            raise WireError(f"it has more than {_MOST_LAYERS:,} layers or {_MOST_BLOBS:,} blobs")
        yield name, found


def _all_layers(data: bytes) -> Iterator[tuple[str, list[np.ndarray]]]:
    for number, wire, start, end in fields(data, 0, len(data)):
        if wire != LENGTH:
            continue
        if number == _LAYER:
            yield _layer(data, start, end, "LayerParameter")
        elif number == _LAYERS:
            inner = [(a, b) for n, w, a, b in fields(data, start, end) if n == _V0 and w == LENGTH]
            name, blobs = _layer(data, start, end, "V1LayerParameter")
            for a, b in inner:
                name, more = _layer(data, a, b, "V0LayerParameter")
                blobs += more
            yield name, blobs


def _layer(data: bytes, start: int, end: int, message: str) -> tuple[str, list[np.ndarray]]:
    name_number, blobs_number = _NAMES_AND_BLOBS[message]
    name, spans = "", []
    for number, wire, first, last in fields(data, start, end):
        if wire == LENGTH and number == name_number:
            name = data[first:last].decode("utf-8", "replace")
        elif wire == LENGTH and number == blobs_number:
            spans.append((first, last))
    if len(spans) > _MOST_BLOBS:
        raise WireError(f'layer "{name}" has {len(spans):,} blobs')
    return name, [_blob(data, *span, f'blob {i} of layer "{name}"') for i, span in enumerate(spans)]


def _blob(data: bytes, start: int, end: int, what: str) -> np.ndarray:
    shape: tuple[int, ...] = ()
    legacy: dict[int, int] = {}
    packed: list[np.ndarray] = []
    unpacked = bytearray()
    kind = "<f4"
    for number, wire, first, last in fields(data, start, end):
        if number in _VALUES and wire == LENGTH:
            if (last - first) % np.dtype(_VALUES[number]).itemsize:
                raise WireError(f"{what} ends within a number")
            if len(packed) == _MOST_PIECES:
                raise WireError(f"{what} is in more than {_MOST_PIECES} pieces")
            packed.append(np.frombuffer(data, _VALUES[number], (last - first) // int(_VALUES[number][-1]), first))
        elif number in _VALUES and wire in _UNPACKED:
            kind = _UNPACKED[wire]
            unpacked += data[first:last]
        elif number == _SHAPE and wire == LENGTH:
            shape = _dims(data[first:last], what)
        elif number in _LEGACY and wire == 0:
            legacy[number] = first
    if unpacked:
        packed.append(np.frombuffer(unpacked, kind))
    values = packed[0] if len(packed) == 1 else np.concatenate(packed or [np.empty(0, np.float32)])
    if legacy:
        shape = tuple(legacy.get(number, 0) for number in _LEGACY)
    if len(shape) > _MOST_AXES:
        raise WireError(f"{what} has {len(shape)} axes")
    if any(size < 0 for size in shape) or _count(shape) != values.size or _count(filter(None, shape)) > _LARGEST:
        raise WireError(f"{what} has the shape {show(shape)} but {values.size:,} values")
    return _float32(values).reshape(shape)


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, as in Caffe
        return values.astype(np.float32, copy=False)


def _dims(shape: bytes, what: str) -> tuple[int, ...]:
    try:
        return tuple(schema.BlobShape.FromString(shape).dim)
    except DecodeError as error:
        raise WireError(f"the shape of {what} cannot be read") from error


def _count(shape: Iterable[int]) -> int:
    count = 1
    for size in shape:  # not NumPy's product, which overflows
        count *= size
    return count


def _read_hdf5(path: str | Path) -> dict[str, list[np.ndarray]]:
    try:
        arrays = read_hdf5(path, ["data/"])
    except HDF5Error as error:
        found = f"this HDF5 file is no whole caffemodel: {error}"
        raise UserError(found, where=str(path), expected='arrays in a group "data"') from error
    found: dict[str, dict[int, np.ndarray]] = {}
    for name, array in arrays.items():  # data/<layer, perhaps with slashes>/<index>
        layer, _, index = name.removeprefix("data/").rpartition("/")
        if index.isdecimal() and len(index) < _LONGEST_INDEX:
            found.setdefault(layer, {})[int(index)] = _float32(array)
    for layer, blobs in found.items():
        if len(blobs) <= max(blobs):  # Caffe leaves out a blob that a layer shares with one before it
            raise UserError(
                f'layer "{layer}" has blob {max(blobs)} but not all before it',
                where=str(path),
                fix="let Caffe write the file as BINARYPROTO, which holds shared blobs at each of their layers",
            )
    return {layer: [blobs[i] for i in sorted(blobs)] for layer, blobs in found.items()}


def write_weights(path: str | Path, graph: Graph, weights: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write a caffemodel as Caffe's snapshots are: every layer of the graph, with the blobs of those that have some.

    A path that ends in `.h5` is written as HDF5. The file appears whole or not at all.

    Raises:
        UserErrors: blobs that do not fit the graph.
        UserError: a layer without its blobs; the disk is full, the folder missing.
    """
    require_all(graph, weights)
    with atomic_write(path, "w+b") as file:
        if str(path).endswith(".h5"):
            _write_hdf5(file, graph, weights)
        else:
            file.write(schema.NetParameter(name=graph.name).SerializeToString())
            for layer in graph.layers:
                _write_layer(file, layer, weights.get(layer.name, ()))


def _write_layer(file: IO[bytes], layer: Layer, blobs: Sequence[np.ndarray]) -> None:
    proto = type(layer.proto)()
    proto.CopyFrom(layer.proto)
    proto.ClearField("blobs")
    parts: list[Any] = [proto.SerializeToString()]
    for blob, dims in zip(blobs, layer.blob_shapes):
        values = np.ascontiguousarray(blob, "<f4")
        shape = schema.BlobProto(shape=schema.BlobShape(dim=dims)).SerializeToString()
        before = shape + header(_number("BlobProto", "data"), values.nbytes)
        parts += [header(_number("LayerParameter", "blobs"), len(before) + values.nbytes), before, values.data]
    file.write(header(_LAYER, sum(memoryview(part).nbytes for part in parts)))
    for part in parts:
        file.write(part)


def _write_hdf5(file: IO[bytes], graph: Graph, weights: Mapping[str, Sequence[np.ndarray]]) -> None:
    import h5py

    with h5py.File(file, "w") as h5:
        data = h5.create_group("data")
        for layer in graph.layers:
            group = data.require_group(layer.name)
            for i, (blob, dims) in enumerate(zip(weights.get(layer.name, ()), layer.blob_shapes)):
                group.create_dataset(str(i), data=np.asarray(blob, np.float32).reshape(dims))


def check(graph: Graph, weights: Mapping[str, Sequence[np.ndarray]]) -> tuple[list[str], list[str], list[str]]:
    """Hold weights against a graph, by layer name as Caffe does.

    Returns:
        Names of the layers that get their blobs, of those that need some and get none, and of layers that the
        weights have and the graph has not.

    Raises:
        UserErrors: every blob of another number or shape, with its layer and both shapes. Shapes of old files,
            padded with ones to four axes, are taken as what they stand for.
    """
    loaded, missing, errors = [], [], []
    source = getattr(weights, "path", "") or "the weights"
    with_blobs = {layer.name for layer in graph.layers if layer.blob_shapes}
    for layer in graph.layers:
        found = [tuple(blob.shape) for blob in weights.get(layer.name, ())]
        if not layer.blob_shapes and (not found or layer.name in with_blobs):
            continue  # nothing to load, or it is for the other layer of this name
        if layer.name not in weights:
            missing.append(layer.name)
            continue
        if len(found) != len(layer.blob_shapes):
            errors.append(layer.error(f"{source} has {len(found)} blobs for it", expected=f"{len(layer.blob_shapes)}"))
            continue
        for i, (shape, wanted) in enumerate(zip(found, layer.blob_shapes)):
            if not _fits(layer, shape, wanted):
                errors.append(
                    layer.error(f"its blob {i} has the shape {show(shape)} in {source}", expected=show(wanted))
                )
        loaded.append(layer.name)
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    names = {layer.name for layer in graph.layers}
    return loaded, missing, [name for name, blobs in weights.items() if len(blobs) and name not in names]


def require_all(graph: Graph, weights: Mapping[str, Sequence[np.ndarray]]) -> list[str]:
    """As `check`, for a net that is used as it is and not trained on; the layers that the graph has not.

    Raises:
        UserErrors: as `check`.
        UserError: layers of the graph that get no blobs, all of them named.
    """
    _, missing, unused = check(graph, weights)
    if missing:
        raise UserError(
            f"it has no blobs for these layers of {graph.net.path}: {', '.join(missing)}",
            where=getattr(weights, "path", "") or "the weights",
            fix="give the weights of this net",
        )
    return unused


def _fits(layer: Layer, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if layer.type == "BN":  # a number a channel: forks wrote it as C, 1 x C and 1 x C x 1 x 1
        return _count(shape) == _count(wanted) == max(shape)
    return shape == wanted or (len(shape) == 4 and _plain(shape) == _plain(wanted))


def _plain(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without the ones that old files put before it."""
    first = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return tuple(shape[first:])
