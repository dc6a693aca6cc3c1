"""From annotations to an LMDB with its label map and its list of sizes: what the `netgen lmdb` verbs share."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from annoset.annotation import Annotation
from annoset.database import Writer, create
from annoset.folder import refuse_existing
from annoset.record import make_record
from prototxt.errors import UserError, UserErrors
from prototxt.files import atomic_write
from prototxt.io import read_bytes
from prototxt.labelmap import class_labels, labelmap_text

_SHOWN_ERRORS = 20
_OTHER_LABELMAP = "give it with --labelmap, or write another with --labelmap-out"
_OTHER_NAME_SIZE = "remove it, or write another with --name-size"
Watch = Callable[[Sequence[Any], str], Iterable[Any]]


class Source(Protocol):
    """What a reader of a format gives for each image: `annotation()` reads it or raises UserError."""

    def annotation(self) -> Annotation: ...


@dataclass(frozen=True)
class Options:
    """How to treat what is read.

    Attributes:
        skip_bad: leave out what has a mistake, instead of giving up.
        clip_boxes: cut boxes at the image's border before they are judged.
        shuffle: whether the records are in an order drawn from `seed`, as convert_annoset --shuffle does.
        seed: any integer.
    """

    skip_bad: bool = False
    clip_boxes: bool = False
    shuffle: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Targets:
    """Where to write.

    Attributes:
        lmdb: folder of the LMDB; must not exist.
        name_size: file with the line `stem height width` for each record, in their order.
        labelmap: the label map; read when `labelmap_given`, otherwise made from the classes found.
    """

    lmdb: Path
    name_size: Path
    labelmap: Path
    labelmap_given: bool = False


@dataclass
class Report:
    """What was written.

    Attributes:
        images: number of records.
        boxes: class -> number of boxes; a class of the label map that never occurs has 0.
        difficult: boxes marked difficult, of all classes.
        without_area: boxes with xmin = xmax or ymin = ymax, of all classes.
        skipped: the mistakes of what was left out.
    """

    images: int = 0
    boxes: Counter[str] = field(default_factory=Counter)
    difficult: int = 0
    without_area: int = 0
    skipped: list[UserError] = field(default_factory=list)

    def add(self, annotation: Annotation) -> None:
        self.images += 1
        self.boxes.update(one.name for one in annotation.objects)
        self.difficult += sum(one.difficult for one in annotation.objects)
        self.without_area += sum(one.xmin == one.xmax or one.ymin == one.ymax for one in annotation.objects)


def pack(
    sources: Sequence[Source], targets: Targets, options: Options, watch: Watch = lambda items, _: items
) -> Report:
    """Read every source, check it, and write the LMDB, the list of sizes and, unless given, the label map.

    Nothing is written before every annotation has been read. The LMDB appears last, so where it is, the others are.

    Args:
        watch: passes items on and shows how far they are; called with the items and what is done with them.

    Raises:
        UserErrors: everything that is wrong with the annotations, unless `skip_bad`.
        UserError: an image that cannot be decoded, unless `skip_bad`; no image is left; a target exists.
    """
    refuse_existing(targets.lmdb)
    given = class_labels(targets.labelmap) if targets.labelmap_given else None
    report = Report()
    annotations = _read(watch(sources, "reading annotations"), given, options, report)
    if options.shuffle:
        random.Random(options.seed).shuffle(annotations)
    labels = given or _number_classes(annotations)
    labelmap = None if given else _TextFile(targets.labelmap, labelmap_text(labels), _OTHER_LABELMAP)
    if labelmap:
        labelmap.refuse_other()
    report.boxes.update(dict.fromkeys(labels, 0))
    with create(targets.lmdb) as writer:
        sizes = _write(writer, watch(annotations, "writing records"), labels, options, report)
        writer.flush()
        for file in filter(None, (labelmap, _TextFile(targets.name_size, "".join(sizes), _OTHER_NAME_SIZE))):
            file.write()
    return report


def _read(
    sources: Iterable[Source], labels: Mapping[str, int] | None, options: Options, report: Report
) -> list[Annotation]:
    """The annotations without a mistake. Raises UserErrors with the first mistakes, unless they may be skipped."""
    good, errors = [], []
    for source in sources:
        try:
            annotation = source.annotation()
            annotation = annotation.clipped() if options.clip_boxes else annotation
            mistakes = annotation.mistakes(labels)
            if mistakes:
                raise UserErrors(mistakes)
            good.append(annotation)
        except UserError as error:
            errors.append(error)
    if errors and not options.skip_bad:
        if len(errors) > _SHOWN_ERRORS:
            errors[_SHOWN_ERRORS:] = [UserError(f"and {len(errors) - _SHOWN_ERRORS} more annotations have mistakes")]
        raise UserErrors([*errors, UserError("nothing was written", fix="or leave such images out with --skip-bad")])
    report.skipped += errors
    return good


def _write(
    writer: Writer, annotations: Iterable[Annotation], labels: Mapping[str, int], options: Options, report: Report
) -> list[str]:
    """Put the records; the lines of the list of sizes."""
    sizes = []
    for annotation in annotations:
        try:
            record = make_record(annotation, labels)
        except UserError as error:
            if not options.skip_bad:
                raise
            report.skipped.append(error)
            continue
        writer.put(f"{report.images:08d}_{annotation.name}", record)
        sizes.append(f"{Path(annotation.name).stem} {annotation.height} {annotation.width}\n")
        report.add(annotation)
    if not sizes:
        raise UserErrors([*report.skipped[:_SHOWN_ERRORS], UserError("no image is left to write")])
    return sizes


def _number_classes(annotations: Iterable[Annotation]) -> dict[str, int]:
    classes = sorted({one.name for annotation in annotations for one in annotation.objects})
    if not classes:
        raise UserError("no image has an object, so no label map can be made", fix="give one with --labelmap")
    return {name: label for label, name in enumerate(classes, 1)}


@dataclass(frozen=True)
class _TextFile:
    """A file to be written, unless it is there and says just the same; what says something else is never lost."""

    path: Path
    text: str
    fix: str

    def refuse_other(self) -> None:
        if self.path.exists() and read_bytes(self.path) != self.text.encode():
            raise UserError("this exists already and says something else", where=str(self.path), fix=self.fix)

    def write(self) -> None:
        self.refuse_other()
        with atomic_write(self.path, "w") as file:
            file.write(self.text)
