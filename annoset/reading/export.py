"""From an LMDB back to a data set's files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import isfinite
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Protocol

import cv2

from annoset.annotation import Annotation, Object
from annoset.classes import Classes, Labels, labels_of
from annoset.database import Database, printable
from annoset.decode import decode_image
from annoset.folder import new_folder, refuse_existing
from annoset.formats.coco_writer import CocoWriter, are_ids
from annoset.formats.filenames import NewFiles, file_stem
from annoset.formats.voc_writer import VocWriter
from annoset.imagefile import ImageFile
from annoset.reading.records import Each, Watch, annotated, image_file, image_hw, image_kind, image_name, open_annotated
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, Datum

LABELMAP = "labelmap.prototxt"
_MOST_MISTAKES = 20
_SUFFIXES = {  # of a kind of image; the first is given where a key has none of them
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WebP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "raw": (".png",),
}


class Writer(Protocol):
    """What writes a format; made for an empty folder."""

    files: NewFiles
    rounded: int

    def __enter__(self) -> Writer: ...
    def __exit__(self, *_: object) -> None: ...
    def add(self, stem: str, suffix: str, data: bytes, annotation: Annotation, channels: int) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True)
class Target:
    """Where to write, and what.

    Attributes:
        folder: must not exist.
        to: one of FORMATS.
        split: name of the list of images; empty for `default_split`.
    """

    folder: Path
    to: str
    split: str = ""


@dataclass
class Exported:
    """What was written.

    Attributes:
        renamed: images whose file got a number, because another has its name.
        rounded: boxes whose corners were brought to whole pixels.
        raw: images that were not encoded and became PNGs.
        skipped: records left out.
        mistakes: the first of theirs.
    """

    images: int = 0
    boxes: int = 0
    difficult: int = 0
    renamed: int = 0
    rounded: int = 0
    raw: int = 0
    skipped: int = 0
    mistakes: list[UserError] = field(default_factory=list)


def default_split(lmdb: Path) -> str:
    """The name of the list of images: the LMDB's without `_lmdb`."""
    return lmdb.absolute().name.removesuffix("_lmdb") or "all"


def export(
    lmdb: Path,
    target: Target,
    *,
    labelmap: Path | None = None,
    skip_bad: bool = False,
    watch: Watch = lambda items, _: items,
) -> Exported:
    """Write an LMDB's images, their bytes untouched, and their boxes in pixels as a data set's files.

    The folder appears whole or not at all. Beside the annotations it holds the label map that they go with.

    Args:
        labelmap: the label map; otherwise `labelmap.prototxt` beside the LMDB. Without one, classes are called by
            their numbers.
        skip_bad: leave out records with mistakes, instead of giving up at the first.
        watch: passes items on and shows how far they are.

    Raises:
        UserError: the target exists or cannot be written; no LMDB of AnnotatedDatum; a bad label map; no record left;
            unless `skip_bad`, a record with an image of unknown kind or size, a class that the label map lacks, or a
            box whose corners are reversed or no numbers.
    """
    refuse_existing(target.folder)
    split = target.split or default_split(lmdb)
    if split != PurePosixPath(split).name or split == ".." or not split.isprintable():
        found = f'"{split}" cannot be the name of a list of images'
        raise UserError(found, expected="a file name without its suffix")
    classes = _Naming(labels_of(lmdb, labelmap))
    result = Exported()
    with open_annotated(lmdb) as database, new_folder(target.folder) as folder:
        with FORMATS[target.to](folder, split, classes, database) as writer:
            for item in watch(Each(database, _Unpack(database, classes, skip_bad)), "writing images"):
                if isinstance(item, UserError):
                    result.skipped += 1
                    result.mistakes += [item] if result.skipped <= _MOST_MISTAKES else []
                else:
                    _add(writer, item, classes, result)
            if not result.images:
                raise UserError("no image is left to write", where=str(lmdb), fix="see `netgen lmdb check`")
            writer.finish()
            result.renamed, result.rounded = writer.files.renamed, writer.rounded
        if classes.ids:
            (folder / LABELMAP).write_text(classes.labelmap(target.to), "utf-8")
    return result


class CategoryIds(dict[str, int]):
    """Class -> id of its COCO category. A class of no label map is called by its label, which is its id."""

    def __missing__(self, name: str) -> int:
        return self.setdefault(name, int(name))


