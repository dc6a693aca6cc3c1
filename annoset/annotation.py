"""What a data set says of an image: its size and its objects' boxes, and whether that can be true."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prototxt.errors import UserError, nearest

# Pixels by which a box may reach outside its image: COCO gives corner and size with two decimals, YOLO parts of the
# image with six, and their sums go past the border by as much.
SLACK = 0.02


@dataclass(slots=True)  # not frozen, which would take five times as long to make
class Object:
    """One object of an image.

    Attributes:
        name: its class.
        xmin, ymin, xmax, ymax: the corners of its box in pixels, as the data set gives them. VOC counts the
            pixels from 1 and its corners are inside the box; SSD-Caffe divides them by the size as they are.
        difficult: whether scores leave it out; COCO's crowds are difficult.
        line, column: where the box stands in the annotation file, for error messages; 0 where that is not known.
    """

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """(xmin, ymin, xmax, ymax)."""
        return self.xmin, self.ymin, self.xmax, self.ymax

    @property
    def without_area(self) -> bool:
        return self.xmin == self.xmax or self.ymin == self.ymax


@dataclass(frozen=True)
class Annotation:
    """An image and its objects.

    Attributes:
        name: the image's path as the database's key gives it ("VOC2007/JPEGImages/000001.jpg").
        image: the image file.
        path: the file that these words are from.
        height, width: size of the image in pixels, according to `path`.
        objects: in the order of the file.
        listed: the annotation's path as a list file gives it, beside `name`; empty where the image has no file of
            its own that says this.
        lines: finds the line of each object where they do not know it. That takes a reader longer than reading
            them, so it is asked only when there is something to say.
    """

    name: str
    image: Path | str
    path: Path | str
    height: int
    width: int
    objects: tuple[Object, ...] = ()
    listed: str = ""
    called: str = ""
    lines: Callable[[], Sequence[int]] | None = field(default=None, compare=False)

    def clipped(self) -> Annotation:
        """The same with the boxes cut at the image's border; a box wholly outside stays as it is."""
        return replace(self, objects=tuple(self._clip(one) for one in self.objects))

    def without_difficult(self) -> Annotation:
        """The same without the objects marked difficult."""
        if not any(one.difficult for one in self.objects):
            return self
        kept = [index for index, one in enumerate(self.objects) if not one.difficult]
        objects = tuple(self.objects[index] for index in kept)
        return replace(self, objects=objects, lines=lambda: [self._line(index) for index in kept])

    def _clip(self, one: Object) -> Object:
        xmin, xmax = (min(max(x, 0), self.width) for x in (one.xmin, one.xmax))
        ymin, ymax = (min(max(y, 0), self.height) for y in (one.ymin, one.ymax))
        outside = one.xmax <= 0 or one.ymax <= 0 or one.xmin >= self.width or one.ymin >= self.height
        return one if outside else replace(one, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)

    def mistakes(self, classes: Collection[str] | None = None) -> list[UserError]:
        """What is wrong with the objects: reversed corners, a box outside the image, an unknown class.

        A corner may lie on the image's border (0 or the width) or SLACK beyond it; a box of no width or height is
        allowed, because to VOC, whose corners are inside the box, it is a box of one pixel.

        Args:
            classes: the known ones; None does not look at classes.
        """
        right, bottom = self.width + SLACK, self.height + SLACK
        errors = []
        for index, one in enumerate(self.objects):
            well_ordered = -SLACK <= one.xmin <= one.xmax <= right and -SLACK <= one.ymin <= one.ymax <= bottom
            if not well_ordered or (classes is not None and one.name not in classes):
                errors += self._mistakes(index, one, classes)
        return errors

    def _mistakes(self, index: int, one: Object, classes: Collection[str] | None) -> list[UserError]:
        errors = []
        xmin, ymin, xmax, ymax = one.corners
        found = f'object {index + 1}, "{one.name}": the box ({", ".join(f"{value:g}" for value in one.corners)})'
        legal = f"0 <= xmin <= xmax <= {self.width} and 0 <= ymin <= ymax <= {self.height}"
        if xmin > xmax or ymin > ymax:
            errors.append(UserError(f"{found} has reversed corners", expected=legal, fix="exchange the corners"))
        elif min(xmin, ymin) < -SLACK or xmax > self.width + SLACK or ymax > self.height + SLACK:
            found += f" reaches outside the image of {self.width} x {self.height} pixels (width x height)"
            fix = "correct the box, or cut all boxes at the border with --clip-boxes"
            errors.append(UserError(found, expected=legal, fix=fix))
        if classes is not None and one.name not in classes:
            found = f'object {index + 1} has the unknown class "{one.name}"{nearest(one.name, classes)}'
            fix = "correct the name, or give a label map that lists it"
            errors.append(UserError(found, expected=f"one of {', '.join(sorted(classes))}", fix=fix))
        where = self.where(index)
        return [UserError(each.found, where=where, expected=each.expected, fix=each.fix) for each in errors]

    def where(self, index: int) -> str:
        """`FILE:LINE` or `FILE:LINE:COLUMN` of an object."""
        column = self.objects[index].column
        return f"{self.path}:{self._line(index)}" + (f":{column}" if column else "")

    def _line(self, index: int) -> int:
        line = self.objects[index].line
        return line or (self.lines()[index] if self.lines else 0)
