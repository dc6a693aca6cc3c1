"""Batches of a data layer in their order, made ahead by threads: what all sources share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from annoset.sources.order import Order
from prototxt.graph import Layer

Batch = dict[str, np.ndarray]


class Batches(ABC):
    """The batches of one layer, endlessly. A source sets `shape` and `records`, and makes a batch when asked.

    Item k of a run (counted from 0) depends on the seed and on k alone: not on threads, not on whether the run was
    interrupted; and processes that share a run see together what one would have seen.

    Args:
        layer: the layer.
        batch_size: items in a batch.
        seed: of all that is random.
        prefetch: how many batches are made ahead, each by a thread; 0 makes a batch when it is asked for.
        order: shuffling, and this process's share of the run.

    Attributes:
        shape: top -> shape of the first batch.
        records: items in a round through the data; None where there is no such round.
    """

    shape: dict[str, tuple[int, ...]]
    records: int | None = None

    def __init__(self, layer: Layer, batch_size: int, seed: int, prefetch: int = 0, order: Order | None = None) -> None:
        self.layer, self.batch_size, self.seed, self.order = layer, batch_size, seed, order or Order()
        self._position, self._prefetch = 0, prefetch
        self._threads = ThreadPoolExecutor(prefetch, "data") if prefetch else None
        self._ahead: deque[Future[Batch]] = deque()

    @abstractmethod
    def make(self, start: int) -> Batch:
        """The batch that begins with item `start` of this process: top -> float32 array. Called by several threads."""

    def next_batch(self) -> Batch:
        """The next batch: top -> array. What is wrong with it is raised; the call after that gives the one after it."""
        start = self._position
        self._position += self.batch_size
        if self._threads is None:
            return self.make(start)
        while len(self._ahead) <= self._prefetch:
            self._ahead.append(self._threads.submit(self.make, start + len(self._ahead) * self.batch_size))
        return self._ahead.popleft().result()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next_batch()

    def state(self) -> dict[str, int]:
        """What `restore` needs to go on with the batch that `next_batch` would give now."""
        return {"seed": self.seed, "position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        """Go on as the source whose `state()` this is, wherever this one stands."""
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self.seed, self._position = state["seed"], state["position"]

    def close(self) -> None:
        """Stop the threads and let go of the data."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
