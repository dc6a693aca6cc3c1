"""Where batches come from: a feed gives batch k of a run, `feed(k) -> {top: array}`, for any k.

Because every batch is known by its number alone, a resumed run needs no more than its iteration to see the
data that the uninterrupted run would have seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annoset.sources.annotated_data import AnnotatedDataSource
from annoset.sources.arrays import ArraySource
from annoset.sources.batches import Batches
from annoset.sources.data import DataSource
from annoset.sources.hdf5_data import HDF5DataSource
from annoset.sources.image_data import ImageDataSource
from annoset.sources.order import Order
from prototxt.errors import UserError, nearest
from prototxt.graph import Graph, Layer
from prototxt.io import NetFile
from prototxt.phase import NetState, kept
from prototxt.shapes import SOURCES, Shape
from solver.dummy import DummyDataSource

Feed = Callable[[int], Mapping[str, np.ndarray]]

# Layers whose images or rows alone tell the shapes of their tops: the net need not.
READERS: dict[str, Callable[..., Batches]] = {
    "Data": DataSource,
    "HDF5Data": HDF5DataSource,
    "ImageData": ImageDataSource,
}
# Layers that read from the disk.
_FROM_DISK = {**READERS, "AnnotatedData": AnnotatedDataSource}
# Batches made while the net computes, a thread for each: half the cores, since the net wants some, too.
_AHEAD = min(8, max(2, (os.cpu_count() or 2) // 2))


def tensors(batch: Any, device: torch.device | str) -> dict[str, torch.Tensor]:
    """A feed's batch as tensors on `device`."""
    return {top: torch.from_numpy(np.ascontiguousarray(array)).to(device) for top, array in batch.items()}


def fed_graph(net: NetFile, state: NetState, root: Path) -> Graph:
    """The graph of a net whose Data, HDF5Data and ImageData layers have the shapes of what they read.

    Raises:
        UserError: as Graph and the layers' sources do.
    """
    shapes: dict[str, Shape] = {}
    for i in kept(net.message.layer, state):
        layer = Layer(net.message.layer[i], net.where_layer(i), state.phase)
        if layer.type in READERS:
            with READERS[layer.type](layer, 0, root) as source:
                shapes |= source.shape
    return Graph(net, state.phase, state.level, state.stages, shapes)


class DataFeed:
    """The batches of the layers that feed a net, made ahead by threads. Close it, or use it in a `with`.

    Args:
        graph: the net; its phase is the sources'.
        seed: of all that is random; each layer but the first has one of its own, made from it.
        root: the folder that the layers' relative paths start from.
        arrays: for the tops of MemoryData and Input layers: whole batches one after the other, dealt out round and
            round.
        order: shuffling, and this process's share of the run.

    Raises:
        UserError: a net that nothing feeds, an Input or MemoryData layer without arrays, arrays that no such layer
            takes, and what the layers' sources raise.
    """

    def __init__(
        self,
        graph: Graph,
        seed: int,
        root: Path,
        arrays: Mapping[str, np.ndarray] | None = None,
        order: Order = Order(),  # noqa: B008 (it cannot change)
    ) -> None:
        layers = [layer for layer in graph.layers if layer.type in SOURCES]
        arrays = arrays or {}
        _check(graph, layers, arrays)
        self._sources: list[Batches] = []
        self._next = 0
        try:
            for number, layer in enumerate(layers):
                self._sources.append(_source(layer, _layer_seed(seed, number), root, arrays, order))
        except BaseException:
            self.close()
            raise

    def __call__(self, batch: int) -> dict[str, np.ndarray]:
        if batch != self._next:
            for source in self._sources:
                source.restore({"seed": source.seed, "position": batch * source.batch_size})
        self._next = batch + 1
        return {top: array for source in self._sources for top, array in source.next_batch().items()}

    def close(self) -> None:
        for source in self._sources:
            source.close()

    def __enter__(self) -> DataFeed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _source(layer: Layer, seed: int, root: Path, arrays: Mapping[str, np.ndarray], order: Order) -> Batches:
    if layer.type in _FROM_DISK:
        return _FROM_DISK[layer.type](layer, seed, root, prefetch=_AHEAD, order=order)
    return DummyDataSource(layer, seed, order) if layer.type == "DummyData" else ArraySource(layer, arrays, seed, order)


def _layer_seed(seed: int, number: int) -> int:
    """The seed of a net's data layer `number`: what two layers draw has nothing to do with each other."""
    sequence = np.random.SeedSequence((seed % 2**64, number))
    return int(sequence.generate_state(1, np.uint64)[0]) if number else seed


def _check(graph: Graph, layers: list[Layer], arrays: Mapping[str, np.ndarray]) -> None:
    if not layers:
        expected = "a layer that reads data, such as AnnotatedData"
        raise UserError(f"the {graph.phase} net reads no data", where=graph.net.path, expected=expected)
    taken = [top for layer in layers if layer.type in ("Input", "MemoryData") for top in layer.tops]
    unknown = [top for top in arrays if top not in taken]
    if unknown:
        hint = nearest(unknown[0], taken)
        raise UserError(
            f'an array is given for "{unknown[0]}", which no Input or MemoryData layer makes{hint}',
            where=graph.net.path,
            expected="one of " + ", ".join(taken) if taken else "no arrays",
        )
