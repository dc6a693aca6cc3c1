"""Writes Pascal VOC's layout: `Annotations/*.xml`, `JPEGImages/*` and a list in `ImageSets/Main`."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from annoset.annotation import Annotation, Object
from annoset.formats.filenames import NewFiles

_NOTICEABLE = 0.01  # pixels; what float32 leaves of a whole number's part of a side is a thousandth of that
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocWriter:
    """Takes images with their objects; a context manager.

    Corners are written as whole numbers, because SSD-Caffe reads "45.7" as 0.

    Args:
        root: an empty folder.
        split: name of the list.

    Attributes:
        rounded: boxes with a corner that lay between two pixels.
        files: the names that were taken.
    """

    def __init__(self, root: Path, split: str) -> None:
        self._root, self.files, self.rounded = root, NewFiles(), 0
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        self._list = (root / "ImageSets" / "Main" / f"{split}.txt").open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> VocWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._list.close()

    def add(self, stem: str, suffix: str, data: bytes, annotation: Annotation, channels: int) -> None:
        """Write an image and what is said of it.

        Args:
            stem, suffix: of its file, if that name is free.
            data: the image file.
            annotation: size and objects; nothing else of it counts.
            channels: of the image, 1 or 3.
        """
        xml = self.files.claim(self._root / "Annotations", stem, ".xml")
        (self._root / "JPEGImages" / f"{xml.stem}{suffix}").write_bytes(data)
        self.rounded += sum(_between_pixels(one) for one in annotation.objects)
        xml.write_text(_xml(f"{xml.stem}{suffix}", annotation, channels), "utf-8")
        self._list.write(f"{xml.stem}\n")

    def finish(self) -> None:
        """Complete the list."""
        self._list.flush()


def _between_pixels(one: Object) -> bool:
    return any(abs(value - round(value)) > _NOTICEABLE for value in one.corners)


def _xml(file: str, annotation: Annotation, channels: int) -> str:
    objects = "".join(map(_object, annotation.objects))
    return (
        f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{escape(file)}</filename>\n\t<size>\n"
        f"\t\t<width>{annotation.width}</width>\n\t\t<height>{annotation.height}</height>\n"
        f"\t\t<depth>{channels}</depth>\n\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def _object(one: Object) -> str:
    # Readers of VOC expect pose and truncated, of which records know nothing.
    box = "".join(f"\t\t\t<{name}>{round(value)}</{name}>\n" for name, value in zip(_CORNERS, one.corners))
    return (
        f"\t<object>\n\t\t<name>{escape(one.name)}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        f"\t\t<difficult>{int(one.difficult)}</difficult>\n\t\t<bndbox>\n{box}\t\t</bndbox>\n\t</object>\n"
    )
