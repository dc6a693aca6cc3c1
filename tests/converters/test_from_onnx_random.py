"""Random graphs of operators that have a Caffe form give the same numbers in ONNX Runtime and in Caffe."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converters.from_onnx import OnnxFile, to_caffe
from prototxt.errors import UserError


class Drawn:
    """A graph that grows by random nodes; each reads a map [N, C, H, W] that is there already."""

    def __init__(self, data: st.DataObject) -> None:
        self.data, self.rng = data, np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "weights"))
        shape = tuple(data.draw(st.integers(least, most)) for least, most in ((1, 2), (1, 4), (4, 9), (4, 9)))
        self.opset = data.draw(st.integers(11, 17), "opset")
        self.shapes, self.nodes, self.arrays = {"x": shape}, [], {}

    def number(self, least: int, most: int) -> int:
        return self.data.draw(st.integers(least, most))

    def numbers(self, count: int, least: int, most: int) -> list[int]:
        return [self.number(least, most) for _ in range(count)]

    def flag(self) -> bool:
        return self.data.draw(st.booleans())

    def constant(self, array) -> str:
        array = np.asarray(array)
        name = f"c{len(self.arrays)}"
        self.arrays[name] = array.astype(np.float32) if array.dtype == np.float64 else array
        return name

    def values(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes) -> None:
        """Add a node; its outputs' shapes are asked of onnx."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        made = onnx.shape_inference.infer_shapes(self.model(names), strict_mode=True, data_prop=True)
        found = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in made.graph.output}
        if any(len(found[name]) != 4 or min(found[name]) < 1 or np.prod(found[name]) > 5000 for name in names):
            self.nodes.pop()
            return
        self.shapes.update(found)

    def model(self, outputs) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shapes["x"])],
            values,
            [numpy_helper.from_array(array, name) for name, array in self.arrays.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def conv(g: Drawn, x: str) -> None:
    _, channels, *sides = g.shapes[x]
    group = g.data.draw(st.sampled_from([n for n in range(1, channels + 1) if channels % n == 0]))
    kernel = [g.number(1, min(3, side)) for side in sides]
    weights = [g.values(group * g.number(1, 2), channels // group, *kernel)]
    weights += [g.values(len(g.arrays[weights[0]]))] if g.flag() else []
    g.add("Conv", x, *weights, group=group, pads=g.numbers(4, 0, 2), strides=g.numbers(2, 1, 3))


def transposed(g: Drawn, x: str) -> None:
    kernel, strides = g.numbers(2, 1, 4), g.numbers(2, 1, 3)
    pads = [g.number(0, (side - 1) // 2) for side in kernel * 2]
    extra = [g.number(0, stride - 1) for stride in strides]
    weight = g.values(g.shapes[x][1], g.number(1, 3), *kernel)
    g.add("ConvTranspose", x, weight, pads=pads, strides=strides, output_padding=extra)


def pool(g: Drawn, x: str) -> None:
    kernel = [g.number(1, min(4, side)) for side in g.shapes[x][2:]]
    pads = [g.number(0, (side - 1) // 2) for side in kernel * 2]
    options = {"kernel_shape": kernel, "strides": g.numbers(2, 1, 3), "pads": pads}
    if g.flag():
        g.add("MaxPool", x, ceil_mode=int(g.flag()), **options)
    else:
        g.add("AveragePool", x, count_include_pad=int(g.flag()), **options)


def unary(g: Drawn, x: str) -> None:
    ops = "Relu Sigmoid Tanh Abs Neg Elu LeakyRelu HardSigmoid Softplus Softsign Identity Selu"
    ops += " GlobalAveragePool GlobalMaxPool"
    g.add(g.data.draw(st.sampled_from(ops.split())), x)


def binary(g: Drawn, x: str) -> None:
    """With a constant that broadcasts, or with another map."""
    op = g.data.draw(st.sampled_from(["Add", "Sub", "Mul"]))
    shape = tuple(size if g.flag() else 1 for size in g.shapes[x])
    others = [name for name, other in g.shapes.items() if other == g.shapes[x]]
    other = g.data.draw(st.sampled_from(others)) if g.flag() else g.values(*shape[g.number(0, 3) :])
    g.add(op, *([x, other] if g.flag() else [other, x]))


def gate(g: Drawn, x: str) -> None:
    g.add("GlobalAveragePool", x)
    last = f"v{len(g.nodes) - 1}_0"
    if last in g.shapes:
        g.add(g.data.draw(st.sampled_from(["Mul", "Add"])), x, last)


def norm(g: Drawn, x: str) -> None:
    channels = g.shapes[x][1]
    if g.flag():
        variance = g.constant(g.rng.uniform(0.5, 2, channels))
        g.add("BatchNormalization", x, *(g.values(channels) for _ in range(3)), variance)
    else:
        g.add("Softmax", x, axis=1 if g.opset < 13 else g.number(0, 3))


def concat(g: Drawn, x: str) -> None:
    axis = g.number(1, 3)
    fits = [n for n, s in g.shapes.items() if all(a == b for i, (a, b) in enumerate(zip(s, g.shapes[x])) if i != axis)]
    g.add("Concat", x, g.data.draw(st.sampled_from(fits)), axis=axis)


def move(g: Drawn, x: str) -> None:
    shape = g.shapes[x]
    kind = g.number(0, 4)
    if kind == 0:
        order = g.data.draw(st.permutations([1, 2, 3]))
        g.add("Transpose", x, perm=[0, *order])
    elif kind == 1:
        axis = g.number(1, 3)
        first = g.number(0, shape[axis] - 1)
        g.add("Slice", x, *(g.constant(np.array([n])) for n in (first, g.number(first + 1, shape[axis]), axis)))
    elif kind == 2:
        g.add("Pad", x, g.constant(np.array([0, 0, *g.numbers(2, 0, 2), 0, 0, *g.numbers(2, 0, 2)])))
    elif kind == 3:
        g.add("Reshape", x, g.constant(np.array([0, shape[1] * shape[2], 1, -1])))
    else:
        g.add("Split", x, outputs=2, axis=3) if shape[3] % 2 == 0 else None


def resize(g: Drawn, x: str) -> None:
    mode = g.data.draw(st.sampled_from(["nearest", "linear"]))
    where = g.data.draw(st.sampled_from(["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]))
    sizes = g.constant(np.array([*g.shapes[x][:2], *g.numbers(2, 1, 12)]))
    options = {"nearest_mode": "floor"} if mode == "nearest" else {}
    if mode == "nearest" and where != "asymmetric":
        where = "asymmetric"  # elsewhere sources lie half-way, and rounding decides
    empty = g.constant(np.zeros(0, np.float32))
    g.add("Resize", x, empty, empty, sizes, mode=mode, coordinate_transformation_mode=where, **options)


GROW = (conv, transposed, pool, unary, binary, gate, norm, concat, move, resize)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_graphs(same_in_caffe, data):
    g = Drawn(data)
    for _ in range(g.number(1, 8)):
        grow = data.draw(st.sampled_from(GROW))
        grow(g, data.draw(st.sampled_from(sorted(g.shapes))))
    read = {name for node in g.nodes for name in node.input}
    outputs = [name for name in g.shapes if name not in read and name != "x"]
    if not outputs:
        return
    if g.flag():  # an output that others read, too
        outputs = sorted({*outputs, data.draw(st.sampled_from([name for name in g.shapes if name != "x"]))})
    model = g.model(outputs)
    try:
        to_caffe(OnnxFile(model))
    except UserError as error:
        reasons = ("cannot be said with one padding", "cannot be laid", "lies wholly in the padding")
        assert all(any(reason in line for reason in reasons) for line in str(error).splitlines() if "node" in line)
        return
    same_in_caffe(model)
