"""Layers that go through a sequence step by step."""

from __future__ import annotations

from converters.pytorch.source.layers.table import FORMS, Form, call
from prototxt.graph import Layer


@FORMS.register("LSTM", "Lstm")
def lstm(layer: Layer) -> Form:
    names = ("weight_x", "bias", "weight_h") if layer.type == "LSTM" else ("weight_x", "weight_h", "bias")
    module = call("Recurrent", str(layer.blob_shapes[0][1]), str(layer.p.num_output))
    return Form("{me}({0}, {1})" if layer.type == "LSTM" else "{me}({0})", module, names=names)


@FORMS.register("ContinuationIndicator")
def continuation_indicator(layer: Layer) -> Form:  # 0 in the first step
    steps, sequences = layer.top_shapes[0]
    return Form("{me}", buffer=f"torch.ones({steps}, {sequences}).index_fill(0, torch.tensor(0), 0)")
