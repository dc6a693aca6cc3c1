"""A prototxt as a PyTorch module: Caffe's layers by their names, blobs of Caffe's shapes, Caffe's numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from converters.caffemodel import check
from converters.pytorch.fillers import blob_filler, fill
from converters.pytorch.layers import MODULES, CaffeLayer, Compute
from converters.pytorch.slots import slots
from prototxt.errors import UserError, UserErrors
from prototxt.graph import Graph, Layer
from prototxt.memory import require_memory
from prototxt.shapes import SOURCES
from prototxt.summary import weight_bytes

_NO_MEMORY = re.compile(r"allocate memory|out of memory|size calculation overflowed")  # what PyTorch says
Watch = Callable[[Layer, "tuple[Tensor, ...]"], None]


@dataclass(frozen=True)
class Blob:
    """A learned blob or a statistic (BatchNorm's, whose `lr_mult` is 0).

    Attributes:
        layer, index: the layer that owns it and its place among that layer's blobs.
        tensor: the value itself, not a copy.
        lr_mult, decay_mult: factors of the solver's learning rate and weight decay.
    """

    layer: str
    index: int
    tensor: Tensor
    lr_mult: float
    decay_mult: float


class CaffeNet(nn.Module):
    """The net of `graph`.

    Whether BatchNorm and Dropout train is decided by the graph's phase; `train()` and `eval()` change nothing.
    As in Caffe, blobs with `lr_mult: 0` get no gradient, nor does what lies behind a `propagate_down: false`.

    Args:
        graph: the net.
        weights: layer name -> blobs, for some of the layers or all; the others keep what their fillers give.
        seed: of the fillers; None draws one.

    Raises:
        UserErrors: layer types or parameters that have no PyTorch form: all of them.
        UserError: shared blobs that differ, a filler that is not known, weights of another shape.
    """

    def __init__(
        self, graph: Graph, weights: Mapping[str, Sequence[np.ndarray]] | None = None, seed: int | None = None
    ) -> None:
        super().__init__()
        self.graph = graph
        _check_names(graph)
        require_memory(weight_bytes(graph), "its weights", where=graph.net.path)
        self._steps = [(layer, compute) for layer, compute in zip(graph.layers, _computes(graph)) if compute]
        self._last_reader = {name: i for i, (layer, _) in enumerate(self._steps) for name in layer.bottoms}
        self._slots = slots((layer, compute) for layer, compute in self._steps if isinstance(compute, CaffeLayer))
        for layer, compute in self._steps:
            if isinstance(compute, nn.Module):
                self.add_module(self._module_name(layer.name), compute)
        self._fill(seed)
        self._share()
        for slot in self._slots:
            slot.tensor.requires_grad_(slot.owner.lr_mult != 0)
        if weights is not None:
            self.load(weights)

    def _module_name(self, name: str) -> str:
        """A layer's name as PyTorch allows it: without dots (they part the keys of a state_dict), and only once."""
        plain = name.replace(".", "_") or "layer"
        unique, count = plain, 1
        while hasattr(self, unique):
            count += 1
            unique = f"{plain}_{count}"
        return unique

    @torch.no_grad()
    def _fill(self, seed: int | None) -> None:
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        for slot in self._slots:
            if slot.learned:
                fill(slot.tensor, blob_filler(slot.layer, slot.filler_field), generator, slot.layer)

    def _share(self) -> None:
        for slot in self._slots:
            slot.share()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CaffeNet:
        super()._apply(fn, recurse)
        self._share()  # moving a module to another device or type gives each of its buffers a tensor of its own
        return self

    def forward(
        self, inputs: Mapping[str, Tensor], keep: Iterable[str] = (), watch: Watch | None = None
    ) -> dict[str, Tensor]:
        """Compute the net.

        Args:
            inputs: every blob of `graph.inputs`; the batch, and the rows of a label blob, may differ from the graph's.
            keep: blobs to give back besides the outputs, with the value of the last layer that made them.
            watch: called after each layer with it and its tops, so that what later layers change in place is seen, too.

        Returns:
            The graph's outputs and the blobs of `keep`, by name.

        Raises:
            UserError: an input is missing, a blob of `keep` does not exist, or there is too little memory.
        """
        wanted = dict.fromkeys([*self.graph.outputs, *keep])
        self._check(inputs, wanted)
        blobs = {name: inputs[name] for name in self.graph.inputs}
        for i, (layer, compute) in enumerate(self._steps):
            try:
                tops = compute(*self._bottoms(layer, blobs))
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
                    raise layer.error("there is not as much memory as it takes") from error
                raise
            tops = tops if isinstance(tops, tuple) else (tops,)
            blobs.update(zip(layer.tops, tops))
            if watch is not None:
                watch(layer, tops)
            for name in layer.bottoms:  # nobody reads it again: its memory can go
                if self._last_reader[name] == i and name not in wanted and name not in layer.tops:
                    blobs.pop(name, None)
        return {name: blobs[name] for name in wanted}

    def _bottoms(self, layer: Layer, blobs: Mapping[str, Tensor]) -> list[Tensor]:
        bottoms = [blobs[name] for name in layer.bottoms]
        if layer.proto.propagate_down and not self.graph.net.message.force_backward:
            return [b if down else b.detach() for b, down in zip(bottoms, layer.proto.propagate_down)]
        return bottoms

    def _check(self, inputs: Mapping[str, Tensor], wanted: Iterable[str]) -> None:
        missing = [name for name in self.graph.inputs if name not in inputs]
        unknown = [name for name in wanted if name not in self.graph.shapes]
        if missing or unknown:
            what = f'input "{missing[0]}" is not given' if missing else f'there is no blob "{unknown[0]}"'
            raise UserError(what, where=self.graph.net.path)

    @cached_property
    def loss_weights(self) -> dict[str, float]:
        """The blobs that training lowers, each with its `loss_weight`; the first top of a …Loss layer has 1 unasked.

        Raises:
            UserError: a later layer computes one of them in place, so that its own value is lost.
        """
        found: dict[str, float] = {}
        for layer in self.graph.layers:
            if lost := [top for top in layer.tops if top in found]:
                raise layer.error(
                    f'it overwrites "{lost[0]}", which has a loss_weight', fix="give its top another name"
                )
            weights = layer.proto.loss_weight or [float(layer.type.endswith("Loss"))]
            found.update((top, weight) for top, weight in zip(layer.tops, weights) if weight)
        return found

    def loss(self, tops: Mapping[str, Tensor]) -> Tensor:
        """What training lowers, a scalar: the sum of each blob of `loss_weights` times its weight.

        Args:
            tops: what `forward` gave; a loss that another layer reads is in it only when it was to be kept.

        Raises:
            UserError: one is missing there.
        """
        if missing := [name for name in self.loss_weights if name not in tops]:
            raise UserError(
                f'"{missing[0]}" has a loss_weight but is not given',
                where=self.graph.net.path,
                fix="run the net with `keep=net.loss_weights`",
            )
        return sum((weight * tops[name].sum() for name, weight in self.loss_weights.items()), torch.zeros(()))

    def blobs(self) -> list[Blob]:
        """Every blob in Caffe's order; one that is shared stands at its owner alone."""
        return [
            Blob(slot.layer.name, slot.index, slot.tensor, slot.lr_mult, slot.decay_mult)
            for slot in self._slots
            if slot.owner is slot
        ]

    def weights(self) -> dict[str, list[np.ndarray]]:
        """Layer name -> blobs, bit for bit, as a caffemodel holds them; shared blobs stand at each of their layers."""
        found: dict[str, list[np.ndarray]] = {}
        for slot in self._slots:
            found.setdefault(slot.layer.name, []).append(slot.tensor.detach().cpu().numpy().copy())
        return found

    @torch.no_grad()
    def load(self, weights: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Copy in the blobs of the layers that `weights` names; the other layers stay as they are.

        Raises:
            UserErrors: every blob of another shape, with its layer and both shapes.
        """
        check(self.graph, weights)
        for slot in self._slots:
            if slot.layer.name in weights:
                array = np.array(weights[slot.layer.name][slot.index])  # a copy: those of a file are read-only
                slot.tensor.copy_(torch.from_numpy(array).reshape(slot.tensor.shape))


def _check_names(graph: Graph) -> None:
    """Raise UserError when two layers with blobs have one name: their weights could not be told apart."""
    first: dict[str, Layer] = {}
    for layer in graph.layers:
        if layer.blob_shapes and first.setdefault(layer.name, layer) is not layer:
            raise layer.error(
                f"another layer with weights has this name ({first[layer.name].where})",
                fix="rename one of the two; to share weights, give both the same `param { name }`",
            )


def _computes(graph: Graph) -> list[Compute | None]:
    """What computes each layer; None for those that are fed from outside."""
    computes: list[Compute | None] = []
    errors = []
    for layer in graph.layers:
        try:
            _check_counts(layer)
            if layer.type not in MODULES and layer.type not in SOURCES:
                raise layer.error("this layer type has no PyTorch form")
            computes.append(None if layer.type in SOURCES else MODULES[layer.type](layer))
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    return computes


def _check_counts(layer: Layer) -> None:
    """Raise UserError where Caffe aborts: fields that go with the tops or bottoms but are not as many."""
    for field, kind, things in (("loss_weight", "top", layer.tops), ("propagate_down", "bottom", layer.bottoms)):
        count = len(getattr(layer.proto, field))
        if count not in (0, len(things)):
            raise layer.error(f"{count} {field} for {len(things)} {kind}s", expected=f"none, or one for each {kind}")
