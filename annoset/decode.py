"""What image files and the records of an LMDB hold, as arrays: pixels and label rows.

An image is taken as it is stored, whatever a camera noted of turning it: boxes are of those pixels.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from annoset.imagefile import holds_less, read_image_file
from prototxt.errors import UserError
from prototxt.io import read_bytes
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

    An encoded image keeps the channels it has unless one of the two flags is set.

    Raises:
        UserError: what the datum holds is no image of 8 bits a channel and 1 or 3 channels.
    """
    image = _encoded_image(datum, force_color, force_gray) if datum.encoded else _raw_image(datum)
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


def decode_file(path: Path | str, raw: bytes, flag: int) -> np.ndarray:
    """The image in the bytes of a file, with the channels and bits that OpenCV's `flag` says.

    Raises:
        UserError: it cannot be decoded.
    """
    image = decode_bytes(raw, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        found = f"the image cannot be decoded ({len(raw)} bytes)"
        fix = "replace the image, or leave such images out with --skip-bad"
        raise UserError(found, where=str(path), expected="a whole JPEG or PNG", fix=fix)
    return image


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of an image whose annotation does not tell them. Raises UserError when it is none."""
    raw = read_bytes(path)
    file = read_image_file(raw)
    return (file.height, file.width) if file else decode_file(path, raw, cv2.IMREAD_UNCHANGED).shape[:2]


def _encoded_image(datum: Datum, force_color: bool, force_gray: bool) -> np.ndarray:
    flag = cv2.IMREAD_COLOR if force_color else cv2.IMREAD_GRAYSCALE if force_gray else cv2.IMREAD_UNCHANGED
    image = decode_bytes(datum.data, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise UserError(
            f"the image cannot be decoded ({len(datum.data)} bytes)",
            expected="a whole JPEG, PNG or other image that OpenCV reads",
            fix="replace the image and make the LMDB again",
        )
    return image


def decode_bytes(raw: bytes, flag: int) -> np.ndarray | None:
    """The image that OpenCV makes of `raw`; None where there is none, or fewer bytes than such an image takes."""
    try:
        return None if not raw or holds_less(raw) else cv2.imdecode(np.frombuffer(raw, np.uint8), flag)
    except cv2.error:  # more pixels than it decodes
        return None


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
