"""Which of a great many values occur more than once, in eight bytes of memory each."""

from __future__ import annotations

import hashlib
from array import array

import numpy as np


def fingerprint(value: bytes) -> int:
    """64 bits that differ where values differ: of a million values, two are taken for one in one of 10^7 cases."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "little")


class Duplicates:
    """Takes the fingerprints of values one after the other."""

    def __init__(self) -> None:
        self._fingerprints = array("Q")

    def add(self, fingerprint: int) -> None:
        self._fingerprints.append(fingerprint)

    def pairs(self) -> list[tuple[int, int]]:
        """For each value that came before: its position, and that of its first occurrence. Positions rise."""
        values = np.frombuffer(self._fingerprints, np.uint64) if self._fingerprints else np.empty(0, np.uint64)
        _, first, which = np.unique(values, return_index=True, return_inverse=True)
        firsts = first[which.reshape(-1)]
        repeated = np.flatnonzero(firsts != np.arange(len(values)))
        return list(zip(repeated.tolist(), firsts[repeated].tolist()))
