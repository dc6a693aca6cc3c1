"""How gradients become updates: clipping, weight decay and Caffe's solver rules.

Everything goes through PyTorch's multi-tensor kernels, because a detector has hundreds of small blobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from solver.rules import RULES, Tensors


def _l2(values: Tensors) -> Sequence[Tensor]:
    return values


def _l1(values: Tensors) -> Sequence[Tensor]:
    return torch._foreach_sign(values)


REGULARIZERS: dict[str, Callable[[Tensors], Sequence[Tensor]]] = {"L2": _l2, "L1": _l1}


class Updater:
    """The learned blobs of a net and the history of their updates.

    Args:
        blobs: every blob of the net in Caffe's order (`CaffeNet.blobs()`); those with `lr_mult: 0`,
            BatchNorm's among them, are never touched but have a history, as in a solverstate.
        p: a SolverParameter.

    Attributes:
        history: one float32 tensor a blob, shaped like it; for rules that keep two, all first ones, then all second.
    """

    def __init__(self, blobs: Sequence[Any], p: Any) -> None:
        self.p = p
        self._rule = RULES[p.type]
        count = len(blobs)
        self.history = [
            torch.zeros_like(blob.tensor, requires_grad=False) for _ in range(self._rule.histories) for blob in blobs
        ]
        for blob in blobs:
            # Caffe runs no backward for a blob that does not learn; nor does its gradient count in the clipping.
            blob.tensor.requires_grad_(bool(blob.lr_mult))
        learned = [i for i, blob in enumerate(blobs) if blob.lr_mult]
        self._values = [blobs[i].tensor for i in learned]
        self._histories = [[self.history[n * count + i] for i in learned] for n in range(self._rule.histories)]
        self._lr_mults = [blobs[i].lr_mult for i in learned]
        decays = [p.weight_decay * blobs[i].decay_mult for i in learned]
        self._decayed = [i for i, decay in enumerate(decays) if decay]
        self._decays = [decays[i] for i in self._decayed]

    def clear(self) -> None:
        """Forget the gradients of the last iteration."""
        for value in self._values:
            value.grad = None

    @torch.no_grad()
    def step(self, rate: float, iteration: int) -> None:
        """Update the blobs from their gradients, summed over `iter_size` batches. The gradients are used up.

        Args:
            rate: the learning rate.
            iteration: number of this iteration, from 0.
        """
        rates = [rate * mult for mult in self._lr_mults]
        updates = self._rule.update(self._gradients(), rates, self._histories, self.p, iteration)
        torch._foreach_sub_(self._values, updates)

    def _gradients(self) -> Tensors:
        """The gradients as the rule gets them, in Caffe's order: clipped, averaged, with weight decay."""
        gradients = [torch.zeros_like(value) if value.grad is None else value.grad for value in self._values]
        if self.p.clip_gradients >= 0:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))).item()
            if norm > self.p.clip_gradients:
                torch._foreach_mul_(gradients, self.p.clip_gradients / norm)
        if self.p.iter_size > 1:
            torch._foreach_mul_(gradients, 1 / self.p.iter_size)
        if self._decayed:
            values = REGULARIZERS[self.p.regularization_type]([self._values[i] for i in self._decayed])
            torch._foreach_add_([gradients[i] for i in self._decayed], torch._foreach_mul(values, self._decays))
        return gradients
