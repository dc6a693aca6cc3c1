"""SSD-Caffe's list files: `image annotation` on each line, paths below a root, as its convert_annoset takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np

from annoset.annotation import Annotation, Object
from annoset.classes import Classes
from annoset.decode import image_size
from annoset.formats.coco import coco_corners, object_mistake
from annoset.formats.jsonstream import read_elements
from annoset.formats.voc import names_in, quick_annotation
from annoset.lines import MOST_MISTAKES, Lines
from prototxt.errors import UserError, UserErrors
from prototxt.files import is_file
from prototxt.io import read_bytes

_LINE = "an image and its annotation, parted by a space (by a tab, where a path has a space in it)"


@dataclass(frozen=True)
class Kind:
    """A kind of annotation file.

    Attributes:
        read: (annotation file, image file, key's path, list's path, classes) -> Annotation.
        by_label: whether it names classes by what only a label map knows.
    """

    read: Callable[[Path, Path, str, str, Classes | None], Annotation]
    by_label: bool


@dataclass(frozen=True)
class Entry:
    """A line of a list."""

    root: Path
    line: str
    where: str
    kind: str
    classes: Classes | None
    unlabelled: bool

    def annotation(self) -> Annotation:
        """The line's image and annotation, read. Raises UserErrors with everything that is wrong with them."""
        words = self._words()
        if len(words) != 2 and not (len(words) == 1 and self.unlabelled):
            raise UserError(f'the line has {len(words)} word(s): "{self.line}"', where=self.where, expected=_LINE)
        name, listed = words[0].strip(), words[1].strip() if len(words) == 2 else ""
        image, path = self.root / name, self.root / listed
        for file, text in ((image, name), *([(path, listed)] if listed and not self.unlabelled else [])):
            if not is_file(file):
                raise self._missing(file, text)
        if self.unlabelled and not (listed and is_file(path)):
            return Annotation(name, image, path, *image_size(image), listed=listed)
        return KINDS[self.kind].read(path, image, name, listed, self.classes)

    def names(self) -> frozenset[str]:
        """See `annoset.formats.voc.names_in`; none for a kind other than its."""
        words = self._words()
        return names_in(self.root / words[-1].strip()) if self.kind == "xml" and words else frozenset()

    def _words(self) -> list[str]:
        return self.line.split("\t") if "\t" in self.line else self.line.split()

    def _missing(self, file: Path, text: str) -> UserError:
        if text.lstrip("-").isdecimal():
            found = f'the annotation is the number "{text}": this is a list for classification'
            return UserError(found, where=self.where, expected=_LINE)
        fix = "give the folder that paths start from with --root"
        return UserError(f'"{text}" is not there', where=self.where, expected=str(file), fix=fix)


def read_list(path: Path, root: Path, kind: str, classes: Classes | None, unlabelled: bool = False) -> Sequence[Entry]:
    """The images that a list file names.

    Args:
        root: folder that its paths start from.
        kind: of the annotations: "xml" (VOC), "json" (COCO's, an image in each), "txt" (`label xmin ymin xmax ymax`).
        classes: of the label map; "json" and "txt" need one.
        unlabelled: whether annotations may be missing.

    Raises:
        UserError: the list cannot be read, is empty, or needs a label map.
    """
    if KINDS[kind].by_label and classes is None:
        found = f"annotations of the kind {kind} number their classes, and nothing says what these are called"
        raise UserError(found, where=str(path), fix="give a label map with --labelmap")
    make = partial(Entry, root, kind=kind, classes=classes, unlabelled=unlabelled)
    return Lines(path, lambda line, where: make(line, where), "list of images")


def _read_xml(path: Path, image: Path, name: str, listed: str, _: Classes | None) -> Annotation:
    return quick_annotation(path, image, name, listed)


def _read_json(path: Path, image: Path, name: str, listed: str, classes: Classes | None) -> Annotation:
    """`{"image": {"height", "width"}, "annotation": [{"category_id", "bbox", "iscrowd"}]}`.

    The label map lists categories by their numbers, as SSD-Caffe's for COCO does.
    """
    size, rows, errors = {}, [], []
    for element in read_elements(path):
        value = element.value if isinstance(element.value, dict) else {}
        if element.key == "image":
            size = value
        elif element.key == "annotation":
            if mistake := object_mistake(value):
                errors.append(UserError(mistake, where=f"{path}:{element.line}:{element.column}"))
            else:
                rows.append((value, element))
    height, width = size.get("height"), size.get("width")
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        expected = '"image" with a "height" and a "width" above 0'
        errors.append(UserError("the image's size is not told", where=str(path), expected=expected))
    if errors:
        raise UserErrors(errors)
    objects = [
        Object(str(value["category_id"]), *box, value.get("iscrowd", 0) == 1, element.line, element.column)
        for (value, element), box in zip(rows, coco_corners([value["bbox"] for value, _ in rows]))
    ]
    return Annotation(name, image, path, height, width, tuple(objects), listed)


def _read_txt(path: Path, image: Path, name: str, listed: str, classes: Classes | None) -> Annotation:
    """`label xmin ymin xmax ymax` on each line, in pixels; computed in float32 as SSD-Caffe does."""
    classes_by_label = {label: one for one, label in (classes.labels if classes else {}).items()}
    objects, errors = [], []
    for number, line in enumerate(read_bytes(path).decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, *corners = line.split()
            box = [float(np.float32(corner)) for corner in corners]
            if len(box) != 4 or not all(map(isfinite, box)):
                raise ValueError
            objects.append(Object(classes_by_label.get(int(label), label), *box, line=number))
        except ValueError:
            expected = "label xmin ymin xmax ymax, five numbers"
            errors.append(UserError(f'"{line.strip()}" is no box', where=f"{path}:{number}", expected=expected))
            if len(errors) == MOST_MISTAKES:
                break
    if errors:
        raise UserErrors(errors)
    return Annotation(name, image, path, *image_size(image), tuple(objects), listed)


KINDS: Mapping[str, Kind] = {
    "xml": Kind(_read_xml, by_label=False),
    "json": Kind(_read_json, by_label=True),
    "txt": Kind(_read_txt, by_label=True),
}
