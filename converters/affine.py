"""What is affine by channel, scale · x + shift, and how weights take it in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from prototxt.graph import Layer
from prototxt.shapes.norm import keeps_statistics, scales_itself
from prototxt.shapes.table import axis_of

Blobs = Sequence[np.ndarray]


@dataclass(frozen=True)
class Affine:
    """scale · x + shift, both float64 [C], along axis 1."""

    scale: np.ndarray
    shift: np.ndarray

    def blobs(self) -> list[np.ndarray]:
        """The blobs of a Scale layer with a bias."""
        return [self.scale.astype(np.float32), self.shift.astype(np.float32)]


def compose(first: Affine, second: Affine) -> Affine:
    """The affine function that is `first` and then `second`."""
    return Affine(first.scale * second.scale, first.shift * second.scale + second.shift)


def affine_of(layer: Layer, blobs: Blobs) -> Affine | None:
    """What a layer computes, when that is affine by channel; None else.

    Args:
        blobs: of the shapes that the layer gives them.
    """
    if layer.type not in AFFINE or len(layer.bottoms) != 1 or len(layer.bottom_shapes[0]) < 2:
        return None
    channels = layer.bottom_shapes[0][1]
    found = AFFINE[layer.type](layer, [np.asarray(blob, np.float64) for blob in blobs])
    if found is None:
        return None
    return Affine(*(np.broadcast_to(part, (channels,)) for part in found))


def _from_statistics(mean: np.ndarray, variance: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    scale = 1 / np.sqrt(variance + eps)
    return scale, -mean * scale


def _batch_norm(layer: Layer, blobs: Blobs) -> tuple[np.ndarray, np.ndarray] | None:
    if layer.p.HasField("use_global_stats") and not layer.p.use_global_stats and not scales_itself(layer.p):
        return None
    mean, variance, factor, *affine = blobs
    weight = 0.0 if factor.reshape(-1)[0] == 0 else 1 / factor.reshape(-1)[0]  # the blobs are sums
    unit, centre = _from_statistics(mean * weight, variance * weight, layer.p.eps)
    return (unit * affine[0], centre * affine[0] + affine[1]) if affine else (unit, centre)


def _bn(layer: Layer, blobs: Blobs) -> tuple[np.ndarray, np.ndarray] | None:
    scale, shift, *statistics = (blob.reshape(-1) for blob in blobs)
    if not keeps_statistics(layer.p):
        return None if layer.p.bn_mode == layer.p.LEARN else (scale, shift)
    unit, centre = _from_statistics(*statistics, layer.p.eps)
    return unit * scale, centre * scale + shift


def _is_by_channel(layer: Layer) -> bool:
    axis = axis_of(layer.p.axis, layer.bottom_shapes[0])
    return all(shape == () or (axis == 1 and len(shape) == 1) for shape in layer.blob_shapes)


def _scale(layer: Layer, blobs: Blobs) -> tuple[np.ndarray, np.ndarray] | None:
    if not _is_by_channel(layer):
        return None
    return blobs[0], blobs[1] if len(blobs) > 1 else np.zeros(())


def _bias(layer: Layer, blobs: Blobs) -> tuple[np.ndarray, np.ndarray] | None:
    return (np.ones(()), blobs[0]) if _is_by_channel(layer) else None


AFFINE: dict[str, Callable[[Layer, Blobs], tuple[np.ndarray, np.ndarray] | None]] = {
    "BN": _bn,
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "Scale": _scale,
}


def _column(values: np.ndarray, axes: int) -> np.ndarray:
    """[C] with axes of one behind it."""
    return values.reshape(-1, *[1] * axes)


def _with_bias(weight: np.ndarray, blobs: Blobs, affine: Affine) -> list[np.ndarray]:
    bias = affine.shift + (affine.scale * blobs[1] if len(blobs) > 1 else 0)
    return [weight, bias.astype(np.float32)]


def _before_convolution(layer: Layer, blobs: Blobs, affine: Affine) -> list[np.ndarray]:
    weight = blobs[0] * _column(affine.scale.astype(np.float32), 3)
    return _with_bias(weight, blobs, affine)


def _before_deconvolution(layer: Layer, blobs: Blobs, affine: Affine) -> list[np.ndarray]:
    grouped = blobs[0].reshape(layer.p.group, -1, *blobs[0].shape[1:])  # [G, C_in / G, C_out / G, h, w]
    scale = affine.scale.astype(np.float32).reshape(layer.p.group, 1, -1, 1, 1)
    return _with_bias((grouped * scale).reshape(blobs[0].shape), blobs, affine)


def _before_inner_product(layer: Layer, blobs: Blobs, affine: Affine) -> list[np.ndarray]:
    scale = affine.scale.astype(np.float32)
    return _with_bias(blobs[0] * (scale if layer.p.transpose else scale[:, None]), blobs, affine)


def _shifted(weight: np.ndarray, blobs: Blobs, affine: Affine, more: np.ndarray) -> list[np.ndarray]:
    """A weight and the bias with `more` added, which there need not be without a shift."""
    if not affine.shift.any():
        return [weight, *blobs[1:]]
    return [weight, (more + (blobs[1] if len(blobs) > 1 else 0)).astype(np.float32)]


def _after_convolution(layer: Layer, blobs: Blobs, affine: Affine) -> list[np.ndarray]:
    grouped = blobs[0].reshape(layer.p.group, -1, *blobs[0].shape[1:])  # [G, C_out / G, C_in / G, h, w]
    scale = affine.scale.astype(np.float32).reshape(layer.p.group, 1, -1, 1, 1)
    shift = affine.shift.reshape(layer.p.group, 1, -1)
    more = (grouped.sum(axis=(3, 4), dtype=np.float64) * shift).sum(axis=2).reshape(-1)
    return _shifted((grouped * scale).reshape(blobs[0].shape), blobs, affine, more)


def _after_deconvolution(layer: Layer, blobs: Blobs, affine: Affine) -> list[np.ndarray]:
    return [blobs[0] * _column(affine.scale.astype(np.float32), 3), *blobs[1:]]


def _after_inner_product(layer: Layer, blobs: Blobs, affine: Affine) -> list[np.ndarray]:
    spread = prod(layer.bottom_shapes[0][2:])
    scale, shift = (np.repeat(part, spread) for part in (affine.scale, affine.shift))
    rows = blobs[0].T if layer.p.transpose else blobs[0]
    scaled = blobs[0] * (_column(scale, 1) if layer.p.transpose else scale).astype(np.float32)
    return _shifted(scaled, blobs, affine, rows.astype(np.float64) @ shift)


def takes_shift(layer: Layer) -> bool:
    """Whether every output of a layer sees as many inputs, so that a shift of them is one of its bias."""
    return layer.type == "InnerProduct" or (layer.type != "Deconvolution" and not any(layer.p.pad_hw))


Take = Callable[[Layer, Blobs, Affine], "list[np.ndarray]"]
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution")
# Layer type -> its blobs when it takes in what comes after it, or before it; the bias is made where there was none.
TAKE_NEXT: dict[str, Take] = {
    **dict.fromkeys(_CONVOLUTIONS, _before_convolution),
    "Deconvolution": _before_deconvolution,
    "InnerProduct": _before_inner_product,
}
TAKE_PREVIOUS: dict[str, Take] = {
    **dict.fromkeys(_CONVOLUTIONS, _after_convolution),
    "Deconvolution": _after_deconvolution,
    "InnerProduct": _after_inner_product,
}
