"""The shapes of what ONNX's operators make, in plain Python.

Not onnx's own shape inference: it is C++ that trusts the file, and a file of a stranger can end the process there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, prod

import numpy as np

from converters.from_onnx.nodes import Reading
from prototxt.graph import Shape
from prototxt.registry import Registry

# SHAPES[op](read) gives the shape of each output. It raises ValueError, or what Python raises where sizes do not fit.
SHAPES: Registry[Callable[[Reading], list[Shape]]] = Registry("shape", "of operator")


class Unfit(ValueError):
    """Inputs or attributes that do not fit each other."""


_SAME = """
Abs BatchNormalization Cast Ceil Celu Clip Cos DequantizeLinear Elu Erf Exp Floor Gelu GroupNormalization HardSigmoid
HardSwish Identity InstanceNormalization LRN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization Mish Neg Not
PRelu Reciprocal Relu Round ScatterND Selu Sigmoid Sign Sin Softmax Softplus Softsign Sqrt Tanh ThresholdedRelu
"""


@SHAPES.register(*_SAME.split(), "netgen::Normalize")
def same(read: Reading) -> list[Shape]:
    return [read.shape(0)]


@SHAPES.register("Dropout")
def dropout(read: Reading) -> list[Shape]:
    return [read.shape(0)] * len(read.node.outputs)


_BROADCAST = (
    "Add And BitShift Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or Pow Sub Sum Where Xor"
)


@SHAPES.register(*_BROADCAST.split())
def broadcast(read: Reading) -> list[Shape]:
    return [np.broadcast_shapes(*(read.shape(i) for i in range(len(read.node.inputs))))]


def _axis(read: Reading, axis: int, *, rank: int | None = None) -> int:
    rank = len(read.shape(0)) if rank is None else rank
    if not -rank <= axis < rank:
        raise Unfit(f"axis {axis} of {rank}")
    return axis % rank


@SHAPES.register("Shape")
def shape(read: Reading) -> list[Shape]:
    return [(len(read.shape(0)[slice(read.attribute("start", 0), read.attribute("end"))]),)]


@SHAPES.register("Size")
def size(read: Reading) -> list[Shape]:
    return [()]


def _sides(read: Reading, kernel: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Size, dilated extent of the kernel, stride and both paddings together, for each side of a map."""
    sizes = read.shape(0)[2:]
    strides, dilations = (read.attribute(name) or [1] * len(sizes) for name in ("strides", "dilations"))
    pads = read.attribute("pads") or [0] * (2 * len(sizes))
    if not len(sizes) == len(kernel) == len(strides) == len(dilations) == len(pads) / 2 > 0:
        raise Unfit(f"a map of {len(sizes)} sides, a kernel of {len(kernel)}, pads of {len(pads)} values")
    totals = [pads[i] + pads[i + len(sizes)] for i in range(len(sizes))]
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel)]
    return list(zip(sizes, extents, strides, totals))


