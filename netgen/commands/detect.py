"""`netgen detect`: a trained net on pictures, boxes drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prototxt.errors import UserError

if TYPE_CHECKING:
    from prototxt.graph import Graph


def detect(
    net: Annotated[Path, typer.Argument(help="The deploy prototxt.")],
    weights: Annotated[Path, typer.Argument(help="Its .caffemodel.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures to look at.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write: all of them, boxes drawn.")],
    labelmap: Annotated[Path | None, typer.Option(help="Label map that names the classes.")] = None,
    threshold: Annotated[float, typer.Option(help="The least score of a box that is drawn.")] = 0.5,
    mean: Annotated[str, typer.Option(help="Subtracted from each channel, B,G,R or one value.")] = "104,117,123",
    scale: Annotated[float, typer.Option(help="Each value is multiplied by this after the mean.")] = 1.0,
) -> None:
    """Detect objects in pictures and draw them into one."""
    import torch

    from annoset.sheet import Mark, check_suffix, tile, write_sheet
    from converters.pytorch import load_net
    from netgen.commands.pictures import image_input, parse_mean, read_picture, to_blob
    from prototxt.labelmap import display_names
    from prototxt.memory import require_memory
    from prototxt.summary import forward_bytes

    check_suffix(out)
    model = load_net(net, weights)
    _check_detector(model.graph)
    name = image_input(model.graph)
    require_memory(forward_bytes(model.graph) // model.graph.inputs[name][0], "its blobs", where=str(net))
    names = display_names(labelmap) if labelmap else {}
    tiles = []
    for path in images:
        picture = read_picture(path)
        blob = to_blob(picture, (1, *model.graph.inputs[name][1:]), parse_mean(mean), scale)
        with torch.no_grad():
            (rows,) = model({name: torch.from_numpy(blob)}).values()
        rows = [row for row in rows.reshape(-1, 7).tolist() if row[1] >= 0 and row[2] >= threshold]
        marks = []
        for _, label, score, *corners in rows:
            name_or_label = names.get(int(label), int(label))
            marks.append(Mark(corners, int(label), f"{name_or_label} {score:.2f}"))
            box = " ".join(f"{value:.3f}" for value in corners)
            typer.echo(f"{path.name}  {name_or_label}  {score:.3f}  {box}")
        tiles.append(tile(picture, marks))
    write_sheet(tiles, out)
    typer.echo(f"wrote {out}")


def _check_detector(graph: Graph) -> None:
    if len(graph.outputs) != 1 or graph.shapes[graph.outputs[0]][-1:] != (7,):
        raise UserError(
            "this net is no detector",
            where=graph.net.path,
            expected="one DetectionOutput at its end",
            fix="give the deploy prototxt",
        )
