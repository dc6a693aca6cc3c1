"""What each layer of a net reads, as text: `relu(max2/2+0(conv1_2))`.

An expression goes back to the nearest layers with learned values, so that two nets whose layers read the same
expressions compute the same, whatever they call their blobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prototxt.graph import Graph, Layer
from prototxt.shapes import SOURCES

IMAGE = "image"
# What leaves a blob as it is once a net is trained.
_SAME = ("Dropout", "Split")


@dataclass(frozen=True)
class Value:
    """A blob: its expression, and the pooling layers since the nearest learned values."""

    text: str
    pools: tuple[Layer, ...] = ()


def pooled(kernel: int, stride: int, pad: int, text: str) -> str:
    return f"max{_window(kernel, stride, pad)}({text})"


def normed(text: str) -> str:
    return f"batchnorm({text})"


def relu(text: str) -> str:
    return f"relu({text})"


def total(*texts: str) -> str:
    return f"sum({', '.join(sorted(texts))})"


def joined(texts: list[str]) -> str:
    """Predictors of several maps as SSD joins them: each map's cells in order, all values of a cell together."""
    return f"concat1({', '.join(f'flatten1(permute0231({text}))' for text in texts)})"


def readings(graph: Graph, names: Mapping[str, str]) -> tuple[dict[str, list[Value]], set[str]]:
    """What every layer of a net reads, and the expressions of all of its Concats.

    Args:
        names: layer -> what it is called in expressions; others with learned values keep their name.
    """
    blobs: dict[str, Value] = {}
    read: dict[str, list[Value]] = {}
    concats = set()
    for layer in graph.layers:
        bottoms = [blobs[name] for name in layer.bottoms]
        read[layer.name] = bottoms
        value = _value(layer, bottoms, names)
        if layer.type == "Concat":
            concats.add(value.text)
        blobs |= dict.fromkeys(layer.tops, value)
        if layer.type in SOURCES:
            blobs |= {top: Value(IMAGE if len(shape) == 4 else top) for top, shape in zip(layer.tops, layer.top_shapes)}
    return read, concats


def _value(layer: Layer, bottoms: list[Value], names: Mapping[str, str]) -> Value:
    texts = [bottom.text for bottom in bottoms]
    if layer.type == "BatchNorm":
        return Value(normed(*texts))
    if layer.name in names or layer.blob_shapes:
        return Value(names.get(layer.name, layer.name))
    if layer.type in _SAME and bottoms:
        return bottoms[0]
    pools = tuple(pool for bottom in bottoms for pool in bottom.pools)
    if layer.type == "Pooling":
        return Value(_pooling(layer, texts[0]), (*pools, layer))
    if layer.type == "Eltwise" and layer.p.operation == layer.p.SUM and not layer.p.coeff:
        return Value(total(*texts), pools)
    return Value(f"{layer.type.lower()}{_parameters(layer)}({', '.join(texts)})", pools)


def _pooling(layer: Layer, text: str) -> str:
    p, method = layer.p, layer.p.method.lower()
    if p.kernel_hw is None:
        return f"{method} of all({text})"
    sides = {_window(*side) for side in zip(p.kernel_hw, p.stride_hw, p.pad_hw)}
    return f"{method}{' by '.join(sorted(sides))}({text})"


def _window(kernel: int, stride: int, pad: int) -> str:
    return f"{kernel}/{stride}+{pad}"


def _parameters(layer: Layer) -> str:
    """What tells two layers of a type apart, as far as nets in the maps need it."""
    if layer.type == "Permute":
        return "".join(map(str, layer.p.order))
    if layer.type in ("Concat", "Flatten"):
        return str(layer.p.axis)
    if layer.type == "ReLU" and layer.p.negative_slope:
        return f"{layer.p.negative_slope:g}"
    return ""