def _windows(read: Reading, kernel: Sequence[int]) -> list[int]:
    """How many windows lie along each side."""
    auto, out = read.attribute("auto_pad", "NOTSET"), []
    for i, (size, extent, stride, total) in enumerate(_sides(read, kernel)):
        if auto.startswith("SAME"):
            out.append(ceil(size / stride))
            continue
        room = size + (0 if auto == "VALID" else total) - extent
        if room < 0:
            raise Unfit(f"a kernel of {extent} for {size} rows or columns")
        if not read.attribute("ceil_mode", 0):
            out.append(room // stride + 1)
            continue
        count, begin = -(room // -stride) + 1, (read.attribute("pads") or [0] * 8)[i]
        out.append(count - ((count - 1) * stride >= size + begin))  # a window that begins in the padding at the end
    return out


@SHAPES.register("Conv")
def conv(read: Reading) -> list[Shape]:
    x, w = read.shape(0), read.shape(1)
    if len(w) != len(x) or len(x) < 3 or x[1] != w[1] * read.attribute("group", 1):
        raise Unfit(f"weights of {w} for {x}")
    return [(x[0], w[0], *_windows(read, w[2:]))]


@SHAPES.register("ConvTranspose")
def conv_transpose(read: Reading) -> list[Shape]:
    x, w = read.shape(0), read.shape(1)
    if len(w) != len(x) or len(x) < 3 or x[1] != w[0]:
        raise Unfit(f"weights of {w} for {x}")
    channels, sides = w[1] * read.attribute("group", 1), _sides(read, w[2:])
    if asked := read.attribute("output_shape"):
        return [(x[0], channels, *asked[-len(sides) :])]
    extra, auto = read.attribute("output_padding") or [0] * len(sides), read.attribute("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        return [(x[0], channels, *(size * stride for size, _, stride, _ in sides))]
    pads = [0 if auto == "VALID" else total for _, _, _, total in sides]
    out = [(n - 1) * stride + more + extent - pad for (n, extent, stride, _), more, pad in zip(sides, extra, pads)]
    return [(x[0], channels, *out)]


@SHAPES.register("MaxPool", "AveragePool")
def pool(read: Reading) -> list[Shape]:
    return [(*read.shape(0)[:2], *_windows(read, read.attribute("kernel_shape")))] * len(read.node.outputs)


@SHAPES.register("GlobalAveragePool", "GlobalMaxPool")
def global_pool(read: Reading) -> list[Shape]:
    return [(*read.shape(0)[:2], *[1] * (len(read.shape(0)) - 2))]


@SHAPES.register("Gemm")
def gemm(read: Reading) -> list[Shape]:
    (a, b), (c, d) = read.shape(0), read.shape(1)
    (a, b), (c, d) = (
        (b, a) if read.attribute("transA", 0) else (a, b),
        (d, c) if read.attribute("transB", 0) else (c, d),
    )
    if b != c:
        raise Unfit(f"rows of {b} times columns of {c}")
    return [(a, d)]


@SHAPES.register("MatMul")
def mat_mul(read: Reading) -> list[Shape]:
    a, b = read.shape(0), read.shape(1)
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise Unfit(f"{a} times {b}")
    return [(*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])]


@SHAPES.register("Reshape")
def reshape(read: Reading) -> list[Shape]:
    before, dims = read.shape(0), [int(dim) for dim in read.constant(1, "sizes").reshape(-1)]
    if not read.attribute("allowzero", 0):
        dims = [before[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    if -1 in dims:
        rest = prod(dim for dim in dims if dim != -1)
        dims[dims.index(-1)] = prod(before) // rest
    if prod(dims) != prod(before):
        raise Unfit(f"{before} as {tuple(dims)}")
    return [tuple(dims)]


@SHAPES.register("Flatten")
def flatten(read: Reading) -> list[Shape]:
    before, axis = read.shape(0), read.attribute("axis", 1)
    axis = axis + len(before) if axis < 0 else axis
    return [(prod(before[:axis]), prod(before[axis:]))]


@SHAPES.register("Squeeze")
def squeeze(read: Reading) -> list[Shape]:
    before, axes = read.shape(0), read.setting("axes", 1)
    axes = [i for i, n in enumerate(before) if n == 1] if axes is None else [_axis(read, axis) for axis in axes]
    if any(before[axis] != 1 for axis in axes):
        raise Unfit(f"axes {axes} of {before}, which are not all 1")
    return [tuple(n for i, n in enumerate(before) if i not in axes)]


@SHAPES.register("Unsqueeze")
def unsqueeze(read: Reading) -> list[Shape]:
    axes = read.setting("axes", 1)
    rank = len(read.shape(0)) + len(axes)
    new, rest = {_axis(read, axis, rank=rank) for axis in axes}, iter(read.shape(0))
    return [tuple(1 if i in new else next(rest) for i in range(rank))]


@SHAPES.register("Transpose")
def transpose(read: Reading) -> list[Shape]:
    before = read.shape(0)
    order = read.attribute("perm") or range(len(before))[::-1]
    if sorted(order) != list(range(len(before))):
        raise Unfit(f"perm {list(order)} of {before}")
    return [tuple(before[axis] for axis in order)]


@SHAPES.register("Concat")
def concat(read: Reading) -> list[Shape]:
    shapes = [read.shape(i) for i in range(len(read.node.inputs))]
    axis = read.axis(1)
    if len({(*s[:axis], *s[axis + 1 :], len(s)) for s in shapes}) > 1:
        raise Unfit(f"{' and '.join(map(str, shapes))} along axis {axis}")
    return [(*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])]


@SHAPES.register("Split")
def split(read: Reading) -> list[Shape]:
    before, axis = read.shape(0), read.axis(0)
    count, size = len(read.node.outputs), before[axis]
    sizes = read.setting("split", 1)
    if sizes is None:
        part = ceil(size / count)
        sizes = [part] * (count - 1) + [size - part * (count - 1)]
        if read.node.version < 18 and size % count:
            raise Unfit(f"{size} in {count} equal parts")
    if len(sizes) != count or sum(sizes) != size or min(sizes) < 0:
        raise Unfit(f"parts of {sizes} of {size}")
    return [(*before[:axis], part, *before[axis + 1 :]) for part in sizes]


@SHAPES.register("Slice")
def slice_(read: Reading) -> list[Shape]:
    after = list(read.shape(0))
    starts, ends = read.setting("starts", 1), read.setting("ends", 2)
    axes = read.setting("axes", 3) or range(len(starts))
    for start, end, axis, by in zip(starts, ends, axes, read.setting("steps", 4) or [1] * len(starts)):
        axis = _axis(read, axis)
        after[axis] = len(range(*slice(start, end, by).indices(read.shape(0)[axis])))
    return [tuple(after)]


@SHAPES.register("Gather")
def gather(read: Reading) -> list[Shape]:
    before, axis = read.shape(0), read.axis(0)
    return [(*before[:axis], *read.shape(1), *before[axis + 1 :])]


@SHAPES.register("GatherElements")
def gather_elements(read: Reading) -> list[Shape]:
    return [read.shape(1)]


@SHAPES.register("GatherND")
def gather_nd(read: Reading) -> list[Shape]:
    data, indices, batch = read.shape(0), read.shape(1), read.attribute("batch_dims", 0)
    return [(*indices[:-1], *data[batch + indices[-1] :])]


@SHAPES.register("Expand")
def expand(read: Reading) -> list[Shape]:
    return [np.broadcast_shapes(read.shape(0), tuple(int(n) for n in read.constant(1, "sizes")))]


@SHAPES.register("Tile")
def tile(read: Reading) -> list[Shape]:
    repeats = [int(n) for n in read.constant(1, "repeats")]
    if len(repeats) != len(read.shape(0)):
        raise Unfit(f"{repeats} repeats of {read.shape(0)}")
    return [tuple(n * times for n, times in zip(read.shape(0), repeats))]


@SHAPES.register("ConstantOfShape")
def constant_of_shape(read: Reading) -> list[Shape]:
    return [tuple(int(n) for n in read.constant(0, "sizes"))]


@SHAPES.register("Range")
def range_(read: Reading) -> list[Shape]:
    start, limit, by = (read.constant(i, "bounds").item() for i in range(3))
    return [(max(ceil((limit - start) / by), 0),)]


@SHAPES.register("Pad")
def pad(read: Reading) -> list[Shape]:
    return [tuple(n + a + b for n, a, b in zip(read.shape(0), *read.pads()))]


@SHAPES.register("DepthToSpace")
def depth_to_space(read: Reading) -> list[Shape]:
    block, (n, c, h, w) = read.attribute("blocksize"), read.shape(0)
    if c % block**2:
        raise Unfit(f"{c} channels in blocks of {block} x {block}")
    return [(n, c // block**2, h * block, w * block)]


@SHAPES.register("SpaceToDepth")
def space_to_depth(read: Reading) -> list[Shape]:
    block, (n, c, h, w) = read.attribute("blocksize"), read.shape(0)
    if h % block or w % block:
        raise Unfit(f"{h} x {w} in blocks of {block} x {block}")
    return [(n, c * block**2, h // block, w // block)]


@SHAPES.register("Resize", "Upsample")
def resize(read: Reading) -> list[Shape]:
    before = read.shape(0)
    scales = read.scales()
    given = {} if read.node.op == "Upsample" else {"sizes": read.setting("sizes", 3)}
    if read.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unfit("keep_aspect_ratio_policy is not stretch")
    axes = [_axis(read, axis) for axis in read.attribute("axes") or range(len(before))]
    after, values = list(before), scales or given.get("sizes") or []
    if len(values) != len(axes):
        raise Unfit(f"{len(values)} sizes or scales for {len(axes)} axes")
    for axis, value in zip(axes, values):
        after[axis] = int(np.floor(np.float32(value) * np.float32(before[axis]))) if scales else int(value)
    return [tuple(after)]


_REDUCTIONS = "L1 L2 LogSum Max Mean Min Prod Sum SumSquare LogSumExp"


@SHAPES.register(*(f"Reduce{name}" for name in _REDUCTIONS.split()))
def reduce(read: Reading) -> list[Shape]:
    before, axes = read.shape(0), read.setting("axes", 1)
    if not axes and read.attribute("noop_with_empty_axes", 0):
        return [before]
    over = {_axis(read, axis) for axis in axes} if axes else set(range(len(before)))
    return [_reduced(read, over)]


@SHAPES.register("ArgMax", "ArgMin")
def arg_max(read: Reading) -> list[Shape]:
    return [_reduced(read, {read.axis(0)})]


def _reduced(read: Reading, over: set[int]) -> Shape:
    sizes = [1 if i in over else n for i, n in enumerate(read.shape(0))]
    return tuple(sizes) if read.attribute("keepdims", 1) else tuple(n for i, n in enumerate(sizes) if i not in over)
