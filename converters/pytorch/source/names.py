"""Caffe's names as Python identifiers."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

from torch import nn

# What the code of a net calls by these names itself.
_IN_THE_CODE = ("F", "Path", "Tensor", "annotations", "dataclass", "math", "net", "nn", "self", "super", "torch", "x")


class Names:
    """Identifiers, each given once.

    Args:
        taken: those that may not be given.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {*taken, *keyword.kwlist}

    def take(self, name: str) -> str:
        """The identifier most like `name` that is free."""
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        plain = re.sub("^_+(?=[A-Za-z])", "", plain)  # two before a name would be mangled in a class
        unique, count = plain, 1
        while unique in self._taken:
            count += 1
            unique = f"{plain}_{count}"
        self._taken.add(unique)
        return unique


def attribute_names() -> Names:
    """For the layers of a net: what an nn.Module does not have."""
    return Names(dir(nn.Module()))


def variable_names(parts: Iterable[str]) -> Names:
    """For the blobs of a net, and for its class: what the code does not call otherwise."""
    return Names([*_IN_THE_CODE, *dir(builtins), *parts])


def class_name(name: str) -> str:
    """`ScratchDet300_deploy` -> `ScratchDet300Deploy`."""
    words = re.split(r"[^0-9A-Za-z]+", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return joined if joined[:1].isalpha() else f"Net{joined}"


def remark(text: str) -> str:
    """`text` for a comment or a docstring: in one line, and unable to end either."""
    return "".join(c if c.isprintable() and c not in '"\\' else "_" for c in text)
