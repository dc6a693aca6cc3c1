"""An annotated image as the AnnotatedDatum that SSD-Caffe's convert_annoset makes of it."""

from __future__ import annotations

from collections.abc import Mapping

from annoset.annotation import Annotation
from annoset.picture import Picture, load_picture
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