class _Naming:
    """What classes are called in annotations.

    In SSD-Caffe's label map of COCO, names are category ids, and what is shown of them are the names.

    Attributes:
        ids: class -> id of its COCO category.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        items = labels.items.values()
        shown = {item.display_name for item in items}
        self._by_id = all(item.name.isdecimal() for item in items) and "" not in shown and len(shown) == len(items)
        self.ids = CategoryIds(
            {self.name(label): int(item.name) if self._by_id else label for label, item in labels.items.items()}
        )

    def name(self, label: int) -> str:
        return self.labels.display(label) if self._by_id else self.labels.name(label)

    def labelmap(self, to: str) -> str:
        """The label map by which the files that were written become the same records again."""
        if not self.labels.path:
            return Classes(dict(sorted(self.ids.items(), key=itemgetter(1)))).text()
        items = self.labels.items.values()
        if self._by_id and to == "voc":
            return Classes({item.display_name: item.label for item in items}).text()
        display = {item.name: item.display_name or item.name for item in items}
        return Classes({item.name: item.label for item in items}, display).text()


@dataclass(frozen=True)
class _Item:
    """A record as files: the arguments of a writer's `add`."""

    stem: str
    suffix: str
    data: bytes
    annotation: Annotation
    channels: int
    raw: bool


def _add(writer: Writer, item: _Item, classes: _Naming, result: Exported) -> None:
    for one in item.annotation.objects:
        classes.ids[one.name]  # noted, where there is no label map
    writer.add(item.stem, item.suffix, item.data, item.annotation, item.channels)
    result.images += 1
    result.boxes += len(item.annotation.objects)
    result.difficult += sum(one.difficult for one in item.annotation.objects)
    result.raw += item.raw


class _Unpack:
    """Makes files of one record; called by several threads."""

    def __init__(self, database: Database, classes: _Naming, skip_bad: bool) -> None:
        self._database, self._classes, self._skip_bad = database, classes, skip_bad

    def __call__(self, key: str) -> _Item | UserError:
        """The record's files; its mistake instead, where it may be left out."""
        try:
            return self._item(key, annotated(self._database, key))
        except UserError as error:
            where = error.where or f"{self._database.path}, record {printable(key)}"
            fix = error.fix or "leave such records out with --skip-bad; `netgen lmdb check` lists them all"
            named = UserError(error.found, where=where, expected=error.expected, fix=fix)
            if not self._skip_bad:
                raise named from error
            return named

    def _item(self, key: str, record: AnnotatedDatum) -> _Item:
        datum, name = record.datum, image_name(key)
        file, kind = image_file(datum), image_kind(datum)
        if kind not in _SUFFIXES:
            found = f"the image is of no known kind ({len(datum.data)} bytes)"
            raise UserError(found, expected=", ".join(kind for kind in _SUFFIXES if kind != "raw"))
        size_hw = image_hw(datum, file)
        suffix = PurePosixPath(name).suffix
        return _Item(
            stem=file_stem(name),
            suffix=suffix if suffix.lower() in _SUFFIXES[kind] else _SUFFIXES[kind][0],
            data=datum.data if datum.encoded else _png(datum),
            annotation=Annotation(
                name, Path(name), self._database.path, *size_hw, tuple(self._objects(record, size_hw))
            ),
            channels=_channels(datum, file),
            raw=not datum.encoded,
        )

    def _objects(self, record: AnnotatedDatum, size_hw: tuple[int, int]) -> Iterable[Object]:
        height, width = size_hw
        for group in record.annotation_group:
            label = group.group_label
            if not self._classes.labels.knows(label):
                raise self._unknown(label)
            name = self._classes.name(label)
            for one in group.annotation:
                box = one.bbox
                corners = (box.xmin * width, box.ymin * height, box.xmax * width, box.ymax * height)
                if not all(map(isfinite, corners)) or box.xmin > box.xmax or box.ymin > box.ymax:
                    found = f"a box of {name} has the corners ({', '.join(f'{value:g}' for value in corners)})"
                    raise UserError(found, expected="numbers with xmin <= xmax and ymin <= ymax")
                yield Object(name, *corners, box.difficult)

    def _unknown(self, label: int) -> UserError:
        path = self._classes.labels.path
        if path is None:
            return UserError(f"a box has the class {label}", expected="1 or more; 0 is the background")
        fix = "give the label map that the LMDB was made with: --labelmap"
        return UserError(f"a box has the class {label}, which {path} does not list", fix=fix)


def _png(datum: Datum) -> bytes:
    return cv2.imencode(".png", decode_image(datum, False, False))[1].tobytes()


def _channels(datum: Datum, file: ImageFile | None) -> int:
    return 1 if (file.channels if file else datum.channels) == 1 else 3


def _voc(folder: Path, split: str, _: _Naming, __: Database) -> VocWriter:
    return VocWriter(folder, split)


def _coco(folder: Path, split: str, classes: _Naming, database: Database) -> CocoWriter:
    numbered = are_ids(map(file_stem, map(image_name, database.keys())))
    return CocoWriter(folder, split, classes.ids, numbered)


FORMATS: dict[str, Callable[[Path, str, _Naming, Database], Writer]] = {"voc": _voc, "coco": _coco}
