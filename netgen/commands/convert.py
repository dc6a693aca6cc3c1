"""`netgen convert`: a trained net from one form into another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netgen.commands.onnx_options import OnnxOptions, with_onnx_options
from prototxt.errors import UserError

if TYPE_CHECKING:
    from converters.files import Trained


@with_onnx_options
def convert(
    net: Annotated[str, typer.Argument(help="The net: a deploy prototxt, an .onnx, or FILE.py:FUNCTION.")],
    weights: Annotated[
        Path | None, typer.Argument(help="Its weights: .caffemodel, .h5, .pth, .pt or .safetensors.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write: .onnx, .pth, .safetensors, .caffemodel, .h5, .prototxt."),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Write stand-alone PyTorch code into this .py, too.")] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(metavar="NxCxHxW", help="Of FILE.py:FUNCTION and .onnx: an input, NAME=NxCxHxW; once for each."),
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(help="Of .onnx: values to cut the graph at, with commas between them.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="The code base of WEIGHTS: torchvision, mmdetection, mmdetection-1 …")
    ] = None,
    to: Annotated[str | None, typer.Option(help="The code base that the state_dict is written for.")] = None,
    *,
    onnx: OnnxOptions,
) -> None:
    """Write a trained net in another form; the endings of the files tell the forms.

    .onnx holds standard operators only; prior boxes are constants, and softmax, decoding and non-maximum suppression
    are inside, so that its output is that of Caffe's DetectionOutput: rows of image, class, score and box.

    .pth and .safetensors are the state_dict of converters.pytorch.CaffeNet, and can be given back for WEIGHTS. With
    --source the net is written as PyTorch code that needs nothing of this toolkit, with its own state_dict beside it.

    FILE.py:FUNCTION is a function without arguments that returns a PyTorch module; it is traced into a Caffe net. So
    is an .onnx, as far as its operators have a Caffe form; those that have none are all named.

    --from reads, and --to writes, a state_dict in the names, channel orders and box coding of another code base.
    """
    outs = [path for path in (out, source) if path is not None]
    _check(out, source)
    onnx.check(out is not None and out.suffix == ".onnx")
    from converters.files import read_trained

    shapes = _shapes(input_shape or [])
    cuts = outputs.split(",") if outputs else []
    if from_ and (shapes or cuts):
        raise UserError("--from takes a prototxt, which says its inputs and outputs itself", fix="leave the others out")
    trained = _read_theirs(net, weights, from_) if from_ else read_trained(net, weights, shapes, cuts)
    for path in outs:
        what = _write_theirs(trained, path, to) if to and path == out else _write(trained, path, onnx)
        typer.echo(f"wrote {path}: {what}, {path.stat().st_size / 1e6:.1f} MB")
    for note in trained.notes:
        typer.echo(f"note: {note}")


def _write(trained: Trained, path: Path, onnx: OnnxOptions) -> str:
    from converters.files import WRITERS, write_onnx_file

    return (
        write_onnx_file(trained, path, onnx.deployment())
        if path.suffix == ".onnx"
        else WRITERS[path.suffix](trained, path)
    )


def _read_theirs(net: str, weights: Path | None, code_base: str) -> Trained:
    from converters.names.files import read_theirs

    return read_theirs(net, weights, code_base)


def _write_theirs(trained: Trained, path: Path, code_base: str) -> str:
    from converters.names.files import write_theirs

    return write_theirs(trained, path, code_base)


def _check(out: Path | None, source: Path | None) -> None:
    from converters.files import WRITERS

    if out is None and source is None:
        raise UserError("nothing is to be written", fix="give -o FILE, or --source FILE.py")
    if out is not None and out.suffix not in WRITERS:
        expected = ", ".join(WRITERS)
        raise UserError(f"cannot write a file with the ending {out.suffix!r}", where=str(out), expected=expected)
    if source is not None and source.suffix != ".py":
        raise UserError(f"the ending of --source is {source.suffix!r}", where=str(source), expected=".py")
    if out is not None and source is not None and source.with_suffix(".pth") == out:
        raise UserError(
            f"{source} comes with a state_dict of its own, {out}", fix="give -o another name, or leave it out"
        )


def _shapes(texts: list[str]) -> list[tuple[int, ...]] | dict[str, tuple[int, ...]]:
    """Shapes in the order of the inputs, or by name where names are given."""
    names = [text.rpartition("=")[0] for text in texts]
    shapes = [_shape(text.rpartition("=")[2]) for text in texts]
    if not any(names):
        return shapes
    if not all(names):
        raise UserError("some inputs are named and some are not", where="--input-shape", expected="all, or none")
    return dict(zip(names, shapes))


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.replace("×", "x").replace(",", "x").split("x")
    if not all(size.isdigit() and int(size) for size in sizes):
        raise UserError(f'"{text}" is no shape', where="--input-shape", expected="sizes above 0, like 1x3x300x300")
    return tuple(map(int, sizes))
