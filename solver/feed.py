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

from annoset.loader import AnnotatedDataSource
from prototxt.errors import UserError
from prototxt.graph import Graph, Layer
from prototxt.shapes import SOURCES

Feed = Callable[[int], Mapping[str, np.ndarray]]

# Batches made while the net computes, a thread for each: half the cores, since the net wants some, too.
_AHEAD = min(8, max(2, (os.cpu_count() or 2) // 2))


def tensors(batch: Any, device: torch.device | str) -> dict[str, torch.Tensor]:
    """A feed's batch as tensors on `device`."""
    return {top: torch.from_numpy(np.ascontiguousarray(array)).to(device) for top, array in batch.items()}


class DataFeed:
    """The batches of a net's AnnotatedData layers, made ahead by threads. Close it, or use it in a `with`.

    Args:
        graph: the net; its phase is the sources'.
        seed: of the augmentation.
        root: the folder that the layers' relative paths start from.

    Raises:
        UserError: a net fed by another layer type, or what AnnotatedDataSource raises.
    """

    def __init__(self, graph: Graph, seed: int, root: Path) -> None:
        layers = [layer for layer in graph.layers if layer.type in SOURCES]
        _check(graph, layers)
        self._sizes = [layer.proto.data_param.batch_size for layer in layers]
        self._sources: list[AnnotatedDataSource] = []
        self._next = 0
        try:
            for layer in layers:
                self._sources.append(AnnotatedDataSource(layer.proto, graph.phase, seed, root, prefetch=_AHEAD))
        except BaseException:
            self.close()
            raise

    def __call__(self, batch: int) -> dict[str, np.ndarray]:
        if batch != self._next:
            for source, size in zip(self._sources, self._sizes):
                source.restore({"seed": source.seed, "position": batch * size})
        self._next = batch + 1
        return {top: array for source in self._sources for top, array in source.next_batch().items()}

    def close(self) -> None:
        for source in self._sources:
            source.close()

    def __enter__(self) -> DataFeed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check(graph: Graph, layers: list[Layer]) -> None:
    if not layers:
        raise UserError(f"the {graph.phase} net reads no data", where=graph.net.path, expected="an AnnotatedData layer")
    for layer in layers:
        if layer.type != "AnnotatedData":
            raise layer.error(
                f"nothing feeds it in phase {graph.phase}",
                expected="an AnnotatedData layer, which reads an LMDB",
                fix="give the train or test prototxt, not the deploy one",
            )
