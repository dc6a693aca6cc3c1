"""Pascal VOC's layout: `Annotations/*.xml`, `JPEGImages/*`, lists of images in `ImageSets/Main/*.txt`.

An XML means what SSD-Caffe's ReadXMLToAnnotatedDatum takes it to mean, but for three things that it does to a file
without a word and that are not done here: a corner that is no whole number ("45.7") becomes 0, a `difficult` that
stands after its `bndbox` is lost, and a missing size is taken from the image.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from annoset.annotation import Annotation, Object
from annoset.formats import xmltree
from annoset.formats.xmltree import Element
from prototxt.errors import UserError, UserErrors, nearest
from prototxt.io import read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DIFFICULT = {"0": False, "1": True}


@dataclass(frozen=True)
class Entry:
    """A line of a list of images.

    Attributes:
        root: the data set's folder.
        stem: what the line says; the image's file name without its suffix.
        where: `FILE:LINE` of the list.
    """

    root: Path
    stem: str
    where: str

    def annotation(self) -> Annotation:
        """The entry's image and XML, read. The corners may still be outside the image or the class unknown.

        Raises:
            UserError: the image or the XML is missing, or the XML is broken or lacks something.
        """
        path = self.root / "Annotations" / f"{self.stem}.xml"
        image = self._image()
        if not path.is_file():
            raise UserError(f'"{self.stem}" has no annotation', where=self.where, expected=str(path))
        return read_annotation(path, self.root / image, f"{self.root.resolve().name}/{image}")

    def _image(self) -> str:
        """The image's path below the root."""
        for suffix in SUFFIXES:
            image = f"JPEGImages/{self.stem}{suffix}"
            if (self.root / image).is_file():
                return image
        expected = f"{self.root / 'JPEGImages' / self.stem}.jpg (or .jpeg, .png)"
        one_class = re.fullmatch(r"\S+\s+(-1|0|1)", self.stem)
        fix = "this is the list of one class; name the list of all images, such as trainval" if one_class else ""
        raise UserError(f'"{self.stem}" has no image', where=self.where, expected=expected, fix=fix)


def read_split(root: str | Path, split: str) -> list[Entry]:
    """The images that `ROOT/ImageSets/Main/SPLIT.txt` lists, in its order.

    Raises:
        UserError: `root` is not in VOC's layout, or has no such list, or the list is empty.
    """
    root = Path(root)
    lists = root / "ImageSets" / "Main"
    for folder in (root, root / "Annotations", root / "JPEGImages", lists):
        if not folder.is_dir():
            expected = "VOC's layout: Annotations, JPEGImages and ImageSets/Main in one folder"
            raise UserError(
                f"there is no folder {folder}", expected=expected, fix="give the folder that holds the three"
            )
    path = lists / f"{split}.txt"
    if not path.is_file():
        known = sorted(file.stem for file in lists.glob("*.txt"))
        found = f'there is no list of images called "{split}"{nearest(split, known)}'
        raise UserError(found, where=str(lists), expected=f"one of {', '.join(known)}" if known else f"{split}.txt")
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError("the list of images is not UTF-8 text", where=str(path), fix="save it as UTF-8") from error
    entries = [Entry(root, line.strip(), f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise UserError("the list of images is empty", where=str(path), expected="an image's name on each line")
    return entries


def read_annotation(path: Path, image: Path, name: str) -> Annotation:
    """Read a VOC XML.

    Args:
        image, name: as in Annotation; the XML's own `filename` and `path` are not believed.

    Raises:
        UserErrors: everything that is broken, missing or no number, each with `FILE:LINE`.
    """
    root = xmltree.parse(path)
    if root.tag != "annotation":
        raise UserError(f"the XML's root is <{root.tag}>", where=f"{path}:{root.line}", expected="<annotation>")
    reader = _Reader(path)
    height, width = reader.size(root)
    objects = [reader.object(index, element) for index, element in enumerate(root.all("object"))]
    if reader.errors:
        raise UserErrors(reader.errors)
    return Annotation(name, image, path, height, width, tuple(objects))


class _Reader:
    """Takes values out of elements; what is wrong with them gathers in `errors`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.errors: list[UserError] = []

    def size(self, root: Element) -> tuple[int, int]:
        """Height and width."""
        height, width = self._numbers(root, "size", ("height", "width"), "the image")
        for what, value in (("height", height), ("width", width)):
            if value <= 0 or value % 1:
                self._error(f"the {what} of the image is {value:g}", root.first("size"), "a whole number above 0")
        return int(height), int(width)

    def object(self, index: int, element: Element) -> Object:
        owner = f"object {index + 1}"
        name = element.first("name")
        if name is None or not name.text.strip():
            self._error(f"{owner} has no <name>", name or element)
        difficult = element.first("difficult") or Element("difficult", 0, "0")
        if difficult.text.strip() not in _DIFFICULT:
            self._error(f'{owner}: <difficult> is "{difficult.text.strip()}"', difficult, "0 or 1")
        corners = self._numbers(element, "bndbox", _CORNERS, owner)
        line = (element.first("bndbox") or element).line
        flag = _DIFFICULT.get(difficult.text.strip(), False)
        return Object(name.text.strip() if name else "", *corners, difficult=flag, line=line)

    def _numbers(self, parent: Element, tag: str, parts: tuple[str, ...], owner: str) -> list[float]:
        """The numbers in `parent`'s child `tag`; 1 stands in for those that gave an error."""
        group = parent.first(tag)
        if group is None:
            self._error(f"{owner} has no <{tag}>", parent, f"<{tag}> with {', '.join(f'<{part}>' for part in parts)}")
            return [1.0] * len(parts)
        return [self._number(group, part, owner) for part in parts]

    def _number(self, group: Element, part: str, owner: str) -> float:
        element = group.first(part)
        if element is None:
            self._error(f"{owner}: <{group.tag}> has no <{part}>", group)
            return 1.0
        try:
            value = float(element.text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        self._error(f'{owner}: <{part}> is "{element.text.strip()}"', element, "a number")
        return 1.0

    def _error(self, found: str, element: Element, expected: str = "") -> None:
        self.errors.append(UserError(found, where=f"{self.path}:{element.line}", expected=expected))
