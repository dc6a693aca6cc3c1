"""Ctrl-C as a request: the iteration is finished, a snapshot written, then the run stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


class StopSignal:
    """Catches SIGINT while it is open; a second one ends the process at once.

    Attributes:
        asked: whether a stop has been asked for. Code may set it, too.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.asked = False
        self._tell = tell
        self._previous = None

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            self._previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _ask(self, *_: object) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._tell("Stopping: a snapshot is written first. Press Ctrl-C again to stop without it.")
