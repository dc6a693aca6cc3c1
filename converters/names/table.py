"""What a map is made of, and the table of all maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prototxt.registry import Registry

# What a head's channels stand for, besides ratios of width to height: the squares of a cell.
MIN, MAX = "min", "max"
BoxOrder = tuple["str | float", ...]
# Their prior boxes are in whole pixels, the last of which belongs to the box, or have no side longer than the image.
WHOLE, INSIDE = "whole pixels", "no longer than the image"


@dataclass(frozen=True)
class Head:
    """The order and scale of a predictor's output channels.

    Attributes:
        priors: our PriorBox layer for its map.
        boxes: the prior boxes of a cell in their order: MIN, MAX (the square of side sqrt(min * max)) or a ratio.
        background: "first" or "last" of the classes; empty for offsets.
        variances: what their offsets are multiplied by before a box is moved by them; none where that is not to be
            adjusted here (class scores, and convolutions that a norm follows).
        frame: WHOLE, INSIDE, or empty for boxes as Caffe has them.
        sizes: the least and the largest side of their boxes in pixels, where these cannot be others; else those of
            our boxes are taken for theirs.
    """

    priors: str
    boxes: BoxOrder
    background: str = ""
    variances: tuple[float, ...] = ()
    frame: str = ""
    sizes: tuple[float, float] | None = None


@dataclass(frozen=True)
class Unit:
    """A module of theirs with learned values.

    Attributes:
        kind: one of the KINDS of `converters.names.arithmetic`.
        theirs: what stands before the last dot of its keys; the whole key for a bare parameter.
        ours: the layers that are the same: Convolution; BatchNorm and Scale; Normalize; InnerProduct.
        reads: what it takes, as an expression of `converters.names.wiring` over `theirs` of other units.
        stride, pad, dilation: of a convolution.
        ceil: whether pooling in `reads` rounds the size of its map up.
        head: set for what makes a predictor's outputs.
        optional: our net may lack it.
    """

    kind: str
    theirs: str
    ours: tuple[str, ...]
    reads: str
    stride: int = 1
    pad: int = 0
    dilation: int = 1
    ceil: bool = False
    head: Head | None = None
    optional: bool = False


@dataclass(frozen=True)
class Image:
    """What their first convolution takes: pixels of 0–255, less `mean`, divided by `std`.

    Attributes:
        order: of the channels and of the next two: "RGB" or "BGR".
    """

    order: str
    mean: tuple[float, ...]
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Priors:
    """Prior boxes of one map, in pixels of the image.

    Attributes:
        layer: our PriorBox layer.
        fixed: whether the sizes are so in all files; the heads have them then.
    """

    layer: str
    min_size: float
    max_size: float
    step: float
    fixed: bool = False


@dataclass(frozen=True)
class Model:
    """A model of theirs.

    Attributes:
        name: for people.
        units: its layers.
        image: what it takes.
        joins: expressions of our Concat layers that bring the predictors together.
        priors: its prior boxes by default; what a state_dict does not hold.
        eps: of its norms.
        advice: which nets are the same, for whoever has another.
    """

    name: str
    units: tuple[Unit, ...]
    image: Image
    joins: tuple[str, ...] = ()
    priors: tuple[Priors, ...] = ()
    eps: float = 1e-5
    advice: str = ""


CODE_BASES: Registry[Callable[[], Iterable[Model]]] = Registry("map", "for the code base")
