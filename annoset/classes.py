"""The classes of a database: which label each has, and what it is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prototxt.labelmap import labelmap_text, read_labelmap


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
