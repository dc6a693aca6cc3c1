"""`netgen lmdb info`, `check` and `show`: what is in a database, and whether it is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from netgen.commands.lmdb_report import count as counted

if TYPE_CHECKING:
    from annoset.classes import Labels
    from annoset.reading.check import Report
    from annoset.reading.info import Info

Lmdb = Annotated[Path, typer.Argument(metavar="LMDB", help="Folder of the LMDB.")]
Labelmap = Annotated[Path | None, typer.Option(help="Label map; otherwise labelmap.prototxt beside the LMDB.")]
Format = Annotated[Literal["text", "json"], typer.Option(help="For people, or JSON for programs.")]
_MOST_SIZES = 5


def info(lmdb: Lmdb, labelmap: Labelmap = None, format: Format = "text") -> None:
    """Show what is in an LMDB: classes, sizes of images and boxes, duplicates.

    Sides are square roots of areas: in pixels of the image as it is stored, and in hundredths of the image's own.
    Images are not decoded; `netgen lmdb check` does that.
    """
    from annoset.reading.info import info
    from netgen.commands.progress import watch

    found = info(lmdb, labelmap, watch)
    if format == "json":
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        _print_info(found)


def check(
    lmdb: Lmdb,
    labelmap: Labelmap = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="KIND", help="Do not look for this.")] = None,
    show: Annotated[int, typer.Option(min=0, help="How many findings of each kind to tell; all are counted.")] = 10,
    format: Format = "text",
) -> None:
    """Decode every record of an LMDB and look at all that can be wrong with it.

    Kinds of findings: record, image, size, label, empty-group, number, reversed, outside, zero-area, duplicate-box,
    duplicate-name, duplicate-image. The exit status is 1 when there is any.
    """
    from annoset.reading.check import check
    from netgen.commands.progress import watch

    report = check(lmdb, labelmap, ignore=ignore or (), most=show, watch=watch)
    if format == "json":
        typer.echo(json.dumps(_as_dict(lmdb, report), indent=1))
    else:
        _print_report(lmdb, report)
    if report.total:
        raise typer.Exit(1)


def show(
    lmdb: Lmdb,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write: .png or .jpg.")],
    labelmap: Labelmap = None,
    count: Annotated[int, typer.Option(min=1, max=400, help="How many images, spread evenly over the LMDB.")] = 12,
    seed: Annotated[int | None, typer.Option(help="Draw them at random with this seed instead.")] = None,
    only: Annotated[str, typer.Option("--class", metavar="CLASS", help="Only images with a box of this class.")] = "",
    key: Annotated[str, typer.Option(metavar="TEXT", help="Only records with this text in their key.")] = "",
    columns: Annotated[int, typer.Option(min=1, help="Images side by side.")] = 4,
    side: Annotated[int, typer.Option(min=32, max=2000, help="Longer side of each, in pixels.")] = 360,
) -> None:
    """Draw images of an LMDB with their boxes and classes into one picture; difficult boxes have thin lines."""
    from annoset.database import printable
    from annoset.reading.show import Choice, show
    from netgen.commands.progress import watch

    choice = Choice(count, seed, only, key, side, columns)
    keys = show(lmdb, out, choice, labelmap=labelmap, watch=watch)
    for each in keys:
        typer.echo(printable(each))
    typer.echo(f"wrote {out}: {counted(len(keys), 'image')}")


def register(app: typer.Typer) -> None:
    """Add these verbs to `netgen lmdb`."""
    for verb in (info, check, show):
        app.command()(verb)


def _print_info(found: Info) -> None:
    typer.echo(f"{found.path}: {counted(found.records, 'record')}, {found.size_bytes / 2**20:.1f} MiB")
    figures = found.as_dict()
    for line in (*_image_lines(figures["images"], found.records), *_box_lines(figures["boxes"])):
        typer.echo(f"    {line}")
    names, images = found.same_name, found.same_image
    typer.echo(f"    duplicates: {counted(names, 'name')}, {counted(images, 'image')}")
    if found.unnumbered:
        typer.echo(f"    {counted(found.unnumbered, 'key')} without the number that convert_annoset begins keys with")
    typer.echo(f"    {_label_map(found.labels)}")
    if found.classes:
        _print_classes(found)


def _image_lines(images: dict[str, Any], records: int) -> list[str]:
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(images["kinds"].items()))
    sizes = images["sizes"]
    shown = ", ".join(f"{one['width']} x {one['height']} ({one['images']})" for one in sizes[:_MOST_SIZES])
    more = f" and {len(sizes) - _MOST_SIZES} more sizes" if len(sizes) > _MOST_SIZES else ""
    boxes = images["boxes"]
    lines = [
        f"images: {kinds}",
        f"width x height: {shown}{more}",
        f"boxes of an image: {boxes['mean']:g} on average, at most {boxes['max']}; {images['without_boxes']} of"
        f" {records} have none",
    ]
    if images["gray"]:
        lines.append(f"{counted(images['gray'], 'image')} in grey")
    if images["turned"]:
        lines.append(f"{counted(images['turned'], 'image')} with a camera's note to turn them, which Caffe ignores")
    return lines


def _box_lines(boxes: dict[str, Any]) -> list[str]:
    total = max(1, sum(boxes["areas"].values()))
    shares = {key: {name: f"{100 * n / total:.0f} %" for name, n in boxes[key].items()} for key in ("areas", "ratios")}
    return [
        f"boxes by area: {', '.join(f'{share} {name}' for name, share in shares['areas'].items())} (COCO's: below 32²,"
        " below 96², above)",
        f"boxes by width : height: {', '.join(f'{name} {share}' for name, share in shares['ratios'].items())}"
        " (the nearest)",
    ]


def _print_classes(found: Info) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_footer=True, padding=(0, 1), pad_edge=False)
    rows = [_class_row(boxes.as_dict()) for boxes in found.classes.values()]
    titles = ("boxes", "images", "difficult", "no area", "side in pixels", "in % of the image")
    table.add_column("label", justify="right")
    table.add_column("class", "all", overflow="fold")
    for title, footer in zip(titles, _class_row(found.boxes.as_dict())):
        table.add_column(title, footer, justify="right", no_wrap=True)
    for label, row in zip(found.classes, rows):
        unknown = "" if found.labels.knows(label) else " (not in the label map)"
        table.add_row(str(label), f"{found.labels.display(label)}{unknown}", *row)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a pipe has no width; names stay whole there
        console.width = 1000
    console.print(table)
    typer.echo("side: median (5 % … 95 %)")


def _class_row(boxes: dict[str, Any]) -> list[str]:
    sides = (boxes["side_pixels"], boxes["side_percent"])
    spread = [f"{side['median']} ({side['p5']} … {side['p95']})" if side else "" for side in sides]
    return [*(f"{boxes[name]:,}" for name in ("boxes", "images", "difficult", "without_area")), *spread]


def _label_map(labels: Labels) -> str:
    return f"label map: {labels.path}" if labels.path else "no label map: classes have their numbers"


def _as_dict(lmdb: Path, report: Report) -> dict[str, Any]:
    from annoset.reading.check import KINDS

    return {
        "path": str(lmdb),
        "labelmap": str(report.labelmap) if report.labelmap else None,
        "records": report.records,
        "boxes": report.boxes,
        "findings": report.total,
        "counts": report.counts,
        "shown": [vars(one) for kind in KINDS for one in report.shown.get(kind, ())],
    }


def _print_report(lmdb: Path, report: Report) -> None:
    from annoset.database import printable
    from annoset.reading.check import KINDS

    labelmap = f"label map {report.labelmap}" if report.labelmap else "no label map, so any class above 0 is right"
    records, boxes = counted(report.records, "record"), counted(report.boxes, "box", "boxes")
    typer.echo(f"{lmdb}: {records}, {boxes}; {labelmap}")
    for kind, number in report.counts.items():
        if not number:
            continue
        typer.echo(f"{kind}: {number} ({KINDS[kind]})")
        shown = report.shown.get(kind, [])
        for one in shown:
            typer.echo(f"    {printable(one.key)}: {one.text}")
        if number > len(shown):
            typer.echo(f"    {'and ' if shown else ''}{number - len(shown)} more")
    typer.echo(f"{counted(report.total, 'finding')}" if report.total else "nothing is wrong")
