"""What `netgen verify` runs a net on: pictures, and noise that the net can take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prototxt.errors import UserError
from prototxt.shapes.roi import PROPOSALS

if TYPE_CHECKING:
    import numpy as np

    from converters.proof.samples import Sample
    from prototxt.graph import Graph, Layer

_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Pixels:
    """How a net's values come from those of pictures: (pixel - mean) · scale."""

    mean: tuple[float, ...]
    scale: float


def picture_files(paths: Iterable[Path]) -> list[Path]:
    """The pictures at some paths; of a folder all that lie in it, by name. Raises UserError for one without any."""
    found = []
    for path in paths:
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in _PICTURES) if path.is_dir() else [path]
        if not inside:
            raise UserError("no picture lies in this folder", where=str(path), expected=", ".join(_PICTURES))
        found += inside
    return found


def picture_samples(graph: Graph, files: Iterable[Path], how: Pixels, seed: int) -> list[Sample]:
    """One for each picture; the net's other inputs get noise.

    Raises:
        UserError: a file is no picture, or the net has not just one input for them.
    """
    import numpy as np

    from netgen.commands.pictures import image_input, read_picture, to_pixels

    found = []
    for path in files:
        name = image_input(graph)
        pixels = {name: to_pixels(read_picture(path), graph.inputs[name])}
        sample = _sample(str(path), graph, how, np.random.default_rng(seed), pixels)
        found.append(replace(sample, path=path))
    return found


def random_samples(graph: Graph, count: int, how: Pixels, seed: int) -> list[Sample]:
    """Noise, each of a seed of its own."""
    import numpy as np

    return [_sample(f"random {i}", graph, how, np.random.default_rng([seed, i]), {}) for i in range(count)]


def open_samples(graph: Graph, open_axes: Mapping[str, tuple[int, ...]], how: Pixels, seed: int) -> list[Sample]:
    """One random input of twice each size that a model leaves open; none where it leaves none."""
    import numpy as np

    from prototxt.graph import Graph, show

    shapes = {
        name: tuple(2 * size if axis in open_axes.get(name, ()) else size for axis, size in enumerate(shape))
        for name, shape in graph.inputs.items()
    }
    if shapes == graph.inputs:
        return []
    state = graph.state
    other = Graph(graph.net, state.phase, state.level, state.stages, shapes)
    name = "random, " + ", ".join(f"{blob} {show(shape)}" for blob, shape in shapes.items())
    return [_sample(name, other, how, np.random.default_rng(seed), {})]


def _sample(name: str, graph: Graph, how: Pixels, rng: np.random.Generator, pixels: dict[str, np.ndarray]) -> Sample:
    """A sample of some pixels and, for every other input, of noise that its readers can take."""
    import numpy as np

    from converters.proof.samples import Sample
    from netgen.commands.pictures import normalised

    arrays = {}
    for blob, shape in graph.inputs.items():
        readers = [(layer, layer.bottoms.index(blob)) for layer in graph.layers if blob in layer.bottoms]
        special = next((layer for layer, place in readers if (layer.type, place) in _SPECIAL), None)
        if special is not None:
            make = _SPECIAL[special.type, special.bottoms.index(blob)]
            arrays[blob] = make(graph, special, shape, rng)
        elif len(shape) == 4 and shape[1] in (1, 3):
            batch, channels, height, width = shape
            pixels.setdefault(blob, rng.integers(0, 256, (batch, height, width, channels), np.uint8))
            arrays[blob] = normalised(pixels[blob], how.mean, how.scale)
        else:
            arrays[blob] = rng.standard_normal(shape, np.float32)
    return Sample(name, arrays, pixels)


def _image_size(graph: Graph, layer: Layer, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Height, width and scale of the net's image."""
    import numpy as np

    height, width = next((s[2:] for s in graph.inputs.values() if len(s) == 4), (224, 224))
    return np.resize(np.float32([height, width, 1]), shape)


def _regions(graph: Graph, layer: Layer, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Regions of random corners inside the image: number of the image, xmin, ymin, xmax, ymax in its pixels."""
    import numpy as np

    batch, _, height, width = layer.bottom_shapes[0]
    extent = np.array([width, height]) / (layer.p.spatial_scale or 1)
    corners = np.sort(rng.random((shape[0], 2, 2)), axis=1) * (extent - 1)
    images = rng.integers(0, batch, (shape[0], 1))
    return np.hstack([images, corners.reshape(-1, 4)]).astype(np.float32).reshape(shape)


# (type of a layer, which of its bottoms) -> noise that it can take.
_SPECIAL = {
    **{(name, 2): _image_size for name in PROPOSALS},
    **{(name, 1): _regions for name in ("ROIPooling", "PSROIPooling")},
}
