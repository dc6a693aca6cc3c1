"""`netgen summary`: shapes, parameters, multiply-accumulates and memory of a net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def summary(
    net: Annotated[Path, typer.Argument(metavar="FILE", help="Prototxt of the net.")],
    format: Annotated[Literal["text", "json"], typer.Option(help="A table, or JSON for programs.")] = "text",
    phase: Annotated[Literal["TRAIN", "TEST"], typer.Option(help="Phase to build the net for.")] = "TEST",
) -> None:
    """Show the shapes and the cost of every layer of a net.

    Costs are those of one forward pass with the batch that the file gives. MACs are those of convolutions,
    deconvolutions and inner products; memory is what float32 tops need that are not computed in place.
    """
    from prototxt.graph import Graph
    from prototxt.summary import summarize

    costs = summarize(Graph.load(net, phase))
    if format == "json":
        import json

        typer.echo(json.dumps(costs, indent=1))
    else:
        _print_table(costs)


def _print_table(costs: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from prototxt.graph import show

    total = costs["total"]
    numbers = [f"{total['parameters']:,}", f"{total['statistics']:,}", _short(total["macs"])]
    footers = [f"{total['layers']} layers", "", "", *numbers, _bytes(total["activation_bytes"])]
    title = f"{costs['name']}, phase {costs['phase']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_footer=True, padding=0, pad_edge=False)
    for title, footer in zip(("Layer", "Type", "Output", "Parameters", "Statistics", "MACs", "Memory"), footers):
        is_number = title in ("Parameters", "Statistics", "MACs", "Memory")
        table.add_column(title, footer, overflow="fold", no_wrap=is_number, justify="right" if is_number else "left")
    for layer in costs["layers"]:
        table.add_row(
            layer["name"],
            layer["type"],
            "\n".join(show(tuple(shape)) for shape in layer["shapes"]),
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            f"{layer['statistics']:,}" if layer["statistics"] else "",
            _short(layer["macs"]) if layer["macs"] else "",
            _bytes(layer["activation_bytes"]) if layer["activation_bytes"] else "",
        )
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a pipe has no width; names stay whole there
        console.width = 1000
    console.print(table)


def _short(count: int) -> str:
    """A count for people: `3.32 G`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return str(count)


def _bytes(count: int) -> str:
    """A number of bytes for people: `34.2 MiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
