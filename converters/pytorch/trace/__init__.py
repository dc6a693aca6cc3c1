"""PyTorch → Caffe: a plain module, traced, as a deploy net and its weights.

The operators that the module runs become an ONNX graph with the module's names, and that a Caffe net: what Caffe has
no layer for is made of layers it has, exactly, or refused (see `converters.from_onnx`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from converters.caffemodel import Weights
from converters.from_onnx import OnnxFile
from converters.from_onnx import to_caffe as onnx_to_caffe
from converters.pytorch.net import CaffeNet
from converters.pytorch.trace.graph import Tracer, evaluating, exported
from prototxt.errors import UserError, UserErrors
from prototxt.graph import Graph

__all__ = ["check_same", "to_caffe"]

_MOST_APART = 1e-3  # float32 noise of deep nets stays far below


def to_caffe(module: nn.Module, examples: Sequence[Tensor], where: str = "") -> tuple[Graph, Weights]:
    """The Caffe form of a module in evaluation mode.

    Layers and blobs are called as the modules they come from (`layer1.0.conv1`), or as what calls a function and the
    function (`layer1.0.add`); the net is for inputs of the examples' shapes.

    Args:
        examples: an input for each argument of `module`; float32.
        where: what the module is called in error messages; by default its class.

    Returns:
        the graph (its NetParameter is `graph.net.message`) and its weights, layer name -> blobs.

    Raises:
        UserErrors: operators that have no Caffe form: all of them, each with its module.
        UserError: the module cannot run on the examples, or cannot be traced.
    """
    where = where or type(module).__name__
    tracer = Tracer(exported(module, examples, where), module)
    errors = [UserError(f'"{name}": {reason}', where=where) for name, reason in tracer.refused.items()]
    try:
        graph, weights = onnx_to_caffe(OnnxFile(tracer.model, where))
    except UserError as error:
        others = getattr(error, "errors", [error])
        starts = tuple(f'node "{name}" (' for name in tracer.refused)
        errors += [other for other in others if not other.found.startswith(starts or "\0")]
        raise errors[0] if len(errors) == 1 else UserErrors(errors) from error
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    return graph, weights


def check_same(module: nn.Module, examples: Sequence[Tensor], graph: Graph, weights: Weights, where: str) -> float:
    """How far the traced net lies from the module on the examples, as a part of the output's largest value above 1.

    Raises:
        UserError: it computes something else.
    """
    with evaluating(module), torch.no_grad():
        wanted = [leaf for leaf in tree_leaves(module(*examples)) if isinstance(leaf, Tensor)]
        found = CaffeNet(graph, weights)(dict(zip(graph.inputs, examples)))
    worst = 0.0
    for name, one, other in zip(found, wanted, found.values()):
        apart = float((one - other).abs().max() / one.abs().max().clamp(min=1)) if one.shape == other.shape else np.inf
        if not apart <= _MOST_APART:
            raise UserError(
                f'the traced net\'s "{name}" lies {apart:.1e} from what the module gives',
                where=where,
                expected=f"at most {_MOST_APART:g}",
                fix="does the module give the same twice?",
            )
        worst = max(worst, apart)
    return worst
