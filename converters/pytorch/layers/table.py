"""The table that the family files fill, and the base of layers with blobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from prototxt.graph import Layer
from prototxt.registry import Registry

Compute = Callable[..., "Tensor | tuple[Tensor, ...]"]

# MODULES[type](layer) gives what computes the layer: called with its bottoms, it returns its top or a tuple of tops.
MODULES: Registry[Callable[[Layer], Compute]] = Registry("PyTorch module")


class CaffeLayer(nn.Module):
    """A layer with blobs.

    Class attributes:
        blob_names: the attributes that hold its blobs, in Caffe's order; parameters when they are learned,
            buffers when they are statistics. Each has Caffe's shape and value. One may be None (no bias).
        filler_fields: the fields of the layer's parameters with the filler of each blob.
    """

    blob_names: ClassVar[tuple[str, ...]] = ()
    filler_fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def add_learned(self, layer: Layer) -> None:
        """Register a parameter, zeros until it is filled, for each blob that `layer` has; the others are None."""
        shapes = dict(zip(self.blob_names, layer.blob_shapes))
        for name in self.blob_names:
            self.register_parameter(name, nn.Parameter(torch.zeros(shapes[name])) if name in shapes else None)

    def blobs(self) -> list[tuple[str, Tensor]]:
        """(attribute, blob) of the blobs it has."""
        return [(name, blob) for name in self.blob_names if (blob := getattr(self, name)) is not None]
