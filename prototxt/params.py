"""Layer parameters, resolved once: the many ways of writing a kernel size become one pair.

`resolve` gives what a layer's rules read as `layer.p`. For most types that is the layer's own
sub-message (`permute_param`); the types of `_RESOLVERS` have a record with every default filled in.
Pairs are (height, width).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from prototxt import schema
from prototxt.fork_params import interp, proposal, python_proposal, python_spatial_dropout, upsample, yolo_v2, yolo_v3
from prototxt.param_error import Pair, ParamError


@dataclass(frozen=True)
class Conv:
    """Convolution, Deconvolution."""

    num_output: int
    kernel_hw: Pair
    stride_hw: Pair
    pad_hw: Pair
    dilation_hw: Pair
    group: int
    bias_term: bool

    @property
    def extent_hw(self) -> Pair:
        """Rows and columns that one dilated kernel spans."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation_hw, self.kernel_hw))  # type: ignore[return-value]


@dataclass(frozen=True)
class Pool:
    """Pooling. `kernel_hw` is None for global pooling; `rounds_up`: a last window that is not whole counts."""

    method: str  # MAX, AVE or STOCHASTIC
    kernel_hw: Pair | None
    stride_hw: Pair
    pad_hw: Pair
    rounds_up: bool = True


@dataclass(frozen=True)
class PriorBox:
    """PriorBox: sizes in pixels of the net's input.

    `ratios` holds width/height in Caffe's order without the leading 1 of the min and max boxes:
    each given ratio, followed by its inverse when flipped, repeats (and 1) left out.
    """

    min_sizes: tuple[int, ...]
    max_sizes: tuple[int, ...]
    ratios: tuple[float, ...]
    variances: tuple[float, float, float, float]
    clip: bool
    offset: float
    step_hw: tuple[float, float] | None  # None: image size / map size
    image_hw: Pair | None  # None: the second bottom's size

    @property
    def per_cell(self) -> int:
        """Priors in each cell of the map."""
        return len(self.min_sizes) * (1 + len(self.ratios)) + len(self.max_sizes)


def _pair(spec: Any, repeated: str, single: str, default: int | None) -> Pair:
    """A spatial pair given as `repeated: K` (once or twice) or as `single_h`, `single_w`."""
    values, given = list(getattr(spec, repeated)), [spec.HasField(f"{single}_{side}") for side in "hw"]
    if values and any(given):
        raise ParamError(f"both {repeated} and {single}_h/{single}_w are given; keep one of them")
    if any(given):
        if not all(given) and default is None:
            raise ParamError(f"{single}_h and {single}_w must be given together")
        return getattr(spec, f"{single}_h"), getattr(spec, f"{single}_w")
    if len(values) > 2:
        raise ParamError(f"{repeated} has {len(values)} values; a 2-D layer takes one or two")
    if values:
        return values[0], values[-1]
    if default is None:
        raise ParamError(f"{repeated} is missing")
    return default, default


def conv(layer: Any) -> Conv:
    spec = layer.convolution_param
    if spec.axis != 1:
        raise ParamError(f"axis {spec.axis} is not supported; channels are axis 1")
    resolved = Conv(
        num_output=spec.num_output,
        kernel_hw=_pair(spec, "kernel_size", "kernel", None),
        stride_hw=_pair(spec, "stride", "stride", 1),
        pad_hw=_pair(spec, "pad", "pad", 0),
        dilation_hw=((spec.dilation[0], spec.dilation[-1]) if spec.dilation else (1, 1)),
        group=spec.group,
        bias_term=spec.bias_term,
    )
    for name in ("kernel_hw", "stride_hw", "dilation_hw"):
        if min(getattr(resolved, name)) < 1:
            raise ParamError(f"{name.removesuffix('_hw')} must be at least 1")
    if resolved.num_output < 1:
        raise ParamError("num_output must be at least 1")
    if resolved.group < 1 or resolved.num_output % resolved.group:
        raise ParamError(f"group {resolved.group} does not divide num_output {resolved.num_output}")
    return resolved


def depthwise(layer: Any) -> Conv:
    """One group a channel, whether the file says so or leaves `group` open."""
    resolved = conv(layer)
    return resolved if layer.convolution_param.HasField("group") else replace(resolved, group=resolved.num_output)


