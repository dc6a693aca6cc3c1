"""A contact sheet of an LMDB: some of its images, their boxes and classes drawn."""

from __future__ import annotations

import random
from array import array
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annoset.classes import Labels, labels_of
from annoset.database import Database, printable
from annoset.decode import decode_image
from annoset.reading.check import keys_at
from annoset.reading.records import Each, Watch, annotated, image_name, open_annotated
from annoset.sheet import Mark, check_suffix, tile, write_sheet
from prototxt.errors import UserError, nearest
from prototxt.schema import AnnotatedDatum


@dataclass(frozen=True)
class Choice:
    """Which images to show, and how.

    Attributes:
        count: at most how many.
        seed: draws them at random; otherwise they are spread evenly over the LMDB.
        only: a class, by its name or label: images with a box of it.
        text: what keys must contain.
        side: longer side of each image on the sheet, in pixels.
        columns: images side by side.
    """

    count: int = 12
    seed: int | None = None
    only: str = ""
    text: str = ""
    side: int = 360
    columns: int = 4


def show(
    path: Path,
    out: Path,
    choice: Choice,
    *,
    labelmap: Path | None = None,
    watch: Watch = lambda items, _: items,
) -> list[str]:
    """Write the sheet; the keys of its images.

    Difficult boxes have thin lines. An image that cannot be decoded is a grey tile that says so.

    Args:
        out: a .png or .jpg.
        labelmap: the label map; otherwise `labelmap.prototxt` beside the LMDB. Without one, classes have numbers.
        watch: passes items on and shows how far they are.

    Raises:
        UserError: no LMDB of AnnotatedDatum at `path`, a bad label map, an unknown class, no image that fits the
            choice; `out` cannot be written.
    """
    check_suffix(out)
    labels = labels_of(path, labelmap)
    with open_annotated(path) as database:
        keys = _choose(database, choice, labels, watch)
        tiles = [_tile(annotated(database, key), key, labels, choice.side) for key in keys]
    write_sheet(tiles, out, choice.columns)
    return keys


def _choose(database: Database, choice: Choice, labels: Labels, watch: Watch) -> list[str]:
    positions: Collection[int] = range(len(database))
    if choice.only or choice.text:
        fits = _Fits(database, choice.text, _label(choice.only, labels) if choice.only else None)
        each = watch(Each(database, fits), "looking for records")
        positions = array("Q", (position for position, fit in enumerate(each) if fit))
    count = min(choice.count, len(positions))
    if not count:
        of_class = f" a box of {choice.only}" if choice.only else ""
        of_text = f' "{choice.text}" in its key' if choice.text else ""
        raise UserError(
            f"no record has{of_class}{' and' * bool(of_class and of_text)}{of_text}", where=str(database.path)
        )
    if choice.seed is None:
        chosen = [positions[number * len(positions) // count] for number in range(count)]
    else:
        chosen = sorted(random.Random(choice.seed).sample(positions, count))
    keys = keys_at(database, set(chosen))
    return [keys[position] for position in chosen]


def _label(only: str, labels: Labels) -> int:
    """The label of a class that is given by its name, by what is shown of it, or by the label itself."""
    for label, item in labels.items.items():
        if only in (item.name, item.display_name):
            return label
    if only.isdecimal():
        return int(only)
    known = [labels.display(label) for label in labels.items]
    expected = f"one of {', '.join(known)}" if known else "a label, because there is no label map"
    raise UserError(f'there is no class "{only}"{nearest(only, known)}', expected=expected)


class _Fits:
    """Whether a record is of the choice; called by several threads."""

    def __init__(self, database: Database, text: str, label: int | None) -> None:
        self._database, self._text, self._label = database, text, label

    def __call__(self, key: str) -> bool:
        if self._text not in printable(key):
            return False
        if self._label is None:
            return True
        groups = annotated(self._database, key).annotation_group
        return any(group.group_label == self._label and group.annotation for group in groups)


def _tile(record: AnnotatedDatum, key: str, labels: Labels, side: int) -> np.ndarray:
    marks = [
        Mark(
            (box.xmin, box.ymin, box.xmax, box.ymax),
            group.group_label,
            labels.display(group.group_label),
            box.difficult,
        )
        for group in record.annotation_group
        for box in (one.bbox for one in group.annotation)
    ]
    try:
        picture = decode_image(record.datum, False, False)
        said = "{1} x {0}".format(*picture.shape)
    except UserError as error:
        picture, said = np.full((side, side), 128, np.uint8), error.found
    boxes = f"{len(marks)} box{'' if len(marks) == 1 else 'es'}"
    name = Path(image_name(key)).name
    return tile(picture, marks, f"{printable(name)}\n{said}, {boxes}", side)
