"""YOLO's layout: texts of `class x y w h`, the box's centre and size in 0–1 of the image, beside folders of images.

The text of `…/images/train/a.jpg` is `…/labels/train/a.txt` (Ultralytics), or else `a.txt` beside the image (Darknet).
An image without a text has no objects.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from annoset.annotation import Annotation, Object
from annoset.decode import image_size
from annoset.lines import MOST_MISTAKES, Joined, Lines
from prototxt.errors import UserError, UserErrors, nearest
from prototxt.files import is_file
from prototxt.io import read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_LINE = "class x y width height: a class counted from 0, and four numbers of 0 to 1"
_MOST_YAML = 1 << 19  # characters: ten thousands of classes, and some seconds to read
_NOTHING = ("", "~", "null", "Null", "NULL")  # as YAML writes it
_NOT_SPLITS = ("path", "names", "nc", "download")


@dataclass(frozen=True)
class DataSet:
    """What a data set says of all its images.

    Attributes:
        root: folder that relative paths, and those in keys, start from.
        names: of the classes, by their numbers, from 0.
        splits: name -> folders of images, or texts that list them.
    """

    root: Path
    names: tuple[str, ...]
    splits: Mapping[str, Sequence[Path]]

    def entries(self, split: str) -> Sequence[Entry]:
        """The images of a split. Raises UserError when there are none."""
        if split not in self.splits:
            found = f'there is no split "{split}"{nearest(split, self.splits)}'
            raise UserError(found, where=str(self.root), expected=f"one of {', '.join(self.splits)}")
        return Joined([self._images(path) for path in self.splits[split]])

    def _images(self, path: Path) -> Sequence[Entry]:
        if path.is_dir():
            return _Folder(self, path)
        return Lines(path, lambda line, where: self._listed(path, line, where), "list of images")

    def _listed(self, path: Path, line: str, where: str) -> Entry:
        """A line's image; relative to the list's folder where it begins with a dot, as Ultralytics has it."""
        start = path.parent if line.startswith("./") else self.root
        return Entry(self, start / line, where)


@dataclass(frozen=True)
class Entry:
    """An image.

    Attributes:
        data: what it belongs to.
        image: the image file.
        where: `FILE:LINE` of the list that names it; empty where a folder is read.
    """

    data: DataSet
    image: Path
    where: str = ""

    def annotation(self) -> Annotation:
        """The image and its text, read. Raises UserErrors with everything that is wrong with them."""
        if not is_file(self.image):
            raise UserError("there is no such image", where=self.where, expected=str(self.image))
        path = label_path(self.image)
        size_hw = image_size(self.image)
        objects = self._objects(path, size_hw) if is_file(path) else ()
        return Annotation(self._name(), self.image, path, *size_hw, objects)

    def _name(self) -> str:
        """The path in keys: from the root's name on, or from that of the image's folder where that lies elsewhere."""
        root, image = self.data.root.absolute(), self.image.absolute()
        start = root.parent if root in image.parents else image.parent.parent
        return image.relative_to(start).as_posix()

    def _objects(self, path: Path, size_hw: tuple[int, int]) -> tuple[Object, ...]:
        objects, errors = [], []
        for number, line in enumerate(_text(path).splitlines(), 1):
            try:
                if line.strip():
                    objects.append(self._object(line.split(), size_hw, number))
            except ValueError as error:
                errors.append(UserError(f"{error}: {line.strip()}", where=f"{path}:{number}", expected=_LINE))
                if len(errors) == MOST_MISTAKES:
                    break
        if errors:
            raise UserErrors(errors)
        return tuple(objects)

    def _object(self, words: list[str], size_hw: tuple[int, int], line: int) -> Object:
        """Raises ValueError, saying what is wrong with the line."""
        if len(words) != 5:
            polygon = " (a polygon?)" if len(words) > 6 and len(words) % 2 else ""
            raise ValueError(f"there are {len(words)} numbers{polygon}")
        if not words[0].isdecimal() or int(words[0]) >= len(self.data.names):
            raise ValueError(f"there is no class {words[0]} among {len(self.data.names)}, which are counted from 0")
        try:
            x, y, w, h = map(float, words[1:])
        except ValueError:
            raise ValueError("this is not five numbers") from None
        if not all(0 <= number <= 1 + 1e-6 for number in (x, y, w, h)):
            raise ValueError("a number is not in 0 to 1 (are these pixels?)")
        height, width = size_hw
        corners = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
        return Object(self.data.names[int(words[0])], *corners, line=line)


class _Folder(Sequence[Entry]):
    """The images of a folder and of those below it, by the alphabet."""

    def __init__(self, data: DataSet, path: Path) -> None:
        self._data, self._path = data, path
        self._names = sorted(
            os.path.relpath(os.path.join(folder, file), path)
            for folder, _, files in os.walk(path, followlinks=True)
            for file in files
            if file.endswith(SUFFIXES)
        )
        if not self._names:
            raise UserError("there is no image in this folder", where=str(path), expected=", ".join(SUFFIXES[:3]))

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        return Entry(self._data, self._path / self._names[index])


def label_path(image: Path) -> Path:
    """Where the text of an image is: in `labels` beside the last folder called `images`, or else beside the image."""
    parts = list(image.parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
        elsewhere = Path(*parts).with_suffix(".txt")
        if is_file(elsewhere) or not is_file(image.with_suffix(".txt")):
            return elsewhere
    return image.with_suffix(".txt")


def read_data_yaml(path: Path, root: Path | None = None) -> DataSet:
    """A data set that an Ultralytics YAML describes.

    Args:
        root: its folder, if it is not where the YAML says.

    Raises:
        UserError: the YAML is broken, or lacks something.
    """
    config = _yaml(path)
    if not isinstance(config, dict):
        raise UserError("this is no YAML of a data set", where=str(path), expected='"names", "train" and "val"')
    root = root or path.parent / (config["path"] if _is_text(config.get("path")) else "")
    if not os.path.isdir(root):
        fix = "give the data set's folder with --root"
        raise UserError(f"there is no folder {root}", where=str(path), fix=fix)
    splits = {
        key: [root / each for each in ([value] if _is_text(value) else value)]
        for key, value in config.items()
        if key not in _NOT_SPLITS and (_is_text(value) or _are_texts(value))
    }
    return DataSet(root, _class_names(config.get("names"), path), splits)


def _yaml(path: Path) -> Any:
    """What a YAML holds; numbers and words are left as texts."""
    text = _text(path)
    if len(text) > _MOST_YAML:
        found = f"{len(text):,} characters are too many for the YAML of a data set"
        raise UserError(found, where=str(path), expected=f"at most {_MOST_YAML:,}")
    try:
        return yaml.load(text, yaml.BaseLoader)  # others run into errors of their own at dates and odd numbers
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise UserError(f"broken YAML: {getattr(error, 'problem', error)}", where=where) from error
    except RecursionError as error:
        raise UserError("broken YAML: brackets are nested too deep", where=str(path)) from error


def read_images(path: Path, names: Path | None, root: Path | None) -> DataSet:
    """A folder of images, or a text that lists them, as the split "images" of a data set.

    Args:
        names: text with a class on each line.
        root: folder that the list's paths start from; by default its own.

    Raises:
        UserError: there is nothing at `path`; the names are missing, or are no names of classes.
    """
    if not path.exists():
        raise UserError("there is no such file or folder", where=str(path), expected="images, a list, or a data.yaml")
    if names is None:
        fix = "give a text with a class on each line with --names: classes.txt, obj.names"
        raise UserError("nothing says what the classes are called", where=str(path), fix=fix)
    lines = [line.strip() for line in _text(names).rstrip().splitlines()]
    return DataSet(root or (path if path.is_dir() else path.parent), _class_names(lines, names), {"images": [path]})


def _class_names(names: Any, path: Path) -> tuple[str, ...]:
    """The names in the order of their numbers, from a list or from number -> name."""
    numbers = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
    if numbers and sorted(names) == sorted(numbers):
        names = [names[number] for number in numbers]
    if not _are_texts(names) or "" in names:
        found = "a class has no name, or there are no classes"
        raise UserError(found, where=str(path), expected="a name for each, from 0 on")
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise UserError(f'two classes are called "{twice}"', where=str(path), expected="a name for each")
    return tuple(names)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value not in _NOTHING


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("this is not UTF-8 text", where=str(path), fix="save it as UTF-8") from error
