"""What the numbers of an LMDB's classes mean."""

from __future__ import annotations

from pathlib import Path

from prototxt.labelmap import read_labelmap
from prototxt.schema import LabelMapItem


class Labels:
    """The classes of an LMDB, of which its records tell numbers only.

    Attributes:
        path: the label map; None where there is none, and a class is called by its number.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        items = read_labelmap(path) if path else {}
        self.items: dict[int, LabelMapItem] = {label: item for label, item in items.items() if label}

    def knows(self, label: int) -> bool:
        return label in self.items if self.path else label > 0

    def display(self, label: int) -> str:
        """The name to show people."""
        item = self.items.get(label)
        return (item.display_name or item.name) if item else str(label)

    def name(self, label: int) -> str:
        """The name in annotations."""
        return self.items[label].name if label in self.items else str(label)


def labels_of(lmdb: Path, labelmap: Path | None) -> Labels:
    """The label map that is given, else `labelmap.prototxt` beside the LMDB, else none.

    Raises:
        UserError: a label map that cannot be read or contradicts itself.
    """
    beside = lmdb.absolute().parent / "labelmap.prototxt"
    if labelmap is None and beside.is_file():
        labelmap = lmdb.parent / beside.name if lmdb.name else beside
    return Labels(labelmap)
