"""What is in an LMDB: counts, sizes and the statistics of its boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from annoset.classes import Labels, labels_of
from annoset.database import Database, printable
from annoset.reading.records import (
    Duplicates,
    Each,
    Watch,
    annotated,
    fingerprint,
    image_file,
    image_hw,
    image_kind,
    image_name,
    open_annotated,
)
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum

# Width : height, as SSD's prior boxes have it; a box counts as the nearest, its bound being the geometric mean.
RATIOS = (("1:3", 1 / sqrt(6)), ("1:2", 1 / sqrt(2)), ("1:1", sqrt(2)), ("2:1", sqrt(6)), ("3:1", float("inf")))
# COCO's names of areas in pixels.
AREAS = (("small", 32**2), ("medium", 96**2), ("large", float("inf")))


class Tally:
    """How often each whole number occurs; so the memory is bounded, whatever is counted."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: int) -> None:
        self._counts[value] += 1

    def __len__(self) -> int:
        return self._counts.total()

    @property
    def total(self) -> int:
        return sum(value * count for value, count in self._counts.items())

    def quantile(self, part: float) -> int:
        """The least number that at least `part` (0–1) of all do not exceed."""
        seen, wanted = 0, part * len(self)
        for value in sorted(self._counts):
            seen += self._counts[value]
            if seen >= wanted:
                return value
        return 0

    def as_dict(self) -> dict[str, float]:
        """Least, 5 %, median, 95 %, greatest, mean; empty where nothing was counted."""
        if not self._counts:
            return {}
        parts = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
        return {name: self.quantile(part) for name, part in parts.items()} | {"mean": round(self.total / len(self), 2)}


@dataclass
class Boxes:
    """Statistics of boxes.

    Attributes:
        images: how many images have any.
        sides: square root of the area, in whole pixels of the image as it is stored.
        percents: the same in hundredths of the image's.
        ratios: nearest width : height -> boxes.
        areas: COCO's name of the area -> boxes.
    """

    count: int = 0
    images: int = 0
    difficult: int = 0
    without_area: int = 0
    sides: Tally = field(default_factory=Tally)
    percents: Tally = field(default_factory=Tally)
    ratios: Counter[str] = field(default_factory=lambda: Counter({name: 0 for name, _ in RATIOS}))
    areas: Counter[str] = field(default_factory=lambda: Counter({name: 0 for name, _ in AREAS}))

    def add(self, box: _Box, size_hw: tuple[int, int]) -> None:
        self.count += 1
        self.difficult += box.difficult
        if not (box.width > 0 and box.height > 0 and isfinite(box.width + box.height)):
            self.without_area += 1
            return
        height, width = box.height * size_hw[0], box.width * size_hw[1]
        self.sides.add(round(sqrt(height * width)))
        self.percents.add(round(100 * sqrt(box.height * box.width)))
        self.ratios[next(name for name, bound in RATIOS if width <= bound * height)] += 1
        self.areas[next(name for name, bound in AREAS if width * height <= bound)] += 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "boxes": self.count,
            "images": self.images,
            "difficult": self.difficult,
            "without_area": self.without_area,
            "side_pixels": self.sides.as_dict(),
            "side_percent": self.percents.as_dict(),
            "ratios": dict(self.ratios),
            "areas": dict(self.areas),
        }


@dataclass
class Info:
    """What an LMDB holds.

    Attributes:
        labels: what its classes are called.
        size_bytes: of its file's records: images and boxes, without what LMDB adds.
        kinds: "JPEG", "PNG", "raw", … -> images.
        sizes: (height, width) -> images.
        gray, turned: images of one channel; those that a camera noted to be held otherwise than upright.
        image_kib: of each image, in whole KiB.
        per_image: boxes of each image.
        boxes: of all boxes.
        classes: label -> statistics of its boxes; those of the label map that never occur are among them.
        unnumbered: keys that do not begin with a number, as convert_annoset's do.
        same_name, same_image: how many images have the name, or the bytes, of one before them.
    """

    path: Path
    labels: Labels
    size_bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    gray: int = 0
    turned: int = 0
    image_kib: Tally = field(default_factory=Tally)
    per_image: Tally = field(default_factory=Tally)
    boxes: Boxes = field(default_factory=Boxes)
    classes: dict[int, Boxes] = field(default_factory=dict)
    unnumbered: int = 0
    same_name: int = 0
    same_image: int = 0

    @property
    def records(self) -> int:
        return len(self.per_image)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        sizes = [{"height": height, "width": width, "images": n} for (height, width), n in self.sizes.most_common()]
        return {
            "path": str(self.path),
            "labelmap": str(self.labels.path) if self.labels.path else None,
            "records": self.records,
            "bytes": self.size_bytes,
            "images": {
                "kinds": dict(self.kinds),
                "gray": self.gray,
                "turned": self.turned,
                "kib": self.image_kib.as_dict(),
                "sizes": sizes,
                "boxes": self.per_image.as_dict(),
                "without_boxes": self.records - self.boxes.images,
            },
            "boxes": self.boxes.as_dict(),
            "classes": [
                {"label": label, "name": self.labels.display(label), "known": self.labels.knows(label)}
                | boxes.as_dict()
                for label, boxes in self.classes.items()
            ],
            "keys": {"unnumbered": self.unnumbered},
            "duplicates": {"names": self.same_name, "images": self.same_image},
        }


