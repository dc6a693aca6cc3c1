"""Where the blobs of a net's layers stand in a state_dict, and how they come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from converters.caffemodel import Weights
from converters.pytorch.layers import CaffeLayer
from converters.pytorch.net import CaffeNet
from prototxt.errors import UserError, UserErrors, nearest
from prototxt.graph import Graph, Layer, show

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Entry:
    """The tensors of one layer.

    Attributes:
        layer: the layer.
        prefix: what stands before the last dot of its keys.
        save: its blobs, of Caffe's shapes -> its tensors, by what stands after that dot.
        load: the way back; only the values matter, the shapes are the layer's.
        ignored: what may stand after that dot besides, and says nothing.
    """

    layer: Layer
    prefix: str
    save: Callable[[Sequence[np.ndarray]], State]
    load: Callable[[State], Sequence[np.ndarray]]
    ignored: tuple[str, ...] = ()

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Key -> shape of each of its tensors."""
        blobs = [np.broadcast_to(np.float32(0), shape) for shape in self.layer.blob_shapes]
        return {f"{self.prefix}.{name}": array.shape for name, array in self.save(blobs).items()}

    def blobs(self, state: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        own = {key.removeprefix(f"{self.prefix}."): state[key] for key in self.shapes}
        return [blob.reshape(shape) for blob, shape in zip(self.load(own), self.layer.blob_shapes)]


class Layout:
    """The keys of a whole net's state_dict.

    Args:
        entries: one for each layer with blobs.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = list(entries)
        self.shapes = {key: shape for entry in self.entries for key, shape in entry.shapes.items()}
        self.ignored = {f"{entry.prefix}.{name}" for entry in self.entries for name in entry.ignored}

    def state(self, weights: Mapping[str, Sequence[np.ndarray]]) -> State:
        """The state_dict of weights that fit the net (see `converters.caffemodel.require_all`)."""
        found: State = {}
        for entry in self.entries:
            shapes = entry.layer.blob_shapes
            blobs = [np.asarray(b, np.float32).reshape(s) for b, s in zip(weights[entry.layer.name], shapes)]
            found |= {f"{entry.prefix}.{name}": array for name, array in entry.save(blobs).items()}
        return found

    def weights(self, state: Mapping[str, np.ndarray], path: str = "") -> Weights:
        """The weights that a state_dict holds, bit for bit.

        Raises:
            UserErrors: keys that are missing, that the net has not, or whose arrays have another shape: all of them.
        """
        where = path or "the state_dict"
        errors = [
            UserError(f'it has no "{key}"', where=where, expected=f"an array of {show(shape)}")
            for key, shape in self.shapes.items()
            if key not in state
        ]
        for key, array in state.items():
            if key in self.ignored:
                continue
            if key not in self.shapes:
                errors.append(UserError(f'the net has no "{key}"{nearest(key, self.shapes)}', where=where))
            elif tuple(array.shape) != self.shapes[key]:
                found = f'"{key}" has the shape {show(tuple(array.shape))}'
                errors.append(UserError(found, where=where, expected=show(self.shapes[key])))
        if errors:
            raise errors[0] if len(errors) == 1 else UserErrors(errors)
        return Weights({entry.layer.name: entry.blobs(state) for entry in self.entries}, path)


def caffe_layout(graph: Graph) -> Layout:
    """The layout of `CaffeNet(graph).state_dict()`: layer names without dots, Caffe's blobs as they are."""
    modules = [(name, child) for name, child in CaffeNet(graph, seed=0).named_children()]
    return Layout(_entry(name, child) for name, child in modules if isinstance(child, CaffeLayer) and child.blobs())


def _entry(prefix: str, module: CaffeLayer) -> Entry:
    names = [name for name, _ in module.blobs()]
    return Entry(module.layer, prefix, lambda blobs: dict(zip(names, blobs)), lambda state: [state[n] for n in names])
