"""An annotated image as the AnnotatedDatum that SSD-Caffe's convert_annoset makes of it."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from annoset.annotation import Annotation
from prototxt.errors import UserError
from prototxt.io import read_bytes
from prototxt.schema import AnnotatedDatum, Datum


def make_record(annotation: Annotation, labels: Mapping[str, int]) -> AnnotatedDatum:
    """The image's bytes as they are, and its boxes divided by its size (0–1, float32), grouped by class.

    Groups are in the order in which their classes first appear; `instance_id` counts from 0 in each. As in
    SSD-Caffe, `datum.label` is -1 and `datum.channels` is 3 whether the image is grey or not.

    Args:
        labels: class -> label, of all classes of the annotation.

    Raises:
        UserError: the image cannot be decoded, or has another size than the annotation says.
    """
    raw = read_bytes(annotation.image)
    _check_image(annotation, raw)
    height, width = annotation.height, annotation.width
    datum = Datum(channels=3, height=height, width=width, data=raw, label=-1, encoded=True)
    record = AnnotatedDatum(datum=datum, type=AnnotatedDatum.BBOX)
    groups = {}
    for one in annotation.objects:
        label = labels[one.name]
        if label not in groups:
            groups[label] = record.annotation_group.add(group_label=label)
        box = groups[label].annotation.add(instance_id=len(groups[label].annotation)).bbox
        box.xmin, box.ymin, box.xmax, box.ymax = np.divide(one.corners, (width, height) * 2, dtype=np.float32).tolist()
        box.difficult = one.difficult
    return record


def _check_image(annotation: Annotation, raw: bytes) -> None:
    where = str(annotation.image)
    # As it is stored: boxes are of the pixels that a camera wrote, however it noted they should be turned.
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(raw, np.uint8), flags) if raw else None
    if image is None:
        fix = "replace the image, or leave such images out with --skip-bad"
        found = f"the image cannot be decoded ({len(raw)} bytes)"
        raise UserError(found, where=where, expected="a whole JPEG or PNG", fix=fix)
    stored, said = image.shape[:2], (annotation.height, annotation.width)
    if stored != said:
        turned = stored == said[::-1]
        raise UserError(
            f"the image has {stored[1]} x {stored[0]} pixels (width x height), its annotation says"
            f" {said[1]} x {said[0]}",
            where=where,
            expected=f"the size in {annotation.path}",
            fix="the image is stored on its side: turn it, so that its boxes fit"
            if turned
            else "correct the size, or leave such images out with --skip-bad",
        )
