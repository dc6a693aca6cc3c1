"""`netgen convert`: a trained net for PyTorch or ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prototxt.errors import UserError

if TYPE_CHECKING:
    from converters.caffemodel import Weights
    from prototxt.graph import Graph


def convert(
    net: Annotated[Path, typer.Argument(help="The deploy prototxt.")],
    weights: Annotated[Path, typer.Argument(help="Its .caffemodel, binary or HDF5.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: .onnx, or .pth for a state_dict.")],
) -> None:
    """Write net and weights as one ONNX file, or the weights as a state_dict of converters.pytorch.CaffeNet.

    The ONNX file holds standard operators only; prior boxes are constants, and softmax, decoding and non-maximum
    suppression are inside, so that its output is that of Caffe's DetectionOutput: rows of image, class, score and box.
    """
    if out.suffix not in _WRITERS:
        raise UserError(f"cannot write a file with the ending {out.suffix!r}", where=str(out), expected=".onnx or .pth")
    from converters.caffemodel import read_weights, require_all
    from prototxt.graph import Graph

    graph, blobs = Graph.load(net), read_weights(weights)
    unused = require_all(graph, blobs)
    what = _WRITERS[out.suffix](graph, blobs, out)
    if unused:
        typer.echo(f"note: {len(unused)} layers of {weights} are not in the net: {', '.join(unused)}")
    typer.echo(f"wrote {out}: {what}, {out.stat().st_size / 1e6:.1f} MB")


def _write_onnx(graph: Graph, weights: Weights, out: Path) -> str:
    from converters.onnx import OPSET, to_onnx, write_onnx

    model = to_onnx(graph, weights)
    write_onnx(out, model)
    ends = [", ".join(_show(value) for value in values) for values in (model.graph.input, model.graph.output)]
    return f"{len(model.graph.node)} nodes of opset {OPSET}, {ends[0]} -> {ends[1]}"


def _show(value) -> str:
    """An ONNX value for people: `data 1×3×300×300`."""
    dims = value.type.tensor_type.shape.dim
    return f"{value.name} {'×'.join(dim.dim_param or str(dim.dim_value) for dim in dims)}"


def _write_state_dict(graph: Graph, weights: Weights, out: Path) -> str:
    import torch

    from converters.pytorch import CaffeNet
    from prototxt.files import atomic_write

    state = CaffeNet(graph, weights).state_dict()
    with atomic_write(out) as file:
        torch.save(state, file)
    return f"a state_dict of {len(state)} tensors"


_WRITERS = {".onnx": _write_onnx, ".pth": _write_state_dict}
