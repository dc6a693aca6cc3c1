"""`netgen diff`: how two nets, or two solvers, differ by meaning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from prototxt.diff import Comparison, Difference


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="Prototxt of a net or a solver.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind.")],
    paths: Annotated[bool, typer.Option("--paths", help="Count the names of files and folders, too.")] = False,
    ignore_names: Annotated[
        bool, typer.Option("--ignore-names", help="Names of layers, blobs and shared parameters do not count.")
    ] = False,
    format: Annotated[Literal["text", "json"], typer.Option(help="For people, or JSON for programs.")] = "text",
) -> None:
    """Compare two prototxts by meaning, not by text.

    The order of layers, formatting, comments, defaults written or not, float rounding and old syntax do not count.
    The exit status is 0 when both say the same, 1 when they differ and 2 when a file cannot be read.
    """
    from prototxt.diff import compare

    result = compare(a, b, paths=paths, names=not ignore_names)
    if format == "json":
        import json

        typer.echo(json.dumps(_record(result), indent=1))
    else:
        _print(result)
    if not result.same:
        raise typer.Exit(1)


def _record(result: Comparison) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "same": result.same,
        "same_but_for_names": result.same_but_for_names,
        "differences": [asdict(difference) for difference in result.differences],
    }


def _print(result: Comparison) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for difference in result.differences:
        console.print(_line(difference))
    count = len(result.differences)
    closing = f"{count} difference{'s' if count > 1 else ''}" if count else "the same"
    if count and result.same_but_for_names:
        closing += ", all of names; without names they are the same"
    console.print(closing, style="bold")


def _line(difference: Difference) -> Text:
    """`layer conv1 (Convolution) b.prototxt:12: convolution_param.num_output: 64 → 96`."""
    from rich.text import Text

    line = Text()
    if difference.layer:
        line.append("layer ").append(difference.layer, "bold").append(f" ({difference.type}) ")
    line.append(difference.where_b or difference.where_a, "dim").append(": ")
    if difference.kind == "only in A":
        return line.append("only in A", "red")
    if difference.kind == "only in B":
        return line.append("only in B", "green")
    if difference.only_names:
        line.append(f"its blob {difference.a} is called " if difference.field else "is called ")
        return line.append(difference.b, "cyan").append(" in B")
    line.append(f"{difference.field}: ").append(difference.a or "absent", "red")
    return line.append(" → ").append(difference.b or "absent", "green")
