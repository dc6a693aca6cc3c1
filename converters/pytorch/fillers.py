"""How a net's blobs begin: Caffe's fillers."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Generator, Tensor

from prototxt import schema
from prototxt.graph import Layer, show
from prototxt.params import parameter_field
from prototxt.registry import Registry
from prototxt.schema import FillerParameter

# Fillers that are not plainly constant 0 when a file gives none.
_UNFILLED = {
    ("BatchNorm", "scale_filler"): 1.0,
    ("Normalize", "scale_filler"): 1.0,
    ("PReLU", "filler"): 0.25,
    ("Scale", "filler"): 1.0,
}

FILLERS: Registry[Callable[[Tensor, Any, Generator], None]] = Registry("filler", "of type")


def fill(blob: Tensor, filler: Any, generator: Generator, layer: Layer) -> None:
    """Fill a blob of `layer` as its FillerParameter says.

    Raises:
        UserError: a filler that is not known or does not suit the blob.
    """
    if filler.type not in FILLERS:
        raise layer.error(f'filler type "{filler.type}" is not known', expected="one of " + ", ".join(FILLERS))
    if filler.sparse != -1:
        raise layer.error(f"the `sparse` of a {filler.type} filler is not supported", fix="leave `sparse` out")
    if filler.type == "uniform" and filler.min > filler.max:
        raise layer.error(f"the uniform filler has min {filler.min:g} above max {filler.max:g}")
    if filler.type == "gaussian" and filler.std <= 0:
        raise layer.error(f"the gaussian filler has std {filler.std:g}", expected="a number above 0")
    if filler.type == "bilinear" and (blob.dim() != 4 or blob.shape[2] != blob.shape[3]):
        raise layer.error(f"the bilinear filler needs square kernels, not {show(tuple(blob.shape))}")
    FILLERS[filler.type](blob, filler, generator)


def _fan(blob: Tensor, filler: Any) -> float:
    """Values that a variance is shared among: those feeding an output, those fed by an input, or their mean."""
    outputs, inputs = (*blob.shape, 1, 1)[:2]
    fan_in, fan_out = blob.numel() / outputs, blob.numel() / inputs
    return {filler.FAN_IN: fan_in, filler.FAN_OUT: fan_out, filler.AVERAGE: (fan_in + fan_out) / 2}[
        filler.variance_norm
    ]


@FILLERS.register("constant")
def constant(blob: Tensor, filler: Any, generator: Generator) -> None:
    blob.fill_(filler.value)


@FILLERS.register("uniform")
def uniform(blob: Tensor, filler: Any, generator: Generator) -> None:
    blob.uniform_(filler.min, filler.max, generator=generator)


@FILLERS.register("gaussian")
def gaussian(blob: Tensor, filler: Any, generator: Generator) -> None:
    blob.normal_(filler.mean, filler.std, generator=generator)


@FILLERS.register("xavier")
def xavier(blob: Tensor, filler: Any, generator: Generator) -> None:
    """Uniform within ±√(3 / fan). Glorot and Bengio (2010), with Caffe's default of fan-in alone."""
    bound = sqrt(3 / _fan(blob, filler))
    blob.uniform_(-bound, bound, generator=generator)


@FILLERS.register("msra")
def msra(blob: Tensor, filler: Any, generator: Generator) -> None:
    """Gaussian with variance 2 / fan. He et al. (2015), section 2.2."""
    blob.normal_(0, sqrt(2 / _fan(blob, filler)), generator=generator)


@FILLERS.register("positive_unitball")
def positive_unitball(blob: Tensor, filler: Any, generator: Generator) -> None:
    """Positive values that sum to 1 for each output."""
    rows = blob.uniform_(0, 1, generator=generator).view(*blob.shape[:1], -1)
    rows /= rows.sum(-1, keepdim=True)


@FILLERS.register("bilinear")
def bilinear(blob: Tensor, filler: Any, generator: Generator) -> None:
    """The kernel of bilinear interpolation, the same for every pair of channels."""
    size = blob.shape[3]
    factor = -(-size // 2)
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    side = 1 - (torch.arange(size) / factor - centre).abs()
    blob.copy_((side[:, None] * side).expand(blob.shape))


def blob_filler(layer: Layer, field: str) -> Any:
    """The FillerParameter in `field` of the layer's own parameters, or what Caffe takes when it is not given."""
    message = schema.parameters(layer.proto, parameter_field(layer.type))
    default = _UNFILLED.get((layer.type, field))
    if default is not None and not message.HasField(field):
        return FillerParameter(type="constant", value=default)
    return getattr(message, field)
