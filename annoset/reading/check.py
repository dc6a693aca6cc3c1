"""Whether every record of an LMDB is one that a net can learn from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from pathlib import Path

from annoset.annotation import SLACK
from annoset.classes import Labels, labels_of
from annoset.database import Database, printable
from annoset.decode import decode_image
from annoset.reading.records import (
    Duplicates,
    Each,
    Watch,
    annotated,
    fingerprint,
    image_file,
    image_name,
    open_annotated,
)
from prototxt.errors import UserError, nearest
from prototxt.schema import AnnotatedDatum, Datum, NormalizedBBox

# What is looked for, in the order of the report.
KINDS = {
    "record": "records that are no image with boxes",
    "image": "images that cannot be decoded, or are cut short",
    "size": "records whose height and width are not their image's",
    "label": "classes that are the background, or not in the label map",
    "empty-group": "groups of a class without a box",
    "number": "boxes with a corner that is no number",
    "reversed": "boxes with reversed corners",
    "outside": "boxes that reach outside their image",
    "zero-area": "boxes without area",
    "duplicate-box": "boxes that their image has already, with the same class",
    "duplicate-name": "images of the same name as another",
    "duplicate-image": "images of the same bytes as another",
}


@dataclass(frozen=True)
class Finding:
    """Something wrong.

    Attributes:
        kind: one of KINDS.
        key: the record's.
        text: what was found, as a phrase.
    """

    kind: str
    key: str
    text: str


@dataclass
class Report:
    """What was found.

    Attributes:
        labelmap: the label map that classes were looked up in, if any.
        counts: kind -> all findings, in the order of KINDS and without those that were to be ignored.
        shown: the first findings of each kind, in the order of the keys.
    """

    labelmap: Path | None
    counts: dict[str, int]
    records: int = 0
    boxes: int = 0
    shown: dict[str, list[Finding]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def check(
    path: Path,
    labelmap: Path | None = None,
    *,
    ignore: Collection[str] = (),
    most: int = 10,
    watch: Watch = lambda items, _: items,
) -> Report:
    """Decode every record of an LMDB and look at all that can be wrong with it.

    Memory is 16 bytes a record, for the duplicates.

    Args:
        labelmap: the label map; otherwise `labelmap.prototxt` beside the LMDB. Without one, any class above 0 is right.
        ignore: kinds that are not looked for.
        most: how many findings of each kind are told; all of them are counted.
        watch: passes items on and shows how far they are.

    Raises:
        UserError: no LMDB of AnnotatedDatum at `path`, a bad label map, an unknown kind.
    """
    for kind in ignore:
        if kind not in KINDS:
            found = f'"{kind}" is nothing that is looked for{nearest(kind, KINDS)}'
            raise UserError(found, expected=f"one of {', '.join(KINDS)}")
    labels = labels_of(path, labelmap)
    report = Report(labels.path, {kind: 0 for kind in KINDS if kind not in ignore})
    with open_annotated(path) as database:
        judge = _Judge(database, labels)
        names, images = Duplicates(), Duplicates()
        for seen in watch(Each(database, judge), "checking records"):
            report.records += 1
            report.boxes += seen.boxes
            names.add(seen.name)
            images.add(seen.image)
            _add(report, (Finding(kind, seen.key, text) for kind, text in seen.mistakes), most)
        for kind, pairs in (("duplicate-name", names.pairs()), ("duplicate-image", images.pairs())):
            if kind in report.counts:
                _add_duplicates(report, kind, pairs, database, most)
    return report


def _add(report: Report, findings: Iterable[Finding], most: int) -> None:
    for finding in findings:
        if finding.kind in report.counts:
            report.counts[finding.kind] += 1
            if report.counts[finding.kind] <= most:
                report.shown.setdefault(finding.kind, []).append(finding)


def _add_duplicates(report: Report, kind: str, pairs: list[tuple[int, int]], database: Database, most: int) -> None:
    told = pairs[:most]
    keys = keys_at(database, {position for pair in told for position in pair})
    _add(report, (Finding(kind, keys[again], f"as {printable(keys[first])}") for again, first in told), most)
    report.counts[kind] = len(pairs)


def keys_at(database: Database, positions: Collection[int]) -> dict[int, str]:
    """Position -> the key there."""
    keys = islice(enumerate(database.keys()), max(positions, default=-1) + 1)
    return {position: key for position, key in keys if position in positions}


@dataclass(frozen=True)
class _Seen:
    """A record after it was looked at; `name` and `image` are fingerprints, `mistakes` are of (kind, text)."""

    key: str
    name: int
    image: int
    boxes: int
    mistakes: list[tuple[str, str]]


class _Judge:
    """Looks at one record; called by several threads."""

    def __init__(self, database: Database, labels: Labels) -> None:
        self._database, self._labels = database, labels

    def __call__(self, key: str) -> _Seen:
        name = fingerprint(image_name(key).encode("utf-8", "surrogateescape"))
        # A record without an image is no duplicate: its fingerprint is that of its key, which no other has.
        alone = fingerprint(b"\0" + key.encode("utf-8", "surrogateescape"))
        try:
            record = annotated(self._database, key)
        except UserError as error:
            return _Seen(key, name, alone, 0, [("record", error.found)])
        mistakes = [] if record.HasField("type") else [("record", "it does not say that its annotations are boxes")]
        size_hw, of_image = _image_mistakes(record.datum)
        mistakes += of_image + self._box_mistakes(record, size_hw)
        image = fingerprint(record.datum.data) if record.datum.data else alone
        return _Seen(key, name, image, sum(len(group.annotation) for group in record.annotation_group), mistakes)

    def _box_mistakes(self, record: AnnotatedDatum, size_hw: tuple[int, int]) -> list[tuple[str, str]]:
        mistakes, boxes = [], set()
        for group in record.annotation_group:
            label = group.group_label
            name = f'"{self._labels.display(label)}"' if self._labels.knows(label) else f"class {label}"
            if not self._labels.knows(label):
                text = "0, which is the background" if label == 0 else f"{label}, which {self._unknown()}"
                mistakes += [("label", f"class {text}")] * max(1, len(group.annotation))
            if not group.annotation:
                mistakes.append(("empty-group", name))
            for one in group.annotation:
                corners = (one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax)
                kinds = _box_kinds(one.bbox, size_hw)
                if (label, corners) in boxes:
                    kinds.append("duplicate-box")
                boxes.add((label, corners))
                mistakes += [(kind, f"{name} {_pixels(corners, size_hw)}") for kind in kinds]
        return mistakes

    def _unknown(self) -> str:
        return f"{self._labels.path} does not list" if self._labels.path else "no class can be"


def _image_mistakes(datum: Datum) -> tuple[tuple[int, int], list[tuple[str, str]]]:
    """Height and width, of the image itself where it tells them, and what is wrong."""
    said_hw, file, mistake = (datum.height, datum.width), image_file(datum), ""
    try:
        size_hw = decode_image(datum, False, False).shape[:2]
    except UserError as error:
        size_hw, mistake = (file.height, file.width) if file else said_hw, error.found
    if file and not file.ended:  # some OpenCVs draw the part that is there
        mistake = f"the {file.format} is cut short or damaged ({len(datum.data)} bytes)"
    mistakes = [("image", mistake)] if mistake else []
    if said_hw not in (size_hw, (0, 0)):  # 0: the record does not say
        of_record, of_image = (f"{width} x {height}" for height, width in (said_hw, size_hw))
        mistakes.append(("size", f"the record says {of_record}, the image has {of_image} pixels (width x height)"))
    return size_hw, mistakes


def _box_kinds(box: NormalizedBBox, size_hw: tuple[int, int]) -> list[str]:
    """What is wrong with a box."""
    if not isfinite(box.xmin + box.ymin + box.xmax + box.ymax):
        return ["number"]
    kinds = []
    if box.xmin > box.xmax or box.ymin > box.ymax:
        kinds.append("reversed")
    down, across = (SLACK / max(side, 1) for side in size_hw)
    over = max(box.xmin, box.xmax) > 1 + across or max(box.ymin, box.ymax) > 1 + down
    if over or min(box.xmin, box.xmax) < -across or min(box.ymin, box.ymax) < -down:
        kinds.append("outside")
    if box.xmin == box.xmax or box.ymin == box.ymax:
        kinds.append("zero-area")
    return kinds


def _pixels(corners: tuple[float, ...], size_hw: tuple[int, int]) -> str:
    height, width = size_hw
    if not height or not width:
        return f"({', '.join(f'{value:.4g}' for value in corners)}) in 0–1"
    values = (value * side for value, side in zip(corners, (width, height) * 2))
    return f"({', '.join(f'{round(value, 2):g}' for value in values)}) in an image of {width} x {height}"
