"""Contact sheets: pictures with their boxes and the names of these, side by side in one picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from prototxt.errors import UserError
from prototxt.files import atomic_write

SUFFIXES = (".png", ".jpg", ".jpeg")
_COLOURS_BGR = ((60, 76, 231), (113, 204, 46), (219, 152, 52), (18, 156, 243), (182, 89, 155), (156, 188, 26))
_WHITE, _GREY = (255, 255, 255), (90, 90, 90)
_GAP = 4  # pixels around a tile
_LINE = 16  # pixels, the height of a line of text
_BASELINE = 12  # pixels from a line's top to the foot of its letters
_FONT_PIXELS = 12
_MOST_LETTERS = 80


@dataclass(frozen=True)
class Mark:
    """A box to draw.

    Attributes:
        corners: xmin, ymin, xmax, ymax, 0–1.
        label: decides the colour.
        text: written on the box; empty for none.
        thin: draw it with a thin line, as difficult objects are.
    """

    corners: Sequence[float]
    label: int
    text: str = ""
    thin: bool = False


def tile(picture: np.ndarray, marks: Iterable[Mark], caption: str = "", side: int = 360) -> np.ndarray:
    """A picture brought to `side` pixels along its longer side, its boxes drawn, the caption below it.

    Corners outside the picture are drawn as far as they are seen; boxes of no numbers are not drawn.

    Args:
        picture: uint8 [H, W, 3] BGR or [H, W].
        caption: lines of text, each cut at the tile's width.

    Returns:
        uint8 [H', W', 3] BGR; H' has 16 pixels for each line of the caption.
    """
    colour = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture
    scale = side / max(colour.shape[:2])
    height, width = (max(1, round(length * scale)) for length in colour.shape[:2])
    drawn = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    marks = [mark for mark in marks if np.isfinite(mark.corners).all()]
    for draw in (_draw_box, _draw_text):  # no line goes through a text
        for mark in marks:
            draw(drawn, mark)
    lines = caption.splitlines()
    if lines:
        drawn = cv2.copyMakeBorder(drawn, 0, _LINE * len(lines), 0, 0, cv2.BORDER_CONSTANT, value=_WHITE)
        for number, line in enumerate(lines):
            _write(drawn, line, (2, height + number * _LINE), _GREY)
    return drawn


def sheet(tiles: Sequence[np.ndarray], columns: int = 4) -> np.ndarray:
    """The tiles in rows of at most `columns`, on white; uint8 [H, W, 3] BGR."""
    columns = min(columns, len(tiles))
    height, width = (max(one.shape[axis] for one in tiles) + 2 * _GAP for axis in (0, 1))
    whole = np.full((-(-len(tiles) // columns) * height, columns * width, 3), 255, np.uint8)
    for number, one in enumerate(tiles):
        top, left = number // columns * height + _GAP, number % columns * width + _GAP
        whole[top : top + one.shape[0], left : left + one.shape[1]] = one
    return whole


def check_suffix(path: Path) -> None:
    """Raise UserError when `path` does not end as a picture that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        found = f"cannot write a picture with the ending {path.suffix!r}"
        raise UserError(found, where=str(path), expected=".png or .jpg")


def write_sheet(tiles: Sequence[np.ndarray], path: Path, columns: int = 4) -> None:
    """Write the sheet of the tiles.

    Raises:
        UserError: another suffix than .png and .jpg, a sheet too large for its format, a full disk.
    """
    check_suffix(path)
    whole = sheet(tiles, columns)
    try:
        done, data = cv2.imencode(path.suffix.lower(), whole)
    except cv2.error:
        done = False
    if not done:
        found = f"a sheet of {whole.shape[1]} x {whole.shape[0]} pixels (width x height) cannot be written so"
        raise UserError(found, where=str(path), fix="write a .png, or show fewer or smaller images")
    with atomic_write(path) as file:
        file.write(data.tobytes())


def _draw_box(picture: np.ndarray, mark: Mark) -> None:
    xmin, ymin, xmax, ymax = _pixels(picture, mark)
    cv2.rectangle(picture, (xmin, ymin), (xmax, ymax), _colour(mark), 1 if mark.thin else 2, cv2.LINE_AA)


def _draw_text(picture: np.ndarray, mark: Mark) -> None:
    """The text above the box's upper left corner, moved to where it is seen."""
    if not mark.text:
        return
    xmin, ymin, xmax, ymax = _pixels(picture, mark)
    width = _letters(mark.text[:_MOST_LETTERS])[0].shape[1] + 6
    left = max(min(xmin, xmax, picture.shape[1] - width), 0)
    top = max(min(ymin, ymax) - _LINE, 0)
    cv2.rectangle(picture, (left, top), (left + width - 1, top + _LINE), _colour(mark), -1)
    _write(picture, mark.text, (left + 3, top), _WHITE)


def _pixels(picture: np.ndarray, mark: Mark) -> tuple[int, ...]:
    """The corners, those far outside brought near, as OpenCV takes none beyond its integers."""
    return tuple(
        round(min(max(value * side, -3), side + 2)) for value, side in zip(mark.corners, picture.shape[1::-1] * 2)
    )


def _colour(mark: Mark) -> tuple[int, int, int]:
    return _COLOURS_BGR[mark.label % len(_COLOURS_BGR)]


def _write(picture: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Write on the picture; `corner` (x, y) is the upper left one of the line. What reaches outside is cut."""
    letters, below = _letters(text[:_MOST_LETTERS])
    left, top = corner[0], max(corner[1] + _BASELINE + below - letters.shape[0], 0)
    place = picture[top : top + letters.shape[0], left : left + letters.shape[1]]
    cover = letters[: place.shape[0], : place.shape[1], None]
    place[:] = np.rint(place + (np.float32(colour) - place) * cover)


@lru_cache(maxsize=1024)
def _letters(text: str) -> tuple[np.ndarray, int]:
    """How much of each pixel the text covers, float32 [H, W], and how many rows are below the letters' feet.

    OpenCV's own letters are ASCII's only; letters that DejaVu Sans lacks become empty boxes.
    """
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    if not text.strip():
        return np.zeros((0, 0), np.float32), 0
    font = FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf")
    font.set_size(_FONT_PIXELS, 72)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks
        font.set_text(text.encode("utf-8", "replace").decode())
        font.draw_glyphs_to_bitmap()
    return np.asarray(font.get_image(), np.float32) / 255, round(font.get_descent() / 64)
