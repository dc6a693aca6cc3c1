"""File names made of keys, which may hold anything."""

from __future__ import annotations

from pathlib import Path

_FORBIDDEN = '<>:"/\\|?*'  # of Windows, so that the folder can be copied there
_MOST_BYTES = 200  # file systems take 255; suffixes and a number are put behind


def file_stem(name: str) -> str:
    """A file name without its suffix for the image `name`, a path as keys hold it.

    It is the path's last part, so it never leads out of a folder; what a file system, a line of a list or UTF-8 does
    not take becomes "_". A name without anything left is "image".
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    kept = "".join(letter if letter.isprintable() and letter not in _FORBIDDEN else "_" for letter in stem)
    cut = kept.strip(" .").encode()[:_MOST_BYTES].decode("utf-8", "ignore")
    return cut.rstrip(" .") or "image"


class NewFiles:
    """Makes files whose names are not taken: the second `a.jpg` becomes `a_2.jpg`.

    Attributes:
        renamed: how many got a number.
    """

    def __init__(self) -> None:
        self.renamed = 0
        self._next: dict[str, int] = {}

    def claim(self, folder: Path, stem: str, suffix: str) -> Path:
        """Make an empty file in `folder`, whose own notion of equal names (case, composed letters) decides."""
        path = folder / f"{stem}{suffix}"
        while not _make(path):
            number = self._next.get(stem, 2)
            self._next[stem] = number + 1
            path = folder / f"{stem}_{number}{suffix}"
        self.renamed += path.name != f"{stem}{suffix}"
        return path


def _make(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
