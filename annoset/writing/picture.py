"""What of an image file goes into a record: its bytes untouched, or the image resized and encoded anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from annoset.annotation import Annotation
from annoset.decode import decode_file
from annoset.imagefile import ImageFile, read_image_file
from prototxt.errors import UserError
from prototxt.io import read_bytes

ENCODINGS = ("jpg", "png")
_MOST_PIXELS = 1 << 30  # OpenCV decodes no larger image
_REPLACE = "replace the image, or leave such images out with --skip-bad"
_ENCODE = "convert it, or have images encoded anew with --encode jpg"
_SIGNATURES = {
    "a GIF": b"GIF8",
    "a BMP": b"BM",
    "a WebP": b"RIFF",
    "a TIFF": b"II*\0",
    "a big-endian TIFF": b"MM\0*",
}
_SEVERAL_PICTURES = ("a GIF", "a WebP", "a TIFF", "a big-endian TIFF")  # may hold them


@dataclass(frozen=True)
class Storage:
    """How images are stored; by default the file's bytes as they are.

    Resizing is convert_annoset's, with OpenCV's linear interpolation. A resized image keeps its kind, JPEG or PNG,
    unless `encode` says another; an image that has the wanted size already is not touched for that.

    Attributes:
        encode: "jpg" or "png" to encode every image anew, without the camera's notes; empty to keep what can be kept.
        quality: of JPEGs, 1–100; 95 is OpenCV's and so convert_annoset's.
        gray: store one channel.
        min_dim: enlarge images whose shorter side has fewer pixels.
        max_dim: shrink images whose longer side has more pixels; stronger than `min_dim`. Both keep the ratio.
        resize_hw: (height, width) for all images, whatever their ratio.
    """

    encode: str = ""
    quality: int = 95
    gray: bool = False
    min_dim: int = 0
    max_dim: int = 0
    resize_hw: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.encode not in ("", *ENCODINGS):
            found = f'"{self.encode}" is no encoding of images'
            raise UserError(found, expected=" or ".join(ENCODINGS))
        if min(self.min_dim, self.max_dim) < 0:
            raise UserError("the least or greatest length of a side is negative", expected="pixels, or 0 for none")
        if self.resize_hw and (self.min_dim or self.max_dim):
            found = "a fixed size is given, and with it the least or greatest length of a side"
            raise UserError(found, expected="one of the two ways to resize")
        if self.resize_hw and not 0 < self.resize_hw[0] * self.resize_hw[1] <= _MOST_PIXELS:
            height, width = self.resize_hw
            found = f"images would be resized to {height} x {width} (height x width)"
            raise UserError(found, expected=f"1 to {_MOST_PIXELS} pixels in all")
        if not 1 <= self.quality <= 100:
            raise UserError(f"the quality is {self.quality}", expected="1 to 100")

    @property
    def decodes(self) -> bool:
        """Whether images must be decoded to be stored."""
        return bool(self.encode or self.gray or self.min_dim or self.max_dim or self.resize_hw)


KEPT = Storage()


@dataclass(frozen=True)
class Picture:
    """An image as a record stores it.

    Attributes:
        data: an encoded image.
        height, width: its size in pixels.
        channels: as convert_annoset notes them: 3, or 1 for images stored as grey on purpose.
        file: what the file said of itself; None for kinds other than JPEG and PNG.
    """

    data: bytes
    height: int
    width: int
    channels: int
    file: ImageFile | None


def load_picture(annotation: Annotation, storage: Storage = KEPT) -> Picture:
    """The annotation's image, ready to be stored.

    An image that is stored untouched is judged by its structure; it is decoded where that does not settle it.

    Raises:
        UserError: the image is missing, broken, of a kind that is not stored, or has another size than the
            annotation says.
    """
    raw = read_bytes(annotation.image)
    file = read_image_file(raw)
    mistake = _mistake(file, storage) if file else _mistake_of_other(raw, storage)
    if mistake:
        found, expected, fix = mistake
        raise UserError(found, where=str(annotation.image), expected=expected, fix=fix)
    if file:
        _check_size(annotation, (file.height, file.width))
    if not storage.decodes:
        return _kept(annotation, raw, file)
    image = decode_file(annotation.image, raw, cv2.IMREAD_GRAYSCALE if storage.gray else cv2.IMREAD_COLOR)
    _check_size(annotation, image.shape[:2])
    resized = _resized(annotation.image, image, storage)
    if resized is image and not (storage.encode or storage.gray) and file and not _mistake(file, KEPT):
        return _kept(annotation, raw, file)
    suffix = storage.encode or ("png" if file and file.format == "PNG" else "jpg")
    data = _encode(annotation.image, resized, suffix, storage.quality)
    return Picture(data, *resized.shape[:2], 1 if storage.gray else 3, file)


def _mistake(file: ImageFile, storage: Storage) -> tuple[str, str, str] | None:
    """Why a JPEG or PNG cannot be stored so: what was found, expected, and can be done."""
    if file.animated:
        return f"the {file.format} is animated", "one picture", "save the picture that the boxes are of"
    if file.height * file.width > _MOST_PIXELS:
        size = f"{file.width} x {file.height} pixels (width x height)"
        return f"the image has {size}", f"at most {_MOST_PIXELS} in all, as OpenCV reads them", "shrink it"
    if not file.ended:
        return f"the {file.format} is cut short or damaged", "all of it, up to its end marker", _REPLACE
    if not storage.decodes and file.bits > 8:
        return f"the image has {file.bits} bits a channel", "8, which is all that Caffe takes", _ENCODE
    if not storage.decodes and file.format == "PNG" and file.channels in (2, 4):
        return "the image has an alpha channel", "1 or 3 channels, which is all that Caffe takes", _ENCODE
    return None


def _mistake_of_other(raw: bytes, storage: Storage) -> tuple[str, str, str] | None:
    """The same for a file that is neither JPEG nor PNG; one of no known kind is left to the decoder."""
    kind = next((name for name, start in _SIGNATURES.items() if raw.startswith(start)), "")
    if kind and not storage.decodes:
        return f"the image is {kind}", "a JPEG or PNG, which every Caffe decodes", _ENCODE
    if kind in _SEVERAL_PICTURES and len(cv2.imdecodemulti(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)[1]) > 1:
        return f"the image is {kind} of several pictures", "one picture", "save the picture that the boxes are of"
    return None


def _check_size(annotation: Annotation, stored_hw: tuple[int, int]) -> None:
    said_hw = (annotation.height, annotation.width)
    if stored_hw == said_hw:
        return
    raise UserError(
        f"the image has {stored_hw[1]} x {stored_hw[0]} pixels (width x height), its annotation says"
        f" {said_hw[1]} x {said_hw[0]}",
        where=str(annotation.image),
        expected=f"the size in {annotation.path}",
        fix="the image is stored on its side: turn it, so that its boxes fit"
        if stored_hw == said_hw[::-1]
        else "correct the size, or leave such images out with --skip-bad",
    )


def _kept(annotation: Annotation, raw: bytes, file: ImageFile | None) -> Picture:
    if not (file and file.whole):
        stored_hw = decode_file(annotation.image, raw, cv2.IMREAD_UNCHANGED).shape[:2]
        if file is None:
            expected = "a JPEG or PNG, which every Caffe decodes"
            raise UserError("the image is of another kind", where=str(annotation.image), expected=expected, fix=_ENCODE)
        _check_size(annotation, stored_hw)
    return Picture(raw, annotation.height, annotation.width, 3, file)


def _resized(path: Path | str, image: np.ndarray, storage: Storage) -> np.ndarray:
    """The image in the wanted size, as convert_annoset's ReadImageToCVMat makes it; itself when it has that size."""
    image_hw = image.shape[:2]
    if storage.resize_hw:
        return image if image_hw == storage.resize_hw else cv2.resize(image, storage.resize_hw[::-1])
    scale = _scale(image_hw, storage) if storage.min_dim or storage.max_dim else 1
    if scale == 1:
        return image
    height, width = (round(side * scale) for side in image_hw)
    if not 0 < height * width <= _MOST_PIXELS:
        found = f"the image would be resized to {width} x {height} pixels (width x height)"
        fix = "give a larger --max-dim" if scale < 1 else "give a --max-dim, or a smaller --min-dim"
        raise UserError(found, where=str(path), expected=f"1 to {_MOST_PIXELS} in all", fix=fix)
    return cv2.resize(image, None, fx=scale, fy=scale)


