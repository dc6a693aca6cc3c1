"""COCO's layout: one JSON of images, categories and boxes for a whole data set, and folders of images.

The JSON is read an element at a time into a temporary database, which SQLite keeps on disk, so that the boxes of an
image can be asked for though they stand all over the file.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from annoset.annotation import Annotation, Object
from annoset.classes import Classes
from annoset.formats.jsonstream import Element, Watch, read_elements
from annoset.lines import Lines
from prototxt.errors import UserError, UserErrors
from prototxt.files import is_file

_TABLES = """
CREATE TABLE image (number INTEGER PRIMARY KEY, id UNIQUE, file, stem, height, width, line, column, mistake);
CREATE TABLE object (image, category, x, y, width, height, crowd, line, column, mistake);
CREATE TABLE word (list, word);
"""
_INDICES = "CREATE INDEX of_image ON object (image); CREATE INDEX of_word ON word (list, word);"
_IS_LISTED = "EXISTS (SELECT 1 FROM word WHERE list = '{}' AND word IN (CAST(image.id AS TEXT), file, stem))"
_OBJECTS = """SELECT category, x, y, width, height, crowd, line, column, mistake FROM object WHERE image = ?
    ORDER BY rowid"""
_STRAYS = """SELECT count(*), image, line, column, min(rowid) FROM object
    WHERE image IS NULL OR image NOT IN (SELECT id FROM image WHERE id IS NOT NULL)"""
_FORMAT = 'a JSON object with "images", "annotations" and "categories"'


@dataclass(frozen=True)
class Choice:
    """Which images to take and where they lie.

    Attributes:
        images: folder of the images.
        root: folder that the paths in keys start from, above `images`.
        only, without: lists of the images to take, or to leave: texts with an id or a file name on each line, or
            COCO JSONs, which mean the images that they list, by id. None takes all, or leaves none.
        unlabelled: whether "annotations" may be missing, as in test sets.
    """

    images: Path
    root: Path
    only: Path | None = None
    without: Path | None = None
    unlabelled: bool = False


@dataclass(frozen=True)
class Home:
    """What the images of a file share.

    Attributes:
        path: the JSON.
        images: folder of the images.
        prefix: that folder's path in keys.
        names: category -> class of the label map.
    """

    path: Path
    images: Path
    prefix: str
    names: dict[Any, str]


@dataclass(frozen=True)
class Entry:
    """An image and its objects as the temporary database has them: rows in the order of its columns."""

    home: Home
    image: tuple[Any, ...]
    objects: Sequence[tuple[Any, ...]]

    def annotation(self) -> Annotation:
        """The image and its objects. Raises UserErrors with all that is wrong with them."""
        home, (id_, file, height, width, line, column, mistake) = self.home, self.image
        where = f"{home.path}:{line}:{column}"
        if mistake:
            raise UserError(mistake, where=where)
        image = home.images / file
        if not is_file(image):
            found, fix = f'the image "{file}" is not there', "give the folder of the images with --images"
            raise UserError(found, where=where, expected=str(image), fix=fix)
        name = f"{home.prefix}/{file}"
        return Annotation(name, image, home.path, height, width, self._objects(), called=str(id_))

    def _objects(self) -> tuple[Object, ...]:
        *_, lines, columns, mistakes = zip(*self.objects) if self.objects else [()] * 9
        errors = [
            UserError(mistake, where=f"{self.home.path}:{line}:{column}")
            for line, column, mistake in zip(lines, columns, mistakes)
            if mistake
        ]
        if errors:
            raise UserErrors(errors)
        return tuple(
            Object(self.home.names.get(row[0], str(row[0])), *box, bool(row[5]), row[6], row[7])
            for row, box in zip(self.objects, coco_corners([row[1:5] for row in self.objects]))
        )


@dataclass(frozen=True)
class Strays:
    """Boxes that are of no image in the file: stands for all of them as a bad image does."""

    found: str
    where: str

    def annotation(self) -> Annotation:
        raise UserError(self.found, where=self.where, expected='their images in "images"')


class CocoFile(Sequence[Entry | Strays]):
    """The images of an `instances_*.json`, in its order.

    Corners are computed in float32 as SSD-Caffe's ReadJSONToAnnotatedDatum does. A crowd is a difficult object.

    Attributes:
        categories: id -> name, in the order of the ids.

    Raises:
        UserError: the file is no JSON or lacks something, an id is given twice, or no image is left by the lists.
    """

    def __init__(self, path: Path, choice: Choice, watch: Watch = lambda items, _: items) -> None:
        self.path, self._choice = path, choice
        self.categories: dict[Any, str] = {}
        prefix = choice.images.resolve().relative_to(choice.root.resolve()).as_posix()
        self.home = Home(path, choice.images, prefix, {})
        self._base = sqlite3.connect("", check_same_thread=False)  # a file without a name, gone when it is closed
        try:
            self._base.executescript(_TABLES)
            self._load(watch)
            self._numbers = self._choose()
        except sqlite3.OperationalError as error:
            fix = "free some space where temporary files lie, or set TMPDIR to another folder"
            raise UserError(f"cannot be sorted by images: {error}", where=str(path), fix=fix) from error

    def __len__(self) -> int:
        return len(self._numbers) + (self._strays is not None)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        index = range(len(self))[index]
        if index == len(self._numbers):
            return self._strays
        query = "SELECT id, file, height, width, line, column, mistake FROM image WHERE number = ?"
        image = self._base.execute(query, (self._numbers[index],)).fetchone()
        return Entry(self.home, image, self._base.execute(_OBJECTS, (image[0],)).fetchall())

    def _load(self, watch: Watch) -> None:
        take = {"images": self._take_image, "annotations": self._take_object, "categories": self._take_category}
        taken = dict.fromkeys(take, 0)
        for element in read_elements(self.path, watch):
            if element.key in take:
                try:
                    take[element.key](element)
                except (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError) as error:
                    found = f'"{element.key}" has an id that is given twice, or is out of range'
                    raise UserError(found, where=self._where(element), expected="a number or a name") from error
                taken[element.key] += 1
        needed = ("images",) if self._choice.unlabelled else ("images", "annotations", "categories")
        if missing := [key for key in needed if not taken[key]]:
            fix = "if this is a test set without annotations, give --unlabelled" if missing == ["annotations"] else ""
            raise UserError(f'there are no "{missing[0]}"', where=str(self.path), expected=_FORMAT, fix=fix)
        self.categories = dict(sorted(self.categories.items(), key=lambda item: (str(type(item[0])), item[0])))
        self._base.executescript(_INDICES)
        count, image, line, column, _ = self._base.execute(_STRAYS).fetchone()
        found = f"{count} annotation(s) are of images that the file does not list, the first of image {image}"
        self._strays = Strays(found, f"{self.path}:{line}:{column}") if count else None

    def _take_image(self, element: Element) -> None:
        value = element.value if isinstance(element.value, dict) else {}
        mistake = _image_mistake(value)
        file = "" if mistake else value["file_name"]
        size = (None, None) if mistake else (value["height"], value["width"])
        row = (_id(value.get("id")), file, PurePosixPath(file).stem, *size, element.line, element.column, mistake)
        self._base.execute("INSERT INTO image VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _take_object(self, element: Element) -> None:
        value = element.value if isinstance(element.value, dict) else {}
        mistake = object_mistake(value)
        box = (None,) * 4 if mistake else value["bbox"]
        ids = (_id(value.get("image_id")), _id(value.get("category_id")))
        row = (*ids, *box, value.get("iscrowd", 0) == 1, element.line, element.column, mistake)
        self._base.execute("INSERT INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _take_category(self, element: Element) -> None:
        value = element.value if isinstance(element.value, dict) else {}
        id_, name = _id(value.get("id")), value.get("name")
        if id_ is None or not isinstance(name, str) or not name:
            raise UserError("the category has no id or no name", where=self._where(element), expected="both")
        if id_ in self.categories:
            raise UserError(f"two categories have the id {id_}", where=self._where(element), expected="one")
        self.categories[id_] = name

    def _where(self, element: Element) -> str:
        return f"{self.path}:{element.line}:{element.column}"

    def _choose(self) -> array:
        """Numbers of the images to take."""
        conditions = ["1"]
        for name, path in (("only", self._choice.only), ("without", self._choice.without)):
            if path:
                words = ((name, word) for word in _words(path))
                self._base.executemany("INSERT INTO word VALUES (?, ?)", words)
                conditions.append(("" if name == "only" else "NOT ") + _IS_LISTED.format(name))
        query = f"SELECT number FROM image WHERE {' AND '.join(conditions)} ORDER BY number"
        numbers = array("Q", (row[0] for row in self._base.execute(query)))
        if not numbers:
            found = "--only and --without leave none of its images"
            raise UserError(found, where=str(self.path), expected="lists of image ids or file names")
        return numbers


def _id(value: Any) -> int | str | None:
    return value if isinstance(value, int | str) else None


def _image_mistake(value: dict[str, Any]) -> str | None:
    """What is wrong with an element of "images"."""
    file = value.get("file_name")
    if _id(value.get("id")) is None:
        return "the image has no id"
    if not isinstance(file, str) or not file:
        return f"image {value['id']} has no file_name"
    if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        return f'image {value["id"]}: the file_name "{file}" leads out of the folder of images'
    if not all(isinstance(value.get(side), int) and value[side] > 0 for side in ("height", "width")):
        return f"image {value['id']} has no height or width above 0"
    return None


def object_mistake(value: dict[str, Any]) -> str | None:
    """What is wrong with an element of "annotations"."""
    box = value.get("bbox")
    what = f"annotation {value.get('id', '')}".strip()
    if _id(value.get("category_id")) is None:
        return f"{what} has no category_id"
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(one, int | float) for one in box):
        return f"{what}: the bbox is no list of 4 numbers: x, y, width, height"
    if not all(map(isfinite, box)) or box[2] < 0 or box[3] < 0:
        return f"{what}: the bbox {box} has a negative size, or one that is no number"
    if value.get("iscrowd", 0) not in (0, 1):
        return f"{what}: iscrowd is {value['iscrowd']}, not 0 or 1"
    return None


def coco_corners(boxes: Sequence[Sequence[float]]) -> list[list[float]]:
    """(xmin, ymin, xmax, ymax) of boxes x, y, width, height, added in float32 as SSD-Caffe adds them."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners.tolist()


