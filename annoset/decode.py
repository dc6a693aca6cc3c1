"""What the records of an LMDB hold, as arrays: pixels and label rows."""

from __future__ import annotations

import cv2
import numpy as np

from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, Datum


def label_rows(record: AnnotatedDatum) -> np.ndarray:
    """The record's boxes as rows of the label blob, float32 [N, 8], item 0, in the order of its groups."""
    rows = [
        (0, group.group_label, one.instance_id, b.xmin, b.ymin, b.xmax, b.ymax, b.difficult)
        for group in record.annotation_group
        for one in group.annotation
        for b in (one.bbox,)
    ]
    return np.array(rows, np.float32).reshape(-1, 8)


def decode_image(datum: Datum, force_color: bool, force_gray: bool) -> np.ndarray:
    """The image of a Datum, encoded or raw, uint8 [H, W, 3] BGR or [H, W].

    An encoded image keeps the channels it has unless one of the two flags is set. The orientation that a
    camera noted in it is not applied: boxes belong to the pixels as they are stored.

    Raises:
        UserError: what the datum holds is no image of 8 bits a channel and 1 or 3 channels.
    """
    image = _decode_bytes(datum, force_color, force_gray) if datum.encoded else _raw_image(datum)
    if image.dtype != np.uint8 or (image.ndim == 3 and image.shape[2] != 3):
        raise UserError(
            f"the image is {size_text(image)} of {image.dtype}",
            expected="1 or 3 channels of uint8",
            fix="set transform_param.force_color: true",
        )
    if force_color and image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if force_gray and image.ndim == 3 else image


def size_text(image: np.ndarray) -> str:
    """An image's size for people."""
    height, width, channels = np.atleast_3d(image).shape
    return f"{height} x {width} pixels and {channels} channel(s)"


def _decode_bytes(datum: Datum, force_color: bool, force_gray: bool) -> np.ndarray:
    flag = cv2.IMREAD_COLOR if force_color else cv2.IMREAD_GRAYSCALE if force_gray else cv2.IMREAD_UNCHANGED
    raw = np.frombuffer(datum.data, np.uint8)
    try:
        image = cv2.imdecode(raw, flag | cv2.IMREAD_IGNORE_ORIENTATION) if raw.size else None
    except cv2.error:  # more pixels than it decodes
        image = None
    if image is None:
        raise UserError(
            f"the image cannot be decoded ({raw.size} bytes)",
            expected="a whole JPEG, PNG or other image that OpenCV reads",
            fix="replace the image and make the LMDB again",
        )
    return image


def _raw_image(datum: Datum) -> np.ndarray:
    shape = (datum.channels, datum.height, datum.width)
    if datum.channels not in (1, 3) or len(datum.data) != np.prod(shape):
        raise UserError(
            f"the record holds {len(datum.data)} bytes and {len(datum.float_data)} floats for an image of"
            f" {' x '.join(map(str, shape))} (channels, height, width)",
            expected="an encoded image, or one byte for each pixel of 1 or 3 channels",
        )
    planes = np.frombuffer(datum.data, np.uint8).reshape(shape)
    return planes[0] if datum.channels == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))
