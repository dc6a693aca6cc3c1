"""What Caffe computes and PyTorch has no name for. Each part that a net needs is copied into its stand-alone file.

So nothing here may import but torch and the standard library, and every part must read well on its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def spread(factor: Tensor, x: Tensor, axis: int) -> Tensor:
    """`factor` with axes of size 1 after its own, so that it broadcasts over `x` from `axis` on."""
    return factor.reshape(*factor.shape, *[1] * (x.dim() - axis - factor.dim())) if factor.dim() else factor


def scale(x: Tensor, factor: Tensor, axis: int) -> Tensor:
    """x * factor, from `axis` on."""
    return x * spread(factor, x, axis)


def shift(x: Tensor, bias: Tensor, axis: int) -> Tensor:
    """x + bias, from `axis` on."""
    return x + spread(bias, x, axis)


class Scale(nn.Module):
    """x * weight + bias, both spread over the axes of x from `axis` on."""

    def __init__(self, *shape: int, axis: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.axis = axis
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight = spread(self.weight, x, self.axis)
        return x * weight if self.bias is None else torch.addcmul(spread(self.bias, x, self.axis), x, weight)


class Bias(nn.Module):
    """x + bias, spread over the axes of x from `axis` on."""

    def __init__(self, *shape: int, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + spread(self.bias, x, self.axis)


class Normalize(nn.Module):
    """x / |x| * scale; |x| is the Euclidean norm over the channels, or over the whole image."""

    def __init__(self, *shape: int, across_spatial: bool = False, eps: float = 1e-10) -> None:
        super().__init__()
        self.across_spatial, self.eps = across_spatial, eps
        self.scale = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.dim())) if self.across_spatial else 1
        norm = (x.square().sum(axes, keepdim=True) + self.eps).sqrt()
        return x / norm * spread(self.scale, x, 1)


class Embed(nn.Module):
    """Rows of a table, plus a bias."""

    def __init__(self, rows: int, values: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, values))
        self.bias = nn.Parameter(torch.zeros(values)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        top = F.embedding(x.long(), self.weight)
        return top if self.bias is None else top + self.bias


class Recurrent(nn.Module):
    """An LSTM, [T, N, …] -> [T, N, H]; a sequence begins in the first step, and where goes_on [T, N] is 0."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight_x = nn.Parameter(torch.zeros(4 * outputs, inputs))
        self.weight_h = nn.Parameter(torch.zeros(4 * outputs, outputs))
        self.bias = nn.Parameter(torch.zeros(4 * outputs))

    def forward(self, x: Tensor, goes_on: Tensor | None = None) -> Tensor:
        from_input = F.linear(x.flatten(2), self.weight_x, self.bias)
        hidden = cell = x.new_zeros(x.shape[1], self.weight_h.shape[1])
        steps = []
        for t in range(len(x)):
            keeps = 1 if goes_on is None else goes_on[t, :, None]
            enter, keep, leave, candidate = (from_input[t] + F.linear(keeps * hidden, self.weight_h)).chunk(4, 1)
            cell = keeps * keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            steps.append(hidden)
        return torch.stack(steps)


def mvn(x: Tensor, across_channels: bool, normalize_variance: bool, eps: float) -> Tensor:
    """x minus its mean, and divided by its deviation + eps: of each channel, or of each image."""
    rows = x.flatten(1 if across_channels else 2) if x.dim() > 2 - across_channels else x.unsqueeze(-1)
    rows = rows - rows.mean(-1, keepdim=True)
    if normalize_variance:
        rows = rows / (rows.square().mean(-1, keepdim=True).sqrt() + eps)
    return rows.reshape(x.shape)