def info(path: Path, labelmap: Path | None = None, watch: Watch = lambda items, _: items) -> Info:
    """Read every record of an LMDB; its images are looked at, but not decoded.

    Memory is 16 bytes a record, for the duplicates.

    Args:
        labelmap: the label map; otherwise `labelmap.prototxt` beside the LMDB. Without one, classes have numbers.
        watch: passes items on and shows how far they are.

    Raises:
        UserError: no LMDB at `path`, a record that is no AnnotatedDatum, an image without a size; a bad label map.
    """
    labels = labels_of(path, labelmap)
    result = Info(path, labels, classes={label: Boxes() for label in labels.items})
    names, images = Duplicates(), Duplicates()
    with open_annotated(path) as database:
        for seen in watch(Each(database, _Look(database)), "reading records"):
            names.add(seen.name)
            images.add(seen.image)
            _add(result, seen)
    result.classes = dict(sorted(result.classes.items()))
    result.same_name, result.same_image = len(names.pairs()), len(images.pairs())
    return result


@dataclass(frozen=True)
class _Box:
    """A box of a record; width and height in 0–1."""

    label: int
    width: float
    height: float
    difficult: bool


@dataclass(frozen=True)
class _Seen:
    """What counts of a record; `name` and `image` are fingerprints."""

    numbered: bool
    name: int
    image: int
    size_bytes: int
    kind: str
    size_hw: tuple[int, int]
    gray: bool
    turned: bool
    image_bytes: int
    boxes: tuple[_Box, ...]


class _Look:
    """Reads one record; called by several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, key: str) -> _Seen:
        record = annotated(self._database, key)
        datum, name = record.datum, image_name(key)
        file = image_file(datum)
        try:
            size_hw = image_hw(datum, file)
        except UserError as error:
            where = f"{self._database.path}, record {printable(key)}"
            fix = "list everything of this sort with `netgen lmdb check`"
            raise UserError(error.found, where=where, expected=error.expected, fix=fix) from error
        return _Seen(
            numbered=name != key,
            name=fingerprint(name.encode("utf-8", "surrogateescape")),
            image=fingerprint(datum.data),
            size_bytes=record.ByteSize(),
            kind=image_kind(datum),
            size_hw=size_hw,
            gray=(file.channels if file else datum.channels) == 1,
            turned=bool(file and file.orientation != 1),
            image_bytes=len(datum.data),
            boxes=tuple(_boxes(record)),
        )


def _boxes(record: AnnotatedDatum) -> Iterable[_Box]:
    for group in record.annotation_group:
        for one in group.annotation:
            box = one.bbox
            yield _Box(group.group_label, box.xmax - box.xmin, box.ymax - box.ymin, box.difficult)


def _add(result: Info, seen: _Seen) -> None:
    result.size_bytes += seen.size_bytes
    result.kinds[seen.kind] += 1
    result.sizes[seen.size_hw] += 1
    result.gray += seen.gray
    result.turned += seen.turned
    result.image_kib.add(round(seen.image_bytes / 1024))
    result.per_image.add(len(seen.boxes))
    result.unnumbered += not seen.numbered
    for box in seen.boxes:
        of_class = result.classes.setdefault(box.label, Boxes())
        for boxes in (result.boxes, of_class):
            boxes.add(box, seen.size_hw)
    for label in {box.label for box in seen.boxes}:
        result.classes[label].images += 1
    result.boxes.images += bool(seen.boxes)
