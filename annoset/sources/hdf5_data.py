"""Caffe's HDF5Data layer without Caffe: a list of HDF5 files in, batches of their datasets' rows out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from annoset.sources.batches import Batch, Batches
from annoset.sources.order import Order
from prototxt.errors import UserError
from prototxt.files import is_file
from prototxt.graph import Layer, show
from prototxt.io import read_bytes

_FILES, _ROWS = 2, 3  # SeedSequence's spawn_key keeps the draws of the two orders apart from all others


class _File(NamedTuple):
    """A file of the list: its path, the line that names it, its rows."""

    path: Path
    line: str
    rows: int


class HDF5DataSource(Batches):
    """The batches of one HDF5Data layer, endlessly: each top is made of rows of the dataset of its name.

    The list names files, with spaces or line ends between. They are read whole, one after the other, and a batch may
    reach over several; with `shuffle` each round has an order of files, and each file of rows, of its own.
    Numbers of every kind become float32.

    Args:
        layer, seed, order: as in Batches.
        root: the folder that the layer's relative paths start from.
        prefetch: above 0, one thread makes batches ahead.

    Raises:
        UserError: a layer that Caffe refuses; no list at `source`; a file that is missing, is no HDF5 or lacks a
            dataset; datasets of unequal rows, of other shapes than in the first file, or not of numbers.
    """

    records: int

    def __init__(
        self, layer: Layer, seed: int, root: Path | str = "", prefetch: int = 0, order: Order | None = None
    ) -> None:
        spec = layer.proto.hdf5_data_param
        _check(layer)
        super().__init__(layer, spec.batch_size, seed, min(prefetch, 1), order)
        self._shuffle = spec.shuffle or self.order.shuffle
        self._shapes: dict[str, tuple[int, ...]] = {}  # of a row of each top
        self._loaded: tuple[int, Batch] | None = None  # the file that rows were last taken from
        self._files = [self._open(Path(root, name), line) for name, line in _listed(layer, Path(root, spec.source))]
        self._rows = np.array([file.rows for file in self._files])
        self.records = int(self._rows.sum())
        if not self.records:
            raise layer.error("its files hold no rows", expected="at least one")
        self.shape = {top: (self.batch_size, *self._shapes[top]) for top in layer.tops}

    def make(self, start: int) -> Batch:
        numbers = [self.order.number(start + item) for item in range(self.batch_size)]
        parts = [
            part
            for turn, group in groupby(numbers, lambda number: number // self.records)
            for part in self._parts(turn, np.array([number % self.records for number in group]))
        ]
        return {top: np.concatenate([part[top] for part in parts]) for top in self.layer.tops}

    def _parts(self, turn: int, places: np.ndarray) -> Iterator[Batch]:
        """What the ascending `places` of round `turn` hold, file by file."""
        files = self._shuffled(_FILES, turn, count=len(self._files))
        ends = np.cumsum(self._rows[files])
        at = np.searchsorted(ends, places, side="right")
        for position in np.unique(at):
            file = int(files[position])
            rows = self._shuffled(_ROWS, turn, file, count=self._files[file].rows)
            first = ends[position] - self._files[file].rows
            taken = rows[places[at == position] - first]
            yield {top: array[taken] for top, array in self._load(file).items()}

    def _shuffled(self, *key: int, count: int) -> np.ndarray:
        """The numbers up to `count` in the order that the seed gives `key`; in their own without `shuffle`."""
        if not self._shuffle:
            return np.arange(count)
        return np.random.default_rng(np.random.SeedSequence(self.seed % 2**64, spawn_key=key)).permutation(count)

    def _load(self, number: int) -> Batch:
        """The datasets of a file, float32."""
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None  # one file is let go of before the next is read
            with self._reading(self._files[number].path, self._files[number].line) as file:
                self._loaded = number, {top: np.asarray(file[top][()], np.float32) for top in self.layer.tops}
        return self._loaded[1]

    def _open(self, path: Path, line: str) -> _File:
        """The file at `path`. Raises UserError when it does not hold what the tops need, in rows like those so far."""
        with self._reading(path, line) as file:
            rows = {top: self._measure(file, top, f"{path} ({line})") for top in self.layer.tops}
        if len(set(rows.values())) > 1:
            counts = ", ".join(f"{count} of {top}" for top, count in rows.items())
            raise self.layer.error(f"{path} ({line}) has unequal numbers of rows: {counts}", expected="as many of each")
        return _File(path, line, rows[self.layer.tops[0]])

    def _measure(self, file: h5py.File, top: str, where: str) -> int:
        """The rows of a top's dataset."""
        dataset = file.get(top)
        if not isinstance(dataset, h5py.Dataset):
            held = ", ".join(name for name, item in file.items() if isinstance(item, h5py.Dataset))
            raise self.layer.error(
                f'{where} has no dataset "{top}"', expected=f"one for each top; it has {held or 'none'}"
            )
        if dataset.dtype.kind not in "fiu" or not dataset.shape:
            found = f'dataset "{top}" of {where} is {dataset.dtype} of shape {show(dataset.shape or ())}'
            raise self.layer.error(found, expected="rows of numbers")
        wanted = self._shapes.setdefault(top, dataset.shape[1:])
        if dataset.shape[1:] != wanted:
            found = f'a row of dataset "{top}" of {where} is {show(dataset.shape[1:])}'
            raise self.layer.error(found, expected=f"{show(wanted)}, as in the first file")
        return dataset.shape[0]

    @contextmanager
    def _reading(self, path: Path, line: str) -> Iterator[h5py.File]:
        if not is_file(path):
            raise self.layer.error(f"{path}, which {line} names, is not there", fix="correct the list, or the folder")
        try:
            with h5py.File(path, "r") as file:
                yield file
        except OSError as error:
            raise self.layer.error(f"{path} ({line}) cannot be read as HDF5", fix="write it again") from error


def _listed(layer: Layer, source: Path) -> Iterator[tuple[str, str]]:
    """Each name in the list at `source`, and its line."""
    try:
        lines = read_bytes(source).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        found, fix = f"{source} is not UTF-8 text", "give a list of HDF5 files, not such a file itself"
        raise layer.error(found, expected="a list of HDF5 files", fix=fix) from error
    except UserError as error:
        raise layer.error(f"{source}: {error.found}", expected="a list of HDF5 files") from error
    names = [(name, f"{source}:{number}") for number, line in enumerate(lines, 1) for name in line.split()]
    if not names:
        raise layer.error(f"{source} is empty", expected="the name of an HDF5 file on each line")
    yield from names


def _check(layer: Layer) -> None:
    spec = layer.proto.hdf5_data_param
    if not spec.source or not spec.batch_size:
        raise layer.error("hdf5_data_param lacks source or batch_size", expected="both")
    if not layer.tops:
        raise layer.error("it has no tops", expected="one for each dataset")
    if layer.proto.HasField("transform_param"):
        raise layer.error("it has a transform_param, but HDF5Data does not transform", fix="remove it")
