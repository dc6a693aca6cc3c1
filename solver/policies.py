"""Learning rates: Caffe's `lr_policy`.

A policy takes the solver's parameters, where the run stands and the smoothed loss, and gives the rate of
the iteration that is about to update: `policy(p, progress, loss) -> rate`. `multistep` and `plateau` keep
their count of cuts in `progress`, which a solverstate carries over a resume.
Source: `GetLearningRate` of Caffe's SGDSolver.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prototxt.registry import Registry

_FLOAT32_MAX = 3.4028234663852886e38


@dataclass
class Progress:
    """Where a run stands: what a SolverState holds beside the history.

    Attributes:
        iteration: the iteration to be computed next, from 0.
        current_step: how often the rate has been cut.
        minimum_loss, iter_last_event: lowest smoothed loss so far, and the iteration of the last minimum or
            cut; only `plateau` uses them.
    """

    iteration: int = 0
    current_step: int = 0
    minimum_loss: float = _FLOAT32_MAX
    iter_last_event: int = 0


Policy = Callable[[Any, Progress, float], float]
POLICIES: Registry[Policy] = Registry("learning rate rule", "for lr_policy")
NEEDS: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power",),
    "sigmoid": ("gamma", "stepsize"),
    "plateau": ("gamma", "plateau_winsize"),
}


@POLICIES.register("fixed")
def fixed(p, at: Progress, loss: float) -> float:
    return p.base_lr


@POLICIES.register("step")
def step(p, at: Progress, loss: float) -> float:
    at.current_step = at.iteration // p.stepsize
    return p.base_lr * p.gamma**at.current_step


@POLICIES.register("exp")
def exp(p, at: Progress, loss: float) -> float:
    return p.base_lr * p.gamma**at.iteration


@POLICIES.register("inv")
def inv(p, at: Progress, loss: float) -> float:
    return p.base_lr * (1 + p.gamma * at.iteration) ** -p.power


@POLICIES.register("multistep")
def multistep(p, at: Progress, loss: float) -> float:
    # One cut an iteration at most, as in Caffe: two equal step values cut in two consecutive iterations.
    if at.current_step < len(p.stepvalue) and at.iteration >= p.stepvalue[at.current_step]:
        at.current_step += 1
    return p.base_lr * p.gamma**at.current_step


@POLICIES.register("poly")
def poly(p, at: Progress, loss: float) -> float:
    return p.base_lr * (1 - at.iteration / p.max_iter) ** p.power


@POLICIES.register("sigmoid")
def sigmoid(p, at: Progress, loss: float) -> float:
    try:
        return p.base_lr / (1 + math.exp(-p.gamma * (at.iteration - p.stepsize)))
    except OverflowError:  # far beyond the step the rate is 0
        return 0.0


@POLICIES.register("plateau")
def plateau(p, at: Progress, loss: float) -> float:
    if loss < at.minimum_loss:
        at.minimum_loss, at.iter_last_event = loss, at.iteration
    windows = p.plateau_winsize[at.current_step :]
    if windows and at.iteration >= at.iter_last_event + windows[0]:
        at.current_step += 1
        at.iter_last_event = at.iteration
    return p.base_lr * p.gamma**at.current_step
