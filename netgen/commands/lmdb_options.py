"""The options that the verbs of `netgen lmdb` share which make databases."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from netgen.commands.lmdb_report import print_report
from prototxt.errors import UserError

if TYPE_CHECKING:
    from annoset.classes import Classes
    from annoset.writing.outputs import Targets
    from annoset.writing.pack import Options
    from annoset.writing.picture import Storage

_PAIR = "HEIGHTxWIDTH"


@dataclass(frozen=True, kw_only=True)
class Making:
    """What every verb that makes a database is told: where to write, and how to treat what it reads."""

    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the LMDB; must not exist.")]
    labelmap: Annotated[Path | None, typer.Option(help="Label map; otherwise made from the classes found.")] = None
    labelmap_out: Annotated[
        Path | None, typer.Option(help="Where to write the label map made (labelmap.prototxt beside the LMDB).")
    ] = None
    name_size: Annotated[
        Path | None, typer.Option(help="Where to write names and sizes (SPLIT_name_size.txt beside the LMDB).")
    ] = None
    list_out: Annotated[
        Path | None, typer.Option("--list", help="Where to write images and annotations (SPLIT_list.txt beside it).")
    ] = None
    shards: Annotated[int, typer.Option(help="Deal the records out to so many LMDBs: OUT_0, OUT_1 …")] = 1
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Put the images in random order.")] = False
    seed: Annotated[int, typer.Option(help="Seed of that order.")] = 0
    clip_boxes: Annotated[bool, typer.Option("--clip-boxes", help="Cut boxes that reach outside the image.")] = False
    drop_difficult: Annotated[
        bool, typer.Option("--drop-difficult", help="Leave out objects marked difficult (COCO: crowds).")
    ] = False
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images with mistakes; say which.")] = False
    encode: Annotated[str, typer.Option(help="Encode every image anew: jpg or png. Otherwise bytes are kept.")] = ""
    quality: Annotated[int, typer.Option(help="Quality of JPEGs that are encoded anew.")] = 95
    gray: Annotated[bool, typer.Option("--gray", help="Store grey images, encoded anew.")] = False
    min_dim: Annotated[int, typer.Option(help="Enlarge images whose shorter side is shorter.")] = 0
    max_dim: Annotated[int, typer.Option(help="Shrink images whose longer side is longer.")] = 0
    resize: Annotated[str, typer.Option(metavar=_PAIR, help="Resize all images, whatever their ratio.")] = ""
    workers: Annotated[int, typer.Option(help="Processes that read, threads that encode; 0: one a core.")] = 0

    def begin(self) -> Classes | None:
        """Refuse what cannot be, before a gigabyte of annotations is read; the classes of the label map given."""
        from annoset.classes import Classes

        if self.labelmap and self.labelmap_out:
            raise UserError("--labelmap is read and --labelmap-out is written", fix="give one of the two")
        self._targets([]).refuse_existing()
        self._options()
        return Classes.read(self.labelmap) if self.labelmap else None

    def make(self, sources: Sequence[Any], splits: Sequence[str], classes: Classes | None) -> None:
        """Make the database of `sources` and say what is in it.

        Args:
            splits: their names, for those of the files beside the LMDB.
            classes: None to gather them.
        """
        from annoset.writing.pack import pack
        from netgen.commands.progress import watch

        targets = self._targets(splits)
        report = pack(sources, targets, self._options(), watch, classes)
        print_report(report, targets)

    def _targets(self, splits: Sequence[str]) -> Targets:
        from annoset.writing.outputs import Targets

        beside, split = self.out.parent, "_".join(dict.fromkeys(splits))
        return Targets(
            lmdb=self.out,
            name_size=self.name_size or beside / f"{split}_name_size.txt",
            labelmap=self.labelmap or self.labelmap_out or beside / "labelmap.prototxt",
            labelmap_given=self.labelmap is not None,
            list=self.list_out or beside / f"{split}_list.txt",
            shards=self.shards,
        )

    def _options(self) -> Options:
        from annoset.writing.pack import Options

        return Options(
            skip_bad=self.skip_bad,
            clip_boxes=self.clip_boxes,
            drop_difficult=self.drop_difficult,
            shuffle=self.shuffle,
            seed=self.seed,
            storage=self._storage(),
            workers=self.workers,
        )

    def _storage(self) -> Storage:
        from annoset.writing.picture import Storage

        return Storage(
            encode=self.encode,
            quality=self.quality,
            gray=self.gray,
            min_dim=self.min_dim,
            max_dim=self.max_dim,
            resize_hw=_pair(self.resize) if self.resize else None,
        )


def making(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of Making; it gets them as the argument `making`."""
    hints = get_type_hints(Making, include_extras=True)
    shared = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=_default(one), annotation=hints[one.name])
        for one in fields(Making)
    ]

    @wraps(verb)
    def command(**values: Any) -> None:
        verb(**{name: values.pop(name) for name in own}, making=Making(**values))

    signature = inspect.signature(verb, eval_str=True)
    own = [name for name in signature.parameters if name != "making"]
    parameters = [signature.parameters[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in own]
    command.__signature__ = inspect.Signature([*parameters, *shared])
    command.__annotations__ = {one.name: one.annotation for one in command.__signature__.parameters.values()}
    return command


def _default(one: Field) -> Any:
    return inspect.Parameter.empty if one.default is MISSING else one.default


def _pair(text: str) -> tuple[int, int]:
    """(height, width)"""
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise UserError(f"--resize is {text}", expected="HEIGHTxWIDTH in pixels, such as 300x300")
    return int(sides[0]), int(sides[1])
