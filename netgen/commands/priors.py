"""`netgen priors`: which ground truths of a data set some prior box covers, and sizes that would cover more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from prototxt.errors import UserError

if TYPE_CHECKING:
    from annoset.truths import GroundTruths
    from converters.coverage import Coverage
    from prototxt.graph import Graph, Layer


def priors(
    net: Annotated[Path, typer.Argument(metavar="FILE", help="Prototxt of a net with PriorBox layers.")],
    annotations: Annotated[Path, typer.Option(help="Folder in VOC's layout, folder of such folders, or LMDB.")],
    split: Annotated[str, typer.Option(help="List of images (trainval …) of VOC's layout; default: every XML.")] = "",
    labelmap: Annotated[
        Path | None, typer.Option(help="Label map; for an LMDB by default the one beside it, or the net's.")
    ] = None,
    difficult: Annotated[bool, typer.Option(help="Count objects marked difficult, as SSD's training does.")] = True,
    clip_boxes: Annotated[bool, typer.Option("--clip-boxes", help="Cut boxes that reach outside the image.")] = False,
    suggest: Annotated[bool, typer.Option("--suggest", help="Find sizes and ratios that cover more.")] = False,
    write: Annotated[Path | None, typer.Option(help="Write the net with the sizes suggested.")] = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="Tables, or JSON for programs.")] = "text",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw the result: .png, .svg or .pdf.")] = None,
) -> None:
    """Show which share of a data set's objects the prior boxes of a net cover at IoU 0.5 and 0.7.

    By class, by size and by PriorBox layer. Objects are taken as they are annotated, before the crops and expansions
    of training.
    """
    from annoset.truths import read_truths
    from converters.coverage import Coverage, prior_layers
    from netgen.commands.coverage_plot import check_picture, plot_coverage
    from netgen.commands.progress import watch

    if out:
        check_picture(out)
    if write and write.resolve() == net.resolve():
        raise UserError("--write names the net itself", where=str(write), fix="write to another file")
    graph = _load(net)
    layers = prior_layers(graph)
    labelmap = labelmap or _labelmap(graph, annotations)
    truths = read_truths(annotations, split=split, labelmap=labelmap, clip_boxes=clip_boxes, watch=watch)
    truths = _resized(graph, truths)
    counted = _counted(truths, difficult, annotations)
    now = Coverage.of(layers, counted.boxes, watch)
    better = _suggest(now, counted) if suggest or write else None
    report = {
        "net": graph.name,
        "input_hw": list(layers[0].image_hw),
        "priors": sum(layer.count for layer in layers),
        "annotations": _told(annotations, labelmap, truths, counted) | {"difficult_counted": difficult},
        "coverage": now.report(counted.label, counted.names),
        "suggestion": _suggestion(graph, better, counted),
    }
    _print(report, format, asked=suggest or write is not None)
    if out:
        plot_coverage(out, f"{graph.name} on {annotations.resolve().name}", now, better)
        typer.echo(f"wrote {out}", err=format == "json")
    if write:
        _write(graph, better, write)
        typer.echo(f"wrote {write}", err=format == "json")


def _load(net: Path) -> Graph:
    """The net in phase TEST, or in phase TRAIN where only that has an input."""
    from prototxt.graph import Graph
    from prototxt.io import read_net
    from prototxt.phase import NetState, kept
    from prototxt.shapes import SOURCES

    file = read_net(net)
    protos = file.message.layer
    fed = {
        phase: [i for i in kept(protos, NetState(phase)) if protos[i].type in SOURCES] for phase in ("TEST", "TRAIN")
    }
    return Graph(file, "TRAIN" if fed["TRAIN"] and not fed["TEST"] else "TEST")


def _data_layer(graph: Graph) -> Layer | None:
    return next((layer for layer in graph.layers if layer.type == "AnnotatedData"), None)


def _labelmap(graph: Graph, annotations: Path) -> Path | None:
    """The label map that names the classes of an LMDB: beside it, as `netgen lmdb` leaves it, or the net's own."""
    if not (annotations / "data.mdb").is_file():
        return None
    data = _data_layer(graph)
    named = data.proto.annotated_data_param.label_map_file if data else ""
    places = [annotations.parent / "labelmap.prototxt", *([Path(named)] if named else [])]
    return next((path for path in places if path.is_file()), None)


def _resized(graph: Graph, truths: GroundTruths) -> GroundTruths:
    """The boxes as the net sees them. A deploy net does not say how images are resized; they are warped, then."""
    from prototxt.schema import TransformationParameter

    data = _data_layer(graph)
    if data is None:
        return truths.resized(TransformationParameter(), graph.net.path)
    return truths.resized(data.proto.transform_param, data.where)


def _counted(truths: GroundTruths, difficult: bool, annotations: Path) -> GroundTruths:
    """The boxes that shares are of: those with an area, without the difficult ones unless `difficult`."""
    which = truths.has_area if difficult else truths.has_area & ~truths.difficult
    if not which.any():
        found = "no box with a width and a height is left" + ("" if difficult else " without the difficult ones")
        raise UserError(found, where=str(annotations))
    return truths.only(which)


def _told(path: Path, labelmap: Path | None, truths: GroundTruths, counted: GroundTruths) -> dict[str, Any]:
    """What there is to say of the annotations: where they are, how much was read and how much of it counts."""
    return {
        "path": str(path),
        "labelmap": str(labelmap) if labelmap else None,
        "images": truths.images,
        "boxes": len(counted),
        "difficult": int(truths.difficult.sum()),
        "without_area": int((~truths.has_area).sum()),
    }


def _suggest(now: Coverage, truths: GroundTruths) -> Coverage | None:
    """What the sizes found cover; None when none were found that cover more."""
    from converters.coverage import Coverage
    from converters.suggest import suggest
    from netgen.commands.progress import watch

    layers = suggest(now.layers, truths.boxes, truths.label, watch)
    return None if layers == list(now.layers) else Coverage.of(layers, truths.boxes, watch)


def _suggestion(graph: Graph, better: Coverage | None, truths: GroundTruths) -> dict[str, Any] | None:
    from converters.suggest import snippet

    if better is None:
        return None
    return {
        "coverage": better.report(truths.label, truths.names),
        "prototxt": snippet(graph.net.message, better.layers),
    }


def _print(report: dict[str, Any], format: str, asked: bool) -> None:
    from netgen.commands.coverage_tables import print_report

    if format == "json":
        import json

        typer.echo(json.dumps(report, indent=1))
        return
    print_report(report)
    if asked and report["suggestion"] is None:
        typer.echo("no sizes or ratios were found that cover more than the net's own")


def _write(graph: Graph, better: Coverage | None, path: Path) -> None:
    from converters.suggest import with_sizes
    from prototxt.io import write_text

    if better is None:
        raise UserError(
            "not written: no sizes or ratios were found that cover more than the net's own", where=str(path)
        )
    write_text(with_sizes(graph.net.message, better.layers), path)
