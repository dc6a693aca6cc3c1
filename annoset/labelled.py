"""An annotation checked and made into the part of its record that holds the boxes; what a worker process gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from annoset.annotation import Annotation
from annoset.record import boxes_part
from prototxt.errors import UserError, UserErrors


class Source(Protocol):
    """What a reader of a format gives for each image: `annotation()` reads it or raises UserError. Can be pickled."""

    def annotation(self) -> Annotation: ...


@dataclass(frozen=True)
class Labelled:
    """An image and its boxes, checked but for the image itself.

    Attributes:
        annotation: without its objects.
        boxes: the objects, as a part of the record.
        classes: class -> number of boxes.
        difficult, without_area: number of boxes that are so.
    """

    annotation: Annotation
    boxes: bytes
    classes: Mapping[str, int]
    difficult: int
    without_area: int


@dataclass(frozen=True)
class Labeller:
    """Makes sources into Labelled.

    Attributes:
        labels: class -> label; None while classes are gathered: then `boxes` stays empty.
        clip_boxes: cut boxes at the image's border before they are judged.
        drop_difficult: leave out objects marked difficult.
    """

    labels: Mapping[str, int] | None
    clip_boxes: bool = False
    drop_difficult: bool = False

    def __call__(self, source: Source) -> Labelled | UserError:
        """What the source says, or what is wrong with that."""
        try:
            annotation = source.annotation()
        except UserError as error:
            return error
        if self.drop_difficult:
            annotation = annotation.without_difficult()
        if self.clip_boxes:
            annotation = annotation.clipped()
        if mistakes := annotation.mistakes(self.labels):
            return UserErrors(mistakes)
        objects = annotation.objects
        return Labelled(
            # Paths as text, which travel between processes in a fifth of the time.
            replace(annotation, objects=(), lines=None, image=str(annotation.image), path=str(annotation.path)),
            b"" if self.labels is None else boxes_part(annotation, self.labels),
            Counter([one.name for one in objects]),
            sum([one.difficult for one in objects]),
            sum([one.without_area for one in objects]),
        )
