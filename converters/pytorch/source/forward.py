"""The body of `forward`: layers as statements, those that follow each other and nobody else reads in one."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from converters.pytorch.source.layers import Form
from converters.pytorch.source.lines import WIDTH, broken
from converters.pytorch.source.names import Names, remark
from prototxt.graph import Graph, Layer
from prototxt.shapes import SOURCES

_INDENT = 8  # of the statements
_AS_ARGUMENT = re.compile(r"[(\[ ]\{0\}(?=[,)\]])")


@dataclass(eq=False)
class Value:
    """What a blob holds from one layer to the next that changes it.

    Attributes:
        blob: the blob's name.
        readers: the steps that read it; a step that reads it twice stands there twice.
        text: how it is written where it is read; empty until it is made.
        waits: whether it is not assigned yet.
    """

    blob: str
    readers: list[int]
    text: str = ""
    waits: bool = False


@dataclass(frozen=True)
class _Step:
    layer: Layer
    form: Form
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]


class Body:
    """The statements of a net.

    Args:
        graph: the net.
        forms: the form of each layer that has one, by its place in the graph.
        attributes: layer by its place -> the attribute with its name.
        names: gives out the names of variables.

    Attributes:
        inputs: variable of each input of the net.
        lines: the statements, the last of them the return.
    """

    def __init__(self, graph: Graph, forms: Mapping[int, Form], attributes: Mapping[int, str], names: Names) -> None:
        self._names, self._variables = names, {}
        self.lines: list[str] = []
        self._values: dict[str, Value] = {name: Value(name, []) for name in graph.inputs}
        steps = self._steps(graph, forms, attributes)
        ends = [self._values[name] for name in graph.outputs]
        for end in ends:  # the return comes after the last step; of several it reads names
            end.readers.append(len(steps) if len(ends) == 1 else -1)
        for value in {id(v): v for step in steps for v in step.bottoms}.values():
            if not value.text and value.blob in graph.inputs:
                value.text = self._variable(value.blob)
        self.inputs = [self._variable(name) for name in graph.inputs]
        for i, step in enumerate(steps):
            self._add(i, step)
        texts = [end.text or self._variable(end.blob) for end in ends]
        items = (f"{json.dumps(name, ensure_ascii=False)}: {text}" for name, text in zip(graph.outputs, texts))
        result = texts[0] if len(texts) == 1 else f"{{{', '.join(items)}}}"
        self.lines += broken(f"return {result}", _INDENT)

    def _variable(self, blob: str) -> str:
        if blob not in self._variables:
            self._variables[blob] = self._names.take(blob)
        return self._variables[blob]

    def _steps(self, graph: Graph, forms: Mapping[int, Form], attributes: Mapping[int, str]) -> list[_Step]:
        """The layers that leave a statement, with what they read and make."""
        steps: list[_Step] = []
        for i, layer in enumerate(graph.layers):
            if layer.type in SOURCES:
                continue
            form = forms[i]
            me = f"self.{attributes.get(i, '')}"
            bottoms = tuple(self._values[name] for name in layer.bottoms)
            if not form.call:
                continue
            if form.call == "{0}":  # another name for its bottom
                self._values.update((top, bottoms[0]) for top in layer.tops)
                continue
            tops = tuple(Value(top, []) for top in layer.tops)
            self._values.update(zip(layer.tops, tops))
            if form.buffer:
                tops[0].text = me
                continue
            for value in bottoms:
                value.readers.append(len(steps))
            steps.append(_Step(layer, _named(form, me), bottoms, tops))
        return steps

    def _add(self, i: int, step: _Step) -> None:
        self._assign_waiting(step)
        text = _filled(step)
        for value in step.bottoms:
            value.waits = False
        if len(step.tops) > 1:
            targets = ", ".join(self._named_target(top) for top in step.tops)
            self.lines += broken(f"{targets} = {text}", _INDENT)
            return
        (top,) = step.tops
        if top.readers == [i + 1]:
            top.text, top.waits = text, True
        else:
            self.lines += broken(f"{self._named_target(top)} = {text}", _INDENT)

    def _named_target(self, top: Value) -> str:
        top.text = self._variable(top.blob)
        return top.text

    def _assign_waiting(self, step: _Step) -> None:
        """Give the value that waits for this step the name x, unless it can be written inside the step's own call."""
        for i, value in enumerate(step.bottoms):
            if value.waits and (i or not _fits_inside(step, value)):
                self.lines += broken(f"x = {value.text}", _INDENT)
                value.text, value.waits = "x", False


def _named(form: Form, me: str) -> Form:
    return Form(form.call.replace("{me}", me), form.module, opens=form.opens)


def _filled(step: _Step) -> str:
    texts = [value.text for value in step.bottoms]
    return step.form.call.format(*texts, all=", ".join(texts))


def _fits_inside(step: _Step, value: Value) -> bool:
    """Whether the expression that makes `value` may stand where the step reads it."""
    call = step.form.call
    once = Counter(re.findall(r"\{\w+\}", call))["{0}"] == 1
    width = _INDENT + len(f"{step.tops[0].blob} = {_filled(step)}")
    if step.form.opens or not once or width > WIDTH:
        return False
    return bool(_AS_ARGUMENT.search(call)) or isinstance(ast.parse(value.text, mode="eval").body, ast.Call)


def module_line(attribute: str, form: Form, name: str) -> list[str]:
    """The statement of `__init__` that makes a layer's attribute, with the layer's own name where it differs."""
    if form.buffer:
        text = f'self.register_buffer("{attribute}", {form.buffer}, persistent=False)'
    else:
        text = f"self.{attribute} = {form.module}"
    lines, note = broken(text, _INDENT), f"# {remark(name)}"
    if attribute == name:
        return lines
    if len(lines) == 1 and len(lines[0]) + 2 + len(note) <= WIDTH:
        return [f"{lines[0]}  {note}"]
    return [f"{' ' * _INDENT}{note}", *lines]


def shared_lines(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The statements that make two attributes one blob."""
    return [line for theirs, own in pairs for line in broken(f"{own} = {theirs}", _INDENT)]
