"""Work spread over threads or processes, its results in order."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from prototxt.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

_CHUNK = 32  # items sent at once
_LARGEST_AHEAD = 32 << 10  # bytes; what a pipe holds without a reader is 64 KiB
_LEAST = 1000  # items that are worth starting processes


def cores() -> int:
    """Cores that this process may use, which in a container are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(make: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`make(item)` for each item, in their order; with several threads at most 2 × `threads` are held in memory.

    The items are drawn by the calling thread. What `make` raises is raised here, in its place.
    """
    if threads < 2:
        yield from map(make, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, "in-order") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Processes:
    """Processes that call `work` on items; a context manager.

    They are for work that Python's lock keeps from running in threads. They are forked, which takes no time, but must
    happen before this process starts threads. Where there is no fork (or none that is safe, as on macOS), and for few
    items, the work is done here.

    Args:
        work: gets an item and gives a result; both can be pickled. It raises nothing.
        count: how many processes; below 2, the work is done here.
        items: about how many items there will be.
    """

    def __init__(self, work: Callable[[T], R], count: int, items: int) -> None:
        self._work = work
        self._ends: list[Connection] = []
        self._processes: list[Any] = []
        if count < 2 or items < _LEAST or not sys.platform.startswith("linux"):
            return
        context = multiprocessing.get_context("fork")
        for _ in range(count):
            ours, theirs = context.Pipe()
            self._ends.append(ours)
            process = context.Process(target=_serve, args=(work, theirs, tuple(self._ends)), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: Any) -> None:
        for end in self._ends:
            end.close()  # which ends the processes; those in the midst of a result are not waited for
        for process in self._processes:
            process.terminate()
            process.join()

    def in_order(self, items: Iterable[T]) -> Iterator[R]:
        """The results of `items`, in their order. Raises UserError when a process dies."""
        items, turn = iter(items), 0
        if not self._ends:  # in chunks here, too: the same work again and again finds its code and data in the cache
            while chunk := list(islice(items, _CHUNK)):
                yield from [self._work(item) for item in chunk]
            return
        waiting: deque[Connection] = deque()
        while chunk := list(islice(items, _CHUNK)):
            end = self._ends[turn % len(self._ends)]
            turn += 1
            message = pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL)
            # Two chunks a process keep it busy. But a long one that it does not take, as it waits to be rid of a
            # result, would have both sides wait for ever.
            most = 2 * len(self._ends) if len(message) <= _LARGEST_AHEAD else 1
            while len(waiting) >= most:
                yield from _receive(waiting.popleft())
            _send(end, message)
            waiting.append(end)
        while waiting:
            yield from _receive(waiting.popleft())


def _send(end: Connection, message: bytes) -> None:
    try:
        end.send_bytes(message)
    except OSError as error:
        raise _died() from error


def _receive(end: Connection) -> list[Any]:
    try:
        return pickle.loads(end.recv_bytes())
    except (EOFError, OSError) as error:
        raise _died() from error


def _died() -> UserError:
    fix = "was it killed for want of memory? work without them: --workers 1"
    return UserError("a process that was started to help has died", fix=fix)


def _serve(work: Callable[[Any], Any], end: Connection, others: tuple[Connection, ...]) -> None:
    """What a process does: until this end is closed, or the process at the other one is gone."""
    for other in others:
        other.close()  # were the other ends open here, the parent's death would show nowhere
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        while True:
            results = [work(item) for item in pickle.loads(end.recv_bytes())]
            end.send_bytes(pickle.dumps(results, pickle.HIGHEST_PROTOCOL))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)
