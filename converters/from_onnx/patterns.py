"""Several nodes that are one layer of Caffe: found and put together before the layers are made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from converters.from_onnx.nodes import Node, Nodes

_MOST_EPS = 1e-6  # above, it matters whether eps stands inside the root or outside
_LEAST_EPS = 1e-24  # so that the length of nothing is not 0


def fuse(nodes: Nodes) -> None:
    """Put together what belongs together; nodes that are no longer needed are dropped."""
    makers, readers = nodes.makers(), nodes.readers()
    for i, node in enumerate(nodes.nodes):
        if node.reason or not all(name in nodes.shapes for name in node.inputs if name):
            continue
        if node.op == "Conv" and readers[node.inputs[0]] == 1:
            nodes.nodes[i] = _with_padding(nodes, node, makers.get(node.inputs[0]))
        if node.op == "Div":
            eps = _norm_eps(nodes, makers, node)
            if eps is not None:
                nodes.nodes[i] = replace(node, op="netgen::Normalize", inputs=node.inputs[:1], attributes={"eps": eps})
    nodes.prune()


def _with_padding(nodes: Nodes, conv: Node, pad: Node | None) -> Node:
    """A convolution that pads by itself, when zeros are put around its input before it."""
    if pad is None or pad.op != "Pad" or pad.reason or conv.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return conv
    value = pad.attributes.get("value") or _number(nodes, pad, 2)
    pads = pad.attributes.get("pads") or _list(nodes, pad, 1)
    rank = len(nodes.shapes[pad.inputs[0]])
    if pad.attributes.get("mode", "constant") != "constant" or value or len(pads) != 2 * rank or min(pads) < 0:
        return conv
    if len(pad.inputs) > 3 or any([*pads[:2], *pads[rank : rank + 2]]):
        return conv
    own = conv.attributes.get("pads") or [0] * (2 * rank - 4)
    both = [a + b for a, b in zip(own, [*pads[2:rank], *pads[rank + 2 :]])]
    return replace(conv, inputs=[pad.inputs[0], *conv.inputs[1:]], attributes={**conv.attributes, "pads": both})


def _list(nodes: Nodes, node: Node, index: int) -> list[Any]:
    name = node.inputs[index] if index < len(node.inputs) else ""
    return np.asarray(nodes.constants[name]).reshape(-1).tolist() if name in nodes.constants else []


def _number(nodes: Nodes, node: Node, index: int) -> float:
    """A constant input of one number; 0 when it is left out."""
    values = _list(nodes, node, index)
    return float(values[0]) if len(values) == 1 else 0.0


def _norm_eps(nodes: Nodes, makers: dict[str, Node], div: Node) -> float | None:
    """eps of Normalize when `div` divides values by their length over the channels; None when it does not.

    The forms: x / max(‖x‖, e), x / (‖x‖ + e), x / √(Σx² + e), x / ‖x‖; with or without an Expand.
    """
    source, norm = div.inputs[0], makers.get(div.inputs[1])
    if norm is not None and norm.op == "Expand":
        norm = makers.get(norm.inputs[0])
    outer = 0.0
    if norm is not None and norm.op in ("Clip", "Max", "Add"):
        is_open = norm.op != "Clip" or ("max" not in norm.attributes and not any(norm.inputs[2:]))
        outer, norm = norm.attributes.get("min") or _term(nodes, norm), _computed(makers, norm)
        if not 0 < outer <= _MOST_EPS or not is_open:
            return None
    if norm is not None and norm.op == "ReduceL2" and _over_channels(nodes, norm, source):
        return max(outer**2, _LEAST_EPS)
    if norm is None or norm.op != "Sqrt":
        return None
    inner = _squares_eps(nodes, makers, makers.get(norm.inputs[0]), source)
    return None if inner is None else max(outer**2 + inner, _LEAST_EPS)


def _term(nodes: Nodes, node: Node) -> float:
    """The number among a node's two inputs; 0 when there is none."""
    return next(filter(None, (_number(nodes, node, i) for i in (0, 1))), 0.0)


def _computed(makers: dict[str, Node], node: Node) -> Node | None:
    """The node that makes the first computed input of another."""
    return next((makers[name] for name in node.inputs if name in makers), None)


def _squares_eps(nodes: Nodes, makers: dict[str, Node], total: Node | None, source: str) -> float | None:
    """e of Σx² + e."""
    eps = 0.0
    if total is not None and total.op == "Add":
        eps, total = _term(nodes, total), _computed(makers, total)
        if not 0 < eps <= _MOST_EPS:
            return None
    if total is not None and total.op == "ReduceSumSquare":
        return eps if _over_channels(nodes, total, source) else None
    squares = makers.get(total.inputs[0]) if total is not None and total.op == "ReduceSum" else None
    if squares is None or not _over_channels(nodes, total, squares.outputs[0]):
        return None
    is_square = squares.op == "Mul" and squares.inputs == [source, source]
    is_power = squares.op == "Pow" and squares.inputs[0] == source and _number(nodes, squares, 1) == 2
    return eps if is_square or is_power else None


def _over_channels(nodes: Nodes, reduction: Node, source: str) -> bool:
    """Whether a node reduces `source` over axis 1 alone and keeps it."""
    axes = reduction.attributes.get("axes") or _list(nodes, reduction, 1)
    rank = len(nodes.shapes[reduction.inputs[0]])
    kept = reduction.attributes.get("keepdims", 1)
    return reduction.inputs[0] == source and bool(kept) and [axis % rank for axis in axes] == [1] and rank > 1
