"""Which record is which image of a run: shuffling, `rand_skip`, and shares for processes that train together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# What else the seed of a run is good for than the images: SeedSequence's spawn_key keeps these draws apart from theirs.
_SKIP, _SHUFFLE = 0, 1


@dataclass(frozen=True)
class Order:
    """How a run goes through its records, which Caffe knows one way only: in the order of their keys.

    Attributes:
        shuffle: whether each round goes through all records in an order of its own, drawn from the seed.
        rank, ranks: the number of this process among those that train together. It takes the images
            rank, rank + ranks, rank + 2 * ranks … of the run, as SSD-Caffe deals records out to its GPUs.
    """

    shuffle: bool = False
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.ranks:
            raise ValueError(f"rank {self.rank} of {self.ranks}")

    def number(self, position: int) -> int:
        """The number in the whole run of this process's image `position`."""
        return position * self.ranks + self.rank

    def record(self, number: int, records: int, seed: int, skip: int = 0) -> int:
        """The record (of `records`) of image `number` of the whole run, of which `skip` were left out at the start."""
        turn, place = divmod(number + skip, records)
        return int(_shuffled(seed, turn, records)[place]) if self.shuffle else place


@lru_cache(maxsize=16)
def draw_skip(rand_skip: int, seed: int) -> int:
    """How many records to leave out once, at the start: even from 0 to `rand_skip` - 1."""
    if not rand_skip:
        return 0
    return int(np.random.default_rng(np.random.SeedSequence(seed % 2**64, spawn_key=(_SKIP,))).integers(rand_skip))


def image_rng(seed: int, number: int) -> np.random.Generator:
    """The generator of all that is random about image `number` of a run."""
    return np.random.default_rng((seed % 2**64, number))


@lru_cache(maxsize=4)
def _shuffled(seed: int, turn: int, records: int) -> np.ndarray:
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(_SHUFFLE, turn))
    return np.random.default_rng(sequence).permutation(records)
