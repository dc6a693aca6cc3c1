"""Normalisations."""

from __future__ import annotations

from math import prod

import numpy as np

from converters.from_onnx.builder import Step
from converters.from_onnx.ops.common import affine, multiply, power, reshape, scale_by, shift_by
from converters.from_onnx.ops.table import LAYERS


@LAYERS.register("BatchNormalization")
def batch_normalization(step: Step) -> list[str]:
    if step.attribute("training_mode", 0) or len([name for name in step.node.outputs if name]) > 1:
        raise step.error("it normalises with the batch", fix="export the model in evaluation mode")
    if step.attribute("spatial", 1) != 1:
        raise step.error("spatial is 0: it has statistics for each position", expected="statistics for each channel")
    if len(step.shape(0)) < 2:
        raise step.error("its input has no axis of channels")
    gamma, beta, mean, variance = (step.constant(i, "statistics").astype(np.float32) for i in range(1, 5))
    y, eps = step.bottom(0), np.float32(step.attribute("epsilon", 1e-5))
    is_affine_only = (mean == 0).all() and (variance + eps == 1).all()
    if not is_affine_only:
        # Caffe's third blob is what the other two are to be divided by.
        statistics = [mean, variance, np.ones(1, np.float32)]
        y = step.layer("BatchNorm", y, blobs=statistics, batch_norm_param={"eps": eps})
    if (gamma == 1).all() and (beta == 0).all() and not is_affine_only:
        return [y]
    return [step.layer("Scale", y, blobs=[gamma, beta], scale_param={"bias_term": True})]


@LAYERS.register("LRN")
def lrn(step: Step) -> list[str]:
    names = {"size": "local_size", "alpha": "alpha", "beta": "beta", "bias": "k"}
    given = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0} | step.node.attributes
    if given.get("size", 0) % 2 == 0:
        raise step.error(f"size is {given.get('size')}", expected="an odd number")
    return [step.layer("LRN", step.bottom(0), lrn_param={names[name]: value for name, value in given.items()})]


@LAYERS.register("LpNormalization")
def lp_normalization(step: Step) -> list[str]:
    axis, p = step.axis(-1), step.attribute("p", 2)
    if axis != 1 or p != 2:
        raise step.error(f"its axis is {axis} and its p {p}", expected="axis 1 and p 2")
    return [unit(step, step.bottom(0), 1e-24)]


@LAYERS.register("netgen::Normalize")  # of converters.from_onnx.patterns
def normalize(step: Step) -> list[str]:
    return [unit(step, step.bottom(0), step.attribute("eps"))]


def unit(step: Step, x: str, eps: float) -> str:
    """x / √(Σ x² + eps), over the channels at each position."""
    ones = np.ones(step.blob_shape(x)[1], np.float32)
    param = {"across_spatial": False, "channel_shared": False, "eps": eps}
    return step.layer("Normalize", x, blobs=[ones], norm_param=param)


def standardised(step: Step, x: str, rows: int, eps: float) -> str:
    """(x − μ) / √(σ² + eps) of `rows` equal parts of `x`, one after the other.

    Not Caffe's MVN alone, which adds eps to σ: that is another function where a part is nearly constant.
    """
    shape = step.blob_shape(x)
    table = reshape(step, x, (1, rows, prod(shape) // rows, 1))
    centred = step.layer("MVN", table, mvn_param={"normalize_variance": False})
    squares = step.layer("Power", centred, name="squares", power_param={"power": 2})
    variance = step.layer("Reduction", squares, name="variance", reduction_param={"operation": "MEAN", "axis": 2})
    factor = power(step, affine(step, variance, 1, eps), -0.5)
    return reshape(step, multiply(step, centred, reshape(step, factor, (1, rows, 1, 1))), shape)


@LAYERS.register("InstanceNormalization")
def instance_normalization(step: Step) -> list[str]:
    shape = step.shape(0)
    y = standardised(step, step.bottom(0), shape[0] * shape[1], step.attribute("epsilon", 1e-5))
    gamma, beta = (step.constant(i, "factors").reshape(-1, *[1] * (len(shape) - 2)) for i in (1, 2))
    return [_affine_unless_plain(step, y, gamma, beta)]


@LAYERS.register("GroupNormalization")
def group_normalization(step: Step) -> list[str]:
    shape, groups = step.shape(0), step.attribute("num_groups")
    y = standardised(step, step.bottom(0), shape[0] * groups, step.attribute("epsilon", 1e-5))
    gamma, beta = (step.constant(i, "factors").reshape(-1) for i in (1, 2))
    if step.node.version < 21:  # one for each group
        gamma, beta = (np.repeat(array, shape[1] // groups) for array in (gamma, beta))
    gamma, beta = (array.reshape(-1, *[1] * (len(shape) - 2)) for array in (gamma, beta))
    return [_affine_unless_plain(step, y, gamma, beta)]


@LAYERS.register("LayerNormalization")
def layer_normalization(step: Step) -> list[str]:
    if len([name for name in step.node.outputs if name]) > 1:
        raise step.error("its mean or deviation is read", expected="the normalised values alone")
    shape = step.shape(0)
    axis = step.axis(-1)
    y = standardised(step, step.bottom(0), prod(shape[:axis]), step.attribute("epsilon", 1e-5))
    gamma = step.constant(1, "factors")
    return [_affine_unless_plain(step, y, gamma, step.constant(2, "terms") if step.has(2) else np.zeros(()))]


def _affine_unless_plain(step: Step, y: str, gamma: np.ndarray, beta: np.ndarray) -> str:
    if (gamma != 1).any():
        y = scale_by(step, y, gamma)
    return shift_by(step, y, beta) if (beta != 0).any() else y
