"""`netgen plot`: the picture of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    log: Annotated[Path, typer.Argument(help="The PREFIX.log.csv that training wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write: .png, .svg or .pdf.")],
) -> None:
    """Draw the losses and the scores of a training run."""
    from solver.log import plot_losses

    plot_losses(log, out)
    typer.echo(f"wrote {out}")
