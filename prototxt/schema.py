"""Caffe's messages, built from `caffe.proto` into a descriptor pool of our own.

The pool is private because protobuf's default one refuses a second file that defines `caffe.*`:
with it, importing this package beside pycaffe, or beside anyone else's `caffe_pb2`, would fail.

Every message and top-level enum of the file is an attribute of this module:
`schema.NetParameter()`, `schema.TEST`, `schema.PoolingParameter.AVE`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from prototxt.errors import UserError

# The part of the proto2 language that caffe.proto uses: syntax, package, message, enum, field.
_TOKEN = re.compile(r'//[^\n]*|"((?:[^"\\]|\\.)*)"|([A-Za-z_][\w.]*|[-+]?[\d.]+(?:e[-+]?\d+)?)|([{}=;\[\],])')
_SCALARS = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32")
}


def _tokens(text: str) -> list[str]:
    return [m[1] if m[1] is not None else m[2] or m[3] for m in _TOKEN.finditer(text) if m.lastindex]


class _Parser:
    """Recursive descent over the tokens of `caffe.proto`."""

    def __init__(self, text: str) -> None:
        self.tokens = iter(_tokens(text))

    def take(self, count: int) -> list[str]:
        return [next(self.tokens) for _ in range(count)]

    def file(self) -> FileDescriptorProto:
        file = FileDescriptorProto(name="caffe.proto", package="caffe")
        for word in self.tokens:
            if word == "message":
                self.message(file.message_type.add())
            elif word == "enum":
                self.enum(file.enum_type.add())
            else:  # syntax = "proto2"; and package caffe;
                while next(self.tokens) != ";":
                    pass
        return file

    def message(self, message: DescriptorProto) -> None:
        message.name, _ = self.take(2)
        for word in self.tokens:
            if word == "}":
                return
            if word == "enum":
                self.enum(message.enum_type.add())
            elif word == "extensions":
                first, _, last, _ = self.take(4)
                message.extension_range.add(start=int(first), end=int(last) + 1)
            else:
                self.field(message.field.add(), word)
        raise ValueError(f'the message {message.name} has no "}}" at its end')

    def enum(self, enum: EnumDescriptorProto) -> None:
        enum.name, _ = self.take(2)
        for name in self.tokens:
            if name == "}":
                return
            _, number, _ = self.take(3)
            enum.value.add(name=name, number=int(number))
        raise ValueError(f'the enum {enum.name} has no "}}" at its end')

    def field(self, field: FieldDescriptorProto, label: str) -> None:
        field.label = getattr(FieldDescriptorProto, f"LABEL_{label.upper()}")
        kind, field.name, _, number, end = self.take(5)
        field.number = int(number)
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:  # a message or an enum: the pool finds out which
            field.type_name = kind
        while end != ";":
            if end == "]":
                end = next(self.tokens)
                continue
            option, _, value, end = self.take(4)
            if option == "packed":
                field.options.packed = value == "true"
            else:
                field.default_value = value


@cache
def descriptors() -> FileDescriptorProto:
    """The whole of `caffe.proto` as protobuf's own description of a file."""
    return _Parser(resources.files(__package__).joinpath("caffe.proto").read_text("utf-8")).file()


_POOL = descriptor_pool.DescriptorPool()


def _build() -> dict[str, Any]:
    _POOL.Add(descriptors())
    file = _POOL.FindFileByName("caffe.proto")
    names: dict[str, Any] = {
        name: message_factory.GetMessageClass(message) for name, message in file.message_types_by_name.items()
    }
    for enum in file.enum_types_by_name.values():
        names[enum.name] = EnumTypeWrapper(enum)
        names |= {value.name: value.number for value in enum.values}
    return names


_NAMES = _build()
globals().update(_NAMES)

_EXTENSIONS: dict[str, FieldDescriptor] = {}
_DECLARED: set[str] = set()
_FIRST_EXTENSION = 3000  # of LayerParameter's range


def extend(text: str) -> None:
    """Add what `text`, written like `caffe.proto`, declares: messages, and fields of LayerParameter that hold them.

    Text nets then have these fields like all others. A field gets a number of ours, since those of forks clash.

    Raises:
        UserError: the text cannot be read, or a name in it exists or is not known.
    """
    if text in _DECLARED:
        return
    try:
        file = _extension(_Parser(text).file())
        _POOL.Add(file)
    except (StopIteration, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"this does not fit Caffe's schema: {error or 'it ends too early'}", snippet=text) from error
    _EXTENSIONS.update((field.name, _POOL.FindExtensionByName(f"caffe.{field.name}")) for field in file.extension)
    _DECLARED.add(text)


def _extension(file: FileDescriptorProto) -> FileDescriptorProto:
    """`file` with the fields of its LayerParameter as extensions of the real one."""
    layer = _NAMES["LayerParameter"].DESCRIPTOR
    messages = {message.name for message in file.message_type} | set(_NAMES)
    result = FileDescriptorProto(name=f"extension{len(_DECLARED)}.proto", package="caffe", dependency=["caffe.proto"])
    result.enum_type.extend(file.enum_type)
    for message in file.message_type:
        if message.name != layer.name:
            result.message_type.add().CopyFrom(message)
            continue
        for field in message.field:
            if field.name in layer.fields_by_name:
                raise ValueError(f"LayerParameter has a field {field.name} already")
            if field.type_name not in messages or field.label != FieldDescriptorProto.LABEL_OPTIONAL:
                raise ValueError(f"{field.name} is not an optional message")
            field.number = _FIRST_EXTENSION + len(_EXTENSIONS) + len(result.extension)
            result.extension.add(extendee=".caffe.LayerParameter").MergeFrom(field)
    return result


def extensions() -> Mapping[str, FieldDescriptor]:
    """The fields of LayerParameter that `extend` added, by name."""
    return _EXTENSIONS


def parameters(layer: Any, name: str) -> Any:
    """The message of a LayerParameter in its field `name`, which may be one that `extend` added."""
    added = _EXTENSIONS.get(name)
    return getattr(layer, name) if added is None else layer.Extensions[added]


def message_class(name: str) -> type:
    """The message class called `name` ("NetParameter")."""
    return _NAMES[name]


def __getattr__(name: str) -> Any:  # only for what is not in the schema; tells type checkers that names are dynamic
    raise AttributeError(f"Caffe's schema has no message or constant {name!r}")
