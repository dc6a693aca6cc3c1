"""A trained net from files and into files, whatever kind they are: their endings tell.

A reader gives the Caffe net and its weights, a writer takes them, so that everything that can be read can be written
as everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from converters.caffemodel import Weights, read_weights, require_all, write_weights
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import write_text

if TYPE_CHECKING:
    import numpy as np

    from converters.onnx.deploy import Deployment

LARGEST_MESSAGE = 2**31 - 2**24  # bytes of blobs; a protobuf message of 2 GB cannot be read, and the net adds some

Shapes = Sequence[tuple[int, ...]] | Mapping[str, tuple[int, ...]]


@dataclass
class Trained:
    """A net and its weights.

    Attributes:
        notes: what was noticed on the way and the user should know.
    """

    graph: Graph
    weights: Weights
    notes: list[str] = field(default_factory=list)


def ending(path: str | Path) -> str:
    """What tells the kind of a file: ".pth"; of a function in a Python file, `model.py:build`, ".py"."""
    return Path(str(path).partition(".py:")[0] + ".py" if ".py:" in str(path) else path).suffix


def read_trained(
    net: str | Path,
    weights: str | Path | None,
    input_shapes: Shapes = (),
    outputs: Sequence[str] = (),
) -> Trained:
    """The trained net of a prototxt with its weights, or of whatever else READERS knows.

    Args:
        net: the file with the net.
        weights: that with its weights; None where the net's file holds them.
        input_shapes: of a net whose file does not say them, in the order of its inputs; of an ONNX model also by name.
        outputs: of an ONNX model, the values to cut its graph at.

    Raises:
        UserError: a file is wrong, or they do not belong together.
    """
    if ending(net) not in READERS:
        expected = ", ".join(READERS)
        raise UserError(f"cannot read a net from a file with the ending {ending(net)!r}", expected=expected)
    return READERS[ending(net)](net, weights, input_shapes, outputs)


def read_blobs(graph: Graph, path: str | Path) -> Weights:
    """The weights of a net from a caffemodel, binary or HDF5, or from a state_dict: .pth, .pt or .safetensors."""
    if ending(path) not in STATES:
        return read_weights(path)
    from converters.pytorch.states import read_state

    return weights_of_state(graph, read_state(path), path)


def weights_of_state(graph: Graph, state: Mapping[str, np.ndarray], path: str | Path = "") -> Weights:
    """The weights in a state_dict of either PyTorch form of a net: CaffeNet's, or that of its stand-alone source.

    Raises:
        UserErrors: keys that do not fit the form that they fit best: all of them.
    """
    from converters.pytorch.layout import caffe_layout
    from converters.pytorch.source import source_layout

    layouts = [caffe_layout(graph)]
    with suppress(UserError):  # a net that has no such source has no such state_dict
        layouts.append(source_layout(graph))
    best = max(layouts, key=lambda layout: len(layout.shapes.keys() & state.keys()))
    return best.weights(state, str(path))


def _require_plain(net: str | Path, input_shapes: Shapes, outputs: Sequence[str]) -> None:
    if outputs or isinstance(input_shapes, Mapping):
        what = "outputs to cut it at" if outputs else "inputs by name"
        raise UserError(f"{what} are given, which only an ONNX model can have", where=str(net))


def _read_caffe(net: str | Path, weights: str | Path | None, input_shapes: Shapes, outputs: Sequence[str]) -> Trained:
    _require_plain(net, input_shapes, outputs)
    if weights is None:
        raise UserError("its weights are missing", where=str(net), fix=f"netgen convert {net} NET.caffemodel -o …")
    if input_shapes:
        raise UserError("a prototxt says the shapes of its inputs itself", where=str(net), fix="change them there")
    graph = Graph.load(net)
    blobs = read_blobs(graph, weights)
    unused = require_all(graph, blobs)
    note = f"{len(unused)} layers of {weights} are not in the net: {', '.join(unused)}"
    return Trained(graph, blobs, [note] if unused else [])


def _read_module(net: str | Path, weights: str | Path | None, input_shapes: Shapes, outputs: Sequence[str]) -> Trained:
    _require_plain(net, input_shapes, outputs)
    from converters.pytorch.trace import check_same, to_caffe
    from converters.pytorch.trace.file import read_module

    module, examples = read_module(str(net), weights, input_shapes)
    graph, blobs = to_caffe(module, examples, str(net))
    apart = check_same(module, examples, graph, blobs, str(net))
    return Trained(graph, blobs, [f"the traced net and the module differ by {apart:.1e} on a random input"])


def _read_onnx(net: str | Path, weights: str | Path | None, input_shapes: Shapes, outputs: Sequence[str]) -> Trained:
    from converters.from_onnx import read_onnx, to_caffe

    if weights is not None:
        raise UserError("an ONNX model holds its weights itself", where=str(weights), fix="leave them out")
    file = read_onnx(net)
    if not isinstance(input_shapes, Mapping):
        names = file.inputs()
        if len(input_shapes) > len(names):
            raise UserError(
                f"{len(input_shapes)} shapes are given for {len(names)} inputs",
                where=str(net),
                expected=", ".join(names),
            )
        input_shapes = dict(zip(names, input_shapes))
    return Trained(*to_caffe(file, outputs, input_shapes))


def write_caffe(trained: Trained, out: Path) -> str:
    """Write the prototxt `out`, and the weights beside it: as HDF5 when Caffe could not read them as a message."""
    size = sum(blob.nbytes for blobs in trained.weights.values() for blob in blobs)
    weights = out.with_suffix(".caffemodel" if size < LARGEST_MESSAGE else ".caffemodel.h5")
    write_weights(weights, trained.graph, trained.weights)
    write_text(trained.graph.net.message, out)
    return f"{len(trained.graph.layers)} layers; their weights are in {weights.name}"


def write_caffemodel(trained: Trained, out: Path) -> str:
    write_weights(out, trained.graph, trained.weights)
    return f"the blobs of {sum(bool(layer.blob_shapes) for layer in trained.graph.layers)} layers"


def write_state_dict(trained: Trained, out: Path) -> str:
    """Write the state_dict of `converters.pytorch.CaffeNet`."""
    from converters.pytorch.layout import caffe_layout
    from converters.pytorch.states import write_state

    state = caffe_layout(trained.graph).state(trained.weights)
    write_state(out, state)
    return f"a state_dict of {len(state)} tensors"


def write_source(trained: Trained, out: Path) -> str:
    """Write stand-alone PyTorch code, and its state_dict beside it."""
    from converters.pytorch.source import source_layout, source_text
    from converters.pytorch.states import write_state
    from prototxt.files import atomic_write

    text = source_text(trained.graph, out.with_suffix(".pth").name)
    state = source_layout(trained.graph).state(trained.weights)
    write_state(out.with_suffix(".pth"), state)
    with atomic_write(out, "w") as file:
        file.write(text)
    return f"{text.count(chr(10))} lines; its state_dict of {len(state)} tensors is in {out.with_suffix('.pth').name}"


def write_onnx_file(trained: Trained, out: Path, how: Deployment | None = None) -> str:
    """Write an ONNX model; `how` says what it is to be like."""
    from converters.onnx import write_onnx
    from converters.onnx.deploy import Deployment, deploy

    how = how or Deployment()
    model, notes = deploy(trained.graph, trained.weights, how)
    write_onnx(out, model)
    ends = [", ".join(_show(value) for value in values) for values in (model.graph.input, model.graph.output)]
    trained.notes += notes
    return f"{len(model.graph.node)} nodes of opset {how.opset}, {ends[0]} -> {ends[1]}"


def _show(value) -> str:
    """An ONNX value for people: `data 1×3×300×300`."""
    dims = value.type.tensor_type.shape.dim
    return f"{value.name} {'×'.join(dim.dim_param or str(dim.dim_value) for dim in dims)}"


Reader = Callable[["str | Path", "str | Path | None", Shapes, Sequence[str]], Trained]
# What writes a file says in a few words what is in it.
Writer = Callable[[Trained, Path], str]

# By the ending of the net's file; each is given what `read_trained` is.
READERS: Mapping[str, Reader] = {
    **dict.fromkeys((".prototxt", ".pt", ".txt"), _read_caffe),  # .pt: py-faster-rcnn's; .prototxt.txt is common, too
    ".py": _read_module,
    ".onnx": _read_onnx,
}
STATES = (".pth", ".pt", ".safetensors")
WRITERS: Mapping[str, Writer] = {
    ".onnx": write_onnx_file,
    ".prototxt": write_caffe,
    ".caffemodel": write_caffemodel,
    ".h5": write_caffemodel,
    ".py": write_source,
    **dict.fromkeys(STATES, write_state_dict),
}
