"""A prototxt as a PyTorch module: Caffe's layers by their names, blobs of Caffe's shapes, Caffe's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from converters.caffemodel import check
from converters.pytorch.fillers import blob_filler, fill
from converters.pytorch.layers import MODULES, CaffeLayer
from prototxt.errors import UserError, UserErrors
from prototxt.graph import Graph, Layer
from prototxt.shapes import SOURCES


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

    Args:
        graph: the net.
        weights: layer name -> blobs, for some of the layers or all; the others keep what their fillers give.
        seed: of the fillers; None draws one.

    Raises:
        UserErrors: layer types or parameters that have no PyTorch form: all of them.
        UserError: weights of another shape.
    """

    def __init__(
        self, graph: Graph, weights: Mapping[str, Sequence[np.ndarray]] | None = None, seed: int | None = None
    ) -> None:
        super().__init__()
        self.graph = graph
        self._steps = [(layer, compute) for layer, compute in zip(graph.layers, _computes(graph)) if compute]
        taken: set[str] = set()
        for layer, compute in self._steps:
            if isinstance(compute, nn.Module):
                self.add_module(_module_name(layer.name, taken), compute)
        self._fill(seed)
        self._owners = self._share()
        self._last_reader = {name: i for i, (layer, _) in enumerate(self._steps) for name in layer.bottoms}
        if weights is not None:
            self.load(weights)

    def _blob_layers(self) -> list[tuple[Layer, CaffeLayer]]:
        return [(layer, compute) for layer, compute in self._steps if isinstance(compute, CaffeLayer)]

    @torch.no_grad()
    def _fill(self, seed: int | None) -> None:
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        for layer, module in self._blob_layers():
            for field, (_, blob) in zip(module.filler_fields, module.blobs()):
                fill(blob, blob_filler(layer, field), generator, layer)

    def _share(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Let blobs of one `param { name }` be one tensor, the first layer's; (layer, index) of each of the later
        ones -> its owner."""
        first: dict[str, tuple[Layer, int, Tensor]] = {}
        owners = {}
        for layer, module in self._blob_layers():
            for i, (attribute, blob) in enumerate(module.blobs()):
                name = layer.proto.param[i].name if i < len(layer.proto.param) else ""
                if not name:
                    continue
                owner, index, shared = first.setdefault(name, (layer, i, blob))
                if shared.shape != blob.shape:
                    raise layer.error(
                        f'blob {i} is shared as "{name}" but has the shape {tuple(blob.shape)}',
                        expected=f'{tuple(shared.shape)}, that of layer "{owner.name}" ({owner.where})',
                    )
                if shared is not blob:
                    setattr(module, attribute, shared)
                    owners[layer.name, i] = owner.name, index
        return owners

    def forward(self, inputs: Mapping[str, Tensor], keep: Iterable[str] = ()) -> dict[str, Tensor]:
        """Compute the net.

        Args:
            inputs: every blob of `graph.inputs`; the batch, and the rows of a label blob, may differ from the graph's.
            keep: blobs to give back besides the outputs, with the value of the last layer that made them.

        Returns:
            The graph's outputs and the blobs of `keep`, by name.

        Raises:
            UserError: an input is missing, or a blob of `keep` does not exist.
        """
        wanted = dict.fromkeys([*self.graph.outputs, *keep])
        self._check(inputs, wanted)
        blobs = {name: inputs[name] for name in self.graph.inputs}
        for i, (layer, compute) in enumerate(self._steps):
            tops = compute(*[blobs[name] for name in layer.bottoms])
            blobs.update(zip(layer.tops, tops if isinstance(tops, tuple) else (tops,)))
            for name in layer.bottoms:  # nobody reads it again: its memory can go
                if self._last_reader[name] == i and name not in wanted and name not in layer.tops:
                    blobs.pop(name, None)
        return {name: blobs[name] for name in wanted}

    def _check(self, inputs: Mapping[str, Tensor], wanted: Iterable[str]) -> None:
        missing = [name for name in self.graph.inputs if name not in inputs]
        unknown = [name for name in wanted if name not in self.graph.shapes]
        if missing or unknown:
            what = f'input "{missing[0]}" is not given' if missing else f'there is no blob "{unknown[0]}"'
            raise UserError(what, where=self.graph.net.path)

    def loss(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """What training lowers: the sum of every top times its `loss_weight` (1 for the first top of a …Loss layer)."""
        total = torch.zeros(())
        for layer in self.graph.layers:
            weights = list(layer.proto.loss_weight) or [1.0 if layer.type.endswith("Loss") else 0.0]
            for name, weight in zip(layer.tops, weights):
                if weight and name in outputs:
                    total = total.to(outputs[name].device) + weight * outputs[name].sum()
        return total

    def blobs(self) -> list[Blob]:
        """Every blob in Caffe's order; one that is shared stands at its owner alone."""
        found = []
        for layer, module in self._blob_layers():
            for i, (attribute, tensor) in enumerate(module.blobs()):
                if (layer.name, i) in self._owners:
                    continue
                spec = layer.proto.param[i] if i < len(layer.proto.param) else None
                learned = attribute in module._parameters
                lr_mult, decay_mult = (spec.lr_mult, spec.decay_mult) if spec else (1.0, 1.0)
                found.append(Blob(layer.name, i, tensor, lr_mult if learned else 0.0, decay_mult if learned else 0.0))
        return found

    def weights(self) -> dict[str, list[np.ndarray]]:
        """Layer name -> blobs, bit for bit, as a caffemodel holds them; shared blobs stand at each of their layers."""
        return {
            layer.name: [blob.detach().cpu().numpy().copy() for _, blob in module.blobs()]
            for layer, module in self._blob_layers()
            if module.blobs()
        }

    @torch.no_grad()
    def load(self, weights: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Copy in the blobs of the layers that `weights` names; the other layers stay as they are.

        Raises:
            UserErrors: every blob of another shape, with its layer and both shapes.
        """
        check(self.graph, weights)
        for layer, module in self._blob_layers():
            for (_, blob), array in zip(module.blobs(), weights.get(layer.name, ())):
                blob.copy_(torch.from_numpy(np.array(array)).reshape(blob.shape))


def _computes(graph: Graph) -> list:
    """What computes each layer; None for those that are fed from outside."""
    computes: list = []
    errors = []
    for layer in graph.layers:
        try:
            if layer.type not in MODULES and layer.type not in SOURCES:
                raise layer.error("this layer type has no PyTorch form")
            computes.append(None if layer.type in SOURCES else MODULES[layer.type](layer))
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else UserErrors(errors)
    return computes


def _module_name(name: str, taken: set[str]) -> str:
    """A layer's name as PyTorch allows it: without dots (they part the keys of a state_dict), and only once."""
    plain = name.replace(".", "_") or "layer"
    unique, count = plain, 1
    while unique in taken or hasattr(nn.Module, unique):
        count += 1
        unique = f"{plain}_{count}"
    taken.add(unique)
    return unique
