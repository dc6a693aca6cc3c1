"""`netgen lmdb`: databases of AnnotatedDatum, a verb for each format of annotations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prototxt.errors import UserError

if TYPE_CHECKING:
    from annoset.pack import Report, Targets

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
_SHOWN_SKIPPED = 20


@app.callback()
def lmdb() -> None:
    """Make an LMDB of annotated images, as SSD-Caffe reads it."""


@app.command()
def voc(
    roots: Annotated[list[Path], typer.Argument(help="Folders with Annotations, JPEGImages and ImageSets/Main.")],
    split: Annotated[list[str], typer.Option(help="List of images (train, test …): one, or one for each root.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the LMDB; must not exist.")],
    labelmap: Annotated[Path | None, typer.Option(help="Label map; otherwise made from the classes found.")] = None,
    labelmap_out: Annotated[
        Path | None, typer.Option(help="Where to write the label map made (labelmap.prototxt beside the LMDB).")
    ] = None,
    name_size: Annotated[
        Path | None, typer.Option(help="Where to write names and sizes (SPLIT_name_size.txt beside the LMDB).")
    ] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Put the images in random order.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of that order.")] = 0,
    clip_boxes: Annotated[bool, typer.Option("--clip-boxes", help="Cut boxes that reach outside the image.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images with mistakes; say which.")] = False,
) -> None:
    """Make an LMDB from data in Pascal VOC's layout; with several roots, of all their images one after the other."""
    from annoset.formats.voc import read_split
    from annoset.pack import Options, Targets, pack
    from netgen.commands.progress import watch

    if labelmap and labelmap_out:
        raise UserError("--labelmap is read and --labelmap-out is written", fix="give one of the two")
    if len(split) not in (1, len(roots)):
        expected = f"one for all, or {len(roots)}, one for each root"
        raise UserError(f"--split is given {len(split)} times for {len(roots)} root(s)", expected=expected)
    splits = split * len(roots) if len(split) == 1 else split
    entries = [entry for root, one in zip(roots, splits) for entry in read_split(root, one)]
    targets = Targets(
        lmdb=out,
        name_size=name_size or out.parent / f"{'_'.join(dict.fromkeys(splits))}_name_size.txt",
        labelmap=labelmap or labelmap_out or out.parent / "labelmap.prototxt",
        labelmap_given=labelmap is not None,
    )
    report = pack(entries, targets, Options(skip_bad, clip_boxes, shuffle, seed), watch)
    _print(report, targets)


def _print(report: Report, targets: Targets) -> None:
    boxes = sum(report.boxes.values())
    print(f"{targets.lmdb}: {_count(report.images, 'image')}, {_count(boxes, 'box', 'boxes')}")
    width = max(map(len, report.boxes))
    for name, count in sorted(report.boxes.items()):
        print(f"    {name:<{width}}  {count:>7}")
    if report.difficult:
        print(f"    {_count(report.difficult, 'box', 'boxes')} marked difficult")
    if report.without_area:
        print(f"    {_count(report.without_area, 'box', 'boxes')} without area (xmin = xmax or ymin = ymax), kept")
    print(f"{targets.name_size}: a line for each image: name, height, width")
    print(f"{targets.labelmap}: the label map{', read' if targets.labelmap_given else ''}")
    if report.skipped:
        print(f"left out: {_count(len(report.skipped), 'image')} with mistakes")
        for error in report.skipped[:_SHOWN_SKIPPED]:
            print(f"    {error}")
        if len(report.skipped) > _SHOWN_SKIPPED:
            print(f"    and {len(report.skipped) - _SHOWN_SKIPPED} more")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
