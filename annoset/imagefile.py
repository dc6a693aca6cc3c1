"""What a JPEG or PNG file is, told from its structure without decoding it: its size, its kind, whether it is whole.

Decoding an image costs a hundred times as much as copying it. So an image whose bytes are stored untouched is
judged by its structure, and decoded only where that does not settle whether a decoder takes it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of a frame; the three others are DHT, JPG and DAC
_PLAIN_FRAMES = {0xC0, 0xC1}  # sequential, Huffman: one pass over the image
_DHT, _SOS, _DQT, _DRI, _APP0, _APP1, _COM = 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xFE
_FEW_PIXELS, _SPARE = 1 << 26, 1 << 26  # pixels and bytes that anybody has memory for
_PNG_RATIO, _JPEG_BITS = 1100, 1 / 80  # zlib's best; a bit for a block of 64 pixels, and a little less
_MOST_BLOCKS = 10  # of all components together in the unit that they are interleaved by
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # colour type -> channels; a palette gives three


@dataclass
class ImageFile:
    """What an image file says of itself.

    Attributes:
        format: "JPEG" or "PNG".
        height, width: in pixels as they are stored.
        channels: 1 grey, 2 grey and alpha, 3 colour, 4 CMYK (JPEG) or colour and alpha (PNG).
        bits: of a channel.
        orientation: what the camera noted of how it was held, EXIF's 1–8; 1 is upright.
        animated: whether there is more than one picture in it.
        ended: whether its end is there; of a JPEG cut short, OpenCVs of Caffe's day draw the part that is there.
        whole: whether the structure shows that decoders take it. Damage within a JPEG's compressed data shows
            nowhere: decoders draw what they make of it.
    """

    format: str
    height: int = 0
    width: int = 0
    channels: int = 0
    bits: int = 8
    orientation: int = 1
    animated: bool = False
    ended: bool = False
    whole: bool = False


def read_image_file(raw: bytes) -> ImageFile | None:
    """What the bytes of a JPEG or PNG say; None for anything else, and where the size cannot be found."""
    if raw.startswith(_START_OF_IMAGE):
        image = _Jpeg(raw).read()
    elif raw.startswith(_PNG):
        image = _read_png(raw)
    else:
        return None
    return image if image.height and image.width else None


def holds_less(raw: bytes) -> bool:
    """Whether an image, or a part of one, that is said to be very large cannot be in so few bytes.

    Decoders ask for the memory before they look: gigabytes for a file of a hundred bytes.
    """
    if raw.startswith(_PNG) and _said_end(raw) > len(raw) + _SPARE:
        return True
    image = read_image_file(raw) if _said_pixels(raw) > _FEW_PIXELS else None
    if image is None:
        return False
    bits = image.bits / _PNG_RATIO if image.format == "PNG" else _JPEG_BITS  # of a pixel, at least
    return image.height * image.width * bits > 8 * len(raw)


def _said_pixels(raw: bytes) -> int:
    """How many pixels the header of a JPEG or PNG says; 0 where none is found. A twentieth of the work of all of it."""
    try:
        if raw.startswith(_PNG):
            width, height = struct.unpack_from(">II", raw, 16)
            return height * width
        at = len(_START_OF_IMAGE) if raw.startswith(_START_OF_IMAGE) else len(raw)
        while raw[at] == 0xFF and raw[at + 1] != _SOS:
            if raw[at + 1] in _FRAMES:
                height, width = struct.unpack_from(">HH", raw, at + 5)
                return height * width
            at += 1 if raw[at + 1] == 0xFF else 2 + max(struct.unpack_from(">H", raw, at + 2)[0], 2)
    except (struct.error, IndexError):
        pass
    return 0


def _said_end(raw: bytes) -> int:
    """Where the last chunk of a PNG ends by its length."""
    at = len(_PNG)
    while at + 4 <= len(raw):
        at += 12 + int.from_bytes(raw[at : at + 4], "big")
    return at


class _Jpeg:
    """Walks the segments of a JPEG up to its first scan (ITU T.81, annex B)."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.image = ImageFile("JPEG")
        self.legal = True  # so far
        self.frame = 0  # marker
        self.tables: dict[int, int] = {}  # component -> its quantisation table
        self.quantisation: set[int] = set()
        self.huffman: set[int] = set()

    def read(self) -> ImageFile:
        try:
            scan = self._walk()
            # Compressed data hold no end marker by chance: there, 0xff is always followed by 0 or a restart.
            self.image.ended = self.raw.rfind(_END_OF_IMAGE) > scan
            self.image.whole = (
                self.frame in _PLAIN_FRAMES
                and self.image.bits == 8
                and self.image.channels in (1, 3, 4)
                and self._takes(scan)
                and self.legal
                and self.image.ended
            )
        except (struct.error, IndexError):
            pass  # cut within a segment: not whole
        return self.image

    def _walk(self) -> int:
        """Take in the segments before the first scan; the offset of what that scan's header says."""
        raw, at = self.raw, 2
        while raw[at] == 0xFF:
            marker = raw[at + 1]
            if marker == 0xFF:  # a fill byte
                at += 1
                continue
            (length,) = struct.unpack_from(">H", raw, at + 2)
            if marker == _SOS:
                return at + 4
            self._take(marker, at + 4, at + 2 + length)
            at += 2 + max(length, 2)
        self.legal = False
        return 0

    def _take(self, marker: int, at: int, end: int) -> None:
        if marker in _FRAMES:
            self._take_frame(marker, at, end)
        elif marker == _DQT:
            tables = _quantisation_tables(self.raw[at:end])
            self.quantisation |= tables
            self.legal = self.legal and bool(tables)
        elif marker == _DHT:
            tables = _huffman_tables(self.raw[at:end])
            self.huffman |= tables
            self.legal = self.legal and bool(tables)
        elif marker == _APP1 and self.raw.startswith(_EXIF, at):
            self.image.orientation = _orientation(self.raw[at + len(_EXIF) : end])
        elif not (_APP0 <= marker < _APP0 + 16 or marker == _COM):
            self.legal = self.legal and marker == _DRI and end == at + 2

    def _take_frame(self, marker: int, at: int, end: int) -> None:
        image = self.image
        image.bits, image.height, image.width, image.channels = struct.unpack_from(">BHHB", self.raw, at)
        parts = self.raw[at + 6 : at + 6 + 3 * image.channels]
        self.legal = self.legal and not self.frame and end == at + 6 + len(parts) and _sampling_is_legal(parts[1::3])
        self.frame, self.tables = marker, dict(zip(parts[::3], parts[2::3]))

    def _takes(self, scan: int) -> bool:
        """Whether the first scan is of all components of the frame, and by tables that are there."""
        count = self.raw[scan]
        parts = self.raw[scan + 1 : scan + 1 + 2 * count]
        return (
            0 < count == len(self.tables) == self.image.channels
            and struct.unpack_from(">H", self.raw, scan - 2)[0] == 6 + 2 * count
            and list(parts[::2]) == list(self.tables)
            and self.quantisation.issuperset(self.tables.values())
            and all({part >> 4, 0x10 | part & 15} <= self.huffman for part in parts[1::2])
        )


