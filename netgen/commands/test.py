"""`netgen test`: score weights on a test net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netgen.commands.train import device_name, share_cores, split


def test(
    weights: Annotated[str, typer.Option(help="Caffemodels, with commas between them; none: untrained.")] = "",
    solver: Annotated[Path | None, typer.Option(help="Solver prototxt with a test net.")] = None,
    net: Annotated[Path | None, typer.Option(help="Test prototxt, instead of --solver.")] = None,
    iterations: Annotated[int, typer.Option(help="Batches to score; default: test_iter, or all data.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "",
    gpu: Annotated[str, typer.Option("--gpu", "--gpus", help="Number of the GPU to use.")] = "",
    ap_version: Annotated[str, typer.Option(help="11point, MaxIntegral or Integral; default: the solver's.")] = "",
) -> float:
    """Score weights on a test net.

    Prints the average precision of each class, and writes the result files that the net asks for.
    """
    share_cores()
    from solver import job

    results = job.test(split(weights), solver, net, iterations or None, device_name(device, gpu), ap_version or None)
    for graph, root, result in results:
        print_classes(result.classes, job.class_names(graph, root))
    return results[0][2].outputs[0][1]  # the mAP; the demo compares two


def print_classes(classes: dict[str, dict[int, float]], names: dict[int, str]) -> None:
    """A table of average precisions for each detection output."""
    from rich.console import Console
    from rich.table import Table

    for output, precisions in classes.items():
        table = Table(title=output)
        table.add_column("class")
        table.add_column("AP", justify="right")
        for label, precision in precisions.items():
            table.add_row(names.get(label, str(label)), f"{precision:.4f}")
        table.add_section()
        table.add_row("mean", f"{sum(precisions.values()) / len(precisions):.4f}")
        Console().print(table)
