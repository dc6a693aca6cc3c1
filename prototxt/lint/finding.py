"""What lint finds, and the table of checks that find it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from prototxt.registry import Registry

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)

_WHERE = re.compile(r"(.*?)(?::(\d+))?(?::\d+)?", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd in a file.

    Attributes:
        check: id of the check that found it.
        severity: "error" (Caffe aborts, or the result is wrong), "warning" (it runs, and hardly as meant) or
            "note" (worth knowing; does not fail a run).
        file, line: where; line 0 when the place is the whole file.
        layer, type: the layer it is about; empty when it is about none.
        reason: what is wrong, as a sentence without its full stop.
        fix: what to do about it.
    """

    check: str
    severity: str
    file: str
    line: int
    layer: str
    type: str
    reason: str
    fix: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def subject(self) -> str:
        return f'layer "{self.layer}" ({self.type}): ' if self.type or self.layer else ""

    def plain(self) -> dict[str, Any]:
        """Its attributes as plain data, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """What a check yields: a place, a reason and a fix.

    Args:
        at: a layer (anything with `where`, `name` and `type`) or `FILE:LINE`.
        severity: that of the check when empty.
    """

    at: Any
    reason: str
    fix: str
    severity: str = ""


@dataclass(frozen=True)
class Check:
    """A rule that subjects of one class (a net, a solver) are held against; its docstring says what and why."""

    name: str
    severity: str
    over: type
    run: Callable[[Any], Iterator[Found]]

    def findings(self, subject: Any) -> Iterator[Finding]:
        for found in self.run(subject):
            where = found.at if isinstance(found.at, str) else found.at.where
            name, type_name = ("", "") if isinstance(found.at, str) else (found.at.name, found.at.type)
            file, line = split_where(where)
            severity = found.severity or self.severity
            yield Finding(self.name, severity, file, line, name, type_name, found.reason, found.fix)


CHECKS: Registry[Check] = Registry("check", "called")


def check(name: str, severity: str, over: type) -> Callable[[Any], Any]:
    """Decorator that enters a function as the check called `name`; it takes a subject of the class `over`."""

    def enter(run: Any) -> Any:
        CHECKS.register(name)(Check(name, severity, over, run))
        return run

    return enter


def run_checks(subject: Any) -> list[Finding]:
    """What every check for subjects of this class finds."""
    return [f for name in CHECKS if CHECKS[name].over is type(subject) for f in CHECKS[name].findings(subject)]


def split_where(where: str) -> tuple[str, int]:
    """File and line of `FILE`, `FILE:LINE` or `FILE:LINE:COLUMN`; line 0 when there is none."""
    match = _WHERE.fullmatch(where)
    return match[1], int(match[2] or 0)
