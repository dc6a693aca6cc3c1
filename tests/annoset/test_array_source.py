"""MemoryData and Input layers: arrays of a program, dealt out in batches."""

from __future__ import annotations

import numpy as np
import pytest

from annoset.sources.arrays import ArraySource
from annoset.sources.order import Order
from prototxt.errors import UserError

MEMORY = (
    'name: "in" type: "MemoryData" top: "data" top: "label" '
    "memory_data_param { batch_size: 2 channels: 1 height: 3 width: 4 }"
)
DATA = np.arange(72, dtype=np.float64).reshape(6, 1, 3, 4)
LABEL = np.arange(6)


@pytest.fixture
def memory(layer_of):
    def make(*texts: str, **arrays):
        layer = layer_of(MEMORY, *texts)
        layer.infer([])
        return ArraySource(layer, arrays)

    return make


def test_batches_go_round(memory):
    made = memory(data=DATA, label=LABEL)
    assert made.shape == {"data": (2, 1, 3, 4), "label": (2,)}
    for first in (0, 2, 4, 0):
        batch = made.next_batch()
        np.testing.assert_array_equal(batch["data"], np.float32(DATA[first : first + 2]), strict=True)
        np.testing.assert_array_equal(batch["label"], np.float32([first, first + 1]), strict=True)
    made.restore({"seed": 0, "position": 10})
    assert made.next_batch()["label"].tolist() == [4, 5]


def test_processes_share_the_rows(layer_of):
    layer = layer_of('type: "Input" top: "a" input_param { shape { dim: 1 } }')
    layer.infer([])
    shares = [ArraySource(layer, {"a": LABEL}, order=Order(rank=rank, ranks=2)) for rank in range(2)]
    assert [[share.next_batch()["a"].tolist() for _ in range(4)] for share in shares] == [
        [[0], [2], [4], [0]],
        [[1], [3], [5], [1]],
    ]


def test_rows_can_be_shuffled(layer_of):
    layer = layer_of('type: "Input" top: "a" input_param { shape { dim: 3 } }')
    layer.infer([])
    made, again = (ArraySource(layer, {"a": LABEL}, 5, Order(shuffle=True)) for _ in range(2))
    rounds = [[*made.next_batch()["a"], *made.next_batch()["a"]] for _ in range(4)]
    assert all(sorted(one) == [*LABEL] for one in rounds) and len({*map(tuple, rounds)}) > 1
    assert rounds == [[*again.next_batch()["a"], *again.next_batch()["a"]] for _ in range(4)]


@pytest.mark.parametrize(
    "arrays, text, message",
    [
        ({}, "", "nothing feeds it in phase TRAIN; expected.*\n  fix: let a Data, ImageData or HDF5Data layer read"),
        ({"data": DATA}, "", 'no array is given for its top "label"; expected one for each top'),
        ({"data": DATA, "label": LABEL[:4]}, "", "unequal numbers of rows: 6 of data, 4 of label"),
        (
            {"data": DATA[:5], "label": LABEL[:5]},
            "",
            'for its top "data" is 5×1×3×4; expected 2×1×3×4, or a whole number',
        ),
        ({"data": DATA[:0], "label": LABEL[:0]}, "", 'the array for its top "data" is 0×1×3×4'),
        ({"data": DATA[..., :3], "label": LABEL}, "", 'for its top "data" is 6×1×3×3; expected 2×1×3×4'),
        ({"data": DATA, "label": LABEL[:, None]}, "", 'for its top "label" is 6×1; expected 2, or'),
        ({"data": DATA, "label": 3}, "", "unequal numbers of rows: 6 of data, 0 of label"),
        (
            {"data": DATA, "label": LABEL},
            "transform_param { scale: 2 }",
            "arrays are not transformed\n  fix: remove it",
        ),
    ],
)
def test_mistakes(memory, arrays, text, message):
    with pytest.raises(UserError, match=r'^net.prototxt:7: layer "in" \(MemoryData\): .*' + message):
        memory(text, **arrays)


def test_an_input_without_arrays(layer_of):
    layer = layer_of('name: "in" type: "Input" top: "a" input_param { shape { dim: 1 } }', phase="TEST")
    layer.infer([])
    with pytest.raises(
        UserError, match=r"in phase TEST; .*\n  fix: give the train or test prototxt, not the deploy one"
    ):
        ArraySource(layer, {})
