"""Long lines of code, broken as code formatters break them."""

from __future__ import annotations

from collections.abc import Iterator

WIDTH = 120
_OPEN, _CLOSE = "([{", ")]}"


def broken(text: str, indent: int) -> list[str]:
    """A statement or an argument as lines that begin `indent` columns in; a bracket that does not fit is opened."""
    space = " " * indent
    if indent + len(text) <= WIDTH:
        return [space + text]
    group = _last_group(text)
    if group is None:
        target, equals, value = text.partition(" = ")
        if not equals or value.startswith("("):
            return [space + text]
        return [f"{space}{target} = (", *_operands(value, indent + 4), f"{space})"]
    head, body, tail = text[: group[0] + 1], text[group[0] + 1 : group[1]], text[group[1] :]
    items = list(_split(body, ","))
    if indent + 4 + len(body) <= WIDTH and not body.endswith(","):
        inner = [f"{space}    {body}"]
    else:
        inner = [line for item in items for line in broken(f"{item},", indent + 4)]
    return [space + head, *inner, space + tail]


def _operands(text: str, indent: int) -> list[str]:
    """A sum or product, in one line or with an operand a line."""
    space = " " * indent
    if indent + len(text) <= WIDTH:
        return [space + text]
    for sign in (" + ", " - ", " * "):
        text = text.replace(sign, f"\n{space}{sign[1:]}")
    return [space + text]


def _last_group(text: str) -> tuple[int, int] | None:
    """Where the last bracket outside all others opens and closes; None when there is none or operands stand outside.

    A call's parentheses count, and a list or dict that the text is or returns; not empty ones, and no subscripts.
    """
    depth, start, found = 0, 0, None
    for i, character in enumerate(text):
        if character in _OPEN:
            start = i if depth == 0 else start
            depth += 1
        elif character in _CLOSE:
            depth -= 1
            if depth == 0 and i > start + 1 and (character == ")" or text[:start] in ("", "return ")):
                found = start, i
        elif depth == 0 and text[i : i + 3] in (" + ", " - ", " * "):
            return None
    return found


def _split(text: str, separator: str) -> Iterator[str]:
    """`text` at the separators outside brackets."""
    depth, start = 0, 0
    for i, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if character == separator and depth == 0:
            yield text[start:i].strip()
            start = i + 1
    if text[start:].strip():
        yield text[start:].strip()
