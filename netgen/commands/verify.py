"""`netgen verify`: the proof that a net computes the same wherever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prototxt.errors import UserError

if TYPE_CHECKING:
    from converters.proof.samples import Sample
    from netgen.commands.verify_inputs import Pixels
    from prototxt.graph import Graph


def verify(
    net: Annotated[Path, typer.Argument(help="The deploy prototxt.")],
    weights: Annotated[Path, typer.Argument(help="Its weights: .caffemodel, .h5, .pth, .pt or .safetensors.")],
    onnx: Annotated[Path | None, typer.Option(help="An ONNX file of it; without, the net is converted anew.")] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture to run it on, or a folder of them; may be repeated.")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Subtracted from each channel, B,G,R or one value; by default as ONNX says, or 104,117,123."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Each value is multiplied by this after the mean; by default as ONNX says, or 1."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    tolerance: Annotated[
        float | None, typer.Option(help="The largest difference that is allowed; by default 1e-4, of float16 3e-2.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare every layer, too, and name the first that differs.")
    ] = False,
    random: Annotated[
        int | None, typer.Option(help="How many random inputs to run it on, too; by default 1, with pictures none.")
    ] = None,
    report: Annotated[
        list[Path] | None, typer.Option(help="Write all that was found into this .json or .html; may be repeated.")
    ] = None,
) -> None:
    """Run inputs through PyTorch, ONNX Runtime, OpenCV's and MNN's Caffe importers and pycaffe; compare the outputs.

    Detections are paired by class and overlap; their boxes (0–1) and scores are compared. What they are made of and
    other outputs are compared value by value, as part of the largest. The exit status is 1 when a difference is above
    the tolerance, unless it is known that the importer reads this net otherwise than Caffe; then the reason is given.
    What is not installed is skipped, and said so.

    --onnx takes whatever `netgen convert` writes: open sizes, which are tried at twice the size, too; pictures for an
    input; float16; and detectors without their end, which is then computed here. TensorRT's node is left out, and what
    it would read is compared.
    """
    from rich.console import Console

    from converters.proof.report import Subject, check_path, write
    from converters.proof.verify import verify as run
    from netgen.commands.verify_table import print_result
    from prototxt.graph import Graph
    from prototxt.memory import require_memory
    from prototxt.summary import forward_bytes

    for path in report or ():
        check_path(path)
    if tolerance is not None and not tolerance >= 0:
        raise UserError(f"--tolerance is {tolerance:g}", expected="0 or more")
    graph = Graph.load(net)
    require_memory(forward_bytes(graph), "its blobs", where=str(net))
    how = _pixels(mean, scale, onnx)
    samples = _samples(graph, onnx, image or [], (how, random, seed))
    with Console(stderr=True).status("") as status:
        found = run(net, weights, samples, onnx, layers, status.update)
    files = {"net": net, "weights": weights} | ({"ONNX": onnx} if onnx else {})
    subject = Subject(graph, files, samples, {"mean": how.mean, "scale": how.scale, "seed": seed}, tolerance)
    passed = print_result(found, subject)
    for path in report or ():
        write(path, found, subject)
        typer.echo(f"wrote {path}")
    if not passed:
        raise typer.Exit(1)


def _pixels(mean: str | None, scale: float | None, onnx: Path | None) -> Pixels:
    """Mean and scale as they are given, else as the ONNX file says them, else those of most detectors."""
    from netgen.commands.pictures import parse_mean
    from netgen.commands.verify_inputs import Pixels

    said = None
    if onnx is not None and mean is None:
        from converters.proof.given_onnx import preprocessing

        said = preprocessing(onnx)
    if mean is not None:
        return Pixels(parse_mean(mean), 1.0 if scale is None else scale)
    means, factor = (said.mean, said.scale) if said else ((104.0, 117.0, 123.0), 1.0)
    return Pixels(means, factor if scale is None else scale)


def _samples(
    graph: Graph, onnx: Path | None, images: list[Path], random: tuple[Pixels, int | None, int]
) -> list[Sample]:
    """The pictures, then the random inputs, then one for the sizes that the ONNX file leaves open."""
    from netgen.commands.verify_inputs import open_samples, picture_files, picture_samples, random_samples

    how, count, seed = random
    if count is None:
        count = 0 if images else 1
    if count < 0 or not (count or images):
        raise UserError(f"--random is {count}", expected="1 or more, or 0 with pictures")
    samples = picture_samples(graph, picture_files(images), how, seed) + random_samples(graph, count, how, seed)
    if onnx is not None:
        from converters.proof.given_onnx import open_axes_of

        samples += open_samples(graph, open_axes_of(onnx, graph), how, seed)
    return samples
