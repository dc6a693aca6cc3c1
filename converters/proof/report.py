"""A comparison as a report: everything that a reader needs to believe it, and to run it again."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from converters.proof.differences import Difference
from converters.proof.samples import Sample
from converters.proof.verify import Comparison
from prototxt.errors import UserError
from prototxt.files import atomic_write
from prototxt.graph import Graph

OK, KNOWN, ABOVE = "ok", "known", "above"


@dataclass(frozen=True)
class Subject:
    """What was compared.

    Attributes:
        graph: the net.
        files: what a file is -> the file.
        samples: what the net was run on.
        settings: what else decides the figures: mean, scale, seed.
        tolerance: what was asked for; None for what each backend's precision leaves.
    """

    graph: Graph
    files: Mapping[str, Path]
    samples: Sequence[Sample]
    settings: Mapping[str, Any]
    tolerance: float | None


def verdict_of(difference: Difference, found: Comparison, tolerances: Mapping[str, float]) -> tuple[str, str]:
    """OK, KNOWN with what the backend is known to do otherwise, or ABOVE."""
    if difference.largest <= tolerances[difference.backend]:
        return OK, ""
    reason = found.misread.get((difference.blob, difference.backend), "")
    return (KNOWN if reason else ABOVE), reason


def layer_of(blob: str, backend: str, found: Comparison) -> str:
    """The layer that makes a value, with those that are folded into it there: `conv1 (conv1/bn inside)`."""
    layer = found.makers.get(blob)
    if layer is None:
        return blob
    into = found.into.get(backend, {})
    taker = into.get(layer.name, layer.name)
    inside = [name for name, other in into.items() if other == taker]
    return f"{taker} ({', '.join(inside)} inside)" if inside else taker


def as_report(found: Comparison, subject: Subject) -> dict[str, Any]:
    """Everything, of plain types, for JSON and for other forms; what is infinite or NaN is a string."""
    tolerances = found.tolerances(subject.tolerance)
    failed = found.unexplained(tolerances)
    first = found.first_apart(tolerances)
    graph = subject.graph
    return {
        "verdict": "differs" if failed or first else "the same",
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "net": {
            "name": graph.name,
            "layers": len(graph.layers),
            "inputs": {name: list(shape) for name, shape in graph.inputs.items()},
            "outputs": list(graph.outputs),
        },
        "files": [_file(what, path) for what, path in _files(subject)],
        "onnx": dict(found.facts),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "Python": platform.python_version(),
        },
        "backends": _backends(found, tolerances),
        "inputs": [_input(sample) for sample in subject.samples],
        "settings": {name: list(v) if isinstance(v, tuple) else v for name, v in subject.settings.items()},
        "outputs": [_row(one, found, tolerances) for one in found.differences],
        "worst of each input": [_row(one, found, tolerances) for one in found.worst_by_input()],
        "cases": [_row(one, found, tolerances) for one in found.cases],
        "layers": [_row(one, found, tolerances) for one in found.layers],
        "first layers apart": {
            name: {"layer": layer_of(one.blob, name, found), "value": one.blob, "largest": _number(one.largest)}
            for name, one in first.items()
        },
        "known misreadings": sorted({reason for reason in found.misread.values()}),
        "notes": list(found.notes),
    }


def _files(subject: Subject) -> list[tuple[str, Path]]:
    beside = [(f"{what} data", path.with_name(path.name + ".data")) for what, path in subject.files.items()]
    return [*subject.files.items(), *((what, path) for what, path in beside if path.is_file())]


def _file(what: str, path: Path) -> dict[str, Any]:
    return {"what": what, "path": str(path), "bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return digest.hexdigest()


def _backends(found: Comparison, tolerances: Mapping[str, float]) -> list[dict[str, Any]]:
    ran = [
        {
            "name": name,
            "version": found.versions[name],
            "seconds": round(seconds, 3),
            "tolerance": tolerances[name],
            "precision": "float16" if name in found.halves else "float32",
            "reference": name == found.reference,
        }
        for name, seconds in found.seconds.items()
    ]
    return ran + [{"name": name, "skipped": reason} for name, reason in found.skipped.items()]


def _input(sample: Sample) -> dict[str, Any]:
    shapes = {name: list(shape) for name, shape in sample.shapes.items()}
    digest = {"sha256": _sha256(sample.path)} if sample.path else {}
    return {"name": sample.name, "shapes": shapes, **digest}


def _row(one: Difference, found: Comparison, tolerances: Mapping[str, float]) -> dict[str, Any]:
    verdict, reason = verdict_of(one, found, tolerances)
    layer = found.makers.get(one.blob)
    return {
        "value": one.blob,
        "layer": layer_of(one.blob, one.backend, found),
        "type": layer.type if layer else "",
        "backend": one.backend,
        "input": one.input,
        "compared": one.compared,
        "difference": _number(one.values),
        "scores": None if one.scores is None else _number(one.scores),
        "unpaired": one.unpaired if one.scores is not None else None,
        "verdict": verdict,
        "reason": reason,
    }


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def check_path(path: Path) -> None:
    """Refuse what no report can be written to. Raises UserError."""
    if path.suffix not in WRITERS:
        raise UserError("a report cannot have this ending", where=str(path), expected=" or ".join(WRITERS))
    if not path.parent.is_dir():
        raise UserError("there is no folder for this report", where=str(path), fix="create the folder first")


def write(path: Path, found: Comparison, subject: Subject) -> None:
    """Write a report; its ending says the form. Raises UserError when that cannot be written."""
    text = WRITERS[path.suffix](as_report(found, subject))
    with atomic_write(path, "w") as file:
        file.write(text)


def _json(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _html(report: dict[str, Any]) -> str:
    from converters.proof.report_html import page

    return page(report)


WRITERS: Mapping[str, Callable[[dict[str, Any]], str]] = {".json": _json, ".html": _html}
