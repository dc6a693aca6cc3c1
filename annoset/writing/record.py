"""An annotated image, checked, as the AnnotatedDatum that SSD-Caffe's convert_annoset makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from annoset.annotation import Annotation
from annoset.writing.picture import Picture, load_picture
from prototxt.errors import UserError, UserErrors
from prototxt.schema import AnnotatedDatum, Datum


def make_record(annotation: Annotation, labels: Mapping[str, int], picture: Picture | None = None) -> AnnotatedDatum:
    """The image, and its boxes divided by the size that the annotation says (0–1, float32), grouped by class.

    Groups are in the order in which their classes first appear; `instance_id` counts from 0 in each. As in
    SSD-Caffe, `datum.label` is -1 and `datum.channels` is 3 whether the image is grey or not.

    Args:
        labels: class -> label, of all classes of the annotation.
        picture: the image as it is to be stored; without it, the file's bytes as they are.

    Raises:
        UserError: without `picture`: the image is broken, or has another size than the annotation says.
    """
    return AnnotatedDatum.FromString(join_record(picture or load_picture(annotation), boxes_part(annotation, labels)))


def boxes_part(annotation: Annotation, labels: Mapping[str, int]) -> bytes:
    """A record but for its image: the boxes."""
    record = AnnotatedDatum(type=AnnotatedDatum.BBOX)
    width, height = annotation.width, annotation.height
    groups = {}
    for one in annotation.objects:
        label = labels[one.name]
        if label not in groups:
            groups[label] = record.annotation_group.add(group_label=label).annotation
        box = groups[label].add(instance_id=len(groups[label])).bbox
        # Rounded to float32 as the quotients are stored, which gives what a division in float32 gives.
        box.xmin, box.ymin = one.xmin / width, one.ymin / height
        box.xmax, box.ymax = one.xmax / width, one.ymax / height
        box.difficult = one.difficult
    return record.SerializeToString()


def join_record(picture: Picture, boxes: bytes) -> bytes:
    """The whole record of an image and a `boxes_part`: on the wire, a message is its fields one after the other."""
    size = {"channels": picture.channels, "height": picture.height, "width": picture.width}
    return AnnotatedDatum(datum=Datum(data=picture.data, label=-1, encoded=True, **size)).SerializeToString() + boxes


class Source(Protocol):
    """What a reader of a format gives for each image: `annotation()` reads it or raises UserError. Can be pickled."""

    def annotation(self) -> Annotation: ...


@runtime_checkable
class Named(Protocol):
    """A source that can tell more cheaply than by reading itself what its classes are at most."""

    def names(self) -> frozenset[str]:
        """Names among which those of its classes are; none when that cannot be told."""
        ...


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


class Gatherer:
    """Tells which classes sources have that were in none before; or what is wrong with a source that may have one."""

    def __init__(self, labeller: Labeller) -> None:
        self._label = labeller
        self._known: set[str] = set()

    def __call__(self, source: Source) -> frozenset[str] | UserError:
        """The classes that are new. A source that can have none is not read."""
        names = source.names() if isinstance(source, Named) else frozenset()
        if names and names <= self._known:
            return frozenset()
        labelled = self._label(source)
        if isinstance(labelled, UserError):
            return labelled
        new = frozenset(labelled.classes) - self._known
        self._known |= new
        return new
