"""Layer parameters, resolved once: the many ways of writing a kernel size become one pair.

`resolve` gives what a layer's rules read as `layer.p`. For most types that is the layer's own
sub-message (`permute_param`); the types of `_RESOLVERS` have a record with every default filled in.
Pairs are (height, width).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from prototxt import schema

Pair = tuple[int, int]


class ParamError(ValueError):
    """A parameter that Caffe would abort on. The graph adds the layer's name and its line."""


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
    """Pooling. `kernel_hw` is None for global pooling."""

    method: str  # MAX, AVE or STOCHASTIC
    kernel_hw: Pair | None
    stride_hw: Pair
    pad_hw: Pair


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
    return Pool(method, kernel_hw, stride_hw, pad_hw)


def prior_box(layer: Any) -> PriorBox:
    spec = layer.prior_box_param
    # Caffe reads the sizes into integers: 20.9 is 20.
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
    ratios = [1.0]
    for ratio in spec.aspect_ratio:
        if ratio <= 0:
            raise ParamError(f"aspect_ratio must be above 0; found {ratio:g}")
        if any(abs(ratio - known) < 1e-6 for known in ratios):
            continue
        ratios += [ratio, 1.0 / ratio] if spec.flip else [ratio]
    return tuple(ratios[1:])


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


_RESOLVERS: dict[str, Callable[[Any], Any]] = {
    "Convolution": conv,
    "Deconvolution": conv,
    "Pooling": pool,
    "PriorBox": prior_box,
    "AnnotatedData": _whole,  # reads data_param, transform_param and annotated_data_param
    "SoftmaxWithLoss": _whole,  # reads softmax_param and loss_param
    "SigmoidCrossEntropyLoss": _whole,
    "MultiBoxLoss": _whole,  # reads multibox_loss_param and loss_param
}


@cache
def _sub_messages() -> dict[str, str]:
    """Layer type without case and underscores: its field of LayerParameter."""
    fields = schema.LayerParameter.DESCRIPTOR.fields
    return {"deconvolution": "convolution_param", "normalize": "norm_param"} | {
        f.name.removesuffix("_param").replace("_", ""): f.name for f in fields if f.name.endswith("_param")
    }


def parameter_field(layer_type: str) -> str | None:
    """The field of LayerParameter with the parameters of a type ("BatchNorm": "batch_norm_param"), if any."""
    return _sub_messages().get(layer_type.lower())


def resolve(layer: Any) -> Any:
    """What the rules of `layer` (a LayerParameter) read: a record, its sub-message, or itself when it has none.

    Raises:
        ParamError: parameters that contradict each other or that Caffe refuses.
    """
    if layer.type in _RESOLVERS:
        return _RESOLVERS[layer.type](layer)
    name = parameter_field(layer.type)
    return getattr(layer, name) if name else layer
