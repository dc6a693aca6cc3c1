"""What a reader under test is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        suffix: of the files it is given.
        read: reads one; it returns or raises UserError, and anything else is a finding.
        seeds: makes whole files.
        text: whether these are text.
        share: of a run's files that it is given; below 1 where each takes long.
    """

    suffix: str
    read: Callable[[Path], None]
    seeds: Callable[[], list[bytes]]
    text: bool = False
    share: float = 1.0
