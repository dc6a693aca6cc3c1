"""Caffe's MemoryData and Input layers: arrays that a program gives, dealt out in batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from annoset.sources.batches import Batch, Batches
from annoset.sources.order import Order
from prototxt.graph import Layer, show

_FIX = {
    "Input": "give the train or test prototxt, not the deploy one",
    "MemoryData": "let a Data, ImageData or HDF5Data layer read the data",
}


class ArraySource(Batches):
    """The batches of one MemoryData or Input layer, endlessly: the rows of its arrays, round and round.

    Args:
        layer: a layer of a graph, which knows its tops' shapes; their first size is the batch.
        arrays: top -> array; its first axis is as long as a whole number of batches, the others are the top's.
        seed: of the order of rows, if they are shuffled.
        order: shuffling, and this process's share of the run.

    Raises:
        UserError: a top without an array, arrays that do not fit; a transform_param, which Caffe does not heed here.
    """

    records: int

    def __init__(
        self, layer: Layer, arrays: Mapping[str, np.ndarray], seed: int = 0, order: Order | None = None
    ) -> None:
        self.shape = dict(zip(layer.tops, layer.top_shapes, strict=True))
        _check(layer, arrays)
        self._arrays = {top: np.asarray(arrays[top], np.float32) for top in layer.tops}
        super().__init__(layer, layer.top_shapes[0][0], seed, order=order)
        self.records = len(self._arrays[layer.tops[0]])

    def make(self, start: int) -> Batch:
        numbers = (self.order.number(start + item) for item in range(self.batch_size))
        rows = [self.order.record(number, self.records, self.seed) for number in numbers]
        return {top: array[rows] for top, array in self._arrays.items()}


def _check(layer: Layer, arrays: Mapping[str, np.ndarray]) -> None:
    missing = [top for top in layer.tops if top not in arrays]
    if missing and len(missing) < len(layer.tops):
        raise layer.error(f'no array is given for its top "{missing[0]}"', expected="one for each top")
    if missing:
        raise layer.error(
            f"nothing feeds it in phase {layer.phase}",
            expected="an AnnotatedData layer or another that reads data; or arrays, which only a program can give",
            fix=_FIX[layer.type],
        )
    if layer.proto.HasField("transform_param"):
        fix = "remove it, and transform the arrays before they are given"
        raise layer.error("it has a transform_param, but arrays are not transformed", fix=fix)
    counts = {top: len(arrays[top]) if np.ndim(arrays[top]) else 0 for top in layer.tops}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} of {top}" for top, count in counts.items())
        raise layer.error(f"its arrays have unequal numbers of rows: {found}", expected="as many of each")
    for top, shape in zip(layer.tops, layer.top_shapes):
        given = np.shape(arrays[top])
        if given[1:] != shape[1:] or len(given) != len(shape) or not given[0] or given[0] % shape[0]:
            raise layer.error(
                f'the array for its top "{top}" is {show(given)}',
                expected=f"{show(shape)}, or a whole number of such batches one after the other",
            )
