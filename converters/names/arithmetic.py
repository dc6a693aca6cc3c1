"""Arrays of theirs as blobs of Caffe, and back: layouts, statistics, the channels of the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converters.names.table import Image
from prototxt.errors import UserError
from prototxt.graph import Layer

Arrays = dict[str, np.ndarray]
Blobs = list[list[np.ndarray]]  # of each layer of a unit


class Mismatch(ValueError):
    """Why the values of one form have no place in the other."""


@dataclass(frozen=True)
class Kind:
    """A kind of unit.

    Attributes:
        types: of our layers.
        keys: what stands after the last dot of their keys; "" for a bare parameter.
        to_ours, to_theirs: arrays -> blobs of each layer, and back; given our layers and their eps.
    """

    types: tuple[str, ...]
    keys: tuple[str, ...]
    to_ours: Callable[[Arrays, Sequence[Layer], float], Blobs]
    to_theirs: Callable[[Blobs, Sequence[Layer], float], Arrays]


def _weight_ours(arrays: Arrays, layers: Sequence[Layer], _: float) -> Blobs:
    """[weight], or [weight, bias]: a bias that only one of the two has is 0."""
    (layer,), bias = layers, arrays.get("bias")
    if len(layer.blob_shapes) == 1:
        if bias is not None and bias.any():
            raise Mismatch("theirs has a bias, for which bias_term: false leaves no place")
        return [[arrays["weight"]]]
    return [[arrays["weight"], np.zeros(layer.blob_shapes[1], np.float32) if bias is None else bias]]


def _biased_theirs(blobs: Blobs, layers: Sequence[Layer], _: float) -> Arrays:
    weight, *bias = blobs[0]
    return {"weight": weight, "bias": bias[0] if bias else np.zeros(layers[0].p.num_output, np.float32)}


def _plain_theirs(blobs: Blobs, layers: Sequence[Layer], _: float) -> Arrays:
    weight, *bias = blobs[0]
    if bias and bias[0].any():
        raise Mismatch("its bias has no place in theirs, which has none")
    return {"weight": weight}


def _norm_ours(arrays: Arrays, layers: Sequence[Layer], eps: float) -> Blobs:
    """BatchNorm's mean, variance and their divisor, here 1; Scale's factors and shifts."""
    own = float(layers[0].p.eps)
    variance = arrays["running_var"]
    if np.float32(own) != np.float32(eps):
        # The sum with eps is what counts, so a norm of another eps needs another variance.
        variance = (variance.astype(np.float64) + (eps - own)).astype(np.float32)
    if len(layers[1].blob_shapes) < 2:
        raise Mismatch(f'Scale layer "{layers[1].name}" has no bias_term: true for their bias')
    return [[arrays["running_mean"], variance, np.ones(1, np.float32)], [arrays["weight"], arrays["bias"]]]


def _norm_theirs(blobs: Blobs, layers: Sequence[Layer], eps: float) -> Arrays:
    (mean, variance, divisor), affine = blobs
    factor, own = float(divisor.reshape(-1)[0]), float(layers[0].p.eps)
    if factor != 1:  # Caffe keeps running sums; a divisor of 0 stands for statistics of 0
        mean, variance = ((blob / factor if factor else 0 * blob).astype(np.float32) for blob in (mean, variance))
    if np.float32(own) != np.float32(eps):
        variance = (variance.astype(np.float64) + (own - eps)).astype(np.float32)
    found = {"weight": affine[0], "running_mean": mean, "running_var": variance}
    return found | {"bias": affine[1] if len(affine) > 1 else np.zeros_like(affine[0])}


def _factors_ours(arrays: Arrays, layers: Sequence[Layer], _: float) -> Blobs:
    if layers[0].p.channel_shared:
        raise Mismatch("theirs has a factor for each channel, channel_shared: true one for all")
    return [[arrays[""]]]


def _factors_theirs(blobs: Blobs, layers: Sequence[Layer], _: float) -> Arrays:
    return {"": np.broadcast_to(blobs[0][0], (layers[0].bottom_shapes[0][1],))}


_NORM = ("weight", "bias", "running_mean", "running_var")
KINDS: Mapping[str, Kind] = {
    "conv": Kind(("Convolution",), ("weight", "bias"), _weight_ours, _biased_theirs),
    "conv without bias": Kind(("Convolution",), ("weight",), _weight_ours, _plain_theirs),
    "inner product": Kind(("InnerProduct",), ("weight", "bias"), _weight_ours, _biased_theirs),
    "norm": Kind(("BatchNorm", "Scale"), _NORM, _norm_ours, _norm_theirs),
    "factors": Kind(("Normalize",), ("",), _factors_ours, _factors_theirs),
}


def image_factor(image: Image, channels: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    """What turns the first convolution's weight, [O, C, h, w], into ours, which takes BGR less the same mean.

    The second argument of the function is True for the way back.
    """
    std = np.array(image.std[::-1] if image.order == "RGB" else image.std, np.float64).reshape(1, -1, 1, 1)
    flip = channels == 3 and image.order == "RGB"

    def turn(weight: np.ndarray, back: bool) -> np.ndarray:
        weight = weight[:, ::-1] if flip and not back else weight
        if channels == 3 and not (std == 1).all():
            weight = (weight * std if back else weight / std).astype(np.float32)
        return weight[:, ::-1] if flip and back else weight

    return turn


def refuse(unit: str, layer: Layer, reason: str) -> UserError:
    """The error of a unit and the layer of ours that should be the same."""
    return layer.error(f"it is not the same as their {unit}: {reason}")
