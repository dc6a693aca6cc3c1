"""XML with line numbers, which the standard library's trees forget."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from prototxt.errors import UserError
from prototxt.io import read_bytes


@dataclass
class Element:
    """An element: its tag, the line it begins at, the text directly in it and its children."""

    tag: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """The children called `tag`; theirs are not looked at."""
        return [child for child in self.children if child.tag == tag]

    def first(self, tag: str) -> Element | None:
        return next(iter(self.all(tag)), None)


def parse(path: str | Path) -> Element:
    """The root element of an XML file.

    Raises:
        UserError: the file is missing, or is no XML; `FILE:LINE:COLUMN` says where that shows.
    """
    raw = read_bytes(path)
    document = Element("", 0)
    open_elements = [document]
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, _: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        open_elements.pop()

    def text(data: str) -> None:
        open_elements[-1].text += data

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(raw, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: an encoding Python lacks
        where = f"{path}:{parser.ErrorLineNumber}:{parser.ErrorColumnNumber + 1}"
        reason = expat.ErrorString(error.code) if isinstance(error, expat.ExpatError) else str(error)
        raise UserError(f"broken XML: {reason}", where=where, snippet=_line(raw, parser.ErrorLineNumber)) from error
    return document.children[0]


def _line(raw: bytes, number: int) -> str:
    lines = raw.split(b"\n")
    return lines[number - 1].decode("utf-8", "replace").rstrip()[:120] if number <= len(lines) else ""
