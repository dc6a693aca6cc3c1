"""Normalisations and the affine layers that follow them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from converters.pytorch.source.layers.table import FORMS, Form, State, call, number
from prototxt.graph import Layer
from prototxt.shapes.norm import keeps_statistics, scales_itself
from prototxt.shapes.table import axis_of

_CLASSES = {2: "nn.BatchNorm1d", 3: "nn.BatchNorm1d", 4: "nn.BatchNorm2d", 5: "nn.BatchNorm3d"}


@FORMS.register("BatchNorm")
def batch_norm(layer: Layer) -> Form:
    p, axes = layer.p, len(layer.bottom_shapes[0])
    if axes not in _CLASSES:
        raise layer.error(f"stand-alone code has no BatchNorm of {axes} axes", expected="2 to 5")
    affine = scales_itself(p)
    if p.HasField("use_global_stats") and not p.use_global_stats and not affine:
        raise layer.error("it normalises a deployed net by the batch", expected="use_global_stats: true, or none")
    given = {"eps": (number(p.eps), "1e-05"), "affine": (str(affine), "True")}
    module = call(_CLASSES[axes], str(layer.blob_shapes[0][0]), **given)
    opens = layer.tops != layer.bottoms
    return Form("{me}({0})", module, save=_running, load=_sums, ignored=("num_batches_tracked",), opens=opens)


@FORMS.register("BN")
def bn(layer: Layer) -> Form:
    p, shape = layer.p, layer.blob_shapes[0]
    if not keeps_statistics(p):
        if p.bn_mode == p.LEARN:
            raise layer.error("it normalises a deployed net by the batch", expected="bn_mode: INFERENCE")
        return Form("{me}({0})", call("Scale", str(prod(shape))), **_flat("weight", "bias"))
    module = call("nn.BatchNorm2d", str(prod(shape)), eps=(number(p.eps), "1e-05"))
    tensors = _flat("weight", "bias", "running_mean", "running_var")
    return Form("{me}({0})", module, ignored=("num_batches_tracked",), **tensors)


def _flat(*names: str) -> dict[str, Any]:
    """save and load of blobs that are vectors in PyTorch."""
    return {
        "save": lambda blobs: {name: blob.reshape(-1) for name, blob in zip(names, blobs)},
        "load": lambda state: [state[name] for name in names],
    }


def _running(blobs: Sequence[np.ndarray]) -> State:
    """Mean and variance from Caffe's sums; a scale factor of 0 makes both 0."""
    mean, variance, scale, *affine = blobs
    with np.errstate(all="ignore"):  # damaged weights stay what they are
        factor = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
        statistics = {"running_mean": mean * factor, "running_var": variance * factor}
    return statistics | dict(zip(("weight", "bias"), affine))


def _sums(state: State) -> list[np.ndarray]:
    affine = [state[name] for name in ("weight", "bias") if name in state]
    return [state["running_mean"], state["running_var"], np.ones(1, np.float32), *affine]


@FORMS.register("Scale")
def scale(layer: Layer) -> Form:
    p, axis = layer.p, _axis(layer)
    if len(layer.bottoms) == 1:
        sizes = map(str, layer.blob_shapes[0])
        bias = len(layer.blob_shapes) == 2
        module = call("Scale", *sizes, axis=(str(axis), "1"), bias=(str(bias), "True"))
        return Form("{me}({0})", module, names=("weight", "bias")[: 1 + bias])
    text = f"scale({{0}}, {{1}}, {axis})"
    if not p.bias_term:
        return Form(text)
    module = call("Bias", *map(str, layer.blob_shapes[0]), axis=(str(axis), "1"))
    return Form(f"{{me}}({text})", module, names=("bias",))


@FORMS.register("Bias")
def bias(layer: Layer) -> Form:
    if len(layer.bottoms) == 2:
        return Form(f"shift({{0}}, {{1}}, {_axis(layer)})")
    module = call("Bias", *map(str, layer.blob_shapes[0]), axis=(str(_axis(layer)), "1"))
    return Form("{me}({0})", module, names=("bias",))


def _axis(layer: Layer) -> int:
    return axis_of(layer.p.axis, layer.bottom_shapes[0])


@FORMS.register("Normalize")
def normalize(layer: Layer) -> Form:
    p = layer.p
    module = call(
        "Normalize",
        *map(str, layer.blob_shapes[0]),
        across_spatial=(str(p.across_spatial), "False"),
        eps=(number(p.eps), "1e-10"),
    )
    return Form("{me}({0})", module, names=("scale",), opens=True)


@FORMS.register("LRN")
def lrn(layer: Layer) -> Form:
    p = layer.p
    values = ", ".join([str(p.local_size), number(p.alpha), number(p.beta)])
    if p.norm_region == p.ACROSS_CHANNELS:
        return Form(f"F.local_response_norm({{0}}, {values}, {number(p.k)})")
    return Form(f"lrn_within_channel({{0}}, {values})")


@FORMS.register("MVN")
def mvn(layer: Layer) -> Form:
    p = layer.p
    return Form(f"mvn({{0}}, {p.across_channels}, {p.normalize_variance}, {number(p.eps)})")
