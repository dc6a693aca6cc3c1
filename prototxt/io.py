"""Reading and writing the files of Caffe: nets and solvers as text, weights and records as binary."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from prototxt import schema
from prototxt.errors import UserError
from prototxt.files import atomic_write
from prototxt.memory import require_memory
from prototxt.text import Parsed, UnknownFields, parse
from prototxt.text import Path as FieldPath
from prototxt.upgrade import upgrade_net, upgrade_solver

# protobuf writes an extension with its package, which no Caffe reads.
_EXTENSION = re.compile(r"^( *)\[caffe\.(\w+)\]", re.MULTILINE)


_FELT = 1 << 28  # bytes; to ask for the memory that is free takes as long as to read a small file
_MOST_TEXT = 16 << 20  # a hundred times the largest published net; its fields take some hundred bytes each when read


@dataclass
class NetFile(Parsed):
    """A net as its file gave it, upgraded to today's schema.

    Attributes:
        origins: for each layer of `message`, its path in the file (`("layers", 3)` for an old one).
    """

    origins: list[FieldPath] | None = None

    def where_layer(self, index: int) -> str:
        """`FILE:LINE` of layer `index` of the message, or the file alone when it was not read from text."""
        if self.origins is None:
            return self.where("layer", index)
        return self.where(*self.origins[index])


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file. Raises UserError when it is missing, a folder, a device or unreadable."""
    try:
        with open(path, "rb", buffering=0) as file:  # half the time of Path.read_bytes: databases read many small ones
            status = os.fstat(file.fileno())
            if stat.S_ISCHR(status.st_mode):  # files name files: /dev/zero has no end
                raise UserError("this is a device, not a file", where=str(path))
            if status.st_size > _FELT:
                require_memory(status.st_size, "reading it", where=str(path))
            return file.read()
    except IsADirectoryError as error:
        raise UserError("this is a folder, not a file", where=str(path)) from error
    except FileNotFoundError as error:
        raise UserError("there is no such file", where=str(path)) from error
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:  # a NUL in the name, which files may hold
        raise UserError(f"this is no name of a file: {error}", where=repr(str(path))) from error


def read_text(path: str | Path, message: str) -> Parsed:
    """Read a text-format file into the message called `message` ("SolverParameter").

    Raises:
        UserError: with `FILE:LINE:COLUMN` of the first mistake.
    """
    raw = read_bytes(path)
    if len(raw) > _MOST_TEXT:
        raise UserError(
            f"{len(raw):,} bytes are too many for a prototxt",
            where=str(path),
            expected=f"at most {_MOST_TEXT:,}",
            fix="give the .prototxt, not the .caffemodel; trained weights belong into the latter",
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"byte {raw[error.start]:#04x} is not UTF-8 text",
            where=f"{path}:{line}",
            expected="a prototxt (text)",
            fix="give the .prototxt, not the .caffemodel; or save the file as UTF-8",
        ) from error
    return parse(text, schema.message_class(message)(), str(path))


def read_net(path: str | Path) -> NetFile:
    """Read a net's prototxt; V0 and V1 files and old `input` fields are upgraded as Caffe does.

    Raises:
        UserError: the first mistake; or all fields and layer types that are not known.
    """
    try:
        parsed = read_text(path, "NetParameter")
    except UnknownFields as error:
        from prototxt.unknown import explain  # the tables of layer types, which most files do without

        raise explain(error) from None
    return net_file(parsed.message, parsed.path, parsed.lines)


def net_file(message: Any, path: str = "<net>", lines: dict[FieldPath, int] | None = None) -> NetFile:
    """A NetFile of a NetParameter made in memory; upgraded in place."""
    net = NetFile(message, path, lines or {})
    net.origins = upgrade_net(message, net.where)
    return net


def read_solver(path: str | Path) -> Parsed:
    """Read a solver's prototxt; the old `solver_type` becomes `type`."""
    parsed = read_text(path, "SolverParameter")
    upgrade_solver(parsed.message, parsed.where)
    return parsed


def write_text(message: Message, path: str | Path) -> None:
    """Write `message` in the text format; the file appears whole or not at all."""
    text = text_format.MessageToString(message)
    with atomic_write(path, "w") as file:
        file.write(_EXTENSION.sub(r"\1\2", text))


def read_binary(path: str | Path, message: str) -> Any:
    """Read a binary file into the message called `message` ("SolverState").

    Raises:
        UserError: the file is cut short or is something else.
    """
    result = schema.message_class(message)()
    try:
        result.ParseFromString(read_bytes(path))
    except DecodeError as error:
        raise UserError(f"this is not a binary {message}, or it is cut short", where=str(path)) from error
    return result


def write_binary(message: Message, path: str | Path) -> None:
    """Write `message` in the wire format; the file appears whole or not at all."""
    with atomic_write(path) as file:
        file.write(message.SerializeToString())