def _scale(size_hw: tuple[int, ...], storage: Storage) -> float:
    """What `min_dim` and `max_dim` make of an image, in convert_annoset's own float32 arithmetic."""
    scale = np.float32(1)
    if min(size_hw) < storage.min_dim:
        scale = np.float32(storage.min_dim) / np.float32(min(size_hw))
    if 0 < storage.max_dim < int(scale * np.float32(max(size_hw))):
        scale = np.float32(storage.max_dim) / np.float32(max(size_hw))
    return float(scale)


def _encode(path: Path | str, image: np.ndarray, suffix: str, quality: int) -> bytes:
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == "jpg" else []
    try:
        done, data = cv2.imencode(f".{suffix}", image, parameters)
    except cv2.error:  # a side longer than a JPEG may have
        done = False
    if not done:
        height, width = image.shape[:2]
        found = f"the image of {width} x {height} pixels (width x height) cannot be encoded as {suffix}"
        raise UserError(found, where=str(path), fix="shrink it with --max-dim")
    return data.tobytes()


_BLOCK = 31 << 20  # bytes; glibc learns from blocks of up to 32 MiB


def keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, for the next that are asked for.

    An image decoded is a megabyte. glibc gives such a block back to the system when it is freed and asks for another
    the next time, and touching that for the first time costs more than decoding the image into it. But when it frees
    a larger block than it ever did, it takes this for the program's habit and keeps twice as much (mallopt(3),
    M_MMAP_THRESHOLD). The block asked for here is never touched, so it takes no memory. Other C libraries do not mind.
    """
    np.empty(_BLOCK, np.uint8)
