"""`netgen detect`: a trained net on pictures, boxes drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prototxt.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from prototxt.graph import Graph

_COLOURS_BGR = ((60, 76, 231), (113, 204, 46), (219, 152, 52), (18, 156, 243), (182, 89, 155), (156, 188, 26))


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

    from converters.pytorch import load_net
    from netgen.commands.pictures import image_input, parse_mean, read_picture, to_blob
    from prototxt.files import atomic_write
    from prototxt.labelmap import display_names

    model = load_net(net, weights)
    _check_detector(model.graph)
    name = image_input(model.graph)
    names = display_names(labelmap) if labelmap else {}
    tiles = []
    for path in images:
        picture = read_picture(path)
        blob = to_blob(picture, (1, *model.graph.inputs[name][1:]), parse_mean(mean), scale)
        with torch.no_grad():
            (rows,) = model({name: torch.from_numpy(blob)}).values()
        rows = [row for row in rows.reshape(-1, 7).tolist() if row[1] >= 0 and row[2] >= threshold]
        tiles.append(_draw(picture, rows, names))
        for _, label, score, *corners in rows:
            box = " ".join(f"{value:.3f}" for value in corners)
            typer.echo(f"{path.name}  {names.get(int(label), int(label))}  {score:.3f}  {box}")
    with atomic_write(out) as file:
        file.write(_encode(_sheet(tiles), out))
    typer.echo(f"wrote {out}")


def _check_detector(graph: Graph) -> None:
    if len(graph.outputs) != 1 or graph.shapes[graph.outputs[0]][-1:] != (7,):
        raise UserError(
            "this net is no detector",
            where=graph.net.path,
            expected="one DetectionOutput at its end",
            fix="give the deploy prototxt",
        )


def _draw(picture: np.ndarray, rows: list[list[float]], names: dict[int, str]) -> np.ndarray:
    import cv2

    height, width = picture.shape[:2]
    shrink = 360 / max(height, width)
    picture = cv2.resize(picture, (round(width * shrink), round(height * shrink)), interpolation=cv2.INTER_AREA)
    height, width = picture.shape[:2]
    for _, label, score, xmin, ymin, xmax, ymax in rows:
        colour = _COLOURS_BGR[int(label) % len(_COLOURS_BGR)]
        corner = (round(xmin * width), round(ymin * height))
        cv2.rectangle(picture, corner, (round(xmax * width), round(ymax * height)), colour, 2, cv2.LINE_AA)
        text = f"{names.get(int(label), int(label))} {score:.2f}"
        (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
        left, top = max(corner[0], 0), max(corner[1], text_height + 6)
        cv2.rectangle(picture, (left, top - text_height - 6), (left + text_width + 6, top), colour, -1)
        cv2.putText(picture, text, (left + 3, top - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255,) * 3, 1, cv2.LINE_AA)
    return picture


def _sheet(tiles: list[np.ndarray]) -> np.ndarray:
    """The tiles in rows of at most four, on white."""
    import numpy as np

    columns = min(4, len(tiles))
    height, width = (max(tile.shape[side] for tile in tiles) + 8 for side in (0, 1))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height + 4, i % columns * width + 4
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _encode(sheet: np.ndarray, out: Path) -> bytes:
    import cv2

    suffix = out.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"cannot write a picture with the ending {suffix!r}", where=str(out), expected=".png or .jpg")
    return cv2.imencode(suffix, sheet)[1].tobytes()
