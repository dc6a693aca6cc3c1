"""Single operators of ONNX in Caffe, against ONNX Runtime, and the reasons why some are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.from_onnx import OnnxFile, to_caffe
from prototxt.errors import UserError

RNG = np.random.default_rng(0)
Constants = Mapping[str, Any]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    shapes: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str] = ("y",),
    constants: Constants | None = None,
    opset: int = 13,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model of `nodes`; constants are float32 or int64 arrays, or become so."""
    arrays = {name: np.asarray(value) for name, value in (constants or {}).items()}
    arrays = {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in arrays.items()}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    # ONNX Runtime wants to know what an output is.
    for output in graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def one(
    op: str, shape: Sequence[int], constants: Constants | None = None, opset: int = 13, **attributes
) -> onnx.ModelProto:
    """A model of one node, called `it`, whose inputs are x and the constants in their order."""
    node = helper.make_node(op, ["x", *(constants or {})], ["y"], name="it", **attributes)
    return model_of([node], {"x": shape}, constants=constants, opset=opset)


def weights(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


CONV = {"w": weights(4, 3, 3, 2), "b": weights(4)}
UP = {"w": weights(3, 4, 3, 3), "b": weights(4)}

CASES = {
    "conv pads differ": one("Conv", (1, 3, 9, 8), CONV, pads=[0, 1, 2, 0]),
    "conv pads differ, strides": one("Conv", (1, 3, 9, 8), CONV, pads=[0, 0, 1, 1], strides=[2, 2]),
    "conv pads differ, dilated": one("Conv", (1, 3, 11, 9), CONV, pads=[2, 0, 0, 3], dilations=[2, 3]),
    "conv same upper": one("Conv", (1, 3, 9, 8), CONV, auto_pad="SAME_UPPER", strides=[2, 3]),
    "conv same lower": one("Conv", (1, 3, 8, 8), CONV, auto_pad="SAME_LOWER", strides=[2, 1]),
    "conv valid": one("Conv", (1, 3, 9, 8), CONV, auto_pad="VALID"),
    "conv groups": one("Conv", (2, 6, 5, 5), {"w": weights(4, 3, 3, 3)}, group=2, pads=[1, 1, 1, 1]),
    "conv of lines": one("Conv", (2, 3, 12), {"w": weights(4, 3, 3), "b": weights(4)}, pads=[2, 0], strides=[2]),
    "transposed": one("ConvTranspose", (1, 3, 5, 6), UP, strides=[2, 3], pads=[1, 0, 1, 0]),
    "transposed, output padding": one(
        "ConvTranspose", (1, 3, 5, 6), UP, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    ),
    "transposed, pads differ": one("ConvTranspose", (1, 3, 5, 6), UP, strides=[2, 2], pads=[0, 1, 1, 0]),
    "transposed, output shape": one("ConvTranspose", (1, 3, 5, 6), UP, strides=[2, 2], output_shape=[10, 12]),
    "transposed, same": one("ConvTranspose", (1, 3, 5, 6), UP, strides=[2, 2], auto_pad="SAME_UPPER"),
    "transposed, groups": one("ConvTranspose", (1, 4, 5, 6), {"w": weights(4, 3, 2, 2)}, group=2, dilations=[2, 1]),
    "max floor": one("MaxPool", (2, 3, 8, 11), kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]),
    "max ceil": one("MaxPool", (2, 3, 8, 11), kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    "max pads differ": one("MaxPool", (1, 3, 8, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    "max same upper": one("MaxPool", (1, 3, 8, 7), auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 2]),
    "max same lower": one("MaxPool", (1, 3, 8, 7), auto_pad="SAME_LOWER", kernel_shape=[2, 2], strides=[1, 1]),
    "max of lines": one("MaxPool", (2, 3, 10), kernel_shape=[3], strides=[2]),
    "average floor": one("AveragePool", (1, 3, 8, 8), kernel_shape=[3, 3], strides=[2, 2]),
    "average without padding": one("AveragePool", (1, 3, 7, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1]),
    "average with padding": one(
        "AveragePool", (1, 3, 7, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1], count_include_pad=1
    ),
    "average beyond padding": one(
        "AveragePool", (1, 3, 8, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1, opset=19
    ),
    "global maximum": one("GlobalMaxPool", (2, 3, 4, 5)),
    "global average of lines": one("GlobalAveragePool", (2, 3, 7)),
    "gemm": one("Gemm", (2, 6), {"w": weights(6, 5), "b": weights(1, 5)}, alpha=0.5, beta=2.0),
    "gemm transposed": one("Gemm", (6, 2), {"w": weights(5, 6), "b": weights(1)}, transA=1, transB=1),
    "matmul of rows": one("MatMul", (2, 3, 6), {"w": weights(6, 5)}),
    "clip 6": one("Clip", (2, 3), opset=7, min=0.0, max=6.0),
    "clip inputs": one("Clip", (2, 3), {"low": np.float32(-0.5), "high": np.float32(0.25)}),
    "prelu": one("PRelu", (2, 3, 4, 4), {"s": weights(3, 1, 1)}),
    "prelu shared": one("PRelu", (2, 3), {"s": weights(1)}),
    "thresholded": one("ThresholdedRelu", (2, 3), alpha=0.3),
    "softmax 12": one("Softmax", (2, 3, 4), opset=12),
    "softmax 13": one("Softmax", (2, 3, 4)),
    "softmax axis": one("Softmax", (2, 3, 4, 5), axis=1),
    "logarithm of softmax": one("LogSoftmax", (2, 3, 4), axis=1),
    "lrn": one("LRN", (1, 7, 3, 3), size=5, alpha=0.1, bias=2.0),
    "batch norm of rows": one(
        "BatchNormalization", (3, 4), {"g": weights(4), "b": weights(4), "m": weights(4), "v": weights(4) ** 2}
    ),
    "unit vectors": one("LpNormalization", (2, 4, 3), axis=1, p=2),
    "group norm 18": one(
        "GroupNormalization", (2, 4, 3, 3), {"g": weights(2), "b": weights(2)}, opset=18, num_groups=2
    ),
    "group norm 21": one(
        "GroupNormalization", (2, 4, 3, 3), {"g": weights(4), "b": weights(4)}, opset=21, num_groups=2
    ),
    "layer norm": one("LayerNormalization", (2, 3, 4), {"g": weights(3, 4)}, opset=17, axis=1),
    "resize nearest": one("Upsample", (1, 2, 3, 4), mode="nearest", scales=[1.0, 1.0, 2.0, 3.0], opset=7),
    "resize nearest 9": one("Upsample", (1, 2, 3, 4), {"s": [1.0, 1.0, 2.0, 2.0]}, opset=9),
    "resize bilinear 9": one("Upsample", (1, 2, 3, 4), {"s": [1.0, 1.0, 2.0, 2.0]}, opset=9, mode="linear"),
    "resize smaller": one(
        "Resize",
        (1, 2, 6, 9),
        {"r": [0.0], "s": [1.0, 1.0, 0.5, 1 / 3]},
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    "resize to sizes": one(
        "Resize", (1, 2, 5, 4), {"r": [0.0], "s": np.zeros(0, np.float32), "z": [1, 2, 8, 7]}, mode="linear"
    ),
    "resize by a part": one("Resize", (1, 2, 5, 4), {"r": [0.0], "s": [1.0, 1.0, 1.7, 0.6]}, mode="linear"),
    "resize nearest by a part": one("Resize", (1, 2, 5, 4), {"r": [0.0], "s": [1.0, 1.0, 1.7, 1.3]}),
    "slice": one("Slice", (2, 5, 8), {"s": [1, -3], "e": [4, 2**63 - 1], "a": [1, 2]}),
    "slice 7": one("Slice", (2, 5, 8), opset=7, starts=[1, 0], ends=[2, 3]),
    "slice every third": one("Slice", (1, 3, 11, 8), {"s": [1, 0], "e": [10, 8], "a": [2, 3], "i": [3, 2]}),
    "gather a range": one("Gather", (2, 6, 3), {"i": [2, 3, 4]}, axis=1),
    "gather one": one("Gather", (2, 6, 3), {"i": np.array(-1)}, axis=1),
    "gather any order": one("Gather", (2, 4, 3), {"i": [[3, 0], [0, 2]]}, axis=1),
    "pad": one("Pad", (1, 2, 3, 4), {"p": [0, 0, 1, 2, 0, 0, 0, 3]}),
    "pad 7": one("Pad", (1, 2, 3, 4), opset=7, pads=[0, 0, 1, 0, 0, 0, 0, 3]),
    "pad axes": one("Pad", (1, 2, 3, 4), {"p": [1, 2, 0, 1], "v": np.float32(0), "a": [2, -1]}, opset=18),
    "pixels to depth": one("SpaceToDepth", (2, 3, 4, 6), blocksize=2),
    "depth to pixels": one("DepthToSpace", (2, 8, 3, 5), blocksize=2),
    "depth to pixels, CRD": one("DepthToSpace", (2, 8, 3, 5), blocksize=2, mode="CRD"),
    "tile": one("Tile", (2, 1, 3), {"r": [1, 4, 2]}),
    "expand": one("Expand", (3, 1), {"s": [2, 1, 4]}),
    "transpose": one("Transpose", (2, 3, 4)),
    "flatten": one("Flatten", (2, 3, 4, 5), axis=2),
    "squeeze 7": one("Squeeze", (2, 1, 4, 1), opset=7, axes=[3]),
    "reshape": one("Reshape", (2, 3, 4), {"s": [0, -1, 2]}),
    "mean": one("ReduceMean", (2, 3, 4, 5), axes=[1, -1], keepdims=0),
    "mean 18": one("ReduceMean", (2, 3, 4), {"a": [0, 2]}, opset=18),
    "mean of all": one("ReduceMean", (2, 3, 4)),
    "absolute sum": one("ReduceL1", (2, 3, 4), axes=[1]),
    "logarithm of a sum": one("ReduceSumSquare", (2, 3, 4), axes=[2]),
    "largest last": one("ReduceMax", (2, 3, 4), axes=[0]),
    "number over x": model_of(
        [helper.make_node("Div", ["c", "x"], ["y"])], {"x": (2, 3)}, constants={"c": [1.0, 2.0, 3.0]}
    ),
    "vector minus x": model_of(
        [helper.make_node("Sub", ["c", "x"], ["y"])], {"x": (2, 3)}, constants={"c": [[1.0], [2.0]]}
    ),
    "constant is larger": model_of(
        [helper.make_node("Add", ["x", "c"], ["y"])], {"x": (3, 1)}, constants={"c": weights(2, 1, 4)}
    ),
    "constant in the middle": model_of(
        [helper.make_node("Mul", ["x", "c"], ["y"])], {"x": (2, 3, 4, 5)}, constants={"c": weights(3, 1, 5)}
    ),
    "both repeat": model_of([helper.make_node("Add", ["a", "b"], ["y"])], {"a": (2, 1, 4), "b": (3, 1)}),
    "sum of three": model_of([helper.make_node("Sum", ["a", "b", "b"], ["y"])], {"a": (2, 3), "b": (2, 3)}),
    "mean of two": model_of([helper.make_node("Mean", ["a", "b"], ["y"])], {"a": (2, 3), "b": (3,)}),
    "least": model_of(
        [helper.make_node("Min", ["a", "b", "c"], ["y"])], {"a": (2, 3), "b": (2, 3)}, constants={"c": np.float32(0.1)}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_same_numbers(name, same_in_caffe):
    same_in_caffe(CASES[name], tolerance=1e-5)


def types(graph) -> list[str]:
    return [layer.type for layer in graph.layers if layer.type != "Input"]


def test_kernels_grow_by_zeros_where_padding_differs():
    """k3 s2 with one row of padding at the end: k4 with a row of zeros first, padded by one at both ends."""
    graph, blobs = to_caffe(
        OnnxFile(one("Conv", (1, 3, 8, 8), {"w": weights(2, 3, 3, 3)}, pads=[0, 0, 1, 1], strides=[2, 2]))
    )
    (layer,) = graph.layers[1:]
    assert (layer.p.kernel_hw, layer.p.pad_hw, layer.p.stride_hw) == ((4, 4), (1, 1), (2, 2))
    (kernel,) = blobs["it"]
    assert not kernel[:, :, 0].any() and not kernel[:, :, :, 0].any() and kernel[:, :, 1:, 1:].all()


def test_resizing_by_a_whole_factor_is_a_fixed_deconvolution():
    graph, blobs = to_caffe(OnnxFile(CASES["resize nearest"]))
    (layer,) = graph.layers[1:]
    assert (layer.type, layer.p.kernel_hw, layer.p.stride_hw, layer.p.group) == ("Deconvolution", (2, 3), (2, 3), 2)
    assert (blobs["it"][0] == 1).all() and layer.proto.param[0].lr_mult == 0


def test_padding_goes_into_the_convolution(same_in_caffe):
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["padded"], name="pad"),
        helper.make_node("Conv", ["padded", "w"], ["y"], name="conv", strides=[2, 2], pads=[0, 1, 0, 0]),
    ]
    constants = {"p": [0, 0, 1, 0, 0, 0, 1, 0], "w": weights(2, 3, 3, 3)}
    graph, _ = same_in_caffe(model_of(nodes, {"x": (1, 3, 8, 8)}, constants=constants))
    assert types(graph) == ["Convolution"]


def test_bias_goes_into_the_layer_before(same_in_caffe):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="product"),
        helper.make_node("Add", ["b", "a"], ["c"], name="sum"),
        helper.make_node("Mul", ["c", "g"], ["d"], name="scale"),
        helper.make_node("Add", ["d", "b"], ["y"], name="shift"),
    ]
    constants = {"w": weights(3, 4), "b": weights(4), "g": weights(4)}
    graph, blobs = same_in_caffe(model_of(nodes, {"x": (2, 3)}, constants=constants))
    assert types(graph) == ["InnerProduct", "Scale"] and len(blobs["product"]) == len(blobs["scale"]) == 2
    model = model_of(nodes, {"x": (2, 3)}, ["a", "y"], constants)  # what is an output is no bias's to change
    graph, _ = same_in_caffe(model)
    assert set(graph.outputs) == {"a", "y"} and types(graph) == ["InnerProduct", "Scale", "Scale", "Split"]


def test_outputs_keep_their_names(same_in_caffe):
    """One that others read, one that is an input, one that is the same value twice."""
    nodes = [
        helper.make_node("Relu", ["x"], ["inner"], name="relu"),
        helper.make_node("Identity", ["inner"], ["same"], name="same"),
        helper.make_node("Sigmoid", ["inner"], ["y"], name="sigmoid"),
        helper.make_node("Identity", ["x"], ["given"], name="given"),
    ]
    model = model_of(nodes, {"x": (2, 3)}, ["inner", "same", "y", "given"])
    graph, _ = same_in_caffe(model)
    assert set(graph.outputs) == {"inner", "same", "y", "given"}


def test_what_shapes_are_made_of_is_computed(same_in_caffe):
    """The chain that exporters write for x.view(x.shape[0], -1)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], axis=0),
        helper.make_node("Unsqueeze", ["batch", "axes"], ["first"]),
        helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
        helper.make_node("Concat", ["first", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"], name="view"),
    ]
    model = model_of(nodes, {"x": ("batch", 3, 4, 5)}, constants={"zero": np.array(0), "axes": [0]})
    graph, _ = same_in_caffe(model, input_shapes={"x": (2, 3, 4, 5)})
    assert types(graph) == ["Flatten"]


def test_nodes_that_no_output_needs_are_left_out():
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Erf", ["x"], ["z"])]
    assert types(to_caffe(OnnxFile(model_of(nodes, {"x": (2, 3)})))[0]) == ["ReLU"]


def test_an_image_of_bytes(same_in_caffe):
    nodes = [
        helper.make_node("Transpose", ["x"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["chw"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["f", "c"], ["y"]),
    ]
    model = model_of(nodes, {"x": (1, 4, 5, 3)}, constants={"c": np.float32(255)}, kind=TensorProto.UINT8)
    graph, _ = to_caffe(OnnxFile(model))
    assert types(graph) == ["Permute", "Power"]


def test_half_precision_is_computed_in_single(same_in_caffe):
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["h", "c"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    same_in_caffe(model_of(nodes, {"x": (2, 3)}, constants={"c": np.float16(0.5)}), tolerance=2e-3)


REFUSED = {
    "Erf": (one("Erf", (2, 3)), "no Caffe layers compute this operator"),
    "domain": (one("Gelu", (2, 3), domain="com.microsoft"), r"\(com.microsoft::Gelu\): no Caffe layers compute"),
    "product": (
        model_of([helper.make_node("MatMul", ["a", "b"], ["y"], name="it")], {"a": (2, 3), "b": (3, 4)}),
        "Caffe has no product of two computed matrices; expected constant weights on the right",
    ),
    "weights": (
        model_of([helper.make_node("Conv", ["a", "b"], ["y"], name="it")], {"a": (1, 3, 8, 8), "b": (4, 3, 3, 3)}),
        'its weights "b" are computed while the net runs; expected constants',
    ),
    "dilated pool": (one("MaxPool", (1, 2, 8, 8), kernel_shape=[3, 3], dilations=[2, 2]), "windows have no gaps"),
    "indices": (
        model_of([helper.make_node("MaxPool", ["x"], ["y", "i"], name="it", kernel_shape=[2, 2])], {"x": (1, 2, 4, 4)}),
        "its indices are read",
    ),
    "average": (
        one("AveragePool", (1, 3, 8, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1),
        "until operator set 18 runtimes disagree",
    ),
    "volume": (one("MaxPool", (1, 2, 4, 4, 4), kernel_shape=[2, 2, 2]), "its map has 3 sides"),
    "norm": (one("LpNormalization", (2, 4, 3), axis=2), "its axis is 2 and its p 2; expected axis 1 and p 2"),
    "training": (
        one("Dropout", (2, 3), {"r": np.float32(0.5), "t": np.array(True)}),
        "it is in training mode",
    ),
    "rounding": (one("Cast", (2, 3), to=TensorProto.INT64), "it rounds to INT64"),
    "first of equals": (one("ArgMax", (2, 3), axis=1), "of equal values it takes the first, and Caffe the last"),
    "cubic": (one("Resize", (1, 2, 3, 4), {"r": [0.0], "s": [1.0, 1.0, 2.0, 2.0]}, mode="cubic"), 'mode is "cubic"'),
    "batch": (one("Upsample", (1, 2, 3, 4), {"s": [1.0, 2.0, 1.0, 1.0]}, opset=9), "of which height and width change"),
    "backwards": (one("Slice", (2, 8), {"s": [7], "e": [-9], "a": [1], "i": [-1]}), "it goes backwards along axis 1"),
    "every second": (one("Slice", (2, 8), {"s": [0], "e": [8], "a": [1], "i": [2]}), "only along height and width"),
    "reflection": (one("Pad", (1, 2, 3, 4), {"p": [0, 0, 1, 1, 0, 0, 1, 1]}, mode="reflect"), "it pads with reflect"),
    "channels": (one("Pad", (1, 2, 3, 4), {"p": [0, 1, 0, 0, 0, 0, 0, 0]}), "expected rows and columns added to maps"),
    "constant": (
        model_of(
            [helper.make_node("Concat", ["x", "c"], ["y"], name="it", axis=0)],
            {"x": (2, 3)},
            constants={"c": weights(1, 3)},
        ),
        'its input "c" is a constant, which no Caffe layer can feed it',
    ),
    "even": (one("LRN", (1, 7, 3, 3), size=4), "size is 4; expected an odd number"),
    "empty": (
        one("Slice", (2, 5), {"s": [3], "e": [3], "a": [1]}),
        r'its output "y" has the shape 2×0, no value at all',
    ),
    "whole numbers": (
        model_of([helper.make_node("Neg", ["x"], ["y"], name="it")], {"x": (2, 3)}, kind=TensorProto.INT64),
        'it computes with "x" of type INT64, and Caffe with float32',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    model, reason = REFUSED[name]
    with pytest.raises(UserError, match=reason) as error:
        to_caffe(OnnxFile(model, "model.onnx"))
    assert 'model.onnx: node "it" (' in str(error.value)


def test_all_refused_nodes_at_once_and_where_to_cut():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("Erf", ["a"], ["b"], name="erf"),
        helper.make_node("Clip", ["a"], ["c"], name="clip"),
        helper.make_node("MaxPool", ["b"], ["d"], name="pool", kernel_shape=[2, 2], dilations=[2, 2]),
        helper.make_node("Concat", ["c", "c"], ["e"], name="joined", axis=1),
        helper.make_node("NonZero", ["e"], ["n"], name="where"),
        helper.make_node("Cast", ["n"], ["y"], name="cast", to=TensorProto.FLOAT),
    ]
    model = model_of(nodes, {"x": (1, 2, 8, 8)}, ["d", "y"])
    with pytest.raises(UserError) as error:
        to_caffe(OnnxFile(model))
    assert [line.split(":")[1] for line in str(error.value).splitlines()[:3]] == [
        ' node "erf" (Erf)',
        ' node "pool" (MaxPool)',
        ' node "where" (NonZero)',
    ]
    assert "fix: cut the graph before it: --outputs a,e" in str(error.value)
    graph, _ = to_caffe(OnnxFile(model), outputs=["a", "e"])
    assert set(graph.outputs) == {"a", "e"} and types(graph) == ["ReLU", "Concat", "Split"]


def test_an_output_that_nothing_makes():
    with pytest.raises(UserError, match=r'there is no value "yy" \(did you mean "y"\?\)'):
        to_caffe(OnnxFile(one("Relu", (2, 3))), outputs=["yy"])


def test_an_output_that_needs_no_net():
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["c"], ["z"])]
    with pytest.raises(UserError, match='output "z" is a constant, which needs no net'):
        to_caffe(OnnxFile(model_of(nodes, {"x": (2, 3)}, ["y", "z"], {"c": weights(2)})))


@pytest.mark.parametrize("opset", [6, 23])
def test_operator_sets_that_are_not_known(opset):
    with pytest.raises(UserError, match=f"it is written for operator set {opset}; expected 7 to 22"):
        to_caffe(OnnxFile(one("Relu", (2, 3), opset=opset)))
