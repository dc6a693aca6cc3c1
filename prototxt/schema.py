"""Caffe's messages, built from `caffe.proto` into a descriptor pool of our own.

The pool is private because protobuf's default one refuses a second file that defines `caffe.*`:
with it, importing this package beside pycaffe, or beside anyone else's `caffe_pb2`, would fail.

Every message and top-level enum of the file is an attribute of this module:
`schema.NetParameter()`, `schema.TEST`, `schema.PoolingParameter.AVE`.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

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
            else:
                self.field(message.field.add(), word)

    def enum(self, enum: EnumDescriptorProto) -> None:
        enum.name, _ = self.take(2)
        for name in self.tokens:
            if name == "}":
                return
            _, number, _ = self.take(3)
            enum.value.add(name=name, number=int(number))

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


def _build() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptors())
    file = pool.FindFileByName("caffe.proto")
    names: dict[str, Any] = {
        name: message_factory.GetMessageClass(message) for name, message in file.message_types_by_name.items()
    }
    for enum in file.enum_types_by_name.values():
        names[enum.name] = EnumTypeWrapper(enum)
        names |= {value.name: value.number for value in enum.values}
    return names


_NAMES = _build()
globals().update(_NAMES)


def message_class(name: str) -> type:
    """The message class called `name` ("NetParameter")."""
    return _NAMES[name]


def __getattr__(name: str) -> Any:  # only for what is not in the schema; tells type checkers that names are dynamic
    raise AttributeError(f"Caffe's schema has no message or constant {name!r}")