# Most files of a camera or a program share their tables, so what was found out about some is remembered.
@lru_cache(maxsize=64)
def _sampling_is_legal(factors: bytes) -> bool:
    """Whether a decoder takes the components' sampling: each a whole number of times coarser than the finest."""
    across, down = [one >> 4 for one in factors], [one & 15 for one in factors]
    return (
        bool(factors)
        and all(1 <= one <= 4 and max(all_) % one == 0 for all_ in (across, down) for one in all_)
        and (len(factors) == 1 or sum(a * d for a, d in zip(across, down)) <= _MOST_BLOCKS)
    )


@lru_cache(maxsize=64)
def _quantisation_tables(segment: bytes) -> frozenset[int]:
    """The numbers of the tables in a DQT segment; none when it is damaged."""
    at, numbers = 0, set()
    while at < len(segment):
        precision, number = segment[at] >> 4, segment[at] & 15
        if precision > 1 or number > 3:
            return frozenset()
        numbers.add(number)
        at += 65 + 64 * precision
    return frozenset(numbers if at == len(segment) else ())


@lru_cache(maxsize=64)
def _huffman_tables(segment: bytes) -> frozenset[int]:
    """Class (0 DC, 1 AC) and number, 0x00–0x03 and 0x10–0x13, of the tables in a DHT segment; none when damaged."""
    at, numbers = 0, set()
    while at < len(segment):
        table, counts = segment[at], segment[at + 1 : at + 17]
        values = segment[at + 17 : at + 17 + sum(counts)]
        if table & 0xEC or not _codes_are_legal(counts, values, table < 0x10):
            return frozenset()
        numbers.add(table)
        at += 17 + len(values)
    return frozenset(numbers)


def _codes_are_legal(counts: bytes, values: bytes, dc: bool) -> bool:
    """Whether there are codes enough for a Huffman table of `counts` codes of 1, 2 … 16 bits."""
    code = 0
    for length, count in enumerate(counts, 1):
        code = 2 * code + count
        if code > 1 << length:
            return False
    return len(counts) == 16 and len(values) == sum(counts) <= 256 and (not dc or max(values, default=0) <= 15)


def _orientation(tiff: bytes) -> int:
    """EXIF's note of how the camera was held; 1 where it cannot be read."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for at in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, at)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _read_png(raw: bytes) -> ImageFile:
    """The chunks of a PNG (ISO/IEC 15948), each checked by the sum that it carries."""
    image, at, sound = ImageFile("PNG"), len(_PNG), True
    while sound and at + 12 <= len(raw):
        length, name = struct.unpack_from(">I4s", raw, at)
        body = raw[at + 8 : at + 8 + length]
        check = raw[at + 8 + length : at + 12 + length]
        sound = len(check) == 4 and zlib.crc32(body, zlib.crc32(name)) == int.from_bytes(check, "big")
        if name == b"IHDR" and len(body) == 13:
            image.width, image.height, image.bits, colour = struct.unpack_from(">IIBB", body)
            image.channels = _PNG_CHANNELS.get(colour, 0)
        elif name == b"tRNS" and image.channels in (1, 3):
            image.channels += 1  # transparency of a palette or of one colour: decoders give an alpha channel
        elif name == b"acTL":
            image.animated = True
        elif name == b"IEND":
            image.ended = image.whole = sound and image.channels > 0
            break
        at += 12 + length
    return image
