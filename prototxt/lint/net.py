"""A net as the checks see it: wired and measured as far as possible, every value with its maker and its readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prototxt.errors import UserError, UserErrors
from prototxt.files import is_file
from prototxt.graph import Graph, Layer
from prototxt.io import NetFile, net_file
from prototxt.params import ParamError, resolve
from prototxt.phase import NetState, kept
from prototxt.shapes import SHAPES, SOURCES, Shape
from prototxt.text import Path as FieldPath

# Types of Caffe, SSD-Caffe and RefineDet-Caffe: what has no shape rule here need not be wrong.
CAFFE_TYPES = (
    {*SHAPES, "BatchReindex", "ContrastiveLoss", "Data", "DummyData", "Embed", "Filter", "HDF5Data", "HDF5Output"}
    | {"Im2col", "ImageData", "InfogainLoss", "LSTM", "LSTMUnit", "MemoryData", "MultinomialLogisticLoss", "Parameter"}
    | {"Python", "RNN", "SPP", "Silence", "VideoData", "WindowData"}
)
# Convolution under the names of Caffe and its forks.
CONVOLUTIONS = ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution")
# Layers whose tops come from outside the net, those without a shape rule included.
FEEDS = frozenset((*SOURCES, "Data", "HDF5Data", "ImageData", "MemoryData", "VideoData", "WindowData"))


@dataclass
class WrittenNet(NetFile):
    """A net as read, with what the upgrade to today's schema overwrites.

    Attributes:
        norm_mults: by the path of each BatchNorm in the file, the `lr_mult` of its `param`.
    """

    norm_mults: dict[FieldPath, list[float]] = field(default_factory=dict)


def written_net(message: Any, path: str, lines: dict[FieldPath, int] | None = None) -> WrittenNet:
    """A WrittenNet of a NetParameter that is not upgraded yet. Raises UserError when it cannot be."""
    norms = {i: layer.param for i, layer in enumerate(message.layer) if layer.type == "BatchNorm"}
    mults: dict[FieldPath, list[float]] = {("layer", i): [spec.lr_mult for spec in specs] for i, specs in norms.items()}
    net = net_file(message, path, lines)
    return WrittenNet(net.message, net.path, net.lines, net.origins, mults)


@dataclass(eq=False)
class Blob:
    """One value of a net. A layer in place makes a new one of the same name.

    Attributes:
        maker, index: the layer that makes it, as its top number `index`.
        shape: None when it could not be worked out.
        readers: the layers that read this value, and as which of their bottoms.
    """

    name: str
    maker: Node
    index: int
    shape: Shape | None
    readers: list[tuple[Node, int]] = field(default_factory=list)


@dataclass(eq=False)
class Node:
    """A layer between its blobs; a bottom is None where no layer makes it.

    Attributes:
        norm_mults: of a BatchNorm, the `lr_mult` of its `param` as the file has them.
    """

    layer: Layer
    norm_mults: list[float]
    bottoms: list[Blob | None] = field(default_factory=list)
    tops: list[Blob] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def type(self) -> str:
        return self.layer.type

    @property
    def where(self) -> str:
        return self.layer.where

    @property
    def proto(self) -> Any:
        return self.layer.proto

    @property
    def p(self) -> Any:
        """Its resolved parameters; None when they contradict each other."""
        return self.layer.p

    @property
    def in_place(self) -> bool:
        return any(bottom == top for bottom, top in zip(self.layer.bottoms, self.layer.tops))

    def loss_weight(self, index: int) -> float:
        """The weight of a top in the loss: by default 1 for the first of a loss, 0 for all others."""
        if index < len(self.proto.loss_weight):
            return self.proto.loss_weight[index]
        return float(self.type.endswith("Loss") and index == 0 and not self.proto.loss_weight)

    def bottom_shape(self, index: int) -> Shape | None:
        blob = self.bottoms[index] if index < len(self.bottoms) else None
        return blob.shape if blob else None


class _Draft(Graph):
    """A graph that goes on behind a mistake: `wiring` and `unfit` hold what Graph would have raised."""

    def __init__(self, net: NetFile, state: NetState) -> None:
        self.wiring: list[UserError] = []
        self.unfit: list[tuple[Layer, UserError]] = []
        super().__init__(net, state.phase, state.level, state.stages)

    def _wire(self) -> list[str]:
        try:
            return super()._wire()
        except UserErrors as errors:
            self.wiring = errors.errors
        except UserError as error:
            self.wiring = [error]
        return []

    def _infer(self, input_shapes: Mapping[str, Shape]) -> None:
        for layer in self.layers:
            try:
                self._infer_layer(layer)
            except UserError as error:
                self.unfit.append((layer, error))
                layer.top_shapes = ()
            for top in layer.tops:
                self.shapes.pop(top, None)
            self.shapes |= dict(zip(layer.tops, layer.top_shapes))

    def _infer_layer(self, layer: Layer) -> None:
        bottoms = [self.shapes.get(name) for name in layer.bottoms]
        if None not in bottoms:
            layer.infer(bottoms)
            if layer.type in SOURCES:
                self._check_input(layer)
        elif layer.type in SHAPES:
            try:
                layer.p = resolve(layer.proto)
            except ParamError as error:
                raise layer.error(str(error)) from error
        else:
            raise layer.error("unknown type")


class Net:
    """A net in one state.

    Attributes:
        file: the file it was read from.
        phase: TRAIN or TEST.
        nodes: its layers in file order.
        wiring: errors of bottoms that nobody makes and of tops made twice.
        unfit: layers whose parameters or bottoms do not fit, with the error.
    """

    def __init__(self, file: WrittenNet, state: NetState) -> None:
        draft = _Draft(file, state)
        self.file, self.phase = file, draft.phase
        self.wiring = [(_layer_of(error, draft.layers), error) for error in draft.wiring]
        self.nodes: list[Node] = []
        last: dict[str, Blob] = {}
        for layer, at in zip(draft.layers, kept(file.message.layer, state)):
            mults = file.norm_mults.get(file.origins[at], [])
            node = Node(layer, mults, [last.get(name) for name in layer.bottoms])
            for index, blob in enumerate(node.bottoms):
                if blob:
                    blob.readers.append((node, index))
            shapes = layer.top_shapes if len(layer.top_shapes) == len(layer.tops) else (None,) * len(layer.tops)
            node.tops = [Blob(name, node, i, shape) for i, (name, shape) in enumerate(zip(layer.tops, shapes))]
            last |= {blob.name: blob for blob in node.tops}
            self.nodes.append(node)
        by_layer = {id(node.layer): node for node in self.nodes}
        self.unfit = [(by_layer[id(layer)], error) for layer, error in draft.unfit]

    def of(self, *types: str) -> Iterator[Node]:
        """Its layers of these types whose parameters could be resolved."""
        return (node for node in self.nodes if node.type in types and node.p is not None)

    @property
    def has_loss(self) -> bool:
        return any(node.loss_weight(i) for node in self.nodes for i in range(len(node.layer.tops)))


def sentence(layer: Any, error: UserError) -> str:
    """What an error says about a layer, without the layer's name in front."""
    found = error.found.removeprefix(f'layer "{layer.name}" ({layer.type}): ') if layer else error.found
    return f"{found}; expected {error.expected}" if error.expected else found


def _layer_of(error: UserError, layers: list[Layer]) -> Layer | None:
    at = (layer for layer in layers if layer.where == error.where)
    return next((layer for layer in at if error.found.startswith(f'layer "{layer.name}" ({layer.type}): ')), None)


def find(name: str, beside: str) -> Path | None:
    """A file that a net or a solver names: from the current folder, as in Caffe, or else from its own folder."""
    return next((path for path in (Path(name), Path(beside).parent / name) if is_file(path)), None)


def origin(blob: Blob | None, through: frozenset[str]) -> Node | None:
    """The maker of a blob, behind layers of the types in `through`, of which only the first bottom counts."""
    while blob and blob.maker.type in through and blob.maker.bottoms:
        blob = blob.maker.bottoms[0]
    return blob.maker if blob else None


def path_back(blob: Blob | None, through: frozenset[str]) -> list[Node]:
    """Those layers themselves, the last first."""
    path = []
    while blob and blob.maker.type in through and blob.maker.bottoms:
        path.append(blob.maker)
        blob = blob.maker.bottoms[0]
    return path
