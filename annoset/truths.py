"""The ground truths of a whole data set as arrays, without its images: for statistics of boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from annoset.annotation import Annotation
from annoset.augment.resize import resize_boxes
from annoset.database import Database
from annoset.decode import label_rows
from annoset.formats.voc import read_annotation, read_split
from annoset.reading.records import annotated
from prototxt.errors import UserError, UserErrors
from prototxt.labelmap import class_labels, read_labelmap
from prototxt.schema import ResizeParameter, TransformationParameter

_SHOWN_ERRORS = 20
_SHOWN_FILES = 3
Watch = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class GroundTruths:
    """The boxes of a data set.

    Attributes:
        boxes: corners in 0–1 of their images, float32 [G, 4].
        names: the classes; those of a label map that never occur are among them, too.
        label: position of each box's class in `names`, [G].
        difficult: which are marked so, [G].
        image_hw: size in pixels of each box's image, [G, 2]; 0 where the data set does not say.
        images: number of images, those without boxes included.
    """

    boxes: np.ndarray
    names: tuple[str, ...]
    label: np.ndarray
    difficult: np.ndarray
    image_hw: np.ndarray
    images: int

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def has_area(self) -> np.ndarray:
        """Which boxes have a width and a height, [G]."""
        return (self.boxes[:, :2] < self.boxes[:, 2:]).all(axis=1)

    def only(self, which: np.ndarray) -> GroundTruths:
        """Those boxes that the mask [G] marks; the number of images stays."""
        arrays = ("boxes", "label", "difficult", "image_hw")
        return replace(self, **{name: getattr(self, name)[which] for name in arrays})

    def resized(self, transform: TransformationParameter, where: str) -> GroundTruths:
        """The same in 0–1 of the net's input, as the resize policy of `transform` brings the images there.

        Args:
            where: the layer, for messages.

        Raises:
            UserError: inputs of a size that changes with the image, or cut at random.
        """
        policy = transform.resize_param
        if transform.crop_size:
            found = f"transform_param.crop_size {transform.crop_size} cuts the images"
            fix = "give the net's deploy prototxt"
            raise UserError(found, where=where, expected="images that are resized", fix=fix)
        if policy.resize_mode == ResizeParameter.FIT_SMALL_SIZE:
            found = "resize_mode FIT_SMALL_SIZE gives each image a size of its own, and with it other prior boxes"
            raise UserError(found, where=where, expected="WARP or FIT_LARGE_SIZE_AND_PAD")
        if policy.resize_mode == ResizeParameter.WARP:  # boxes in 0–1 stay, held to the image
            held = np.concatenate((np.maximum(self.boxes[:, :2], 0), np.minimum(self.boxes[:, 2:], 1)), axis=1)
            return replace(self, boxes=held)
        if not self.image_hw.all():
            found = "resize_mode FIT_LARGE_SIZE_AND_PAD needs the sizes of the images, which the records do not give"
            raise UserError(found, where=where, fix="make the LMDB again with `netgen lmdb`")
        boxes = np.empty_like(self.boxes)
        sizes_hw, size, counts = np.unique(self.image_hw, axis=0, return_inverse=True, return_counts=True)
        of_sizes = np.split(np.argsort(size.reshape(-1), kind="stable"), np.cumsum(counts)[:-1])
        for of_size, image_hw in zip(of_sizes, sizes_hw.tolist()):
            boxes[of_size] = resize_boxes(self.boxes[of_size], policy, image_hw)
        return replace(self, boxes=boxes)


def read_truths(
    path: Path,
    *,
    split: str = "",
    labelmap: Path | None = None,
    clip_boxes: bool = False,
    watch: Watch = lambda items, _: items,
) -> GroundTruths:
    """The ground truths of a folder in VOC's layout, of a folder of such folders, or of an LMDB.

    Args:
        split: the list of images to read from each folder in VOC's layout; without it every XML is read.
        labelmap: names the classes of an LMDB, which knows numbers only, and refuses classes that it lacks.
        clip_boxes: cut boxes at the image's border before they are judged.
        watch: passes items on and shows how far they are; called with the items and what is done with them.

    Raises:
        UserErrors: everything that is wrong with the annotations.
        UserError: `path` is neither; a class that the label map lacks; no box at all.
    """
    if (path / "data.mdb").is_file():
        if split:
            raise UserError(f"--split {split} is given for an LMDB, which has no lists of images", where=str(path))
        truths = _read_lmdb(path, labelmap, watch)
    else:
        truths = _read_voc(_files(path, split), labelmap, clip_boxes, watch)
    if not len(truths):
        raise UserError(f"none of the {truths.images} images has a box", where=str(path))
    return truths


def _files(path: Path, split: str) -> list[Path]:
    """The XMLs to read."""
    roots = [path] if (path / "Annotations").is_dir() else sorted(each.parent for each in path.glob("*/Annotations"))
    if not roots:
        raise _not_annotations(path)
    if split:
        return [entry.root / "Annotations" / f"{entry.stem}.xml" for root in roots for entry in read_split(root, split)]
    files = [file for root in roots for file in sorted((root / "Annotations").glob("*.xml"))]
    if not files:
        raise UserError("there is no XML in Annotations", where=str(path), expected="one for each image")
    return files


def _not_annotations(path: Path) -> UserError:
    found, fix = _what_is_there(path)
    expected = "an LMDB (data.mdb), a folder in VOC's layout (Annotations/*.xml), or a folder of such folders"
    return UserError(found, where=str(path), expected=expected, fix=fix)


def _what_is_there(path: Path) -> tuple[str, str]:
    """What `path` is instead, and what to do about it."""
    if not path.exists():
        return "there is no such folder", ""
    if any(path.glob("*.xml")):
        return "this folder holds the XMLs themselves", f"give the folder above it: {path.absolute().parent}"
    fix = "make an LMDB of the annotations with `netgen lmdb`"
    if not path.is_dir():
        return "this is a file", fix
    files = ", ".join(sorted(each.name for each in path.iterdir())[:_SHOWN_FILES])
    return f"this folder holds no annotations, but {files}" if files else "this folder is empty", fix


def _read_voc(files: Sequence[Path], labelmap: Path | None, clip_boxes: bool, watch: Watch) -> GroundTruths:
    known = class_labels(labelmap) if labelmap else None
    good: list[Annotation] = []
    errors: list[UserError] = []
    for file in watch(files, "reading annotations"):
        try:
            annotation = read_annotation(file, file, file.stem)
        except UserError as error:
            errors.append(error)
            continue
        good.append(annotation.clipped() if clip_boxes else annotation)
        errors += good[-1].mistakes(known)
    if errors:
        more = len(errors) - _SHOWN_ERRORS
        closing = [UserError(f"and {more} more mistakes")] if more > 0 else []
        raise UserErrors([*errors[:_SHOWN_ERRORS], *closing])
    objects = [(one, annotation) for annotation in good for one in annotation.objects]
    names = tuple(known or sorted({one.name for one, _ in objects}))
    corners = np.array([one.corners for one, _ in objects], np.float32).reshape(-1, 4)
    image_hw = np.array([(its.height, its.width) for _, its in objects], np.int64).reshape(-1, 2)
    return GroundTruths(
        boxes=corners / np.tile(image_hw[:, ::-1], 2).astype(np.float32),
        names=names,
        label=np.array([names.index(one.name) for one, _ in objects], np.int64),
        difficult=np.array([one.difficult for one, _ in objects], bool),
        image_hw=image_hw,
        images=len(good),
    )


def _read_lmdb(path: Path, labelmap: Path | None, watch: Watch) -> GroundTruths:
    rows, sizes = [np.empty((0, 8), np.float32)], [np.empty((0, 2), np.int64)]
    with Database(path) as database:
        for key in watch(list(database.keys()), "reading records"):
            record = annotated(database, key)
            rows.append(label_rows(record))
            sizes.append(np.tile(np.int64((record.datum.height, record.datum.width)), (len(rows[-1]), 1)))
    table = np.concatenate(rows)
    labels = table[:, 1].astype(np.int64)
    names = _names(path, labelmap, np.unique(labels).tolist())
    return GroundTruths(
        boxes=table[:, 3:7],
        names=tuple(names.values()),
        label=np.searchsorted(list(names), labels),
        difficult=table[:, 7] != 0,
        image_hw=np.concatenate(sizes),
        images=len(rows) - 1,
    )


def _names(path: Path, labelmap: Path | None, labels: list[int]) -> dict[int, str]:
    """The name of each label, in rising order: those of the label map, or else the labels that occur."""
    if labelmap is None:
        return {label: f"class {label}" for label in labels}
    known = {label: item.name for label, item in read_labelmap(labelmap).items() if label}
    unknown = [label for label in labels if label not in known]
    if unknown:
        found = f"a box has the class {unknown[0]}, which {labelmap} does not list"
        fix = "give the label map that the LMDB was made with: --labelmap"
        raise UserError(found, where=str(path), expected=f"one of {', '.join(map(str, known))}", fix=fix)
    return known
