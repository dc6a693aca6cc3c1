"""Writes COCO's layout: `annotations/instances_SPLIT.json` and a folder `images`."""

from __future__ import annotations

import json
import re
import shutil
from array import array
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from annoset.annotation import Annotation, Object
from annoset.formats.filenames import NewFiles

_DECIMALS = 3  # COCO's own boxes have 2; float32 leaves no more of a corner 8000 pixels away
_NUMBERED = re.compile(r"(?:COCO_\w+_)?(\d{1,15})")  # COCO's own file names, whose numbers are the images' ids
_CHUNK = 1 << 20


def are_ids(stems: Iterable[str]) -> bool:
    """Whether every file name is a number as COCO's are, and no two the same: then they are the images' ids."""
    numbers = array("Q")
    for stem in stems:
        number = _NUMBERED.fullmatch(stem)
        if number is None:
            return False
        numbers.append(int(number[1]))
    return len(np.unique(np.array(numbers, np.uint64))) == len(numbers)


class CocoWriter:
    """Takes images with their objects; a context manager.

    A box is [xmin, ymin, xmax - xmin, ymax - ymin] of the corners as they are; a difficult object is a crowd, which
    SSD-Caffe reads as difficult.

    Args:
        root: an empty folder.
        split: part of the JSON's name.
        ids: class -> id of its category.
        numbered: whether the images' ids are the numbers in their stems, see `are_ids`; otherwise 1, 2, 3 …

    Attributes:
        rounded: always 0, because boxes keep their decimals.
        files: the names that were taken.
    """

    rounded = 0

    def __init__(self, root: Path, split: str, ids: Mapping[str, int], numbered: bool) -> None:
        self._images, annotations = root / "images", root / "annotations"
        for folder in (self._images, annotations):
            folder.mkdir()
        self._ids, self._numbered, self.files = ids, numbered, NewFiles()
        self._file = (annotations / f"instances_{split}.json").open("w", encoding="utf-8", newline="\n")
        # Boxes stand behind all the images, so they are kept apart until these are complete.
        self._boxes = TemporaryFile("w+", dir=annotations, encoding="utf-8", newline="\n")  # noqa: SIM115
        self._file.write('{\n"info": {"description": "exported from an LMDB"},\n"licenses": [],\n"images": [')
        self._image_count = self._box_count = 0

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._boxes.close()

    def add(self, stem: str, suffix: str, data: bytes, annotation: Annotation, channels: int) -> None:
        """Write an image and what is said of it.

        Args:
            stem, suffix: of its file, if that name is free.
            data: the image file.
            annotation: size and objects; nothing else of it counts.
            channels: of the image; COCO does not say it.
        """
        file = self.files.claim(self._images, stem, suffix)
        file.write_bytes(data)
        number = _NUMBERED.fullmatch(stem) if self._numbered else None
        id_ = int(number[1]) if number else self._image_count + 1
        image = {"id": id_, "file_name": file.name, "height": annotation.height, "width": annotation.width}
        self._file.write(_item(image, self._image_count))
        self._image_count += 1
        for one in annotation.objects:
            self._boxes.write(_item(self._box(one, id_), self._box_count))
            self._box_count += 1

    def finish(self) -> None:
        """Complete the JSON."""
        categories = [{"id": id_, "name": name, "supercategory": ""} for name, id_ in self._ids.items()]
        self._file.write('\n],\n"categories": [')
        self._file.writelines(_item(one, number) for number, one in enumerate(sorted(categories, key=itemgetter("id"))))
        self._file.write('\n],\n"annotations": [')
        self._boxes.seek(0)
        shutil.copyfileobj(self._boxes, self._file, _CHUNK)
        self._file.write("\n]\n}\n")
        self._file.flush()

    def _box(self, one: Object, image: int) -> dict[str, Any]:
        x, y = one.xmin, one.ymin
        width, height = (round(length, _DECIMALS) for length in (one.xmax - x, one.ymax - y))
        return {
            "id": self._box_count + 1,
            "image_id": image,
            "category_id": self._ids[one.name],
            "bbox": [round(x, _DECIMALS), round(y, _DECIMALS), width, height],
            "area": round(width * height, _DECIMALS),
            "iscrowd": int(one.difficult),
            "segmentation": [],
        }


def _item(value: dict[str, Any], before: int) -> str:
    """An element of a list in which `before` others precede it."""
    return f"{',' if before else ''}\n{json.dumps(value, ensure_ascii=False)}"
