"""`netgen verify`: the proof that a net computes the same wherever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

    from converters.differences import Difference
    from converters.verify import Comparison
    from prototxt.graph import Graph


def verify(
    net: Annotated[Path, typer.Argument(help="The deploy prototxt.")],
    weights: Annotated[Path, typer.Argument(help="Its .caffemodel.")],
    onnx: Annotated[Path | None, typer.Option(help="An ONNX file of it; without, the net is converted anew.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture to run it on; may be repeated.")] = None,
    mean: Annotated[str, typer.Option(help="Subtracted from each channel, B,G,R or one value.")] = "104,117,123",
    scale: Annotated[float, typer.Option(help="Each value is multiplied by this after the mean.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the random input that is taken without --image.")] = 0,
    tolerance: Annotated[float, typer.Option(help="The largest difference that is allowed.")] = 1e-4,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare every layer, and name the first that differs.")
    ] = False,
) -> None:
    """Run one input through PyTorch, ONNX Runtime, OpenCV's and MNN's Caffe importers and pycaffe; compare the outputs.

    Detections are paired by class and overlap; their boxes (0–1) and scores are compared. What they are made of and
    other outputs are compared value by value. A difference is given as a part of the box's or the output's largest
    value where that is above 1. The exit status is 1 when a difference is above the tolerance, unless it is known that
    the importer reads this net otherwise than Caffe; then the reason is given. What is not installed is skipped, and
    said so.
    """
    from converters.verify import verify as run
    from prototxt.graph import Graph

    inputs = _inputs(Graph.load(net), image or [], (mean, scale), seed)
    found = run(net, weights, inputs, onnx, layers)
    _print_table(found, tolerance)
    failed = found.unexplained(tolerance)
    if failed and layers:
        typer.echo(f"the first to differ is {failed[0].blob}, in {failed[0].backend}")
    if failed:
        raise typer.Exit(1)


def _inputs(graph: Graph, images: list[Path], mean_scale: tuple[str, float], seed: int) -> list[dict[str, np.ndarray]]:
    """One set of inputs for each picture; without any, one of noise."""
    import numpy as np

    from netgen.commands.pictures import image_input, parse_mean, read_picture, to_blob

    mean, scale = parse_mean(mean_scale[0]), mean_scale[1]
    rng = np.random.default_rng(seed)
    name = image_input(graph) if images else None
    pictures = [read_picture(path) for path in images] or [None]
    sets = []
    for picture in pictures:
        arrays = {}
        for blob, shape in graph.inputs.items():
            if len(shape) != 4 or shape[1] not in (1, 3):
                arrays[blob] = rng.standard_normal(shape, np.float32)
                continue
            noise = rng.integers(0, 256, (*shape[2:], 3), np.uint8)
            arrays[blob] = to_blob(picture if blob == name else noise, shape, mean, scale)
        sets.append(arrays)
    return sets


def _print_table(found: Comparison, tolerance: float) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Largest differences from {found.reference}", title_justify="left", box=SIMPLE_HEAD)
    for column in ("Output", "Backend"):
        table.add_column(column, overflow="fold")
    for column in ("Compared", "Values or boxes", "Scores", "Unpaired"):
        table.add_column(column, justify="right")
    table.add_column("")
    for difference in found.differences:
        table.add_row(*_cells(difference), _verdict(difference, found, tolerance))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a pipe has no width; names stay whole there
        console.width = 1000
    console.print(table)
    for backend, seconds in found.seconds.items():
        typer.echo(f"{backend}: {seconds:.2f} s")
    for backend, reason in found.skipped.items():
        typer.echo(f"{backend}: skipped, {reason}")


def _verdict(difference: Difference, found: Comparison, tolerance: float) -> str:
    if difference.largest <= tolerance:
        return "ok"
    reason = found.misread.get((difference.blob, difference.backend))
    return f"above {tolerance:g}" if reason is None else f"known: {reason}"


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
