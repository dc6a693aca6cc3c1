"""Resize and Upsample: each output row is a fixed mixture of input rows, so a matrix for each side says it exactly."""

from __future__ import annotations

import numpy as np

from converters.from_onnx.builder import Step
from converters.from_onnx.ops.conv import matrix_product, pick
from converters.from_onnx.ops.table import LAYERS
from converters.from_onnx.ops.windows import Windows


@LAYERS.register("Resize", "Upsample")
def resize(step: Step) -> list[str]:
    """Nearest by a whole factor: Deconvolution with ones, or every n-th row. All else: a product for each side."""
    before, after = step.shape(0), step.out_shape
    if len(before) != 4 or before[:2] != after[:2]:
        raise step.error(f"it makes {after} of {before}", expected="N x C x H x W of which height and width change")
    if step.attribute("antialias", 0) or step.attribute("exclude_outside", 0):
        raise step.error("antialias and exclude_outside are not supported", expected="0")
    step.room([max(after)], "output")
    x, scales = step.bottom(0), _scales(step)
    sources = [sources_of(step, before[i], after[i], scales[i]) for i in (2, 3)]
    if step.attribute("mode", "nearest") == "nearest":
        rows = [_nearest(step, at, size) for at, size in zip(sources, before[2:])]
        whole = _by_whole_factors(step, x, rows)
        if whole is not None:
            return [whole]
        matrices = [_matrix(step, [(at, np.ones(len(at)))], size) for at, size in zip(rows, before[2:])]
    elif step.attribute("mode") in ("linear", "bilinear"):
        matrices = [_linear(step, at, size) for at, size in zip(sources, before[2:])]
    else:
        raise step.error(f'mode is "{step.attribute("mode")}"', expected="nearest or linear")
    for axis, matrix in zip((3, 2), matrices[::-1]):
        if before[axis] != after[axis] or (np.diagonal(matrix) != 1).any():
            x = matrix_product(step, x, matrix, axis)
    return [x]


def _matrix(step: Step, shares: list[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    """[H', H], of input rows and, for each output row, the shares that it has of them."""
    count = len(shares[0][0])
    step.room((count, size), "matrix")
    matrix = np.zeros((count, size), np.float32)
    for at, share in shares:
        np.add.at(matrix, (np.arange(count), at), share)
    return matrix


def _scales(step: Step) -> list[float]:
    """Output size over input size as the node gives it, for each axis; it may not be a quotient of whole numbers."""
    found = [after / before for before, after in zip(step.shape(0), step.out_shape)]
    for axis, scale in zip(step.attribute("axes") or range(len(found)), step.scales()):
        found[axis] = scale
    return found


def sources_of(step: Step, size: int, out: int, scale: float) -> np.ndarray:
    """[H'], where each output row lies among the input rows."""
    old = step.node.op == "Upsample" or step.node.version < 11
    mode = "asymmetric" if old else step.attribute("coordinate_transformation_mode", "half_pixel")
    at, scale = np.arange(out, dtype=np.float32), np.float32(scale)  # as runtimes do: a third is no third
    if mode == "asymmetric":
        return at / scale
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and out > 1):
        return (at + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return np.zeros(1)
    if mode == "align_corners":
        return at * ((size - 1) / (out - 1)) if out > 1 else np.zeros(1)
    raise step.error(
        f'coordinate_transformation_mode is "{mode}"',
        expected="half_pixel, pytorch_half_pixel, asymmetric or align_corners",
    )


_ROUND = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _nearest(step: Step, at: np.ndarray, size: int) -> np.ndarray:
    """[H'], the input row that each output row is."""
    old = step.node.op == "Upsample" or step.node.version < 11
    mode = "floor" if old else step.attribute("nearest_mode", "round_prefer_floor")
    if mode not in _ROUND:
        raise step.error(f'nearest_mode is "{mode}"', expected="one of " + ", ".join(_ROUND))
    return np.clip(_ROUND[mode](at), 0, size - 1).astype(int)


def _by_whole_factors(step: Step, x: str, rows: list[np.ndarray]) -> str | None:
    """The resized map where each side grows or shrinks by a whole factor; None where it does not."""
    sizes = step.blob_shape(x)[2:]
    factors = [max(len(at) // size, 1) for at, size in zip(rows, sizes)]
    if all(np.array_equal(at, np.arange(size * f) // f) for at, size, f in zip(rows, sizes, factors)):
        return repeat(step, x, factors)
    steps = [int(at[1] - at[0]) if len(at) > 1 else 1 for at in rows]
    if all(by > 0 and np.array_equal(at, at[0] + by * np.arange(len(at))) for at, by in zip(rows, steps)):
        sides = [Windows(size, len(at), int(at[0]) + 1, by, 1, 0, 0) for at, by, size in zip(rows, steps, sizes)]
        return pick(step, x, (sides[0], sides[1]), (int(rows[0][0]), int(rows[1][0])))
    return None


def repeat(step: Step, x: str, factors: list[int]) -> str:
    """Each value as a block of factors[0] x factors[1]: a Deconvolution of each channel with ones."""
    channels = step.blob_shape(x)[1]
    if factors == [1, 1]:
        return x
    step.room((channels, *factors), "kernel")
    ones = np.ones((channels, 1, *factors), np.float32)
    sides = {f"{name}_{side}": factor for name in ("kernel", "stride") for side, factor in zip("hw", factors)}
    if factors[0] == factors[1]:
        sides = {"kernel_size": [factors[0]], "stride": [factors[0]]}
    param = {"num_output": channels, "group": channels, "bias_term": False, **sides}
    fixed = [{"lr_mult": 0, "decay_mult": 0}]
    return step.layer("Deconvolution", x, blobs=[ones], convolution_param=param, param=fixed)


def _linear(step: Step, at: np.ndarray, size: int) -> np.ndarray:
    """[H', H], each output row between the two input rows around it."""
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(int)
    return _matrix(step, [(low, 1 - (at - low)), (np.minimum(low + 1, size - 1), at - low)], size)
