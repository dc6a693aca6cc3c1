"""What JPEGs and PNGs are, told without decoding them, against what OpenCV's decoders make of them."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from annoset.imagefile import holds_less, read_image_file

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
SMOOTH = cv2.GaussianBlur(IMAGE, (0, 0), 3)
STANDARD = [cv2.IMWRITE_JPEG_QUALITY, 80]
JPEGS = {
    "colour": (SMOOTH, STANDARD),
    "grey": (SMOOTH[..., 0], STANDARD),
    "444": (SMOOTH, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]),
    "422": (SMOOTH, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]),
    "optimised": (SMOOTH, [cv2.IMWRITE_JPEG_OPTIMIZE, 1]),
    "restarts": (SMOOTH, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
}


def encode(suffix: str, image: np.ndarray = IMAGE, options: list[int] = ()) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def decodes(raw: bytes) -> np.ndarray | None:
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(raw, np.uint8), flags)


@contextmanager
def silence():
    """The decoders' C libraries write their warnings to the process's standard error."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@pytest.mark.parametrize("kind", JPEGS)
def test_whole_jpegs(kind):
    image, options = JPEGS[kind]
    file = read_image_file(encode(".jpg", image, options))
    assert (file.format, file.height, file.width, file.channels) == ("JPEG", 40, 60, 1 if image.ndim == 2 else 3)
    assert (file.bits, file.orientation, file.animated, file.ended, file.whole) == (8, 1, False, True, True)


def test_a_progressive_jpeg_is_left_to_the_decoder():
    file = read_image_file(encode(".jpg", options=[cv2.IMWRITE_JPEG_PROGRESSIVE, 1]))
    assert file.ended and not file.whole and (file.height, file.width) == (40, 60)


@pytest.mark.parametrize(
    ("image", "channels", "bits"),
    [
        (IMAGE, 3, 8),
        (IMAGE[..., 0], 1, 8),
        (np.dstack([IMAGE, IMAGE[..., :1]]), 4, 8),
        (IMAGE.astype(np.uint16) * 257, 3, 16),
    ],
)
def test_whole_pngs(image, channels, bits):
    file = read_image_file(encode(".png", image))
    assert (file.format, file.height, file.width, file.channels, file.bits) == ("PNG", 40, 60, channels, bits)
    assert file.whole and file.ended and not file.animated


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_an_animated_png():
    raw = encode(".png")
    assert read_image_file(raw[:33] + chunk(b"acTL", struct.pack(">II", 2, 0)) + raw[33:]).animated


def test_transparency_of_one_colour_is_an_alpha_channel():
    raw = encode(".png")
    raw = raw[:33] + chunk(b"tRNS", bytes(6)) + raw[33:]
    assert read_image_file(raw).channels == decodes(raw).shape[2] == 4


@pytest.mark.parametrize("place", [20, 50, -20])
def test_a_damaged_png_is_not_whole(place):
    raw = bytearray(encode(".png"))
    raw[place] ^= 1
    file = read_image_file(bytes(raw))
    assert not (file and file.whole)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_file_cut_short_is_not_whole_wherever_it_is_cut(suffix):
    raw = encode(suffix, SMOOTH)
    for length in range(0, len(raw) - 1, 7):
        file = read_image_file(raw[:length])
        assert file is None or not (file.whole or file.ended), length


def exif(order: bytes, value: int) -> bytes:
    mark = {b"II": "<", b"MM": ">"}[order]
    entry = struct.pack(f"{mark}HHIHH", 0x0112, 3, 1, value, 0)
    body = b"Exif\0\0" + order + struct.pack(f"{mark}HIH", 42, 8, 1) + entry
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_the_cameras_note_of_turning(order, value):
    raw = encode(".jpg")
    raw = raw[:2] + exif(order, value) + raw[2:]
    file = read_image_file(raw)
    assert file.orientation == value and file.whole
    turned = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    assert turned == ((60, 40) if value in (6, 8) else (40, 60))  # so OpenCV understands the note, too


@pytest.mark.parametrize("note", [b"", b"II*\0\xff\xff\xff\xff", b"XX*\0", exif(b"II", 77)[10:]])
def test_a_note_that_cannot_be_read_means_upright(note):
    raw = encode(".jpg")
    body = b"Exif\0\0" + note
    assert read_image_file(raw[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + raw[2:]).orientation == 1


def test_what_stands_behind_the_end_does_no_harm():
    file = read_image_file(encode(".jpg") + b"\0" * 1000)
    assert file.whole


def test_the_end_of_a_thumbnail_is_not_that_of_the_image():
    raw, thumbnail = encode(".jpg"), encode(".jpg", IMAGE[:8, :8])
    raw = raw[:2] + b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + raw[2:]
    assert read_image_file(raw).whole and not read_image_file(raw[:-2]).ended


@pytest.mark.parametrize("raw", [b"", b"<!DOCTYPE html>", b"GIF89a", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM"])
def test_other_files_say_nothing(raw):
    assert read_image_file(raw) is None


@pytest.mark.parametrize("kind", JPEGS)
def test_what_counts_as_whole_can_be_decoded(kind):
    """Headers spoilt at random: no decoder may fail on what was found whole, and little may be left unsettled."""
    image, options = JPEGS[kind]
    raw = encode(".jpg", image, options)
    scan, rng = raw.index(b"\xff\xda") + 14, np.random.default_rng(list(JPEGS).index(kind))
    whole = unsettled = 0
    with silence():
        for _ in range(400):
            spoilt = bytearray(raw)
            for place in rng.integers(0, scan, rng.integers(1, 3)).tolist():
                spoilt[place] ^= 1 << int(rng.integers(8))
            file, decoded = read_image_file(bytes(spoilt)), decodes(bytes(spoilt))
            if file and file.whole:
                whole += 1
                assert decoded is not None and decoded.shape[:2] == (file.height, file.width)
            else:
                unsettled += decoded is not None
    assert whole > 100 and unsettled < 40


@pytest.mark.parametrize("kind", ["colour", "grey", "restarts"])
def test_damage_in_the_compressed_data_fails_no_decoder(kind):
    """So a decoder would not find it either."""
    image, options = JPEGS[kind]
    raw, rng = encode(".jpg", image, options), np.random.default_rng(1)
    scan = raw.index(b"\xff\xda") + 14
    with silence():
        for _ in range(300):
            spoilt = bytearray(raw)
            for place in rng.integers(scan, len(raw) - 2, 20).tolist():
                spoilt[place] = rng.integers(256)
            assert decodes(bytes(spoilt)) is not None


def header(image: bytes, size_at: int, form: str) -> bytes:
    """An image that says to be of 40,000 x 40,000 pixels."""
    side = struct.pack(form, 40_000)
    return image[:size_at] + 2 * side + image[size_at + 2 * len(side) :]


def test_images_that_cannot_be_as_large_as_they_say():
    """Decoders would ask for gigabytes before they see that there is nothing."""
    jpeg, png = encode(".jpg"), encode(".png")
    assert not holds_less(jpeg) and not holds_less(png) and not holds_less(b"")
    assert holds_less(header(jpeg, jpeg.index(b"\xff\xc0") + 5, ">H"))
    assert holds_less(header(png, 16, ">I"))
    assert holds_less(png[:33] + (10**9).to_bytes(4, "big") + png[37:])  # of a chunk
    assert not holds_less(png[:200])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_large_images_of_one_colour_are_no_such_images(suffix):
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1] if suffix == ".jpg" else []
    raw = encode(suffix, np.zeros((8300, 8200), np.uint8), options)
    assert len(raw) < 8300 * 8200 / 200 and not holds_less(raw)
