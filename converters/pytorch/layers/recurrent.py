"""Layers that go through a sequence step by step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.pytorch.layers.table import MODULES, CaffeLayer, Compute
from prototxt.graph import Layer


class _Recurrent(CaffeLayer):
    """[T, N, …] -> [T, N, H]. The gates are input, forget, output and candidate, in this order.

    Source: Hochreiter and Schmidhuber, LSTM (1997), with forget gates and without peepholes; Caffe's LSTMUnit.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.add_learned(layer)

    def forward(self, x: Tensor, goes_on: Tensor | None = None) -> Tensor:
        """`goes_on`, [T, N], is 0 where a sequence begins and 1 elsewhere; without it each begins in the first step."""
        if goes_on is not None:
            goes_on = goes_on.to(x.device)  # that of a ContinuationIndicator, which reads nothing, is on the CPU
        from_input = F.linear(x.flatten(2), self.weight_x, self.bias)
        hidden = cell = x.new_zeros(x.shape[1], self.weight_h.shape[1])
        steps = []
        for t in range(len(x)):
            keeps = 1 if goes_on is None else goes_on[t, :, None]
            gates = from_input[t] + F.linear(keeps * hidden, self.weight_h)
            enter, keep, leave, candidate = gates.chunk(4, 1)
            cell = keeps * keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            steps.append(hidden)
        return torch.stack(steps)


@MODULES.register("LSTM")
class LSTM(_Recurrent):
    """Caffe's."""

    blob_names = ("weight_x", "bias", "weight_h")
    filler_fields = ("weight_filler", "bias_filler", "weight_filler")


@MODULES.register("Lstm")
class ForkLSTM(_Recurrent):
    """junhyukoh's."""

    blob_names = ("weight_x", "weight_h", "bias")
    filler_fields = ("weight_filler", "weight_filler", "bias_filler")

    def __init__(self, layer: Layer) -> None:
        if layer.phase == "TRAIN" and layer.p.clipping_threshold > 0:
            raise layer.error("clipping_threshold is not supported", fix="clip_gradients in the solver")
        super().__init__(layer)


@MODULES.register("ContinuationIndicator")
def continuation_indicator(layer: Layer) -> Compute:
    goes_on = torch.ones(layer.top_shapes[0])
    goes_on[0] = 0
    return lambda: goes_on
