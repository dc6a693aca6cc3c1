"""Pascal VOC's layout: `Annotations/*.xml`, `JPEGImages/*`, lists of images in `ImageSets/Main/*.txt`.

An XML means what SSD-Caffe's ReadXMLToAnnotatedDatum takes it to mean, but for three things that it does to a file
without a word and that are not done here: a corner that is no whole number ("45.7") becomes 0, a `difficult` that
stands after its `bndbox` is lost, and a missing size is taken from the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite, nan
from pathlib import Path
from xml.etree import ElementTree

from annoset.annotation import Annotation, Object
from annoset.decode import image_size
from annoset.formats import xmltree
from annoset.formats.xmltree import Element
from annoset.lines import Lines
from prototxt.errors import UserError, UserErrors, nearest
from prototxt.files import is_file
from prototxt.io import read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DIFFICULT = {"0": False, "1": True}
_NAME = re.compile(rb"<name>([ -%'-;=?-~]*)</name>")  # ASCII that is neither markup nor a reference


@dataclass(frozen=True)
class Entry:
    """A line of a list of images.

    Attributes:
        root: the data set's folder.
        stem: what the line says; the image's file name without its suffix.
        where: `FILE:LINE` of the list.
        folder: the root's name, with which keys begin.
        unlabelled: whether the XML may be missing; then the image has no objects.
    """

    root: Path
    stem: str
    where: str
    folder: str = ""
    unlabelled: bool = False

    def annotation(self) -> Annotation:
        """The entry's image and XML, read. The corners may still be outside the image or the class unknown.

        Raises:
            UserError: the image or the XML is missing, or the XML is broken or lacks something.
        """
        xml = f"Annotations/{self.stem}.xml"
        path, image = self.root / xml, self._image()
        name, listed = f"{self.folder}/{image}", f"{self.folder}/{xml}"
        try:
            return quick_annotation(path, self.root / image, name, listed)
        except UserError:
            if is_file(path):
                raise
        if self.unlabelled:
            return Annotation(name, self.root / image, path, *image_size(self.root / image), listed=listed)
        fix = "if this is a test set without annotations, give --unlabelled"
        raise UserError(f'"{self.stem}" has no annotation', where=self.where, expected=str(path), fix=fix)

    def names(self) -> frozenset[str]:
        """See `names_in`."""
        return names_in(self.root / f"Annotations/{self.stem}.xml")

    def _image(self) -> str:
        """The image's path below the root."""
        for suffix in SUFFIXES:
            image = f"JPEGImages/{self.stem}{suffix}"
            if is_file(self.root / image):
                return image
        expected = f"{self.root / 'JPEGImages' / self.stem}.jpg (or .jpeg, .png)"
        one_class = re.fullmatch(r"\S+\s+(-1|0|1)", self.stem)
        fix = "this is the list of one class; name the list of all images, such as trainval" if one_class else ""
        raise UserError(f'"{self.stem}" has no image', where=self.where, expected=expected, fix=fix)


def read_split(root: str | Path, split: str, unlabelled: bool = False) -> Sequence[Entry]:
    """The images that `ROOT/ImageSets/Main/SPLIT.txt` lists, in its order.

    Args:
        unlabelled: whether XMLs may be missing, as they are in VOC2012's test set.

    Raises:
        UserError: `root` is not in VOC's layout, or has no such list, or the list is empty.
    """
    root = Path(root)
    lists = root / "ImageSets" / "Main"
    annotations = () if unlabelled else (root / "Annotations",)
    for folder in (root, *annotations, root / "JPEGImages", lists):
        if not folder.is_dir():
            expected = "VOC's layout: Annotations, JPEGImages and ImageSets/Main in one folder"
            raise UserError(
                f"there is no folder {folder}", expected=expected, fix="give the folder that holds the three"
            )
    path = lists / f"{split}.txt"
    if not is_file(path):
        known = sorted(file.stem for file in lists.glob("*.txt"))
        found = f'there is no list of images called "{split}"{nearest(split, known)}'
        raise UserError(found, where=str(lists), expected=f"one of {', '.join(known)}" if known else f"{split}.txt")
    name = root.resolve().name
    return Lines(path, lambda line, where: Entry(root, line, where, name, unlabelled), "list of images")


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


def quick_annotation(path: Path, image: Path, name: str, listed: str = "") -> Annotation:
    """What `read_annotation` gives, three times as fast, for which the lines are looked for only when they are told."""
    raw = read_bytes(path)
    try:
        height, width, objects = _quick(ElementTree.XML(raw))
    except (ElementTree.ParseError, LookupError, ValueError, AttributeError, TypeError):
        # It says what is wrong, or knows better.
        return replace(read_annotation(path, image, name), listed=listed)
    return Annotation(name, image, path, height, width, tuple(objects), listed, lines=partial(_object_lines, path))


def names_in(path: Path) -> frozenset[str]:
    """Whatever is called a <name> in an XML, be it an object's class or a part's; ten times as fast as reading it.

    Empty where the file is missing, or only a parser can tell: for comments, entities, other than ASCII, and the like.
    """
    try:
        raw = read_bytes(path)
    except UserError:
        return frozenset()
    names = _NAME.findall(raw)
    if len(names) != raw.count(b"<name") or b"<!" in raw:
        return frozenset()
    return frozenset([name.strip().decode("ascii") for name in names])


def _quick(root: ElementTree.Element) -> tuple[int, int, list[Object]]:
    """Height, width and objects of an XML without a flaw. Raises any of the errors of its operations for another."""
    objects = []
    for element in root.findall("object"):
        parts = {part.tag: part for part in element}
        name, box = parts["name"], parts["bndbox"]
        corners = {corner.tag: corner.text for corner in box}
        if len(parts) != len(element) or len(corners) != len(box) or any(map(len, box)):
            raise ValueError  # the same thing twice, or more than a number in a corner
        xmin, ymin, xmax, ymax = [float(corners[corner]) for corner in _CORNERS]
        if not isfinite(xmin + ymin + xmax + ymax):
            raise ValueError
        difficult = "difficult" in parts and _DIFFICULT[_leaf(parts["difficult"])]
        objects.append(Object(_leaf(name), xmin, ymin, xmax, ymax, difficult))
    size = root.find("size")
    height, width = (int(_leaf(size.find(side))) for side in ("height", "width"))
    if root.tag != "annotation" or min(height, width) < 1 or not all(one.name for one in objects):
        raise ValueError
    return height, width, objects


def _leaf(element: ElementTree.Element) -> str:
    """The text of an element that has nothing else in it."""
    if len(element):
        raise ValueError
    return element.text.strip()


def _object_lines(path: Path) -> list[int]:
    return [one.line for one in read_annotation(path, path, "").objects]


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
            value = nan
        if isfinite(value):
            return value
        self._error(f'{owner}: <{part}> is "{element.text.strip()}"', element, "a number")
        return 1.0

    def _error(self, found: str, element: Element, expected: str = "") -> None:
        self.errors.append(UserError(found, where=f"{self.path}:{element.line}", expected=expected))
