"""Sums, means and extremes over axes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from converters.from_onnx.builder import Step
from converters.from_onnx.ops.common import affine, permute, power, reshape
from converters.from_onnx.ops.pooling import global_pooling
from converters.from_onnx.ops.table import LAYERS


def _caffe(operation: str) -> Callable[[Step, str], str]:
    def reduce(step: Step, rows: str) -> str:
        return step.layer("Reduction", rows, reduction_param={"operation": operation, "axis": 1})

    return reduce


def _largest(step: Step, rows: str) -> str:
    count, size = step.blob_shape(rows)
    return global_pooling(step, reshape(step, rows, (1, count, size, 1)), "MAX")


def _smallest(step: Step, rows: str) -> str:
    return affine(step, _largest(step, affine(step, rows, -1, 0)), -1, 0)


def _length(step: Step, rows: str) -> str:
    return power(step, _caffe("SUMSQ")(step, rows), 0.5)


def _log_of_sum(step: Step, rows: str) -> str:
    return step.layer("Log", _caffe("SUM")(step, rows))


# Each takes the values to reduce as rows [R, values].
_REDUCE: dict[str, Callable[[Step, str], str]] = {
    "ReduceSum": _caffe("SUM"),
    "ReduceMean": _caffe("MEAN"),
    "ReduceL1": _caffe("ASUM"),
    "ReduceSumSquare": _caffe("SUMSQ"),
    "ReduceL2": _length,
    "ReduceLogSum": _log_of_sum,
    "ReduceMax": _largest,
    "ReduceMin": _smallest,
}


@LAYERS.register(*_REDUCE)
def reduce(step: Step) -> list[str]:
    shape, x = step.shape(0), step.bottom(0)
    axes = step.setting("axes", 1)
    if not axes and step.attribute("noop_with_empty_axes", 0):
        return [x]
    over = sorted({axis % len(shape) for axis in axes}) if axes else list(range(len(shape)))
    if len(shape) == 4 and over == [2, 3] and step.node.op in ("ReduceMean", "ReduceMax"):
        return [
            reshape(step, global_pooling(step, x, "AVE" if step.node.op == "ReduceMean" else "MAX"), step.out_shape)
        ]
    kept = [axis for axis in range(len(shape)) if axis not in over]
    count = prod(shape[axis] for axis in kept)
    rows = reshape(step, permute(step, x, [*kept, *over]), (count, prod(shape) // count))
    return [reshape(step, _REDUCE[step.node.op](step, rows), step.out_shape)]


@LAYERS.register("ArgMax")
def arg_max(step: Step) -> list[str]:
    if not step.attribute("select_last_index", 0):
        raise step.error(
            "of equal values it takes the first, and Caffe the last",
            fix="cut the graph before it with --outputs and take the largest outside",
        )
    axis = step.axis(0)
    y = step.layer("ArgMax", step.bottom(0), argmax_param={"axis": axis})
    return [reshape(step, y, step.out_shape)]
