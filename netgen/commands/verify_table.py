"""What `netgen verify` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from converters.proof.differences import Difference
    from converters.proof.report import Subject
    from converters.proof.verify import Comparison


def print_result(found: Comparison, subject: Subject) -> bool:
    """Print the tables and what to know about them; whether all is the same."""
    from converters.proof.report import layer_of

    tolerances = found.tolerances(subject.tolerance)
    _print_outputs(found, tolerances)
    if len(found.inputs) > 1:
        _print_inputs(found, tolerances)
    if found.layers:
        _print_layers(found, tolerances)
    for backend, seconds in found.seconds.items():
        allowed = "" if backend == found.reference else f", tolerance {tolerances[backend]:g}"
        typer.echo(f"{backend} {found.versions[backend]}: {seconds:.2f} s{allowed}")
    for backend, reason in found.skipped.items():
        typer.echo(f"{backend}: skipped, {reason}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    failed, first = found.unexplained(tolerances), found.first_apart(tolerances)
    for backend, one in first.items():
        layer = layer_of(one.blob, backend, found)
        typer.echo(f"{backend} first differs in layer {layer}: {one.largest:.1e} of {one.blob}, on {one.input}")
    if failed and found.layers and not first:
        typer.echo("no layer that can be seen leaves the tolerance alone")
    return not failed and not first


def _print_outputs(found: Comparison, tolerances: Mapping[str, float]) -> None:
    numbers = ("Compared", "Values or boxes", "Scores", "Unpaired")
    rows = [[*_cells(one), _verdict(one, found, tolerances)] for one in found.differences]
    _print(f"Largest differences from {found.reference}", ("Output", "Backend"), numbers, rows)


def _print_inputs(found: Comparison, tolerances: Mapping[str, float]) -> None:
    rows = [
        [one.input, one.backend, f"{one.largest:.1e}", f"in {one.blob}, {_verdict(one, found, tolerances)}"]
        for one in found.worst_by_input()
    ]
    _print("The worst of each input", ("Input", "Backend"), ("Difference",), rows)


def _print_layers(found: Comparison, tolerances: Mapping[str, float]) -> None:
    """A row for each value of the net, a column for each backend; what is above the tolerance is marked."""
    from converters.proof.report import ABOVE, KNOWN, verdict_of

    marks = {ABOVE: "! ", KNOWN: "~ "}
    backends = [name for name in found.seconds if name != found.reference]
    values: dict[str, dict[str, str]] = {}
    for one in found.layers:
        mark = marks.get(verdict_of(one, found, tolerances)[0], "")
        values.setdefault(one.blob, {})[one.backend] = f"{mark}{one.largest:.1e}"
    rows = [
        [found.makers[blob].name, found.makers[blob].type, blob, *(cells.get(name, "") for name in backends), ""]
        for blob, cells in values.items()
        if blob in found.makers
    ]
    title = "Layer by layer (! above the tolerance, ~ known)"
    _print(title, ("Layer", "Type", "Value"), backends, rows)


def _print(title: str, texts: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of columns of text, of numbers, and one more of text without a head."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in texts:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a pipe has no width; names stay whole there
        console.width = 1000
    console.print(table)


def _verdict(difference: Difference, found: Comparison, tolerances: Mapping[str, float]) -> str:
    from converters.proof.report import ABOVE, OK, verdict_of

    verdict, reason = verdict_of(difference, found, tolerances)
    return {OK: "ok", ABOVE: f"above {tolerances[difference.backend]:g}"}.get(verdict, f"known: {reason}")


def _cells(difference: Difference) -> list[str]:
    is_detections = difference.scores is not None
    return [
        difference.blob,
        difference.backend,
        f"{difference.compared:,} {'detections' if is_detections else 'values'}",
        f"{difference.values:.1e}",
        f"{difference.scores:.1e}" if is_detections else "",
        str(difference.unpaired) if is_detections else "",
    ]