def _pool_pair(spec: Any, name: str) -> Pair:
    by_side = spec.HasField(f"{name}_h") or spec.HasField(f"{name}_w")
    both = "kernel_size" if name == "kernel" else name
    if by_side and spec.HasField(both):
        raise ParamError(f"both {both} and {name}_h/{name}_w are given; keep one of them")
    if by_side:
        return getattr(spec, f"{name}_h"), getattr(spec, f"{name}_w")
    return getattr(spec, both), getattr(spec, both)


def pool(layer: Any) -> Pool:
    spec = layer.pooling_param
    method = schema.PoolingParameter.PoolMethod.Name(spec.pool)
    kernel_hw, stride_hw, pad_hw = (_pool_pair(spec, name) for name in ("kernel", "stride", "pad"))
    if spec.global_pooling:
        if max(kernel_hw) or max(pad_hw) or stride_hw != (1, 1):
            raise ParamError("global_pooling takes no kernel, stride or pad")
        return Pool(method, None, (1, 1), (0, 0))
    if min(kernel_hw) < 1:
        raise ParamError("kernel_size is missing or 0")
    if min(stride_hw) < 1:
        raise ParamError("stride must be at least 1")
    if any(p >= k for p, k in zip(pad_hw, kernel_hw)):
        raise ParamError(f"pad {max(pad_hw)} is not smaller than the kernel {min(kernel_hw)}")
    return Pool(method, kernel_hw, stride_hw, pad_hw, spec.round_mode == spec.CEIL and spec.ceil_mode)


def prior_box(layer: Any) -> PriorBox:
    spec = layer.prior_box_param
    # Caffe reads the sizes into integers: 20.9 is 20.
    if not all(abs(size) < 2**31 for size in (*spec.min_size, *spec.max_size)):
        raise ParamError("min_size and max_size must be numbers of pixels, below 2^31; one of them is not")
    mins, maxes = tuple(int(s) for s in spec.min_size), tuple(int(s) for s in spec.max_size)
    if not mins:
        raise ParamError("min_size is missing")
    if min(mins) <= 0:
        raise ParamError(f"min_size must be at least 1; found {min(mins)}")
    if maxes and len(maxes) != len(mins):
        raise ParamError(f"{len(mins)} min_size but {len(maxes)} max_size; give none or one for each")
    if any(big <= small for small, big in zip(mins, maxes)):
        raise ParamError(f"max_size {maxes} must be above min_size {mins}")
    return PriorBox(
        min_sizes=mins,
        max_sizes=maxes,
        ratios=_ratios(spec),
        variances=_variances(spec),
        clip=spec.clip,
        offset=spec.offset,
        step_hw=_prior_step(spec),
        image_hw=_prior_image(spec),
    )


def _ratios(spec: Any) -> tuple[float, ...]:
    ratios = _Distinct()
    ratios.add(1.0)
    for ratio in spec.aspect_ratio:
        if not 1e-18 < ratio < 1e18:
            raise ParamError(f"aspect_ratio must be above 0; found {ratio:g}")
        if ratios.add(ratio) and spec.flip:
            ratios.add(1.0 / ratio, anyway=True)
    return tuple(ratios.values[1:])


