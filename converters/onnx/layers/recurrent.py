"""Layers that go through a sequence step by step."""

from __future__ import annotations

import numpy as np

from converters.onnx.builder import Builder, LayerBuilder
from converters.onnx.layers.table import NODES
from prototxt.graph import Layer


@NODES.register("LSTM")
def lstm(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    goes_on = build.array(bottoms[1])
    if layer.bottom_shapes[0][0] > 1 and (goes_on is None or not (goes_on[1:] == 1).all()):
        raise layer.error(
            f'where its sequences begin is told by "{layer.bottoms[1]}", and ONNX has no such input',
            expected="a ContinuationIndicator: each begins in the first step",
        )
    weight_x, bias, weight_h = build.blobs(layer)
    return _lstm(build, layer, bottoms[0], weight_x, weight_h, bias)


@NODES.register("Lstm")
def fork_lstm(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    return _lstm(build, layer, bottoms[0], *build.blobs(layer))


def _lstm(
    build: Builder, layer: Layer, x: str, weight_x: np.ndarray, weight_h: np.ndarray, bias: np.ndarray
) -> list[str]:
    step, hidden = LayerBuilder(build, layer), layer.p.num_output
    if len(layer.bottom_shapes[0]) > 3:
        x = step.node("Reshape", x, step.ints([0, 0, weight_x.shape[1]], "rows"))

    def gates(blob: np.ndarray) -> np.ndarray:  # Caffe's input, forget, output, candidate as ONNX orders them
        enter, keep, leave, candidate = np.split(blob, 4)
        return np.concatenate([enter, leave, keep, candidate])[None]

    both = np.concatenate([gates(bias), np.zeros((1, 4 * hidden))], axis=1)
    named = {"weight_x": gates(weight_x), "weight_h": gates(weight_h), "bias": both}
    top = step.node("LSTM", x, *(step.floats(blob, name) for name, blob in named.items()), hidden_size=hidden)
    return [step.node("Squeeze", top, step.ints([1], "direction"))]


@NODES.register("ContinuationIndicator")
def continuation_indicator(build: Builder, layer: Layer, bottoms: list[str]) -> list[str]:
    goes_on = np.ones(layer.top_shapes[0], np.float32)
    goes_on[0] = 0
    return [build.constant(goes_on, layer.name)]
