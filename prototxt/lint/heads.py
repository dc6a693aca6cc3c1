"""Detection heads: do the predictions, the prior boxes and the class counts belong together?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from prototxt.lint.finding import ERROR, WARNING, Found, check
from prototxt.lint.net import FEEDS, Blob, Net, Node, origin, path_back

# Between a head's layer and what reads all heads; none of them changes the number of values.
_CARRY = frozenset(("Flatten", "Permute", "Reshape", "Sigmoid", "Softmax", "Split", "Transpose"))
_AFFINE = frozenset((*_CARRY, "BN", "BatchNorm", "Bias", "Dropout", "PReLU", "ReLU", "ReLU6", "Scale"))
_READERS = ("MultiBoxLoss", "DetectionOutput")


@dataclass(frozen=True, eq=False)
class Source:
    """One map with its priors and its predictions.

    Attributes:
        prior: the PriorBox layer; `boxes` are the priors it makes, `cells` those of its map.
        loc, conf: the layers that predict locations and scores.
        loc_values, conf_values: how many values they give for an image.
    """

    prior: Node
    loc: Node
    conf: Node
    cells: int
    loc_values: int
    conf_values: int

    @property
    def per_cell(self) -> int:
        return self.prior.p.per_cell

    @property
    def boxes(self) -> int:
        return self.cells * self.per_cell


@dataclass(frozen=True)
class Mismatch:
    """A finding of `check` at a layer; `reader` is the layer whose shapes it explains."""

    check: str
    found: Found
    reader: Node


def classes_of(reader: Node) -> int:
    """The classes of a MultiBoxLoss or DetectionOutput, background included."""
    return (reader.p.multibox_loss_param if reader.type == "MultiBoxLoss" else reader.p).num_classes


def _share_location(reader: Node) -> bool:
    return (reader.p.multibox_loss_param if reader.type == "MultiBoxLoss" else reader.p).share_location


def _parts(blob: Blob | None) -> list[Blob]:
    """What a Concat behind a blob joins, or the blob itself."""
    joined = origin(blob, _CARRY)
    if joined and joined.type == "Concat":
        return [part for part in joined.bottoms if part]
    return [blob] if blob else []


def _source(parts: tuple[Blob, Blob, Blob]) -> Source | None:
    """The map whose locations, scores and priors these blobs are; None when they are something else."""
    loc, conf, prior = (origin(blob, _AFFINE) for blob in parts)
    if not (loc and conf and prior) or prior.type != "PriorBox" or prior.p is None:
        return None
    map_shape = prior.bottom_shape(0)
    if map_shape is None or len(map_shape) != 4 or parts[0].shape is None or parts[1].shape is None:
        return None
    values = (prod(blob.shape[1:]) for blob in parts[:2])
    return Source(prior, loc, conf, map_shape[2] * map_shape[3], *values)


@lru_cache(maxsize=1)  # the checks of one net follow each other
def mismatches(net: Net) -> list[Mismatch]:
    """Everything that does not fit between the heads of a net and what reads them."""
    found = []
    for reader in net.of(*_READERS):
        if len(reader.bottoms) >= 3:
            found += _of_reader(reader)
    return found


def explained(net: Net) -> set[Node]:
    """Layers whose shapes cannot fit because of a mismatch that is reported where it arises."""
    return {node for m in mismatches(net) for node in (m.reader, m.found.at)}


def _of_reader(reader: Node) -> list[Mismatch]:
    parts = [_parts(blob) for blob in reader.bottoms[:3]]
    counts = [len(part) for part in parts]
    if len(set(counts)) > 1 and min(counts) > 1:
        reason = f"it gets locations from {counts[0]} heads, scores from {counts[1]}, priors from {counts[2]} layers"
        fix = "join one head of each kind and one PriorBox for each map, in one order"
        return [Mismatch("prior-count", Found(reader, reason, fix), reader)]
    sources = [_source(part) for part in zip(*parts)]
    if len(set(counts)) > 1 or None in sources:
        return []
    return [*_locations(reader, sources), *_scores(reader, sources)]


def _locations(reader: Node, sources: list[Source]) -> Iterator[Mismatch]:
    each = 4 if _share_location(reader) else 4 * classes_of(reader)
    for source in sources:
        if source.loc_values != source.boxes * each:
            yield _wrong_head(reader, source, source.loc, source.loc_values, each, "location values")


def _scores(reader: Node, sources: list[Source]) -> Iterator[Mismatch]:
    wanted = classes_of(reader)
    given = [s.conf_values / s.boxes for s in sources]
    common = int(given[0]) if len(set(given)) == 1 and given[0] == int(given[0]) else wanted
    if common != wanted:
        reason = f"num_classes is {wanted}, but its heads predict {common} scores a prior"
        yield Mismatch("class-count", Found(reader, reason, _classes_fix(common, wanted)), reader)
    for source in sources:
        if source.conf_values != source.boxes * common:
            yield _wrong_head(reader, source, source.conf, source.conf_values, common, "scores")
    for node, size in _class_axes(reader):
        if size != common:
            reason = f"it lines up {size} scores for a softmax, but the heads predict {common} a prior"
            yield Mismatch("class-count", Found(node, reason, f"the class axis must be {common}"), reader)


def _classes_fix(common: int, wanted: int) -> str:
    return f"num_classes: {common}, or heads with num_output: PRIORS * {wanted}"


def _wrong_head(reader: Node, source: Source, head: Node, values: int, each: int, what: str) -> Mismatch:
    priors = source.prior.name
    if values % source.cells:
        reason = f'its {values} {what} an image do not divide by the {source.cells} cells of PriorBox "{priors}"'
        fix = f'read the map that "{priors}" reads, or join both at the same place of their Concat'
    else:
        reason = (
            f"it predicts {values // source.cells} {what} a cell; "
            f'PriorBox "{priors}" asks for {source.per_cell} x {each}'
        )
        fix = f'num_output: {source.per_cell * each}, or other sizes and ratios in "{priors}"'
    return Mismatch("prior-count", Found(head, reason, fix), reader)


def _class_axes(reader: Node) -> Iterator[tuple[Node, int]]:
    """Layers that give scores a class axis on their way to a reader: a Softmax, or else the Reshape before it."""
    path = path_back(reader.bottoms[1], _CARRY)
    for i, node in enumerate(path):
        if node.type != "Softmax" or node.p is None:
            continue
        before = path[i + 1] if i + 1 < len(path) else None
        dims = before.p.shape.dim if before and before.type == "Reshape" and before.p is not None else []
        shape, axis = node.bottom_shape(0), node.p.axis
        is_fixed = bool(dims) and dims[-1] > 0
        if shape and -len(shape) <= axis < len(shape):
            yield before if is_fixed and axis in (-1, len(shape) - 1) else node, shape[axis]
        elif is_fixed:
            yield before, dims[-1]


@check("prior-count", ERROR, Net)
def prior_count(net: Net) -> Iterator[Found]:
    """A head predicts for another number of priors than its PriorBox makes: Caffe aborts, or mixes up the maps."""
    yield from dict.fromkeys(m.found for m in mismatches(net) if m.check == "prior-count")


@check("class-count", ERROR, Net)
def class_count(net: Net) -> Iterator[Found]:
    """Heads, losses, reshapes and outputs disagree on the number of classes: Caffe aborts, or mixes up the scores."""
    yield from dict.fromkeys(m.found for m in mismatches(net) if m.check == "class-count")
    for node in net.of("DetectionEvaluate"):
        output = origin(node.bottoms[0], frozenset()) if node.bottoms else None
        if output and output.type == "DetectionOutput" and output.p and output.p.num_classes != node.p.num_classes:
            reason = f'num_classes is {node.p.num_classes}, but that of "{output.name}" is {output.p.num_classes}'
            yield Found(node, reason, f"num_classes: {output.p.num_classes}")


@check("prior-step", WARNING, Net)
def prior_step(net: Net) -> Iterator[Found]:
    """A PriorBox's step does not match its map, so that priors lie beside the image or leave parts of it out.

    A map of N cells over an image of S pixels has the step S / N; what is rounded to N cells, up or down, matches.
    """
    for node in net.of("PriorBox"):
        maps, images = node.bottom_shape(0), node.bottom_shape(1)
        image_hw = node.p.image_hw or (images[2:] if images and len(images) == 4 else None)
        if node.p.step_hw is None or not maps or len(maps) != 4 or not image_hw:
            continue
        for side, cells, size, step in zip(("rows", "columns"), maps[2:], image_hw, node.p.step_hw):
            if abs(cells - size / step) >= 1:
                outside = sum((i + node.p.offset) * step > size for i in range(cells))
                covered = f"they cover {cells * step:g} pixels"
                reason = (
                    f"step {step:g} does not match its map of {cells} {side}: {size} / {step:g} = {size / step:.3g}; "
                    + (f"the centres of {outside} lie outside the image" if outside else covered)
                )
                yield Found(node, reason, f"step: {size / cells:g}, or leave it out")
                break


@check("prior-image", WARNING, Net)
def prior_image(net: Net) -> Iterator[Found]:
    """A PriorBox measures its boxes by something else than the net's image."""
    for node in net.of("PriorBox"):
        image = node.bottoms[1] if len(node.bottoms) == 2 else None
        if not image or not image.shape or len(image.shape) != 4:
            continue
        feed = image.maker
        while feed.in_place and feed.bottoms[0]:
            feed = feed.bottoms[0].maker
        hw = image.shape[2:]
        if feed.type not in FEEDS and node.p.image_hw is None:
            reason = f'its sizes are pixels of its second bottom, and "{image.name}" is no input of the net'
            yield Found(node, reason, "give the net's image as the second bottom")
        elif node.p.image_hw not in (None, hw):
            given = " x ".join(map(str, node.p.image_hw))
            reason = f'img_size is {given}, but the image "{image.name}" is {hw[0]} x {hw[1]}'
            yield Found(node, reason, "remove img_size, or correct it")


@check("prior-variance", WARNING, Net)
def prior_variance(net: Net) -> Iterator[Found]:
    """The PriorBox layers of one head differ in their variances: the same offset means another box on each map."""
    for reader in net.of(*_READERS):
        priors = [origin(blob, _CARRY) for blob in _parts(reader.bottoms[2])] if len(reader.bottoms) > 2 else []
        priors = [prior for prior in priors if prior and prior.type == "PriorBox" and prior.p is not None]
        usual = Counter(prior.p.variances for prior in priors).most_common(1)
        for prior in priors:
            if prior.p.variances != usual[0][0]:
                mine, theirs = (", ".join(f"{v:g}" for v in each) for each in (prior.p.variances, usual[0][0]))
                yield Found(prior, f"its variances are {mine}; those of the other maps are {theirs}", "make them alike")