class _Distinct:
    """Values at least 1e-6 apart, in the order in which they came."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._cells: dict[int, list[float]] = {}  # by the millionth that they lie in

    def add(self, value: float, anyway: bool = False) -> bool:
        """Whether it is a new one; `anyway` adds it also when it is not."""
        cell = math.floor(value * 1e6)
        near = (other for c in (cell - 1, cell, cell + 1) for other in self._cells.get(c, ()))
        if not anyway and any(abs(value - other) < 1e-6 for other in near):
            return False
        self.values.append(value)
        self._cells.setdefault(cell, []).append(value)
        return True


def _variances(spec: Any) -> tuple[float, float, float, float]:
    given = tuple(spec.variance)
    if len(given) not in (0, 1, 4):
        raise ParamError(f"{len(given)} values of variance; give none, one or four")
    if any(v <= 0 for v in given):
        raise ParamError("variance must be above 0")
    return given if len(given) == 4 else (given or (0.1,)) * 4  # type: ignore[return-value]


def _prior_step(spec: Any) -> tuple[float, float] | None:
    if spec.HasField("step_h") != spec.HasField("step_w"):
        raise ParamError("step_h and step_w must be given together")
    if spec.HasField("step") and spec.HasField("step_h"):
        raise ParamError("both step and step_h/step_w are given; keep one of them")
    if not spec.HasField("step") and not spec.HasField("step_h"):
        return None
    step_hw = (spec.step_h, spec.step_w) if spec.HasField("step_h") else (spec.step, spec.step)
    if min(step_hw) <= 0 or not all(map(math.isfinite, step_hw)):
        raise ParamError(f"step must be above 0; found {min(step_hw):g}")
    return step_hw


def _prior_image(spec: Any) -> Pair | None:
    if spec.HasField("img_h") != spec.HasField("img_w"):
        raise ParamError("img_h and img_w must be given together")
    if spec.HasField("img_size") and spec.HasField("img_h"):
        raise ParamError("both img_size and img_h/img_w are given; keep one of them")
    if spec.HasField("img_h"):
        return spec.img_h, spec.img_w
    return (spec.img_size, spec.img_size) if spec.HasField("img_size") else None


def _whole(layer: Any) -> Any:
    return layer


def type_of(layer: Any) -> str:
    """The type by which the tables know a LayerParameter: of a Python layer, its module and class."""
    python = layer.python_param
    return f"{python.module}.{python.layer}" if layer.type == "Python" else layer.type


_RESOLVERS: dict[str, Callable[[Any], Any]] = {
    "Convolution": conv,
    "ConvolutionDepthwise": depthwise,
    "Deconvolution": conv,
    "DepthwiseConvolution": depthwise,
    "Interp": interp,
    "Pooling": pool,
    "PriorBox": prior_box,
    "Proposal": proposal,
    "Upsample": upsample,
    "YoloDetectionOutput": yolo_v2,
    "Yolov3DetectionOutput": yolo_v3,
    "rpn.proposal_layer.ProposalLayer": python_proposal,
    "spatial_dropout.SpatialDropoutLayer": python_spatial_dropout,
    "AnnotatedData": _whole,  # reads data_param, transform_param and annotated_data_param
    "Data": _whole,  # reads data_param and transform_param; all that feed a net count their tops
    "DummyData": _whole,
    "HDF5Data": _whole,
    "ImageData": _whole,  # reads image_data_param and transform_param
    "MemoryData": _whole,
    "SoftmaxWithLoss": _whole,  # reads softmax_param and loss_param
    "SigmoidCrossEntropyLoss": _whole,
    "MultiBoxLoss": _whole,  # reads multibox_loss_param and loss_param
}


# Types whose parameters are not in the field named after them.
_BORROWED = {
    "convolutiondepthwise": "convolution_param",
    "deconvolution": "convolution_param",
    "depthwiseconvolution": "convolution_param",
    "normalize": "norm_param",
}


@cache
def _sub_messages() -> dict[str, str]:
    """Layer type without case and underscores: its field of LayerParameter."""
    return _BORROWED | _by_type(field.name for field in schema.LayerParameter.DESCRIPTOR.fields)


def _by_type(names: Iterable[str]) -> dict[str, str]:
    return {name.removesuffix("_param").replace("_", ""): name for name in names if name.endswith("_param")}


def parameter_field(layer_type: str) -> str | None:
    """The field of LayerParameter with the parameters of a type ("BatchNorm": "batch_norm_param"), if any."""
    if layer_type == "LSTM":  # lstm_param is a fork's, of its type Lstm
        return "recurrent_param"
    return (_by_type(schema.extensions()) | _sub_messages()).get(layer_type.lower())


def resolve(layer: Any) -> Any:
    """What the rules of `layer` (a LayerParameter) read: a record, its sub-message, or itself when it has none.

    Raises:
        ParamError: parameters that contradict each other or that Caffe refuses.
    """
    layer_type = type_of(layer)
    if layer_type in _RESOLVERS:
        return _RESOLVERS[layer_type](layer)
    name = parameter_field(layer.type)
    return schema.parameters(layer, name) if name else layer
