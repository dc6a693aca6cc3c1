"""BatchNorm, Scale, Bias and BN taken into the layers beside them, where the net then computes the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from converters.affine import AFFINE, TAKE_NEXT, TAKE_PREVIOUS, Blobs, affine_of, compose, takes_shift
from converters.caffemodel import Weights
from prototxt.graph import Graph, Layer
from prototxt.io import NetFile
from prototxt.params import parameter_field
from prototxt.phase import kept
from prototxt.schema import LayerParameter, NetParameter, parameters


@dataclass
class Folded:
    """A net with fewer layers that computes the same up to the rounding of float32.

    Attributes:
        graph, weights: the net.
        into: folded layer -> the layer that took it in.
        kept: layer of an affine type that stays -> why.
    """

    graph: Graph
    weights: Weights
    into: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """What happened, a line for each kind of outcome."""
        if not self.into and not self.kept:
            return []
        joined = sum(into in self.kept for into in self.into.values())
        taken = f"folded {len(self.into) - joined} of {len(self.into) + len(self.kept)} BatchNorm, Scale, Bias and BN"
        taken += f" layers into others, and joined {joined} to the one before" if joined else " layers into others"
        reasons = Counter(self.kept.values()).most_common()
        first = {reason: next(name for name, why in self.kept.items() if why == reason) for reason, _ in reasons}
        return [taken, *(f"{count} stay, such as {first[reason]}: {reason}" for reason, count in reasons)]


def fold(graph: Graph, weights: Mapping[str, Blobs]) -> Folded:
    """Fold what is affine by channel into the convolution, deconvolution or inner product before it or after it.

    Into a layer after it goes a shift only where no padding is: the padding's zeros would not be shifted. Two affine
    layers in a row that cannot be folded, such as BatchNorm and Scale before a ReLU, become one Scale. Nothing is
    folded into a blob that another layer or the user sees, nor into blobs that layers share.

    Args:
        graph: a net of phase TEST. It is not changed.
        weights: layer name -> blobs. They are not changed.
    """
    folding = _Folding(graph, weights)
    for index in range(len(graph.layers)):
        folding.fold_back(index)
    for index in range(len(graph.layers)):
        folding.fold_forward(index)
    return folding.result()


class _Folding:
    """The net in the making. A value is (blob, how often it was made before), as layers change blobs in place."""

    def __init__(self, graph: Graph, weights: Mapping[str, Blobs]) -> None:
        self.graph, self.weights, self.path = graph, dict(weights), getattr(weights, "path", "")
        self.layers = list(graph.layers)
        self.protos = [layer.proto for layer in graph.layers]
        self.into: dict[int, int] = {}
        self.kept: dict[int, str] = {}
        self.affine = [affine_of(layer, self.blobs(layer)) for layer in self.layers]
        self._wire()

    def blobs(self, layer: Layer) -> list[np.ndarray]:
        """A layer's blobs, in the shapes that the graph gives them."""
        return [blob.reshape(s) for blob, s in zip(self.weights.get(layer.name, ()), layer.blob_shapes)]

    def _wire(self) -> None:
        """Who makes and who reads each value."""
        count: Counter[str] = Counter()
        self.maker: dict[tuple[str, int], int] = {}
        self.readers: dict[tuple[str, int], list[int]] = {}
        self.read: list[list[tuple[str, int]]] = []
        self.made: list[list[tuple[str, int]]] = []
        for index, layer in enumerate(self.layers):
            self.read.append([(name, count[name]) for name in layer.bottoms])
            for value in self.read[index]:
                self.readers.setdefault(value, []).append(index)
            count.update(layer.tops)
            self.made.append([(name, count[name]) for name in layer.tops])
            self.maker |= {value: index for value in self.made[index]}

    def _readers(self, value: tuple[str, int], index: int) -> list[int]:
        """The layers that read a value which affine layer `index` reads or makes."""
        is_in_place = self.read[index][0][0] == self.made[index][0][0]
        readers = self.readers.get(value, [])
        # A PriorBox reads but the shape, and finds it under the same name when a layer in place is gone.
        return [i for i in readers if not (is_in_place and self.layers[i].type == "PriorBox")]

    def fold_back(self, index: int) -> None:
        """Fold an affine layer into the one that makes its bottom, or leave the reason."""
        if self.affine[index] is None:
            if self.layers[index].type in AFFINE:
                self.kept[index] = "what it computes is not one factor and one shift for each channel"
            return
        (value,) = self.read[index]
        before = self.maker[value]
        obstacle = self._obstacle_before(index, value, before)
        if obstacle:
            self.kept[index] = obstacle
        else:
            self._take_in_before(index, before)

    def _obstacle_before(self, index: int, value: tuple[str, int], before: int) -> str:
        """Why an affine layer cannot go into the layer that makes its bottom; empty when it can."""
        layer = self.layers[before]
        if self.affine[before] is None and layer.type not in TAKE_NEXT:
            return f"it comes after {_a(layer)}, not a convolution"
        if len(self._readers(value, index)) > 1:
            return "another layer reads the blob before it, too"
        if len(layer.bottoms) > 1 or any(_shares(self.layers[i]) for i in (index, before)):
            return "blobs are shared between layers"
        if layer.type == "InnerProduct" and len(layer.top_shapes[0]) != 2:
            return "its channels are not the outputs of the layer before"
        return ""

    def _take_in_before(self, index: int, before: int) -> None:
        layer, proto = self.layers[before], _copy(self.protos[before])
        if self.affine[before] is not None:
            self.affine[before] = compose(self.affine[before], self.affine[index])
            proto = _scale_proto(proto)
            self.weights[layer.name] = self.affine[before].blobs()
        else:
            self.weights[layer.name] = TAKE_NEXT[layer.type](layer, self.blobs(layer), self.affine[index])
            _give_bias(proto)
        proto.top[:] = self.protos[index].top
        self._drop(index, before, proto)
        # From here on the earlier layer makes what the later one made.
        self.made[before] = self.made[index]
        self.maker[self.made[index][0]] = before
        self.layers[before] = replace(layer, proto=proto, blob_shapes=tuple(b.shape for b in self.weights[layer.name]))

    def _drop(self, index: int, other: int, proto: LayerParameter) -> None:
        self.protos[other] = proto
        self.affine[index] = None
        self.kept.pop(index, None)
        self.into[index] = other
        self.weights.pop(self.layers[index].name, None)

    def fold_forward(self, index: int) -> None:
        """Fold an affine layer that is left into the only one that reads its top, or add the reason."""
        if self.affine[index] is None:
            return
        (value,) = self.made[index]
        readers = self._readers(value, index)
        obstacle = self._obstacle_after(index, readers)
        if obstacle:
            self.kept[index] = f"{self.kept[index]}; {obstacle}"
        else:
            self._take_in_after(index, readers[0])

    def _obstacle_after(self, index: int, readers: Sequence[int]) -> str:
        """Why an affine layer cannot go into the layer that reads its top; empty when it can."""
        if len(readers) != 1:
            return f"{len(readers)} layers read its blob" if readers else "its blob is an output"
        after, (bottom,) = self.layers[readers[0]], self.read[index]
        if after.type not in TAKE_PREVIOUS:
            return f"it comes before {_a(after)}, not a convolution"
        if len(after.bottoms) > 1 or any(_shares(layer) for layer in (self.layers[index], after)):
            return "blobs are shared between layers"
        if after.type == "InnerProduct" and after.p.axis % len(after.bottom_shapes[0]) != 1:
            return "the layer after it does not begin with its channels"
        if self.affine[index].shift.any() and not takes_shift(after):
            return "the layer after it pads with zeros, which would not be shifted"
        name, count = bottom
        if self.made[index][0][0] != name and any(
            (name, count + 1) in made for made in self.made[index : readers[0] + 1]
        ):
            return "the blob before it is overwritten before it is used"
        return ""

    def _take_in_after(self, index: int, after: int) -> None:
        layer, proto, affine = self.layers[after], _copy(self.protos[after]), self.affine[index]
        self.weights[layer.name] = TAKE_PREVIOUS[layer.type](layer, self.blobs(layer), affine)
        if affine.shift.any():
            _give_bias(proto)
        proto.bottom[:] = self.protos[index].bottom
        self._drop(index, after, proto)
        self.layers[after] = replace(layer, proto=proto, blob_shapes=tuple(b.shape for b in self.weights[layer.name]))

    def result(self) -> Folded:
        old, state = self.graph.net, self.graph.state
        left = [i for i in range(len(self.layers)) if i not in self.into]
        message = NetParameter(name=old.message.name)
        message.layer.extend(self.protos[i] for i in left)
        places = list(kept(old.message.layer, state))
        origins = [("layer", places[i]) if old.origins is None else old.origins[places[i]] for i in left]
        net = NetFile(message, old.path, old.lines, origins)
        names = [layer.name for layer in self.layers]
        return Folded(
            Graph(net, state.phase, state.level, state.stages, self.graph.inputs),
            Weights(self.weights, self.path),
            {names[i]: names[self._last(i)] for i in sorted(self.into)},
            {names[i]: reason for i, reason in sorted(self.kept.items())},
        )

    def _last(self, index: int) -> int:
        """The layer that a folded one is in, at the end of all foldings."""
        while index in self.into:
            index = self.into[index]
        return index


def _a(layer: Layer) -> str:
    return f"{'an' if layer.type[0] in 'AEIOU' else 'a'} {layer.type} layer"


def _shares(layer: Layer) -> bool:
    return any(param.name for param in layer.proto.param)


def _copy(proto: LayerParameter) -> LayerParameter:
    copy = LayerParameter()
    copy.CopyFrom(proto)
    return copy


def _give_bias(proto: LayerParameter) -> None:
    """Leave a layer its bias, which is the default."""
    parameters(proto, parameter_field(proto.type)).ClearField("bias_term")


def _scale_proto(proto: LayerParameter) -> LayerParameter:
    """A Scale layer in the place of an affine one."""
    rules = {name: getattr(proto, name) for name in ("include", "exclude")}
    scale = LayerParameter(name=proto.name, type="Scale", bottom=proto.bottom, top=proto.top, **rules)
    scale.scale_param.bias_term = True
    return scale
