"""`netgen toy`: a small data set to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def toy(
    root: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    train: Annotated[int, typer.Option(min=1, help="Images to train on.")] = 300,
    test: Annotated[int, typer.Option(min=1, help="Images to test on.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed makes the same images.")] = 0,
) -> None:
    """Make a small data set to try things on.

    Textured shapes in VOC's layout: three classes, the splits train and test, and a label map.
    """
    from annoset.synthetic import make
    from netgen.commands.progress import watch

    make(root, train, test, seed, watch)
    typer.echo(f"{root}: {train} images to train on, {test} to test on, labelmap.prototxt")
