"""Normalisations and the affine layers that follow them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from converters.pytorch.layers.table import MODULES, CaffeLayer, Compute
from prototxt.graph import Layer
from prototxt.shapes.norm import keeps_statistics, scales_itself
from prototxt.shapes.table import axis_of


@MODULES.register("BatchNorm")
class BatchNorm(CaffeLayer):
    """Normalises each channel of [N, C, …] by the batch or by the running statistics.

    The blobs are sums: each forward on the batch's own statistics multiplies all three by
    `moving_average_fraction` and adds the batch mean, the unbiased batch variance and 1. So the
    running mean is blob 0 / blob 2; a blob 2 of zero means mean and variance 0. Source: Caffe's BatchNorm.
    NVIDIA's may scale and shift by two more blobs; testing then always takes the running statistics.
    """

    blob_names = ("mean_sum", "variance_sum", "scale_factor")
    filler_fields = ("", "", "", "scale_filler", "bias_filler")

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        for name, shape in zip(self.blob_names, layer.blob_shapes):
            self.register_buffer(name, torch.zeros(shape))
        p = layer.p
        if not layer.bottom_shapes[0]:
            raise layer.error("its bottom is a scalar", expected="at least 1 axis")
        self.weight = self.bias = None
        if scales_itself(p):
            self._add_affine(layer)
            return
        if any(spec.lr_mult for spec in layer.proto.param):
            raise layer.error("its statistics are not learned", expected="`lr_mult: 0` in each `param`, or no `param`")
        self.use_global_stats = p.use_global_stats if p.HasField("use_global_stats") else layer.phase == "TEST"

    def _add_affine(self, layer: Layer) -> None:
        if layer.phase == "TRAIN":
            raise layer.error(
                "NVIDIA's way to train it with a scale_bias is not supported", fix="give it a Scale layer instead"
            )
        self.use_global_stats, self.blob_names = True, (*self.blob_names, "weight", "bias")
        for name, shape in zip(self.blob_names[3:], layer.blob_shapes[3:]):
            setattr(self, name, nn.Parameter(torch.zeros(shape)))

    def forward(self, x: Tensor) -> Tensor:
        columns = x if x.dim() > 1 else x[:, None]
        y = self._by_running(columns) if self.use_global_stats else self._by_batch(columns)
        return y.reshape(x.shape)

    def _by_running(self, x: Tensor) -> Tensor:
        factor = torch.where(self.scale_factor == 0, 0.0, 1.0 / self.scale_factor)
        mean, variance = self.mean_sum * factor, self.variance_sum * factor
        return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.layer.p.eps)

    def _by_batch(self, x: Tensor) -> Tensor:
        mean, variance = torch.zeros_like(self.mean_sum), torch.zeros_like(self.variance_sum)
        if x.numel() == x.shape[1]:  # one value a channel: its own mean, no variance
            mean = x.detach().reshape(-1).clone()
            y = x - x
        else:
            y = F.batch_norm(x, mean, variance, training=True, momentum=1.0, eps=self.layer.p.eps)
        self._accumulate(mean, variance)
        return y

    @torch.no_grad()
    def _accumulate(self, *statistics: Tensor) -> None:
        fraction = self.layer.p.moving_average_fraction
        for (_, blob), value in zip(self.blobs(), (*statistics, torch.ones_like(self.scale_factor))):
            blob.mul_(fraction).add_(value)


@MODULES.register("BN")
class BN(CaffeLayer):
    """Normalises each channel of [N, C, H, W], then scales and shifts it.

    yjxiong's (also PSPNet's) has its running mean and variance: a forward on the batch's own statistics keeps
    `momentum` of them and adds the rest of the batch's. SegNet's has none: INFERENCE scales and shifts only,
    since its statistics are folded into both, and LEARN always takes the batch's.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        p = layer.p
        self.has_statistics = keeps_statistics(p)
        names = ("slope", "bias") if self.has_statistics else ("scale", "shift")
        self.filler_fields = tuple(f"{name}_filler" for name in names)
        self.blob_names = (*names, "mean", "variance")[: len(layer.blob_shapes)]
        for i, (name, shape) in enumerate(zip(self.blob_names, layer.blob_shapes)):
            blob = torch.full(shape, float(name == "variance" and p.frozen))
            if i < 2 and not p.frozen:
                self.register_parameter(name, nn.Parameter(blob))
            else:
                self.register_buffer(name, blob)

    def forward(self, x: Tensor) -> Tensor:
        p = self.layer.p
        (_, factor), (_, shift), *_ = self.blobs()
        if not self.has_statistics:
            return (self._by_batch(x, 1e-9) if p.bn_mode == p.LEARN else x) * factor + shift
        if p.frozen or self.layer.phase == "TEST":
            mean, variance, factor, shift = (blob.flatten() for blob in (self.mean, self.variance, factor, shift))
            return F.batch_norm(x, mean, variance, factor, shift, eps=p.eps)
        return self._by_batch(x, p.eps) * factor + shift

    def _by_batch(self, x: Tensor, eps: float) -> Tensor:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        if self.has_statistics:
            with torch.no_grad():
                self.mean.lerp_(mean, 1 - self.layer.p.momentum)
                self.variance.lerp_(variance, 1 - self.layer.p.momentum)
        return (x - mean) * (variance + eps).rsqrt()