def lrn_within_channel(x: Tensor, size: int, alpha: float, beta: float) -> Tensor:
    """x divided by a power of the squares around it in its channel."""
    return x * (1 + alpha * F.avg_pool2d(x.square(), size, 1, size // 2)) ** -beta


def pooled_size(size: int, kernel: int, stride: int, pad: int, drop: bool) -> int:
    """Windows along a side, rounded up; with `drop`, a last one that would start beyond the input is left out."""
    count = math.ceil((size + 2 * pad - kernel) / stride) + 1
    return count - (drop and (count - 1) * stride >= size + pad)


class Pool(nn.Module):
    """Caffe's pooling where PyTorch's own differs: it keeps windows that lie wholly beyond the input."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def sizes(self, x: Tensor) -> list[int]:
        sides = zip(x.shape[2:], self.kernel, self.stride, self.padding)
        return [pooled_size(*side, drop=any(self.padding)) for side in sides]

    def padded(self, x: Tensor, value: float) -> Tensor:
        amounts = []
        for out, size, kernel, stride, pad in zip(self.sizes(x), x.shape[2:], self.kernel, self.stride, self.padding):
            amounts = [pad, max((out - 1) * stride + kernel - size - pad, 0), *amounts]
        return F.pad(x, amounts, value=value)


class MaxPool(Pool):
    """The largest value of each window; with `indices`, also where it stands in its plane."""

    def __init__(
        self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], indices: bool = False
    ) -> None:
        super().__init__(kernel, stride, padding)
        self.indices = indices

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        lowest = torch.finfo(x.dtype).min
        padded = self.padded(x, lowest)
        height, width = self.sizes(x)
        top, at = F.max_pool2d(padded, self.kernel, self.stride, return_indices=True)
        top, at = top[..., :height, :width], at[..., :height, :width]
        if not self.indices:
            return top
        rows, columns = at // padded.shape[3] - self.padding[0], at % padded.shape[3] - self.padding[1]
        return top, torch.where(top == lowest, -1, rows * x.shape[3] + columns).to(x.dtype)


class AvgPool(Pool):
    """Means over each window's part inside the padded input: its zeros count, what lies beyond it does not."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.sizes(x)
        sums = F.avg_pool2d(self.padded(x, 0.0), self.kernel, self.stride, divisor_override=1)[..., :height, :width]
        rows, columns = (
            torch.tensor([min(i * stride + kernel, size + 2 * pad) - i * stride for i in range(out)])
            for out, size, kernel, stride, pad in zip(
                (height, width), x.shape[2:], self.kernel, self.stride, self.padding
            )
        )
        return sums / (rows[:, None] * columns).to(x)


def crop(x: Tensor, reference: Tensor, axis: int, offsets: tuple[int, ...]) -> Tensor:
    """The part of x of the reference's size that begins at `offsets`, which are those of the axes from `axis` on."""
    for i, offset in enumerate(offsets, start=axis):
        x = x.narrow(i, offset, reference.shape[i])
    return x


def put(x: Tensor, mask: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Planes of `size_hw` with the values of x where the mask of a pooling says, and else 0."""
    planes = x.new_zeros(*x.shape[:2], size_hw[0] * size_hw[1])
    return planes.scatter(2, mask.flatten(2).long(), x.flatten(2)).unflatten(2, size_hw)


def largest(x: Tensor, count: int, axis: int) -> tuple[Tensor, Tensor]:
    """The `count` largest values and where they stand; of equal ones the last comes first."""
    values, order = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    return values.narrow(axis, 0, count), (x.shape[axis] - 1 - order.narrow(axis, 0, count)).to(x.dtype)


def largest_of_image(x: Tensor, count: int, with_values: bool) -> Tensor:
    """Where the `count` largest values of each image stand [N, 1, count], and with `with_values` these, too."""
    values, indices = largest(x.flatten(1), count, 1)
    return torch.stack([indices, values] if with_values else [indices], 1)


@dataclass(frozen=True)
class PriorBox:
    """Prior boxes of a map: in each cell, for each minimal size, its square, that of sqrt(min * max), the ratios.

    Sizes are in pixels of the net's input; `ratios` are width / height; `step_hw` is the distance of the cells.
    """

    map_hw: tuple[int, int]
    image_hw: tuple[int, int]
    min_sizes: tuple[int, ...]
    max_sizes: tuple[int, ...] = ()
    ratios: tuple[float, ...] = ()
    variances: tuple[float, ...] = (0.1, 0.1, 0.2, 0.2)
    step_hw: tuple[float, float] | None = None
    offset: float = 0.5
    clip: bool = False

    def boxes(self) -> Tensor:
        """Boxes (xmin, ymin, xmax, ymax in 0-1) and variances [1, 2, 4P]."""
        step_hw = self.step_hw or tuple(image / cells for image, cells in zip(self.image_hw, self.map_hw))
        y, x = (
            (torch.arange(cells) + torch.tensor(self.offset)) * torch.tensor(step)
            for cells, step in zip(self.map_hw, step_hw)
        )
        centres = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)[:, :, None].double()
        half = self.sizes().double() / 2
        image = torch.tensor(self.image_hw[::-1], dtype=torch.float64)
        boxes = torch.cat([(centres - half) / image, (centres + half) / image], -1).float()
        boxes = boxes.clamp(0, 1) if self.clip else boxes
        variances = torch.tensor(self.variances, dtype=torch.float32).expand_as(boxes)
        return torch.stack([boxes.flatten(), variances.flatten()])[None]

    def sizes(self) -> Tensor:
        """Width and height of the boxes of one cell."""
        roots = torch.tensor(self.ratios, dtype=torch.float32).sqrt()
        sizes = []
        for i, low in enumerate(self.min_sizes):
            sizes.append(torch.tensor([[low, low]], dtype=torch.float32))
            if self.max_sizes:
                sizes.append(torch.tensor([[math.sqrt(low * self.max_sizes[i])] * 2]))
            sizes.append(torch.stack([low * roots, low / roots], -1))
        return torch.cat(sizes)


def decode(code: str, priors: Tensor, offsets: Tensor, variances: Tensor | None) -> Tensor:
    """The boxes (corners) that a net means by `offsets` from the priors."""
    offsets = offsets if variances is None else offsets * variances
    if code == "CORNER":
        return priors + offsets
    size = priors[..., 2:] - priors[..., :2]
    if code == "CORNER_SIZE":
        return priors + offsets * torch.cat([size, size], -1)
    centre = offsets[..., :2] * size + (priors[..., :2] + priors[..., 2:]) / 2
    half = offsets[..., 2:].exp() * size / 2
    return torch.cat([centre - half, centre + half], -1)


def overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union [K] of a box [4] and others [K, 4]; 0 where they do not cross."""
    sides = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0)
    inside = sides[:, 0] * sides[:, 1]
    area, areas = (
        torch.where((size < 0).any(-1), 0, size[..., 0] * size[..., 1])
        for size in (box[2:] - box[:2], others[:, 2:] - others[:, :2])
    )
    return torch.where(inside > 0, inside / (area + areas - inside), 0)


def suppress(boxes: Tensor, threshold: float, eta: float = 1.0, most: int | None = None) -> list[int]:
    """Greedy non-maximum suppression: which of the boxes [K, 4], given by descending score, stay; at most `most`.

    A box is dropped when its overlap with a kept one is above the threshold, which falls by the factor `eta` after
    each kept box while it is above 0.5.
    """
    bound = torch.tensor(threshold)
    worst = torch.zeros(len(boxes))
    kept = []
    for i in range(len(boxes)):
        if len(kept) == most:
            break
        if worst[i] > bound:
            continue
        kept.append(i)
        worst[i + 1 :] = torch.maximum(worst[i + 1 :], overlaps(boxes[i], boxes[i + 1 :]))
        if eta < 1 and bound > 0.5:
            bound = bound * eta
    return kept


@dataclass(frozen=True)
class DetectionOutput:
    """Detections from predictions: decoding, non-maximum suppression by class, the best `keep_top_k` of an image.

    `top_k` limits the boxes of a class that enter the suppression; -1 means no limit. With a first stage (RefineDet),
    the priors are moved by it, and those whose object score is below `objectness_score` are background.
    """

    num_classes: int
    nms_threshold: float
    top_k: int = -1
    keep_top_k: int = -1
    confidence_threshold: float = -math.inf
    code: str = "CENTER_SIZE"
    background: int = 0
    share_location: bool = True
    variance_in_target: bool = False
    eta: float = 1.0
    objectness_score: float = 0.01

    def __call__(
        self,
        loc: Tensor,
        conf: Tensor,
        priors: Tensor,
        arm_conf: Tensor | None = None,
        arm_loc: Tensor | None = None,
    ) -> Tensor:
        """Rows [1, 1, D, 7] (image, class, score, xmin, ymin, xmax, ymax in 0-1) of loc [N, 4PL] and conf [N, PC].

        Rows are ordered by image, class and descending score. Without any there is one row of -1 for each image.
        """
        loc, conf, priors = loc.detach().cpu(), conf.detach().cpu(), priors.cpu()
        boxes, variances = priors.reshape(2, -1, 4)
        count, spread = len(boxes), None if self.variance_in_target else variances
        if arm_loc is not None:
            boxes = decode(self.code, boxes, arm_loc.detach().cpu().reshape(-1, count, 4), spread)[:, None]
        decoded = decode(self.code, boxes, loc.reshape(len(loc), count, -1, 4).transpose(1, 2), spread)
        scores = conf.reshape(len(conf), count, self.num_classes)
        if arm_conf is not None:
            objectness = arm_conf.detach().cpu().reshape(-1, count, 2)[..., 1:]
            nothing = torch.eye(self.num_classes)[0]
            scores = torch.where(objectness < self.objectness_score, nothing, scores)
        rows = torch.cat([self.detect(i, decoded[i], scores[i].T) for i in range(len(loc))])
        if not len(rows):
            rows = torch.full((len(loc), 7), -1.0)
            rows[:, 0] = torch.arange(len(loc))
        return rows[None, None]

    def detect(self, image: int, boxes: Tensor, scores: Tensor) -> Tensor:
        """The rows [D, 7] of one image, of its boxes [1 or C, P, 4] and scores [C, P]."""
        rows = []
        for label in range(self.num_classes):
            if label == self.background:
                continue
            above = (scores[label] > self.confidence_threshold).nonzero()[:, 0]
            order = scores[label, above].argsort(descending=True, stable=True)
            above = above[order[: self.top_k] if self.top_k > -1 else order]
            own = boxes[0 if self.share_location else label][above]
            kept = suppress(own, self.nms_threshold, self.eta)
            of = torch.tensor([image, label], dtype=torch.float32).expand(len(kept), 2)
            rows.append(torch.cat([of, scores[label, above[kept], None], own[kept]], 1))
        found = torch.cat(rows)
        if -1 < self.keep_top_k < len(found):
            best = found[:, 2].argsort(descending=True, stable=True)[: self.keep_top_k]
            found = found[best.sort().values]
        return found
