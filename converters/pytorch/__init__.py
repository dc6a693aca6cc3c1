"""prototxt and caffemodel as a PyTorch module."""

from __future__ import annotations

from pathlib import Path

from converters.pytorch.net import Blob, CaffeNet

__all__ = ["Blob", "CaffeNet", "load_net"]


def load_net(prototxt: str | Path, caffemodel: str | Path | None = None, phase: str = "TEST") -> CaffeNet:
    """The net of a prototxt, with the weights of a caffemodel.

    Raises:
        UserError: either file is wrong, or they do not belong together.
    """
    from converters.caffemodel import read_weights
    from prototxt.graph import Graph

    graph = Graph.load(prototxt, phase)
    return CaffeNet(graph, None if caffemodel is None else read_weights(caffemodel))
