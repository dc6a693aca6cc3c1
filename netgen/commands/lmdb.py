"""`netgen lmdb`: databases of AnnotatedDatum, a verb for each format of annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from netgen.commands import lmdb_export, lmdb_inspect
from netgen.commands.lmdb_options import Making, making
from prototxt.errors import UserError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
_UNLABELLED = "Images may lack annotations, and then have no objects: for test sets."


@app.callback()
def lmdb() -> None:
    """Databases of annotated images, as SSD-Caffe reads and writes them."""


@app.command()
@making
def voc(
    roots: Annotated[list[Path], typer.Argument(help="Folders with Annotations, JPEGImages and ImageSets/Main.")],
    split: Annotated[list[str], typer.Option(help="List of images (train, test …): one, or one for each root.")],
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help=_UNLABELLED)] = False,
    *,
    making: Making,
) -> None:
    """Make an LMDB from data in Pascal VOC's layout; with several roots, of all their images one after the other."""
    from annoset.formats.voc import read_split
    from annoset.lines import Joined

    classes = making.begin()
    splits = _one_for_each(split, roots, "--split", "root")
    entries = Joined([read_split(root, one, unlabelled) for root, one in zip(roots, splits)])
    making.make(entries, splits, classes)


@app.command()
@making
def coco(
    annotations: Annotated[list[Path], typer.Argument(help="JSONs with images, annotations and categories.")],
    images: Annotated[list[Path], typer.Option(help="Folder of the images: one, or one for each JSON.")],
    root: Annotated[Path | None, typer.Option(help="Folder that paths in keys start from (above --images).")] = None,
    only: Annotated[
        Path | None, typer.Option(help="List of the images to take: ids, names, or a JSON of COCO's.")
    ] = None,
    without: Annotated[Path | None, typer.Option(help="List of the images to leave out.")] = None,
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help=_UNLABELLED)] = False,
    *,
    making: Making,
) -> None:
    """Make an LMDB from data in COCO's layout; with several JSONs, of all their images one after the other."""
    from annoset.formats.coco import Choice, CocoFile, read_coco
    from annoset.lines import Joined
    from netgen.commands.progress import watch

    given = making.begin()
    files = []
    for path, folder in zip(annotations, _one_for_each(images, annotations, "--images", "JSON")):
        if not folder.is_dir():
            raise UserError("there is no such folder of images", where=str(folder))
        if root and root.resolve() not in folder.resolve().parents:
            raise UserError(f"the folder of images is not below --root {root}", where=str(folder))
        choice = Choice(folder, root or folder.resolve().parent, only, without, unlabelled)
        files.append(CocoFile(path, choice, watch))
    classes = read_coco(files, given)
    making.make(Joined(files), [path.stem for path in annotations], classes)


@app.command()
@making
def yolo(
    source: Annotated[Path, typer.Argument(help="A data.yaml, a folder of images, or a text that lists images.")],
    split: Annotated[list[str] | None, typer.Option(help="Of a data.yaml: train, val … (one or more).")] = None,
    names: Annotated[Path | None, typer.Option(help="Text with a class on each line, where there is no YAML.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that the paths start from.")] = None,
    *,
    making: Making,
) -> None:
    """Make an LMDB from data in YOLO's layout: texts of boxes beside folders of images."""
    from annoset.classes import Classes
    from annoset.formats.yolo import read_data_yaml, read_images
    from annoset.lines import Joined

    given = making.begin()
    described = source.suffix in (".yaml", ".yml")
    if described == (not split) or (described and names):
        found = "a data.yaml needs --split and tells the names itself; images need --names, and have no splits"
        raise UserError(found, where=str(source))
    data = read_data_yaml(source, root) if described else read_images(source, names, root)
    splits = split or ["images"]
    entries = Joined([data.entries(one) for one in splits])
    making.make(entries, splits if described else [source.stem], given or Classes.of(data.names))


@app.command(name="list")
@making
def list_(
    lists: Annotated[list[Path], typer.Argument(help="Texts with an image and its annotation on each line.")],
    root: Annotated[Path, typer.Option(help="Folder that the lists' paths start from.")] = Path("."),
    label_type: Annotated[Literal["xml", "json", "txt"], typer.Option(help="Kind of the annotation files.")] = "xml",
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help=_UNLABELLED)] = False,
    *,
    making: Making,
) -> None:
    """Make an LMDB from SSD-Caffe's list files, as its create_annoset.py and convert_annoset do."""
    from annoset.formats.plain import read_list
    from annoset.lines import Joined

    classes = making.begin()
    entries = Joined([read_list(path, root, label_type, classes, unlabelled) for path in lists])
    making.make(entries, [path.stem for path in lists], classes)


def _one_for_each(given: list, items: list, option: str, what: str) -> list:
    """`given`, one for each of `items`, or the only one for all. Raises UserError for another number."""
    if len(given) not in (1, len(items)):
        expected = f"one for all, or {len(items)}, one for each {what}"
        raise UserError(f"{option} is given {len(given)} times for {len(items)} {what}(s)", expected=expected)
    return given * len(items) if len(given) == 1 else given


lmdb_inspect.register(app)
lmdb_export.register(app)
