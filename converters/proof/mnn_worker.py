"""The process in which MNN works: on a net that it does not understand it may end the process instead of failing.

It is called with `convert PROTOTXT CAFFEMODEL MODEL` or `run MODEL INPUTS.npz TOPS.npz NAME…`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

# MNN's HintMode WINOGRAD_MEMORY_LEVEL. At 0 convolutions take the smallest tiles; the larger ones that MNN prefers
# change the predictions of SSD300 by 4e-3, which would hide a mistake.
_WINOGRAD_MEMORY_LEVEL = 3


def convert(prototxt: str, caffemodel: str, model: str) -> None:
    """Write the MNN model of a Caffe net.

    This is what the command `mnnconvert -f CAFFE` calls. The command itself would also install a package and send
    facts about the machine and the model to MNN's makers.
    """
    from _tools import mnnconvert

    files = ["--prototxt", prototxt, "--modelFile", caffemodel, "--MNNModel", model]
    if not mnnconvert(["mnnconvert", "-f", "CAFFE", *files, "--bizCode", "netgen"]):
        sys.exit("the conversion failed")


def run(model: str, inputs: str, tops: str, *names: str) -> None:
    """Write the tensors called `names`, float32 in Caffe's order of axes; what the model lacks is left out."""
    import MNN

    net = MNN.Interpreter(model)
    net.setSessionHint(_WINOGRAD_MEMORY_LEVEL, 0)
    cores = os.cpu_count() or 1
    session = net.createSession({"backend": "CPU", "precision": "high", "numThread": cores, "saveTensors": names})
    with np.load(inputs) as arrays:
        for name, array in arrays.items():
            net.getSessionInput(session, name).copyFrom(_host_tensor(MNN, array))
    net.runSession(session)
    found = {}
    for name, top in net.getSessionOutputAll(session).items():
        host = _host_tensor(MNN, np.zeros(top.getShape(), np.float32))
        top.copyToHostTensor(host)
        found[name] = np.array(host.getNumpyData())
    np.savez(tops, **{name: array for name, array in found.items() if name in names})


def _host_tensor(mnn: Any, array: np.ndarray) -> Any:
    return mnn.Tensor(array.shape, mnn.Halide_Type_Float, array, mnn.Tensor_DimensionType_Caffe)


if __name__ == "__main__":
    {"convert": convert, "run": run}[sys.argv[1]](*sys.argv[2:])
