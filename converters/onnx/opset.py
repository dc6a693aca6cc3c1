"""A model in another version of ONNX's operators."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from prototxt.errors import UserError

OLDEST, NEWEST = 15, 21
# From this version on their axes are an input.
_AXES_ARE_AN_INPUT = {"ReduceL1": 18, "ReduceMean": 18, "ReduceMin": 18, "ReduceSumSquare": 18}


def to_opset(model: ModelProto, version: int) -> None:
    """Turn a model of `to_onnx`, which is of opset 17, into one of `version`, in place.

    Of the operators in use, only the reductions changed between opset 15 and 21 in a way that matters.

    Raises:
        UserError: a version that is not supported.
    """
    if not OLDEST <= version <= NEWEST:
        raise UserError(f"--opset is {version}", expected=f"{OLDEST} to {NEWEST}")
    (opset,) = (each for each in model.opset_import if each.domain == "")
    opset.version = version
    # Versions that came with the opset, as older readers refuse newer ones; below that of 15 nothing is lost.
    model.ir_version = max(8, helper.find_min_ir_version_for([opset]))
    for node in model.graph.node:
        if version >= _AXES_ARE_AN_INPUT.get(node.op_type, version + 1):
            (axes,) = (each for each in node.attribute if each.name == "axes")
            name = f"{node.name}/axes"
            model.graph.initializer.append(numpy_helper.from_array(np.array(axes.ints, np.int64), name))
            node.input.append(name)
            node.attribute.remove(axes)
