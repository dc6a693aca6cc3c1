"""Findings as text, as JSON and as annotations of a GitHub workflow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prototxt.lint.finding import ERROR, NOTE, SEVERITIES, WARNING, Finding

_GITHUB = {ERROR: "error", WARNING: "warning", NOTE: "notice"}
# What a workflow command would take for its own end, or for another property.
_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


# So many findings of one file that say the same of different layers are shown to people; the others are counted.
_ALIKE = 3


def text(findings: Sequence[Finding], paint: Callable[[str], str] = str) -> Iterator[str]:
    """`FILE:LINE: severity: layer "NAME" (TYPE): reason [check]` and, on the next line, the fix.

    Args:
        paint: what colours the word of a severity.
    """
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.file, finding.check, finding.severity, finding.reason), []).append(finding)
    for group in alike.values():
        for f in group[:_ALIKE]:
            yield f"{f.where}: {paint(f.severity)}: {f.subject}{f.reason} [{f.check}]\n  fix: {f.fix}"
        if len(group) > _ALIKE:
            f = group[_ALIKE]
            yield f"{f.where}: {paint(f.severity)}: the same of {_many(len(group) - _ALIKE, 'more layer')} [{f.check}]"


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many there are of each severity."""
    found = Counter(finding.severity for finding in findings)
    return {severity: found[severity] for severity in SEVERITIES}


def closing(findings: Sequence[Finding], files: int) -> str:
    """The last line for people: `3 files: 1 error, 2 warnings, 0 notes`."""
    words = [_many(count, severity) for severity, count in counts(findings).items()]
    return f"{_many(files, 'file')}: {', '.join(words)}"


def as_json(findings: Sequence[Finding], files: int) -> str:
    """`findings`, a list of objects with the attributes of Finding, and `summary`, counts by severity and of files."""
    data = {"findings": [finding.plain() for finding in findings], "summary": {"files": files, **counts(findings)}}
    return json.dumps(data, indent=1, ensure_ascii=False)


def github(finding: Finding) -> str:
    """A workflow command that GitHub shows as an annotation of the line."""
    place = {
        "file": finding.file,
        "line": str(finding.line) if finding.line else "",
        "title": f"netgen lint: {finding.check}",
    }
    properties = ",".join(f"{key}={_escaped(value, _PROPERTY)}" for key, value in place.items() if value)
    message = f"{finding.subject}{finding.reason}\nfix: {finding.fix}"
    return f"::{_GITHUB[finding.severity]} {properties}::{_escaped(message, _DATA)}"


def _escaped(value: str, table: dict[str, str]) -> str:
    return "".join(table.get(letter, letter) for letter in value)


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