@MODULES.register("Scale")
class Scale(CaffeLayer):
    """x · γ (+ β), γ and β spread over the axes they do not have. γ is learned, or is the second bottom."""

    filler_fields = ("filler", "bias_filler")

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        two = len(layer.bottoms) == 2
        self.blob_names = ("bias",) if two else ("weight", "bias")
        self.filler_fields = self.filler_fields[two:]
        self.add_learned(layer)
        x = layer.bottom_shapes[0]
        self._by_channel = not two and len(x) > 1 and layer.blob_shapes[0] == x[1:2] and axis_of(layer.p.axis, x) == 1

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        if factor is None and self._by_channel:  # a BatchNorm of mean 0 and variance 1 is one kernel each way
            zero, one = torch.zeros_like(self.weight), torch.ones_like(self.weight)
            return F.batch_norm(x, zero, one, self.weight, self.bias, eps=0)
        factor = self.weight if factor is None else factor
        y = x * _spread(factor, x, self.layer.p.axis)
        return y if self.bias is None else y + _spread(self.bias, x, self.layer.p.axis)


@MODULES.register("Bias")
class Bias(CaffeLayer):
    """x + β; β is learned, or is the second bottom."""

    filler_fields = ("filler",)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.blob_names = ("bias",) if len(layer.bottoms) == 1 else ()
        self.add_learned(layer)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return x + _spread(self.bias if bias is None else bias, x, self.layer.p.axis)


def _spread(factor: Tensor, x: Tensor, axis: int) -> Tensor:
    """`factor` with the axes that make it broadcast over `x` from `axis` on; a scalar as it is."""
    if not factor.dim():
        return factor
    after = x.dim() - axis_of(axis, tuple(x.shape)) - factor.dim()
    return factor.reshape(*factor.shape, *[1] * after)


@MODULES.register("Normalize")
class Normalize(CaffeLayer):
    """x / ‖x‖₂ · scale: over the channels at each position, or over the whole image (`across_spatial`).

    Source: Liu et al., ParseNet (2015), section 3.3; Caffe's Normalize, whose eps stands inside the root.
    """

    blob_names = ("scale",)
    filler_fields = ("scale_filler",)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.add_learned(layer)

    def forward(self, x: Tensor) -> Tensor:
        p = self.layer.p
        over = tuple(range(1, x.dim())) if p.across_spatial else (1,)
        return _Normalized.apply(x, _spread(self.scale, x, 1), over, p.eps)


class _Normalized(torch.autograd.Function):
    """x / ‖x‖₂ · scale, with the gradient that Caffe gives it.

    Caffe multiplies the gradient of x / ‖x‖₂ by the scale last; with a scale for each channel the exact derivative
    has it inside the sum over the channels.
    """

    @staticmethod
    def forward(context, x: Tensor, scale: Tensor, over: tuple[int, ...], eps: float) -> Tensor:
        norm = (x.square().sum(over, keepdim=True) + eps).sqrt()
        unit = x / norm
        context.save_for_backward(unit, norm, scale)
        context.over = over
        return unit * scale

    @staticmethod
    @once_differentiable
    def backward(context, dy: Tensor) -> tuple[Tensor, Tensor, None, None]:
        unit, norm, scale = context.saved_tensors
        dx = (dy - unit * (unit * dy).sum(context.over, keepdim=True)) / norm * scale
        return dx, (dy * unit).sum_to_size(scale.shape), None, None


@MODULES.register("LRN")
def lrn(layer: Layer) -> Compute:  # [N, C, H, W]
    p = layer.p
    if p.local_size % 2 == 0:
        raise layer.error(f"local_size is {p.local_size}", expected="an odd number")
    if len(layer.bottom_shapes[0]) != 4:
        raise layer.error(f"its bottom has {len(layer.bottom_shapes[0])} axes", expected="N x C x H x W")
    if p.norm_region == p.ACROSS_CHANNELS:
        return lambda x: F.local_response_norm(x, p.local_size, p.alpha, p.beta, p.k)
    pad = p.local_size // 2

    def within_channel(x: Tensor) -> Tensor:  # Caffe takes 1 here, whatever k says
        return x * (1 + p.alpha * F.avg_pool2d(x.square(), p.local_size, 1, pad)) ** -p.beta

    return within_channel


class _MeanVariance(torch.autograd.Function):
    """(x − μ) / (σ + eps) over the last axis, with the gradient that Caffe gives it.

    The exact derivative has a factor (σ + eps) / σ on its last term, which Caffe leaves out.
    """

    @staticmethod
    def forward(context, x: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = centred.square().mean(-1, keepdim=True).sqrt() + eps
        y = centred / deviation
        context.save_for_backward(y, deviation)
        return y

    @staticmethod
    @once_differentiable
    def backward(context, dy: Tensor) -> tuple[Tensor, None]:
        y, deviation = context.saved_tensors
        return (dy - dy.mean(-1, keepdim=True) - y * (y * dy).mean(-1, keepdim=True)) / deviation, None


@MODULES.register("MVN")
def mvn(layer: Layer) -> Compute:  # each channel of each image, or each image (`across_channels`)
    p = layer.p
    if len(layer.bottom_shapes[0]) > 4:
        raise layer.error(f"its bottom has {len(layer.bottom_shapes[0])} axes", expected="at most 4")

    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(*x.shape[: 1 if p.across_channels else 2], -1)
        rows = _MeanVariance.apply(rows, p.eps) if p.normalize_variance else rows - rows.mean(-1, keepdim=True)
        return rows.reshape(x.shape)

    return forward
