"""Tables from a name (a Caffe layer type, a model) to a function, filled by decorators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from prototxt.errors import UserError, nearest

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """A table whose entries are registered once, beside their definition.

    Args:
        what: what an entry is, for error messages ("shape rule", "PyTorch module").
        key: what stands between that and an entry's name there ("for layer type", "called").
    """

    def __init__(self, what: str, key: str = "for layer type") -> None:
        self.what, self.key = what, key
        self._entries: dict[str, Entry] = {}

    def register(self, *names: str) -> Callable[[Entry], Entry]:
        """Decorator that enters its function under each of `names`; a name given twice is a bug."""

        def enter(entry: Entry) -> Entry:
            for name in names:
                if name in self._entries:
                    raise ValueError(f"{self.what} for {name!r} is registered twice")
                self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> Entry:
        """The entry of `name`. Raises UserError with the nearest known name when there is none."""
        try:
            return self._entries[name]
        except KeyError:
            found = f'there is no {self.what} {self.key} "{name}"{nearest(name, self._entries)}'
            raise UserError(found, expected="one of " + ", ".join(self) if len(self) < 12 else "") from None

    def get(self, name: str) -> Entry | None:
        return self._entries.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
