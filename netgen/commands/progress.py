"""The bar below which a long loop runs, on standard error, so that standard output stays for results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def watch(items: Sequence[Any], what: str) -> Iterable[Any]:
    """Pass the items on; on a terminal, show how many of them are done, the rate and the time left."""
    from rich.console import Console

    from solver.log import Screen

    screen = Screen(Console(stderr=True))
    with screen.open():
        yield from screen.track(items, what, done=0, total=len(items))
