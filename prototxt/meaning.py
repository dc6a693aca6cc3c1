"""What a message of Caffe says, as a flat table: the same table for every way of writing the same thing.

Formatting, the order of fields, defaults written out and the rounding of floats do not change the table.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from prototxt import schema
from prototxt.text import Path

# Fields that name places on somebody's disk.
_FILES = ("source", "label_map_file", "name_size_file", "output_directory", "output_name_prefix")
PLACES = frozenset((*_FILES, "train_net", "test_net", "net", "snapshot_prefix"))
# Messages that do something even when they are empty: Caffe asks whether they are there.
_COUNT_WHEN_EMPTY = frozenset(("sampler", "emit_constraint"))
# Fields without one default: without it, BatchNorm uses its statistics in TEST and the batch's in TRAIN.
_COUNT_AT_DEFAULT = frozenset(("use_global_stats",))
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)

Table = dict[Path, str]


def table(message: Message, *, places: bool = False, skip: frozenset[str] = frozenset()) -> Table:
    """Everything that `message` says: `{("param", 0, "lr_mult"): "2"}`.

    Args:
        message: any message of the schema.
        places: whether fields of `PLACES` count.
        skip: fields of the outermost message that do not.

    Returns:
        By path, as in `Parsed.lines`: the value as text (a list for a repeated field). An entry of a list
        that says nothing is `{}`, so that its place counts.
    """
    result: Table = {}
    for field, value in message.ListFields():
        if field.name in skip or (field.name in PLACES and not places):
            continue
        if field.message_type is not None and hasattr(value, "add"):
            for i, entry in enumerate(value):
                result |= _nested((field.name, i), table(entry, places=places), count=True)
        elif field.message_type is not None:
            result |= _nested((field.name,), table(value, places=places), count=field.name in _COUNT_WHEN_EMPTY)
        elif hasattr(value, "append"):
            result[field.name,] = f"[{', '.join(_text(field, item) for item in value)}]"
        elif field.name in _COUNT_AT_DEFAULT or not _is_default(field, value):
            result[field.name,] = _text(field, value)
    return result


def _nested(path: Path, inner: Table, *, count: bool) -> Table:
    if not inner and count:
        return {path: "{}"}
    return {path + rest: value for rest, value in inner.items()}


def _is_default(field: Any, value: Any) -> bool:
    if field.enum_type is not None and not field.has_default_value:
        return False  # NetStateRule.phase: TRAIN is 0, and not the same as no phase
    return _text(field, value) == _text(field, field.default_value)


def _text(field: Any, value: Any) -> str:
    """A scalar as text. Six digits of a float are what survives being written and read again."""
    if field.cpp_type in _FLOATS:
        return f"{value:.6g}"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true" if value else "false"
    if field.enum_type is not None:
        known = field.enum_type.values_by_number
        return known[value].name if value in known else str(value)
    return f'"{value}"' if isinstance(value, str) else str(value)


def default(message: str, path: Path) -> str:
    """What Caffe takes for the field at `path` of the message called `message`; empty when it has no default."""
    descriptor = schema.message_class(message).DESCRIPTOR
    names = [step for step in path if isinstance(step, str)]
    field = descriptor.fields_by_name.get(names[0]) or schema.extensions()[names[0]]
    for name in names[1:]:
        field = field.message_type.fields_by_name[name]
    if field.message_type is not None or field.name in _COUNT_AT_DEFAULT or not field.has_default_value:
        return ""
    return _text(field, field.default_value)


def show_path(path: Path) -> str:
    """A path for people: `param[0].lr_mult`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
