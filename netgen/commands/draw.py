"""`netgen draw`: the picture of a net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def draw(
    net: Annotated[Path, typer.Argument(metavar="FILE", help="Prototxt of the net.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write: .svg or .png.")],
    phase: Annotated[Literal["TRAIN", "TEST"], typer.Option(help="Phase to build the net for.")] = "TEST",
    detail: Annotated[
        Literal["blocks", "full"], typer.Option(help="Fold repeated blocks into one, or show every layer.")
    ] = "blocks",
    scale: Annotated[float, typer.Option(min=0.1, max=8, help="Size of a PNG; 1 is that of the SVG.")] = 1.0,
) -> None:
    """Draw a net: its layers, their parameters, and the shapes of the blobs between them."""
    from prototxt.draw import draw as draw_graph
    from prototxt.graph import Graph

    draw_graph(Graph.load(net, phase), out, detail, scale)
    typer.echo(f"wrote {out}")
