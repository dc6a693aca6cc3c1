"""`netgen lmdb export`: from a database back to images and annotations."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from netgen.commands.lmdb_inspect import Labelmap, Lmdb
from netgen.commands.lmdb_report import count

if TYPE_CHECKING:
    from annoset.reading.export import Exported


def export(
    lmdb: Lmdb,
    to: Annotated[Literal["voc", "coco"], typer.Option(help="Layout of the folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; must not exist.")],
    split: Annotated[str, typer.Option(help="Name of the list of images (the LMDB's, without _lmdb).")] = "",
    labelmap: Labelmap = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out records with mistakes; say which.")] = False,
) -> None:
    """Write an LMDB's images and boxes in Pascal VOC's or COCO's layout; the images' bytes stay as they are."""
    from annoset.reading.export import Target, export
    from netgen.commands.progress import watch

    written = export(lmdb, Target(out, to, split), labelmap=labelmap, skip_bad=skip_bad, watch=watch)
    typer.echo(f"{out}: {count(written.images, 'image')}, {count(written.boxes, 'box', 'boxes')}")
    for line in _notes(written, to):
        typer.echo(f"    {line}")
    if written.skipped:
        typer.echo(f"left out: {count(written.skipped, 'record')} with mistakes")
        for error in written.mistakes:
            typer.echo(indent(str(error), "    "))
        if written.skipped > len(written.mistakes):
            typer.echo(f"    and {written.skipped - len(written.mistakes)} more")


def register(app: typer.Typer) -> None:
    """Add this verb to `netgen lmdb`."""
    app.command()(export)


def _notes(written: Exported, to: str) -> list[str]:
    """What a user should know of it."""
    boxes, images = ("box", "boxes"), ("image", "images")
    notes = (
        (written.difficult, boxes, "marked difficult" if to == "voc" else "marked difficult, written as iscrowd"),
        (written.rounded, boxes, "with corners between two pixels, brought to the nearest: VOC's are whole numbers"),
        (written.renamed, images, "whose file got a number, because another image has its name"),
        (written.raw, images, "that were not encoded, written as PNG"),
    )
    return [f"{count(number, *what)} {text}" for number, what, text in notes if number]
