"""`netgen augment`: what a net is trained with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prototxt.errors import UserError

if TYPE_CHECKING:
    from prototxt.graph import Layer


def augment(
    lmdb: Annotated[Path, typer.Argument(help="LMDB of annotated images; read instead of the net's own.")],
    net: Annotated[Path, typer.Option(help="Train prototxt, whose AnnotatedData layer says what is done.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write: .png or .jpg.")],
    labelmap: Annotated[
        Path | None, typer.Option(help="Label map; by default the net's, or the one beside the LMDB.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=400, help="How many images, from the first record on.")] = 12,
    seed: Annotated[int, typer.Option(help="The solver's random_seed shows what that training begins with.")] = 1,
) -> None:
    """Show what a net will see: augmented images with their boxes, and under each how it came about.

    Named are the batch sampler that cut it, expansion, interpolation, mirroring, and the changes of its colours.
    """
    from annoset.classes import labels_of
    from annoset.sheet import check_suffix, write_sheet
    from annoset.sources.annotated_data import AnnotatedDataSource
    from annoset.sources.preview import draw_samples
    from prototxt.schema import DataParameter

    check_suffix(out)
    layer = _data_layer(net)
    named = layer.proto.annotated_data_param.label_map_file
    labels = labels_of(lmdb, labelmap or (Path(named) if named and Path(named).is_file() else None))
    layer.proto.annotated_data_param.label_map_file = str(labels.path or "")
    layer.proto.data_param.source, layer.proto.data_param.backend = str(lmdb), DataParameter.LMDB
    with AnnotatedDataSource(layer, seed) as source:
        write_sheet(draw_samples(source, labels, count), out)
    typer.echo(f"wrote {out}: the first {count} images of a training with the seed {seed}")


def _data_layer(net: Path) -> Layer:
    """The AnnotatedData layer of the net's TRAIN phase. Raises UserError when there is none, or several."""
    from prototxt.graph import Layer
    from prototxt.io import read_net
    from prototxt.phase import NetState, kept

    read = read_net(net)
    layers = read.message.layer
    found = [index for index in kept(layers, NetState("TRAIN")) if layers[index].type == "AnnotatedData"]
    if len(found) != 1:
        raise UserError(
            f"the TRAIN net has {len(found)} AnnotatedData layers",
            where=str(net),
            expected="one, which says how images are augmented",
            fix="give the train prototxt, not that of another phase" if not found else "",
        )
    return Layer(layers[found[0]], read.where_layer(found[0]), "TRAIN")
