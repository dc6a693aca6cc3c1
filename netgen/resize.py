"""A detector for images of another size than it was published for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netgen.detector import Detector
from netgen.heads.sources import Source
from prototxt.errors import UserError
from prototxt.graph import Graph, Layer
from prototxt.io import net_file


def resized(detector: Detector, input_hw: tuple[int, int]) -> Detector:
    """The same detector for images of `input_hw`, so that its trained weights still mean the same.

    Prior boxes keep their sizes in pixels, since that is what the weights see. A step that no longer leads over its
    map exactly (SSD's 100 and 300 are an image's size over a map's) is left to Caffe, which divides these sizes.

    Raises:
        UserError: the maps do not fit together at that size: which layer's vanishes, or which two do not meet.
    """
    height, width = input_hw
    where = f"--input-size {height}x{width}"
    if min(input_hw) < 1 or max(input_hw) >= 2**15:
        raise UserError("the size is out of range", where=where, expected="HEIGHTxWIDTH in pixels, such as 300x300")
    if input_hw == detector.input_hw:  # as published, also where a step leads past its map
        return detector
    moved = replace(detector, input_hw=input_hw)
    try:
        graph = Graph(net_file(moved.net("deploy")))
    except UserError as error:
        height, width = detector.input_hw
        raise UserError(
            f"this net cannot be built for that size: {error.found}",
            where=where,
            expected=error.expected,
            fix=error.fix or f"take a size nearer to {height}x{width}, for which the net was made",
        ) from error
    layers = {layer.name: layer for layer in graph.layers}
    kept = tuple(_fitted(source, layers, input_hw) for source in detector.head.sources)
    return replace(moved, head=replace(detector.head, sources=kept))  # type: ignore[type-var]


def _fitted(source: Source, layers: Mapping[str, Layer], input_hw: tuple[int, int]) -> Source:
    map_hw = layers[source.name].top_shapes[0][2:]
    step = source.step
    fits = step is None or all(size / step <= cells < size / step + 1 for cells, size in zip(map_hw, input_hw))
    return source if fits else replace(source, step=None)
