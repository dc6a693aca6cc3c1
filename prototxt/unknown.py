"""What a net holds that no table knows: layer types, and their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from prototxt.errors import UserError, UserErrors, nearest
from prototxt.params import type_of
from prototxt.shapes import SHAPES
from prototxt.text import Path, UnknownFields, told_once

_FIX = "correct the type, or register it in a Python file and give that with --plugin"
_MOST = 100


def unknown_type(layer: Any, where: str) -> UserError:
    """The error of a LayerParameter at `where` whose type has no shape rule."""
    layer_type = type_of(layer)
    found = f'layer "{layer.name}" ({layer_type}): this layer type is not known{nearest(layer_type, SHAPES)}'
    return UserError(found, where=where)


def unknown_types(layers: Iterable[tuple[Any, str]]) -> list[UserError]:
    """An error for each type among `layers` (LayerParameters and where they stand) that has no shape rule.

    Each names all layers of its type; the last says what to do. Beyond `_MOST` types only their number is told.
    """
    found: dict[str, list[tuple[Any, str]]] = {}
    for layer, where in layers:
        if type_of(layer) not in SHAPES:
            found.setdefault(type_of(layer), []).append((layer, where))
    errors = []
    for first, *others in islice(found.values(), _MOST):
        error = unknown_type(*first)
        if others:
            error.found += "; so are " + ", ".join(f'"{layer.name}" ({where})' for layer, where in others)
        errors.append(error)
    if errors:
        errors[-1].found += f"; and {len(found) - _MOST} further types are not" if len(found) > _MOST else ""
        errors[-1].fix = _FIX
    return errors


def explain(unknown: UnknownFields) -> UserErrors:
    """The errors of a NetParameter with fields that the schema has not; those of an unknown type go with the type."""
    layers, where = unknown.parsed.message.layer, unknown.parsed.where

    def is_of_unknown_type(path: Path) -> bool:
        return path[0] == "layer" and str(path[2]).endswith("_param") and type_of(layers[path[1]]) not in SHAPES

    mistakes = [error for path, error in unknown.fields.items() if not is_of_unknown_type(path)]
    # A layer without a type may have it in one of the fields that are not known.
    typed = ((layer, where("layer", i)) for i, layer in enumerate(layers) if layer.type or not mistakes)
    return UserErrors(told_once(mistakes) + unknown_types(typed))
