"""`debug_info: true`: the mean absolute value of every blob and gradient, to find where a net dies or explodes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

COLUMNS = ("iteration", "kind", "name", "data", "diff")


class BlobMeans:
    """Means of one iteration, the numbers that Caffe logs as [Forward], [Backward] and [Update].

    Of a blob that layers overwrite in place it is the last value; of a parameter the gradient is the sum over
    `iter_size` batches, before clipping and decay.
    """

    def __init__(self) -> None:
        self._watched: dict[str, torch.Tensor] = {}
        self._parameters: list[tuple[str, float, float]] = []

    def watch(self, blobs: Mapping[str, torch.Tensor]) -> None:
        """Keep the blobs of a forward, and their gradients when they come."""
        self._watched = dict(blobs)
        for tensor in self._watched.values():
            if tensor.requires_grad:
                tensor.retain_grad()

    def blobs(self, net: Any) -> None:
        """Note the learned blobs before they are updated."""
        for blob in net.blobs():
            name = f"{blob.layer}/{blob.index}"
            self._parameters.append((name, _mean(blob.tensor), _mean(blob.tensor.grad)))

    def append(self, path: Path, iteration: int) -> None:
        """Add the rows of this iteration to a CSV: iteration, kind (blob or param), name, mean data, mean diff."""
        rows = [(iteration, "blob", name, _mean(t), _mean(t.grad)) for name, t in self._watched.items()]
        rows += [(iteration, "param", *values) for values in self._parameters]
        new = iteration == 0 or not path.exists()
        with path.open("w" if new else "a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows(([COLUMNS] if new else []) + [(*r[:3], *(f"{v:.6g}" for v in r[3:])) for r in rows])


def _mean(tensor: torch.Tensor | None) -> float:
    """Mean absolute value; 0 for a gradient that was not computed, as Caffe's blobs hold zeros there."""
    return float(tensor.detach().abs().mean()) if tensor is not None and tensor.numel() else 0.0
