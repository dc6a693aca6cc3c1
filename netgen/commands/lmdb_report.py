"""What `netgen lmdb` says of a database that it made."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annoset.writing.outputs import Targets
    from annoset.writing.pack import Report


def print_report(report: Report, targets: Targets) -> None:
    """What was written, what is in it, and what a user should know of that."""
    boxes = sum(report.boxes.values())
    shards = f" ({targets.shards} LMDBs: {targets.lmdbs[0]} …)" if targets.shards > 1 else ""
    print(f"{targets.lmdb}: {count(report.images, 'image')}, {count(boxes, 'box', 'boxes')}{shards}")
    shown = {report.classes.shown(name): report.boxes[name] for name in report.classes.labels}
    width = max(map(len, shown))
    for name, number in sorted(shown.items()):
        print(f"    {name:<{width}}  {number:>7}")
    for line in _notes(report):
        print(f"    {line}")
    print(f"{targets.name_size}: a line for each image: name, height, width")
    print(f"{targets.list}: a line for each image: image, annotation")
    print(f"{targets.labelmap}: the label map{', read' if targets.labelmap_given else ''}")
    if report.skipped.count:
        print(f"left out: {count(report.skipped.count, 'image')} with mistakes")
        for error in report.skipped.all():
            print(indent(str(error), "    "))


def _notes(report: Report) -> list[str]:
    """What is odd about the data, and what was decided."""
    boxes, images = ("box", "boxes"), ("image", "images")
    notes = (
        (report.difficult, boxes, "marked difficult"),
        (report.without_area, boxes, "without area (xmin = xmax or ymin = ymax), kept"),
        (
            report.turned,
            images,
            "with a camera's note to turn them, which is ignored as Caffe does: boxes are of the"
            " pixels as they are stored",
        ),
        (report.grey % report.images, images, "in grey among others in colour: train with force_color: true"),
        (report.cmyk, images, "in CMYK, which OpenCV turns into BGR"),
        (report.spaced, images, "with a space in the name, which SSD-Caffe cannot read in lists of names"),
    )
    return [f"{count(number, *what)} {text}" for number, what, text in notes if number]


def count(number: int, one: str, many: str = "") -> str:
    """The number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"
