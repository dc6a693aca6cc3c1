"""Which record comes when: key order, shuffled rounds, skipped records, and the shares of several processes."""

from __future__ import annotations

import pytest

from annoset.sources.order import Order, draw_skip


def records(order: Order, count: int, seed: int = 1, skip: int = 0) -> list[int]:
    return [order.record(order.number(position), 10, seed, skip) for position in range(count)]


def test_key_order_goes_round():
    assert records(Order(), 25) == [*range(10), *range(10), *range(5)]
    assert records(Order(), 12, skip=23) == [3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


def test_each_shuffled_round_has_every_record_in_an_order_of_its_own():
    drawn = records(Order(shuffle=True), 40)
    rounds = [drawn[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(one) == list(range(10)) for one in rounds)
    assert len({tuple(one) for one in rounds} | {tuple(range(10))}) == 5
    assert drawn == records(Order(shuffle=True), 40) != records(Order(shuffle=True), 40, seed=2)


def test_first_places_of_shuffled_rounds_are_even():
    first = [Order(shuffle=True).record(0, 10, seed) for seed in range(4000)]
    assert all(abs(first.count(one) - 400) < 4 * (4000 * 0.09) ** 0.5 for one in range(10))


@pytest.mark.parametrize("shuffle", [False, True])
def test_processes_share_out_the_run(shuffle):
    alone = records(Order(shuffle), 60)
    shares = [records(Order(shuffle, rank, 3), 20) for rank in range(3)]
    assert [one for together in zip(*shares, strict=True) for one in together] == alone


def test_skipped_records_are_even():
    drawn = [draw_skip(5, seed) for seed in range(-2000, 2000)]
    assert all(abs(drawn.count(one) - 800) < 4 * (4000 * 0.16) ** 0.5 for one in range(5))
    assert sum(drawn.count(one) for one in range(5)) == 4000
    assert draw_skip(0, 3) == 0 and draw_skip(1, 3) == 0 and draw_skip(100, 3) == draw_skip(100, 3)


def test_a_rank_beyond_the_ranks_is_a_callers_mistake():
    with pytest.raises(ValueError, match="rank 2 of 2"):
        Order(rank=2, ranks=2)
