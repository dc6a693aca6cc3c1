"""The classes of a database: which label each has, and what it is called; to write one by, and to read one by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prototxt.labelmap import labelmap_text, read_labelmap
from prototxt.schema import LabelMapItem


@dataclass(frozen=True)
class Classes:
    """Classes without the background.

    Attributes:
        labels: class, as annotations name it -> label, 1 or more.
        display: class -> the name to show people, where it is another.
    """

    labels: Mapping[str, int]
    display: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Classes:
        """Those of a label map. Raises UserErrors with everything that is wrong in it."""
        items = [item for label, item in read_labelmap(path, named_background=True).items() if label]
        return cls(
            {item.name: item.label for item in items}, {item.name: item.display_name or item.name for item in items}
        )

    @classmethod
    def of(cls, names: Collection[str]) -> Classes:
        """Classes numbered from 1 in the order given."""
        return cls({name: label for label, name in enumerate(names, 1)})

    def shown(self, name: str) -> str:
        """The name to show people."""
        return self.display.get(name, name)

    def text(self) -> str:
        """The label map, as text."""
        return labelmap_text(self.labels, self.display)


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
