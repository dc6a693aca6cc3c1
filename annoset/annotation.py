"""What a data set says of an image: its size and its objects' boxes, and whether that can be true."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from prototxt.errors import UserError, nearest


@dataclass(frozen=True)
class Object:
    """One object of an image.

    Attributes:
        name: its class.
        xmin, ymin, xmax, ymax: the corners of its box in pixels, as the data set gives them. VOC counts the
            pixels from 1 and its corners are inside the box; SSD-Caffe divides them by the size as they are.
        difficult: whether scores leave it out.
        line: line of the annotation file at which the box stands, for error messages.
    """

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False
    line: int = field(default=0, compare=False)

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """(xmin, ymin, xmax, ymax)."""
        return self.xmin, self.ymin, self.xmax, self.ymax


@dataclass(frozen=True)
class Annotation:
    """An image and its objects.

    Attributes:
        name: the image's path as the database's key gives it ("VOC2007/JPEGImages/000001.jpg").
        image: the image file.
        path: the file that these words are from.
        height, width: size of the image in pixels, according to `path`.
        objects: in the order of the file.
    """

    name: str
    image: Path
    path: Path
    height: int
    width: int
    objects: tuple[Object, ...] = ()

    def clipped(self) -> Annotation:
        """The same with the boxes cut at the image's border; a box wholly outside stays as it is."""
        return replace(self, objects=tuple(self._clip(one) for one in self.objects))

    def _clip(self, one: Object) -> Object:
        xmin, xmax = (min(max(x, 0), self.width) for x in (one.xmin, one.xmax))
        ymin, ymax = (min(max(y, 0), self.height) for y in (one.ymin, one.ymax))
        outside = one.xmax <= 0 or one.ymax <= 0 or one.xmin >= self.width or one.ymin >= self.height
        return one if outside else replace(one, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)

    def mistakes(self, classes: Collection[str] | None = None) -> list[UserError]:
        """What is wrong with the objects: reversed corners, a box outside the image, an unknown class.

        A corner may lie on the image's border (0 or the width); a box of no width or height is allowed, because
        to VOC, whose corners are inside the box, it is a box of one pixel.

        Args:
            classes: the known ones; None does not look at classes.
        """
        return [
            UserError(found, where=f"{self.path}:{one.line}", expected=expected, fix=fix)
            for index, one in enumerate(self.objects)
            for found, expected, fix in self._mistake(index, one, classes)
        ]

    def _mistake(self, index: int, one: Object, classes: Collection[str] | None) -> list[tuple[str, str, str]]:
        box = ", ".join(f"{value:g}" for value in one.corners)
        found = f'object {index + 1}, "{one.name}": the box ({box})'
        legal = f"0 <= xmin <= xmax <= {self.width} and 0 <= ymin <= ymax <= {self.height}"
        mistakes = []
        if one.xmin > one.xmax or one.ymin > one.ymax:
            mistakes.append((f"{found} has reversed corners", legal, "exchange the corners"))
        elif min(one.xmin, one.ymin) < 0 or one.xmax > self.width or one.ymax > self.height:
            size = f"{self.width} x {self.height} pixels (width x height)"
            fix = "correct the box, or cut all boxes at the border with --clip-boxes"
            mistakes.append((f"{found} reaches outside the image of {size}", legal, fix))
        if classes is not None and one.name not in classes:
            found = f'object {index + 1} has the unknown class "{one.name}"{nearest(one.name, classes)}'
            fix = "correct the name, or give a label map that lists it"
            mistakes.append((found, f"one of {', '.join(sorted(classes))}", fix))
        return mistakes
