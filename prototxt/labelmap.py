"""Label maps: which number each class has, in the records and in the net. Label 0 is the background."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

from google.protobuf import text_format

from prototxt.errors import UserError, UserErrors
from prototxt.io import read_text
from prototxt.schema import LabelMap, LabelMapItem

# How label maps name what is no object. SSD-Caffe's write the first, and show the second to people.
BACKGROUND = ("none_of_the_above", "background")


def read_labelmap(path: str | Path, named_background: bool = False) -> dict[int, LabelMapItem]:
    """The items of a label map by their labels, in rising order; the background's is among them if the file has it.

    Args:
        named_background: refuse a label 0 that is not called as a background is: in a map that new data are made
            by, it is a class by mistake. Maps of old nets call their background all sorts of names.

    Raises:
        UserErrors: everything that is wrong: labels or names that are missing or given twice, no class at all.
    """
    parsed = read_text(path, "LabelMap")
    items: dict[int, LabelMapItem] = {}
    names: set[str] = set()
    errors = []
    for index, item in enumerate(parsed.message.item):
        if mistake := _mistake(item, items, names, named_background):
            errors.append(UserError(mistake[0], where=parsed.where("item", index), expected=mistake[1]))
        items.setdefault(item.label, item)
        names.add(item.name)
    if not errors and not any(items):
        errors.append(UserError("there is no class besides the background", where=str(path)))
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    return dict(sorted(items.items()))


def _mistake(
    item: LabelMapItem, before: Mapping[int, LabelMapItem], names: Set[str], named_background: bool
) -> tuple[str, str] | None:
    """What is wrong with an item, given those before it and their names, and what would have been right."""
    if not item.name:
        return "the item has no name", 'name: "CLASS"'
    if not item.HasField("label") or item.label < 0:
        label = f"label {item.label}" if item.HasField("label") else "no label"
        return f'the class "{item.name}" has {label}', "one of 0 or more"
    if item.label in before:
        found = f'label {item.label} is given to "{before[item.label].name}" and to "{item.name}"'
        return found, "a label for each class"
    if item.name in names:
        return f'the class "{item.name}" is listed twice', "each class once"
    if named_background and item.label == 0 and item.name not in BACKGROUND:
        return f'label 0 is the class "{item.name}"', f'the background there, called "{BACKGROUND[1]}"'
    return None


def class_labels(path: str | Path) -> dict[str, int]:
    """Class -> label, without the background."""
    return {item.name: label for label, item in read_labelmap(path, named_background=True).items() if label}


def display_names(path: str | Path) -> dict[int, str]:
    """Label -> the name to show people."""
    return {label: item.display_name or item.name for label, item in read_labelmap(path).items()}


def labelmap_text(labels: Mapping[str, int], display: Mapping[str, str] | None = None) -> str:
    """The label map of `labels` (class -> label) as text, the background at 0 before them.

    Args:
        display: class -> the name to show people, where it is another.
    """
    display = display or {}
    message = LabelMap()
    message.item.add(name=BACKGROUND[0], label=0, display_name=BACKGROUND[1])
    for name, label in labels.items():
        message.item.add(name=name, label=label, display_name=display.get(name, name))
    return text_format.MessageToString(message, as_utf8=True)
