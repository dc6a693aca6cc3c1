"""Caffe's DummyData layer: tops that a filler makes."""

from __future__ import annotations

import numpy as np
import torch

from annoset.sources.batches import Batch, Batches
from annoset.sources.order import Order
from converters.pytorch.fillers import fill
from prototxt.graph import Layer
from prototxt.schema import FillerParameter


class DummyDataSource(Batches):
    """The batches of one DummyData layer, endlessly. Constant tops alone are the same in each; without a filler, 0.

    Args:
        layer: a layer of a graph, which knows its tops' shapes.
        seed: of the fillers; each top of each batch has a generator of its own.
        order: this process's share of the run.

    Raises:
        UserError: a filler that is not known or does not suit its top.
    """

    def __init__(self, layer: Layer, seed: int, order: Order | None = None) -> None:
        super().__init__(layer, 1, seed, order=order)
        self.shape = dict(zip(layer.tops, layer.top_shapes, strict=True))
        fillers = layer.proto.dummy_data_param.data_filler or [FillerParameter()]
        self._fillers = list(fillers) * (len(layer.tops) if len(fillers) == 1 else 1)
        constant = [filler.type == "constant" for filler in self._fillers]
        first = self._fill(0, range(len(layer.tops)))
        self._constant = {top: first[top] for top, fixed in zip(layer.tops, constant) if fixed}
        self._varying = [number for number, fixed in enumerate(constant) if not fixed]

    def make(self, start: int) -> Batch:
        constant = {top: array.copy() for top, array in self._constant.items()}  # a net may work on it in place
        return constant | self._fill(self.order.number(start), self._varying)

    def _fill(self, batch: int, numbers: range | list[int]) -> Batch:
        """The tops of these numbers in a batch of the run."""
        filled = {}
        for number in numbers:
            top = self.layer.tops[number]
            sequence = np.random.SeedSequence((self.seed % 2**64, batch, number))
            generator = torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
            blob = torch.empty(self.shape[top])
            fill(blob, self._fillers[number], generator, self.layer)
            filled[top] = blob.numpy()
        return filled
