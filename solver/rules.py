"""Caffe's update rules: what is subtracted from the blobs, given their gradients.

A rule is called with gradients, rates and histories, one of each a blob, the SolverParameter and the number of the
iteration from 0: `update(gradients, rates, histories, p, iteration) -> updates`. It may overwrite the gradients.
`delta` keeps divisors above 0. Sources: the papers named, and Caffe's solvers of the same types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from prototxt.registry import Registry

Tensors = list[Tensor]


@dataclass(frozen=True)
class Rule:
    """An update rule.

    Attributes:
        update: the rule itself.
        histories: tensors that it keeps for each blob, zero at first.
        takes_momentum: whether the solver may have a `momentum`; Caffe refuses one otherwise.
    """

    update: Callable[[Tensors, list[float], list[Tensors], Any, int], Tensors]
    histories: int = 1
    takes_momentum: bool = True


RULES: Registry[Rule] = Registry("update rule", "for solver type")


def _rule(name: str, **about: Any) -> Callable[[Callable[..., Tensors]], Callable[..., Tensors]]:
    def register(update: Callable[..., Tensors]) -> Callable[..., Tensors]:
        RULES.register(name)(Rule(update, **about))
        return update

    return register


def _average(mean: Tensors, kept: float, new: Tensors) -> None:
    """mean = kept * mean + (1 - kept) * new."""
    torch._foreach_mul_(mean, kept)
    torch._foreach_add_(mean, new, alpha=1 - kept)


def _over_root(values: Tensors, squares: Tensors, delta: float) -> Tensors:
    """values / (sqrt(squares) + delta), in the place of `values`."""
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, delta)
    torch._foreach_div_(values, roots)
    return values


@_rule("SGD")
def sgd(gradients: Tensors, rates: list[float], histories: list[Tensors], p: Any, iteration: int) -> Tensors:
    """velocity = momentum * velocity + rate * gradient; the velocity is the update."""
    (velocity,) = histories
    torch._foreach_mul_(velocity, p.momentum)
    torch._foreach_mul_(gradients, rates)
    torch._foreach_add_(velocity, gradients)
    return velocity


@_rule("Nesterov")
def nesterov(gradients: Tensors, rates: list[float], histories: list[Tensors], p: Any, iteration: int) -> Tensors:
    """The velocity one step ahead: (1 + momentum) * new velocity - momentum * old velocity (Nesterov, 1983)."""
    ahead = torch._foreach_mul(histories[0], -p.momentum)
    velocity = sgd(gradients, rates, histories, p, iteration)
    torch._foreach_add_(ahead, velocity, alpha=1 + p.momentum)
    return ahead


@_rule("AdaGrad", takes_momentum=False)
def adagrad(gradients: Tensors, rates: list[float], histories: list[Tensors], p: Any, iteration: int) -> Tensors:
    """rate * gradient / (root of the sum of squared gradients + delta) (Duchi et al., JMLR 2011)."""
    (squares,) = histories
    torch._foreach_addcmul_(squares, gradients, gradients)
    updates = _over_root(gradients, squares, p.delta)
    torch._foreach_mul_(updates, rates)
    return updates


@_rule("RMSProp", takes_momentum=False)
def rmsprop(gradients: Tensors, rates: list[float], histories: list[Tensors], p: Any, iteration: int) -> Tensors:
    """rate * gradient / (root of the running mean of squared gradients + delta) (Tieleman and Hinton, 2012)."""
    (squares,) = histories
    _average(squares, p.rms_decay, torch._foreach_mul(gradients, gradients))
    updates = _over_root(gradients, squares, p.delta)
    torch._foreach_mul_(updates, rates)
    return updates


@_rule("AdaDelta", histories=2)
def adadelta(gradients: Tensors, rates: list[float], histories: list[Tensors], p: Any, iteration: int) -> Tensors:
    """Steps as long as the root of their own mean square, over that of the gradients (Zeiler, 2012).

    Both running means keep the part `momentum`; Caffe then multiplies by the rate.
    """
    squares, squared_updates = histories
    _average(squares, p.momentum, torch._foreach_mul(gradients, gradients))
    ratios = torch._foreach_add(squared_updates, p.delta)
    torch._foreach_div_(ratios, torch._foreach_add(squares, p.delta))
    updates = torch._foreach_mul(gradients, torch._foreach_sqrt(ratios))
    _average(squared_updates, p.momentum, torch._foreach_mul(updates, updates))
    torch._foreach_mul_(updates, rates)
    return updates


@_rule("Adam", histories=2)
def adam(gradients: Tensors, rates: list[float], histories: list[Tensors], p: Any, iteration: int) -> Tensors:
    """Mean over root of mean square, both corrected for their start at 0 (Kingma and Ba, ICLR 2015).

    As in Caffe, `delta` is outside of the correction and weight decay is part of the gradient.
    """
    mean, squares = histories
    _average(mean, p.momentum, gradients)
    _average(squares, p.momentum2, torch._foreach_mul(gradients, gradients))
    correction = sqrt(1 - p.momentum2 ** (iteration + 1)) / (1 - p.momentum ** (iteration + 1))
    updates = _over_root([tensor.clone() for tensor in mean], squares, p.delta)
    torch._foreach_mul_(updates, [rate * correction for rate in rates])
    return updates
