"""DummyData layers: what is filled once and what in each batch, and with which law."""

from __future__ import annotations

import numpy as np
import pytest

from annoset.sources.order import Order
from prototxt.errors import UserError
from prototxt.graph import Layer
from prototxt.schema import LayerParameter
from prototxt.text import parse
from solver.dummy import DummyDataSource


def dummy(text: str, tops: str = 'top: "a" top: "b"', seed: int = 1, **options) -> DummyDataSource:
    text = f'name: "fill" type: "DummyData" {tops} dummy_data_param {{ {text} }}'
    layer = Layer(parse(text, LayerParameter(), "net.prototxt").message, "net.prototxt:7", "TRAIN")
    layer.infer([])
    return DummyDataSource(layer, seed, **options)


@pytest.mark.parametrize(
    "text, shapes",
    [
        ("shape { dim: 2 dim: 3 }", [(2, 3), (2, 3)]),
        ("shape { dim: 2 dim: 3 } shape { dim: 5 }", [(2, 3), (5,)]),
        ("shape { } shape { dim: 5 }", [(), (5,)]),
        ("num: 2 channels: 3 height: 4 width: 5", [(2, 3, 4, 5)] * 2),
        ("num: [2, 7] channels: 3 height: 4 width: [5, 1]", [(2, 3, 4, 5), (7, 3, 4, 1)]),
    ],
)
def test_shapes(text, shapes):
    made = dummy(text)
    assert list(made.shape.values()) == shapes
    batch = made.next_batch()
    assert [batch[top].shape for top in "ab"] == shapes
    assert all(array.dtype == np.float32 and not array.any() for array in batch.values())  # no filler: constant 0


def test_constants_stay_and_the_rest_is_filled_anew():
    text = 'shape { dim: 3 } data_filler { value: 2.5 } data_filler { type: "uniform" min: 4 max: 6 }'
    made = dummy(text)
    batches = [made.next_batch() for _ in range(200)]
    for batch in batches:
        np.testing.assert_array_equal(batch["a"], np.float32([2.5] * 3), strict=True)
        batch["a"] += 1  # as a layer in place may
    drawn = np.stack([batch["b"] for batch in batches])
    assert len(np.unique(drawn)) == 600
    assert 4 <= drawn.min() < 4.05 and 5.95 < drawn.max() <= 6 and abs(drawn.mean() - 5) < 0.1


def test_one_filler_for_all_tops_fills_each_on_its_own():
    batch = dummy('shape { dim: 4000 } data_filler { type: "gaussian" mean: 1 std: 3 }').next_batch()
    assert abs(np.corrcoef(batch["a"], batch["b"])[0, 1]) < 0.07  # 4.4 standard deviations
    for array in batch.values():
        assert abs(array.mean() - 1) < 0.2 and abs(array.std() - 3) < 0.15


def test_batches_depend_on_seed_and_number_alone():
    text = 'shape { dim: 3 } data_filler { type: "gaussian" std: 1 }'
    first, second, other = dummy(text), dummy(text, seed=9), dummy(text, seed=2)
    batches = [first.next_batch()["a"] for _ in range(6)]
    second.next_batch()
    second.restore({"seed": 1, "position": 3})
    np.testing.assert_array_equal(second.next_batch()["a"], batches[3])
    shares = [dummy(text, order=Order(rank=rank, ranks=2)) for rank in range(2)]
    for number, batch in enumerate(batches):
        np.testing.assert_array_equal(shares[number % 2].next_batch()["a"], batch)
        assert not np.array_equal(other.next_batch()["a"], batch)


@pytest.mark.parametrize(
    "text, message",
    [
        ("shape { dim: 1 } num: 1", "gives both shape and num, channels, height, width; keep one"),
        ("num: 1 channels: 2 height: 3", "gives width 0 times; it takes one, or one for each top"),
        ("shape { dim: 1 } shape { dim: 1 } shape { dim: 1 }", "gives shape 3 times"),
        ("", "gives shape 0 times"),
        ("shape { dim: 1 }" + "data_filler { }" * 3, "gives 3 data_fillers for 2 tops"),
        ('shape { dim: 1 } data_filler { type: "noise" }', 'filler type "noise" is not known; expected one of'),
        ('shape { dim: 1 } data_filler { type: "uniform" min: 2 }', "the uniform filler has min 2 above max 1"),
        ('shape { dim: 1 } data_filler { type: "bilinear" }', "the bilinear filler needs square kernels, not 1"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(UserError, match=r'^net.prototxt:7: layer "fill" \(DummyData\): .*' + message):
        dummy(text)
