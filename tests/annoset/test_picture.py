"""What of an image is stored: its bytes, or what convert_annoset would encode."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from annoset.annotation import Annotation
from annoset.decode import image_size
from annoset.writing.picture import KEPT, Storage, load_picture
from prototxt.errors import UserError

IMAGE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8), (0, 0), 2)


def annotation(path: Path, height: int = 40, width: int = 60) -> Annotation:
    return Annotation(f"VOC/{path.name}", path, path.with_suffix(".xml"), height, width)


def write(path: Path, image: np.ndarray = IMAGE) -> Annotation:
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return annotation(path, *image.shape[:2])


def decoded(raw: bytes, flag: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(raw, np.uint8), flag)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_bytes_are_kept(tmp_path, name):
    one = write(tmp_path / name)
    picture = load_picture(one)
    assert (picture.data, picture.height, picture.width, picture.channels) == (one.image.read_bytes(), 40, 60, 3)


@pytest.mark.parametrize(("name", "encode"), [("a.jpg", "jpg"), ("a.png", "jpg"), ("a.jpg", "png"), ("a.png", "png")])
def test_encoding_anew_is_opencvs_own(tmp_path, name, encode):
    one = write(tmp_path / name)
    picture = load_picture(one, Storage(encode=encode, quality=80))
    options = [cv2.IMWRITE_JPEG_QUALITY, 80] if encode == "jpg" else []
    assert picture.data == cv2.imencode(f".{encode}", cv2.imread(str(one.image)), options)[1].tobytes()
    assert (picture.height, picture.width, picture.channels) == (40, 60, 3)


def test_the_quality_is_convert_annosets_by_default(tmp_path):
    one = write(tmp_path / "a.png")
    assert load_picture(one, Storage(encode="jpg")).data == cv2.imencode(".jpg", IMAGE)[1].tobytes()


def test_grey(tmp_path):
    one = write(tmp_path / "a.png")
    picture = load_picture(one, Storage(gray=True))
    assert picture.channels == 1
    np.testing.assert_array_equal(decoded(picture.data), cv2.imread(str(one.image), cv2.IMREAD_GRAYSCALE))


# The size that ReadImageToCVMat gives an image of 40 x 60 (height x width).
SIZES = [
    ({"min_dim": 80}, (80, 120)),
    ({"min_dim": 40}, (40, 60)),
    ({"min_dim": 30}, (40, 60)),
    ({"max_dim": 30}, (20, 30)),
    ({"max_dim": 60}, (40, 60)),
    ({"max_dim": 100}, (40, 60)),
    ({"min_dim": 80, "max_dim": 90}, (60, 90)),
    ({"min_dim": 50, "max_dim": 50}, (33, 50)),
    ({"resize_hw": (33, 21)}, (33, 21)),
    ({"resize_hw": (40, 60)}, (40, 60)),
]


@pytest.mark.parametrize(("options", "size_hw"), SIZES)
def test_resizing(tmp_path, options, size_hw):
    one = write(tmp_path / "a.png")
    picture = load_picture(one, Storage(**options))
    assert (picture.height, picture.width) == size_hw == decoded(picture.data).shape[:2]
    if size_hw == (40, 60):
        assert picture.data == one.image.read_bytes()
    elif "resize_hw" in options:
        np.testing.assert_array_equal(decoded(picture.data), cv2.resize(IMAGE, size_hw[::-1]))
    else:
        scale = float(np.float32(size_hw[1]) / np.float32(60))
        np.testing.assert_array_equal(decoded(picture.data), cv2.resize(IMAGE, None, fx=scale, fy=scale))


@pytest.mark.parametrize(("name", "start"), [("a.jpg", b"\xff\xd8"), ("a.png", b"\x89PNG")])
def test_a_resized_image_keeps_its_kind(tmp_path, name, start):
    assert load_picture(write(tmp_path / name), Storage(max_dim=30)).data.startswith(start)


REFUSED_OPTIONS = [
    ({"encode": "gif"}, '"gif" is no encoding of images; expected jpg or png'),
    ({"quality": 0}, "the quality is 0; expected 1 to 100"),
    ({"resize_hw": (0, 5)}, "images would be resized to 0 x 5 (height x width); expected 1 to 1073741824 pix"),
    ({"resize_hw": (10**5, 10**5)}, "images would be resized to 100000 x 100000 (height x width); expected 1 to 1073"),
    ({"resize_hw": (5, 5), "min_dim": 3}, "a fixed size is given, and with it the least or greatest length of a side"),
    ({"max_dim": -1}, "the least or greatest length of a side is negative"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED_OPTIONS)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UserError) as error:
        Storage(**options)
    assert str(error.value).startswith(message)


def message(one: Annotation, storage: Storage = KEPT) -> str:
    with pytest.raises(UserError) as error:
        load_picture(one, storage)
    return str(error.value).replace(f"{Path(one.image).parent}/", "")


RE_ENCODE = "fix: convert it, or have images encoded anew with --encode jpg"
REPLACE = "fix: replace the image, or leave such images out with --skip-bad"


def test_a_jpeg_cut_short(tmp_path):
    one = write(tmp_path / "a.jpg")
    raw = one.image.read_bytes()
    one.image.write_bytes(raw[: len(raw) * 3 // 4])
    for storage in (Storage(), Storage(encode="jpg")):
        assert message(one, storage) == (
            f"a.jpg: the JPEG is cut short or damaged; expected all of it, up to its end marker\n  {REPLACE}"
        )


def test_a_damaged_png(tmp_path):
    one = write(tmp_path / "a.png")
    raw = bytearray(one.image.read_bytes())
    raw[100] ^= 255
    one.image.write_bytes(raw)
    assert message(one).startswith("a.png: the PNG is cut short or damaged; expected all of it")


def test_a_progressive_jpeg_is_kept_if_it_can_be_decoded(tmp_path):
    one = write(tmp_path / "a.jpg")
    raw = cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    one.image.write_bytes(raw)
    assert load_picture(one).data == raw
    tables = raw.index(b"\xff\xc4")
    one.image.write_bytes(raw[: tables + 5] + b"\xff" * 16 + raw[tables + 21 :])
    assert "the image cannot be decoded" in message(one)


def test_sixteen_bits(tmp_path):
    one = write(tmp_path / "a.png", IMAGE.astype(np.uint16) * 257)
    assert message(one) == (
        f"a.png: the image has 16 bits a channel; expected 8, which is all that Caffe takes\n  {RE_ENCODE}"
    )
    np.testing.assert_array_equal(decoded(load_picture(one, Storage(encode="png")).data), IMAGE)


def test_an_alpha_channel(tmp_path):
    one = write(tmp_path / "a.png", np.dstack([IMAGE, IMAGE[..., 0]]))
    assert "a.png: the image has an alpha channel; expected 1 or 3 channels" in message(one)
    np.testing.assert_array_equal(decoded(load_picture(one, Storage(encode="png")).data), IMAGE)
    assert load_picture(one, Storage(resize_hw=(40, 60))).data != one.image.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".webp", "a WebP"), (".bmp", "a BMP"), (".tiff", "a TIFF"), (".gif", "a GIF")]
)
def test_other_kinds_are_only_taken_to_be_encoded_anew(tmp_path, suffix, kind):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), IMAGE)
    one = annotation(path)
    assert (
        message(one)
        == f"a{suffix}: the image is {kind}; expected a JPEG or PNG, which every Caffe decodes\n  {RE_ENCODE}"
    )
    assert decoded(load_picture(one, Storage(encode="jpg")).data).shape == (40, 60, 3)


def test_a_kind_without_a_name(tmp_path):
    cv2.imwrite(str(tmp_path / "a.ppm"), IMAGE)
    assert "a.ppm: the image is of another kind; expected a JPEG or PNG" in message(annotation(tmp_path / "a.ppm"))


def gif(frames: int) -> bytes:
    """Pictures of one pixel."""
    picture = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HH3B", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + picture * frames + b";"


def test_animated_images(tmp_path):
    path = tmp_path / "a.gif"
    path.write_bytes(gif(1))
    assert load_picture(annotation(path, 1, 1), Storage(encode="png")).height == 1
    path.write_bytes(gif(3))
    assert message(annotation(path, 1, 1), Storage(encode="png")) == (
        "a.gif: the image is a GIF of several pictures; expected one picture\n"
        "  fix: save the picture that the boxes are of"
    )


def test_an_image_larger_than_opencv_decodes(tmp_path):
    one = write(tmp_path / "a.png")
    raw = one.image.read_bytes()
    header = b"IHDR" + struct.pack(">II", 1 << 16, 1 << 16) + raw[24:29]
    one.image.write_bytes(raw[:12] + header + struct.pack(">I", zlib.crc32(header)) + raw[33:])
    assert message(one).startswith(
        "a.png: the image has 65536 x 65536 pixels (width x height); expected at most 1073741824"
    )


def test_sizes_that_cannot_be_stored(tmp_path):
    one = write(tmp_path / "a.png", np.zeros((2, 900, 3), np.uint8))
    assert "the image would be resized to 30 x 0 pixels (width x height)" in message(one, Storage(max_dim=30))
    assert "cannot be encoded as jpg" in message(one, Storage(resize_hw=(2, 70_000), encode="jpg"))


def test_the_cameras_note_is_ignored_and_not_stored_anew(tmp_path):
    one = write(tmp_path / "a.jpg")
    raw = one.image.read_bytes()
    body = b"Exif\0\0II" + struct.pack("<HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, 6, 0)
    one.image.write_bytes(raw[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + raw[2:])
    kept = load_picture(one)
    assert kept.data == one.image.read_bytes() and kept.file.orientation == 6 and (kept.height, kept.width) == (40, 60)
    assert decoded(load_picture(one, Storage(encode="png")).data, cv2.IMREAD_COLOR).shape == (40, 60, 3)


def test_the_size_of_an_image(tmp_path):
    for name in ("a.jpg", "a.png", "a.bmp"):
        assert image_size(write(tmp_path / name).image) == (40, 60)
    (tmp_path / "b.jpg").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"the image cannot be decoded \(6 bytes\)"):
        image_size(tmp_path / "b.jpg")


@pytest.mark.parametrize(
    ("options", "size", "fix"),
    [
        ({"max_dim": 1}, "1 x 0", "give a larger --max-dim"),
        ({"min_dim": 10**6}, "50000000 x 1000000", "give a --max-dim, or a smaller --min-dim"),
    ],
)
def test_sizes_that_no_image_has(tmp_path, options, size, fix):
    one = write(tmp_path / "a.png", image=np.zeros((10, 500, 3), np.uint8))
    assert message(one, Storage(**options)) == (
        f"a.png: the image would be resized to {size} pixels (width x height); expected 1 to 1073741824 in all\n"
        f"  fix: {fix}"
    )
