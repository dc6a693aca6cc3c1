"""Property tests: random nets with random weights, Caffe → PyTorch → Caffe bit for bit, and the same numbers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from converters.caffemodel import read_weights, write_weights
from converters.files import read_blobs
from converters.pytorch import CaffeNet
from converters.pytorch.layout import caffe_layout
from converters.pytorch.source import source_layout, source_text
from converters.pytorch.states import write_state
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file

CONVOLUTION = st.fixed_dictionaries(
    {"num_output": st.sampled_from([2, 4, 6]), "kernel_size": st.integers(1, 3).map(lambda k: [k])},
    optional={
        "pad": st.integers(0, 2).map(lambda p: [p]),
        "stride": st.integers(1, 2).map(lambda s: [s]),
        "dilation": st.integers(1, 2).map(lambda d: [d]),
        "group": st.sampled_from([1, 2]),
        "bias_term": st.booleans(),
    },
)
POOLING = st.fixed_dictionaries(
    {"pool": st.sampled_from([0, 1]), "kernel_size": st.integers(1, 3)},
    optional={"stride": st.integers(1, 3), "pad": st.integers(0, 2)},
)
# Type -> the field of its parameters and how they are drawn.
UNARY = {
    "Convolution": ("convolution_param", CONVOLUTION),
    "Deconvolution": ("convolution_param", CONVOLUTION),
    "InnerProduct": (
        "inner_product_param",
        st.fixed_dictionaries({"num_output": st.integers(1, 5)}, optional={"transpose": st.booleans()}),
    ),
    "BatchNorm": ("batch_norm_param", st.fixed_dictionaries({}, optional={"eps": st.sampled_from([1e-3, 1e-5])})),
    "Scale": ("scale_param", st.fixed_dictionaries({"bias_term": st.booleans()})),
    "Bias": ("bias_param", st.just({})),
    "PReLU": ("prelu_param", st.fixed_dictionaries({"channel_shared": st.booleans()})),
    "Normalize": (
        "norm_param",
        st.fixed_dictionaries({"channel_shared": st.booleans(), "across_spatial": st.booleans()}),
    ),
    "Pooling": ("pooling_param", POOLING),
    "ReLU": ("relu_param", st.fixed_dictionaries({"negative_slope": st.sampled_from([0, 0.1])})),
    "ELU": ("elu_param", st.just({})),
    "Sigmoid": ("sigmoid_param", st.just({})),
    "Power": ("power_param", st.fixed_dictionaries({"scale": st.just(0.5), "shift": st.integers(-1, 1)})),
    "Softmax": ("softmax_param", st.just({})),
    "LRN": ("lrn_param", st.fixed_dictionaries({"local_size": st.sampled_from([1, 3])})),
    "MVN": ("mvn_param", st.fixed_dictionaries({"across_channels": st.booleans()})),
    "Permute": ("permute_param", st.permutations([1, 2, 3]).map(lambda order: {"order": [0, *order]})),
    "Reshape": ("reshape_param", st.just({"shape": {"dim": [0, -1, 1, 1]}})),
    "Flatten": ("flatten_param", st.just({"axis": 2})),
}


@st.composite
def nets(draw) -> Graph:
    """A net of up to ten layers: each reads some earlier blob, or joins two of one shape, or works in place."""
    net = schema.NetParameter(name="drawn")
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add(dim=[2, 4, 7, 6])
    graph = Graph(net_file(net))
    for i in range(draw(st.integers(1, 10))):
        shapes = graph.shapes
        bottom = draw(st.sampled_from(sorted(shapes)))
        alike = [name for name in sorted(shapes) if shapes[name] == shapes[bottom] and name != bottom]
        kind = draw(st.sampled_from([*UNARY, "Eltwise", "Concat"] if alike else list(UNARY)))
        name = f"layer{i}/{kind.lower()}"
        layer = schema.LayerParameter(name=name, type=kind, bottom=[bottom], top=[name])
        if kind in UNARY:
            field, params = UNARY[kind]
            setattr_message(getattr(layer, field), draw(params))
        else:
            layer.bottom.append(draw(st.sampled_from(alike)))
        if kind in ("ReLU", "BatchNorm", "Scale") and bottom != "data" and draw(st.booleans()):
            layer.top[:] = [bottom]
        longer = schema.NetParameter()
        longer.CopyFrom(net)
        longer.layer.append(layer)
        try:
            grown = Graph(net_file(longer))
            CaffeNet(grown, seed=0)
        except UserError:  # Caffe has no such layer on this blob: too few axes, a kernel too large
            continue
        net, graph = longer, grown
    return graph


def setattr_message(message, values) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            setattr_message(getattr(message, name), value)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)


def random_bits(graph: Graph, seed: int) -> dict[str, list[np.ndarray]]:
    """Any bits at all: infinities, NaNs with a payload, numbers below the normal ones."""
    rng = np.random.default_rng(seed)
    return {
        layer.name: [rng.integers(0, 2**32, s, np.uint32).view(np.float32).reshape(s) for s in layer.blob_shapes]
        for layer in graph.layers
        if layer.blob_shapes
    }


def small_numbers(graph: Graph, seed: int) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        layer.name: [rng.uniform(0.2, 0.7, shape).astype(np.float32) for shape in layer.blob_shapes]
        for layer in graph.layers
        if layer.blob_shapes
    }


def bits(weights) -> dict[str, list[bytes]]:
    return {name: [blob.tobytes() for blob in blobs] for name, blobs in weights.items()}


@settings(max_examples=60, deadline=None)
@given(nets(), st.integers(0, 2**32))
def test_weights_come_back_bit_for_bit(graph, seed):
    weights = random_bits(graph, seed)
    assert bits(CaffeNet(graph, weights).weights()) == bits(weights)
    if not weights:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("w.pth", "w.safetensors"):
            write_state(Path(folder, name), caffe_layout(graph).state(weights))
            assert bits(read_blobs(graph, Path(folder, name))) == bits(weights)
        for name in ("w.caffemodel", "w.caffemodel.h5"):
            write_weights(Path(folder, name), graph, weights)
            assert bits(read_weights(Path(folder, name))) == bits(weights)
        for layer in graph.layers:  # multiplied out in the stand-alone form
            if layer.type == "BatchNorm":
                weights[layer.name][2][:] = 1
        write_state(Path(folder, "s.pth"), source_layout(graph).state(weights))
        found = read_blobs(graph, Path(folder, "s.pth"))
        for name, blobs in weights.items():
            for one, other in zip(found[name], blobs):
                np.testing.assert_array_equal(one, other)  # times 1: only the bits of a NaN may change


@settings(max_examples=60, deadline=None)
@given(nets(), st.integers(0, 2**32))
def test_the_source_computes_what_the_net_does(graph, seed):
    weights = small_numbers(graph, seed)
    x = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (2, 4, 7, 6)).astype(np.float32))
    names = {"__name__": "sys"}
    exec(compile(source_text(graph, "net.pth"), "net.py", "exec"), names)
    module = names["Drawn"]().eval()
    state = source_layout(graph).state(weights)
    module.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()})
    with torch.no_grad():
        wanted, found = CaffeNet(graph, weights)({"data": x}), module(x)
    found = found if isinstance(found, dict) else {graph.outputs[0]: found}
    assert list(found) == list(wanted)
    for name, top in wanted.items():
        torch.testing.assert_close(found[name], top, rtol=1e-5, atol=1e-5, equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(nets(), st.integers(0, 2**32))
def test_onnx_runtime_computes_what_the_net_does(graph, seed):
    onnxruntime = pytest.importorskip("onnxruntime")
    from converters.onnx import to_onnx

    weights = small_numbers(graph, seed)
    x = np.random.default_rng(seed).normal(0, 1, (2, 4, 7, 6)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        model = to_onnx(graph, weights)
    except UserError as error:
        assume("its last window lies wholly outside" not in str(error))
        raise
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    with torch.no_grad():
        wanted = CaffeNet(graph, weights)({"data": torch.from_numpy(x)})
    tops = session.run(None, {"data": x})
    assert len(tops) == len(graph.outputs)
    for name, top in zip(graph.outputs, tops):
        torch.testing.assert_close(torch.from_numpy(top), wanted[name], rtol=1e-4, atol=1e-4, equal_nan=True)
