"""Label maps: which number a class has in the LMDB and in the net."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format

from prototxt.errors import UserError, UserErrors
from prototxt.io import read_text
from prototxt.schema import LabelMap

# How SSD-Caffe's label maps name what is no object.
BACKGROUND = ("none_of_the_above", "background")


def read_labels(path: str | Path) -> dict[str, int]:
    """Class -> label of a label map, without the background.

    Raises:
        UserErrors: names or labels that are missing or given twice, a class with the background's label 0.
    """
    parsed = read_text(path, "LabelMap")
    labels: dict[str, int] = {}
    errors = []
    for index, item in enumerate(parsed.message.item):
        found, expected = _mistake(item, labels)
        if found:
            errors.append(UserError(found, where=parsed.where("item", index), expected=expected))
        labels[item.name] = item.label
    if errors:
        raise UserErrors(errors)
    classes = {name: label for name, label in labels.items() if label}
    if not classes:
        raise UserError("the label map lists no class", where=parsed.path, expected="an item for each class")
    return classes


def _mistake(item: LabelMap, before: dict[str, int]) -> tuple[str, str]:
    """What is wrong with an item, and what would have been right."""
    if not item.name or not item.HasField("label") or item.label < 0:
        return "the item lacks a name, or a label of 0 or more", 'name: "CLASS" label: NUMBER'
    if item.name in before:
        return f'the class "{item.name}" is listed twice', ""
    if item.label in before.values():
        return (
            f'the class "{item.name}" has the label {item.label}, which another has already',
            "a label for each class",
        )
    if item.label == 0 and item.name not in BACKGROUND:
        return f'the class "{item.name}" has the label 0', f'the background there, called "{BACKGROUND[0]}"'
    return "", ""


def label_map_text(labels: Mapping[str, int]) -> str:
    """The label map of `labels` (class -> label) as text, the background at 0 before them."""
    message = LabelMap()
    message.item.add(name=BACKGROUND[0], label=0, display_name=BACKGROUND[1])
    for name, label in labels.items():
        message.item.add(name=name, label=label, display_name=name)
    return text_format.MessageToString(message, as_utf8=True)