def _words(path: Path) -> Iterator[str]:
    """The ids or names of a list of images."""
    if path.suffix != ".json":
        yield from Lines(path, lambda line, _: line, "list of images")
        return
    for element in read_elements(path):
        if element.key == "images" and isinstance(element.value, dict):
            yield str(element.value.get("id"))


def read_coco(files: Sequence[CocoFile], given: Classes | None) -> Classes:
    """The classes of COCO files, whose objects are then named by them.

    Made anew, a label map is SSD-Caffe's: labels from 1 in the order of the category ids, named by these ids, which
    its results are written with, and shown by their names. In one that is given, categories are looked for by their
    names, by what is shown of it, and by their ids.

    Raises:
        UserError: two files give an id to different categories; there are no categories and no label map.
    """
    categories = dict(files[0].categories)
    for file in files[1:]:
        for id_, name in file.categories.items():
            if categories.setdefault(id_, name) != name:
                found = f'category {id_} is "{name}", in {files[0].path} "{categories[id_]}"'
                raise UserError(found, where=str(file.path), expected="the same categories in all files")
    if not categories and given is None:
        fix = "give a label map with --labelmap"
        raise UserError("there are no categories", where=str(files[0].path), fix=fix)
    classes = given or Classes(
        {str(id_): label for label, id_ in enumerate(categories, 1)},
        {str(id_): name for id_, name in categories.items()},
    )
    by_display = {shown: name for name, shown in classes.display.items()}
    for file in files:
        for id_, name in file.categories.items():
            known = (name, by_display.get(name), str(id_))
            file.home.names[id_] = next((one for one in known if one in classes.labels), name) if given else str(id_)
    return classes
