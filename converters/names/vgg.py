"""SSD with VGG-16 (Liu et al., SSD, ECCV 2016), whose layers all code bases order alike and name apart.

Ours are the names of SSD's Caffe release: `conv1_1` … `conv5_3`, `fc6`, `fc7`, `conv6_1` … and the predictors
`conv4_3_norm_mbox_loc`, `fc7_mbox_loc` …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from converters.names.table import MAX, MIN, BoxOrder, Head, Image, Model, Priors, Unit
from converters.names.wiring import IMAGE, joined, pooled, relu

_STAGES = (2, 2, 3, 3, 3)
VARIANCES = (0.1, 0.1, 0.2, 0.2)
# Min and max sizes, steps, of the six or seven maps, by the image's side.
COCO_PRIORS = {
    300: ((21, 45, 8), (45, 99, 16), (99, 153, 32), (153, 207, 64), (207, 261, 100), (261, 315, 300)),
    512: (
        (20, 51, 8),
        (51, 133, 16),
        (133, 215, 32),
        (215, 296, 64),
        (296, 378, 128),
        (378, 460, 256),
        (460, 542, 512),
    ),
}
_TWO: BoxOrder = (MIN, MAX, 2.0, 1 / 2)
_THREE: BoxOrder = (*_TWO, 3.0, 1 / 3)
BOXES = {300: (_TWO, _THREE, _THREE, _THREE, _TWO, _TWO), 512: (_TWO, *(_THREE,) * 4, _TWO, _TWO)}
# Stride and pad of the second convolution of each pair of extra layers.
_EXTRAS = {300: ((2, 1), (2, 1), (1, 0), (1, 0)), 512: (*((2, 1),) * 4, (1, 1))}


@dataclass(frozen=True)
class Keys:
    """What the keys of an SSD of a code base begin with.

    Attributes:
        convs: of the thirteen convolutions of VGG-16, fc6 and fc7.
        norm: of conv4_3's factors.
        extras: of pairs of extra layers.
        loc, conf: of a map's predictors, with a place for its number.
    """

    convs: Sequence[str]
    norm: str
    extras: Sequence[tuple[str, str]]
    loc: str
    conf: str


@dataclass(frozen=True)
class Ways:
    """What an SSD of a code base does in its own way.

    Attributes:
        ceil: the pooling layers (1–4) whose maps are rounded up.
        background: "first" or "last" of the classes.
        frame: of the prior boxes (`converters.names.table.Head`).
        fixed: whether their sizes are always the same.
    """

    image: Image
    ceil: Sequence[int]
    background: str
    frame: str = ""
    fixed: bool = False


def ssd(name: str, side: int, keys: Keys, ways: Ways) -> Model:
    """The map of an SSD for images of `side` x `side` pixels."""
    units, sources = _body(side, keys, ways)
    heads = {"loc": [], "conf": []}
    for i, (source, blob) in enumerate(sources):
        head = Head(f"{source}_mbox_priorbox", BOXES[side][i], frame=ways.frame)
        if ways.fixed:
            head = replace(head, sizes=COCO_PRIORS[side][i][:2])
        loc, conf = keys.loc.format(i), keys.conf.format(i)
        offsets = replace(head, variances=VARIANCES)
        units.append(Unit("conv", loc, (f"{source}_mbox_loc",), blob, pad=1, head=offsets))
        scores = replace(head, background=ways.background)
        units.append(Unit("conv", conf, (f"{source}_mbox_conf",), blob, pad=1, head=scores))
        heads["loc"].append(loc)
        heads["conf"].append(conf)
    sizes = zip(sources, COCO_PRIORS[side])
    priors = [Priors(f"{source}_mbox_priorbox", *size, ways.fixed) for (source, _), size in sizes]
    return Model(name, tuple(units), ways.image, tuple(joined(heads[kind]) for kind in heads), tuple(priors))


def _body(side: int, keys: Keys, ways: Ways) -> tuple[list[Unit], list[tuple[str, str]]]:
    """The layers but for the predictors; the name that each map's predictors begin with, and what they read."""
    units: list[Unit] = []
    convs = iter(keys.convs)
    blob, ceil, sources = IMAGE, False, []
    for stage, count in enumerate(_STAGES, start=1):
        for number in range(1, count + 1):
            units.append(Unit("conv", next(convs), (f"conv{stage}_{number}",), blob, pad=1, ceil=ceil))
            blob, ceil = relu(units[-1].theirs), False
        if stage == 4:
            units.append(Unit("factors", keys.norm, ("conv4_3_norm",), blob))
            sources.append(("conv4_3_norm", keys.norm))
        blob, ceil = pooled(2, 2, 0, blob) if stage < 5 else pooled(3, 1, 1, blob), stage in ways.ceil
    units.append(Unit("conv", next(convs), ("fc6",), blob, pad=6, dilation=6))
    units.append(Unit("conv", next(convs), ("fc7",), relu(units[-1].theirs)))
    blob = relu(units[-1].theirs)
    sources.append(("fc7", blob))
    for number, (pair, (stride, pad)) in enumerate(zip(keys.extras, _EXTRAS[side]), start=6):
        units.append(Unit("conv", pair[0], (f"conv{number}_1",), blob))
        second = Unit("conv", pair[1], (f"conv{number}_2",), relu(pair[0]), stride=stride, pad=pad)
        units.append(second)
        blob = relu(pair[1])
        sources.append((f"conv{number}_2", blob))
    return units, sources
