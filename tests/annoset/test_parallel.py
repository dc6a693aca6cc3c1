"""Results in order, from threads and from processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from annoset.parallel import Processes, in_order
from prototxt.errors import UserError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_keep_the_order(threads):
    assert list(in_order(lambda item: (time.sleep(0.002 * (item % 3)), item)[1], range(40), threads)) == [*range(40)]


def test_threads_take_no_more_than_they_need():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = in_order(str, items(), 3)
    assert next(results) == "0" and len(taken) == 6
    results.close()
    assert threading.active_count() < 4


def test_what_a_thread_raises_comes_in_its_turn():
    results = in_order(lambda item: 10 // item, (5, 2, 0, 1), 2)
    assert (next(results), next(results)) == (2, 5)
    with pytest.raises(ZeroDivisionError):
        next(results)


def process_and_length(item: str) -> tuple[int, int]:
    return os.getpid(), len(item)


@linux
@pytest.mark.parametrize("length", [1, 3_000])
def test_processes_keep_the_order(length):
    """Also when what is sent to them does not fit into a pipe."""
    items = ["x" * (length + number % 7) for number in range(1_500)]
    with Processes(process_and_length, 2, len(items)) as processes:
        results = list(processes.in_order(items))
    assert [one for _, one in results] == [len(item) for item in items]
    pids = {pid for pid, _ in results}
    assert len(pids) == 2 and os.getpid() not in pids
    assert not any(exists(pid) for pid in pids)


@pytest.mark.parametrize(("count", "items"), [(1, 5_000), (8, 20)])
def test_little_work_is_done_here(count, items):
    with Processes(process_and_length, count, items) as processes:
        assert {pid for pid, _ in processes.in_order(["a"] * 20)} == {os.getpid()}


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def die(item: int) -> int:
    if item == 700:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@linux
def test_a_process_that_dies_is_told():
    with (
        pytest.raises(UserError, match="a process that was started to help has died\n  fix: was it killed for want of"),
        Processes(die, 2, 5_000) as processes,
    ):
        list(processes.in_order(range(5_000)))


def mistake(item: int) -> UserError:
    return UserError(f"found {item}", where="a.xml:3", expected="more", fix="mend it")


@linux
def test_mistakes_travel_between_processes():
    with Processes(mistake, 2, 2_000) as processes:
        assert str(list(processes.in_order(range(2_000)))[-1]) == str(mistake(1_999))
