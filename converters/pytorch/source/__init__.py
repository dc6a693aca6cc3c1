"""A net as PyTorch code that stands alone: one class, its layers by Caffe's names, nothing of this toolkit."""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Sequence
from functools import cache
from importlib import resources

from converters.pytorch.layout import Entry, Layout
from converters.pytorch.source.forward import Body, module_line, shared_lines
from converters.pytorch.source.layers import FORMS, Form
from converters.pytorch.source.lines import broken
from converters.pytorch.source.names import attribute_names, class_name, remark, variable_names
from prototxt.errors import UserError, UserErrors
from prototxt.graph import Graph, Layer, show
from prototxt.shapes import SOURCES

__all__ = ["source_layout", "source_text"]

_LONGEST_NAME = 80
_PARTS = ("parts.py", "regions.py", "yolo.py")
_IMPORTS: tuple[dict[str, str], ...] = (  # by the name that needs them
    {"Tensor": "from __future__ import annotations"},
    {"math": "import math", "dataclass": "from dataclasses import dataclass", "Path": "from pathlib import Path"},
    {"torch": "import torch", "F": "import torch.nn.functional as F", "nn": "from torch import Tensor, nn"},
)


class _Plan:
    """Forms and attributes of a graph's layers, by their place.

    Raises:
        UserErrors: layer types or parameters that have no stand-alone form: all of them.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.forms = _forms(graph)
        names = attribute_names()
        self.attributes = {
            i: names.take(graph.layers[i].name) for i, form in self.forms.items() if form.module or form.buffer
        }

    def shared(self) -> list[tuple[str, str]]:
        """Attributes that are one blob: that of the first layer to name it, and the other."""
        first: dict[str, tuple[Layer, str]] = {}
        pairs = []
        for i, attribute in self.attributes.items():
            layer, form = self.graph.layers[i], self.forms[i]
            for k, spec in enumerate(layer.proto.param[: len(layer.blob_shapes)]):
                if not spec.name:
                    continue
                if not form.names:
                    raise layer.error(f'its blob "{spec.name}" is shared, for which there is no stand-alone form')
                own = f"self.{attribute}.{form.names[k]}"
                owner, theirs = first.setdefault(spec.name, (layer, own))
                if theirs == own:
                    continue
                shapes = [one.blob_shapes for one in (owner, layer)]
                if shapes[1][k] not in shapes[0]:
                    raise layer.error(f'its blob "{spec.name}" is shared with "{owner.name}" but has another shape')
                pairs.append((theirs, own))
        return pairs


def _forms(graph: Graph) -> dict[int, Form]:
    forms: dict[int, Form] = {}
    errors = []
    for i, layer in enumerate(graph.layers):
        if layer.type in SOURCES:
            continue
        try:
            if layer.type not in FORMS:
                raise layer.error("this layer type has no stand-alone PyTorch form")
            forms[i] = FORMS[layer.type](layer)
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    return forms


def source_layout(graph: Graph) -> Layout:
    """The layout of the state_dict that goes with `source_text`.

    Raises:
        UserErrors: as `source_text`.
    """
    plan = _Plan(graph)
    return Layout(
        _entry(graph.layers[i], attribute, plan.forms[i])
        for i, attribute in plan.attributes.items()
        if graph.layers[i].blob_shapes
    )


def _entry(layer: Layer, attribute: str, form: Form) -> Entry:
    names = form.names
    save = form.save or (lambda blobs: dict(zip(names, blobs)))
    load = form.load or (lambda state: [state[name] for name in names])
    return Entry(layer, attribute, save, load, form.ignored)


def source_text(graph: Graph, weights_name: str) -> str:
    """The file: what it needs besides PyTorch, the class of the net, and an example that runs it.

    Args:
        graph: the net, of phase TEST.
        weights_name: the file beside it with its state_dict (see `source_layout`).

    Raises:
        UserErrors: layer types or parameters that have no stand-alone form: all of them.
    """
    plan = _Plan(graph)
    calls = [text for form in plan.forms.values() for text in (form.call, form.module, form.buffer)]
    parts = _needed_parts(calls)
    names = variable_names(_parts())
    title = names.take(class_name(graph.name))
    body = Body(graph, plan.forms, plan.attributes, names)
    made = [line for i, a in plan.attributes.items() for line in module_line(a, plan.forms[i], graph.layers[i].name)]
    code = [
        *parts,
        _class(graph, title, [*made, *shared_lines(plan.shared())], body),
        _example(graph, title, weights_name),
    ]
    return "\n\n\n".join([_head(graph, weights_name, "\n".join(code)), *code]) + "\n"


def _head(graph: Graph, weights_name: str, code: str) -> str:
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    imports = [[line for name, line in group.items() if name in used] for group in _IMPORTS]
    title = f'"""{remark(graph.name)[:_LONGEST_NAME]}, converted from Caffe.\n\n'
    title += f'The weights are in {remark(weights_name)}; nothing but PyTorch is needed.\n"""'
    return "\n\n".join([title, *("\n".join(group) for group in imports)])


def _class(graph: Graph, title: str, made: Sequence[str], body: Body) -> str:
    inputs = ", ".join(f"{name}: Tensor" for name in body.inputs)
    kind = "Tensor" if len(graph.outputs) == 1 else "dict[str, Tensor]"
    about = ", ".join(f"{name} [{show(shape)}]" for name, shape in graph.inputs.items())
    about = textwrap.wrap(remark(f"From {about} to {', '.join(graph.outputs)}."), 105)
    about = [*about[:1], *(f"    {line}" for line in about[1:])]
    return "\n".join(
        [
            f"class {title}(nn.Module):",
            '    """' + "\n".join(about) + '"""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *made,
            "",
            *broken(f"def forward(self, {inputs}) -> {kind}:", 4),
            *body.lines,
        ]
    )


def _example(graph: Graph, title: str, weights_name: str) -> str:
    arguments = ", ".join(f"torch.zeros({', '.join(map(str, shape))})" for shape in graph.inputs.values())
    load = f"torch.load(Path(__file__).with_name({json.dumps(weights_name, ensure_ascii=False)}), weights_only=True)"
    return "\n".join(
        [
            'if __name__ == "__main__":',
            f"    net = {title}().eval()",
            *broken(f"net.load_state_dict({load})", 4),
            "    with torch.inference_mode():",
            *broken(f"print(net({arguments}))", 8),
        ]
    )


@cache
def _parts() -> dict[str, str]:
    """Name -> text of each definition in the files of parts, in their order."""
    found = {}
    for name in _PARTS:
        text = resources.files(__package__).joinpath(name).read_text("utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[node.name] = "\n".join(lines[start - 1 : node.end_lineno])
    return found


def _needed_parts(calls: Sequence[str]) -> list[str]:
    """The definitions that the net's own code needs, and those that these need."""
    parts = _parts()
    names = {name: {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)} for name, text in parts.items()}
    waiting = {name for name in parts if any(f"{name}(" in text.replace(f".{name}(", "") for text in calls)}
    needed: set[str] = set()
    while waiting:
        needed |= waiting
        waiting = {other for name in waiting for other in names[name] if other in parts} - needed
    return [text for name, text in parts.items() if name in needed]
