"""Parameters of the layer types that forks of Caffe added, resolved; `prototxt.params` has those of Caffe itself."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from prototxt.param_error import Pair, ParamError


@dataclass(frozen=True)
class Interp:
    """Interp: the size it resizes to, or factors of the bottom's. `pad_beg` and `pad_end`, at most 0, cut it before.

    Attributes:
        by_blob: whether the size is that of a second bottom.
    """

    by_blob: bool
    size_hw: Pair | None
    shrink: int
    zoom: int
    pad_beg: int
    pad_end: int


@dataclass(frozen=True)
class Upsample:
    """Upsample: the size of the top, or factors of that of the bottom.

    Attributes:
        by_mask: whether a second bottom says where each value goes; without, each becomes a block.
        less_hw: rows and columns that the top lacks to the full factor, 0 or 1.
    """

    by_mask: bool
    size_hw: Pair | None
    factor_hw: Pair
    less_hw: Pair = (0, 0)


@dataclass(frozen=True)
class SpatialDropout:
    """ENet's dropout of whole channels, which says itself whether it trains; else it multiplies by 1 / (1 - ratio)."""

    ratio: float
    trains: bool


@dataclass(frozen=True)
class Proposal:
    """Proposal: anchors of `ratios` (height / width) x `scales` of a square of `base_size` pixels at each cell.

    Attributes:
        feat_stride: pixels between the anchors of two cells.
        min_size: the least side of a proposal, in pixels of the image before it was resized.
        most_before, most: proposals that go into the suppression, the best by score, and that come out of it.
        nms_threshold: a proposal that overlaps a better one by more than this is dropped.
    """

    feat_stride: int
    base_size: int
    ratios: tuple[float, ...]
    scales: tuple[float, ...]
    min_size: float
    most_before: int
    most: int
    nms_threshold: float

    @property
    def per_cell(self) -> int:
        """Anchors at each cell of the map."""
        return len(self.ratios) * len(self.scales)


@dataclass(frozen=True)
class Yolo:
    """YOLO's detections: boxes around anchors, in whichever class; one drops another of any class that it overlaps.

    Attributes:
        num_classes: without a background; class 0 has the label 1.
        anchors: for each bottom (width, height) of each anchor of a cell, in cells.
        has_one_class: whether classes exclude each other (softmax); else each is a yes or no of its own.
        confidence_threshold: the least score of a detection; where classes do not exclude each other it is above.
        nms_threshold: the overlap from which on a box is dropped.
    """

    num_classes: int
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    has_one_class: bool
    confidence_threshold: float
    nms_threshold: float
    keep_top_k: ClassVar[int] = -1  # all, as DetectionOutput says it


def interp(layer: Any) -> Interp:
    spec, by_blob = layer.interp_param, layer.interp_param.use_blob_size
    shrinks, zooms = spec.HasField("shrink_factor"), spec.HasField("zoom_factor")
    has_size = spec.HasField("height") and spec.HasField("width")
    if not (shrinks or zooms or has_size or by_blob):
        raise ParamError("it gives no size: neither zoom_factor, shrink_factor, nor height and width")
    if by_blob and (shrinks or zooms or has_size):
        raise ParamError("use_blob_size takes the size of the second bottom; drop the other sizes")
    if max(spec.pad_beg, spec.pad_end) > 0:
        raise ParamError(f"pad_beg and pad_end can only cut off; found {spec.pad_beg} and {spec.pad_end}")
    if min(spec.shrink_factor, spec.zoom_factor) < 1:
        raise ParamError("zoom_factor and shrink_factor must be at least 1")
    # One factor alone goes before a size, and a size before both of them.
    size_hw = (spec.height, spec.width) if has_size and shrinks == zooms else None
    if size_hw and min(size_hw) < 1:
        raise ParamError(f"height and width must be at least 1; found {min(size_hw)}")
    return Interp(by_blob, size_hw, spec.shrink_factor, spec.zoom_factor, spec.pad_beg, spec.pad_end)


def upsample(layer: Any) -> Upsample:
    spec, by_mask = layer.upsample_param, len(layer.bottom) == 2
    for one, other in (("upsample_h", "upsample_w"), ("scale_h", "scale_w"), ("height_scale", "width_scale")):
        if spec.HasField(one) != spec.HasField(other):
            raise ParamError(f"{one} and {other} must be given together")
    if not by_mask and not any(map(spec.HasField, ("scale", "scale_h", "height_scale", "stride", "upsample_h"))):
        raise ParamError("it gives no scale")
    if spec.HasField("stride"):
        if spec.HasField("scale") and spec.scale != 1:
            raise ParamError(f"scale {spec.scale} beside a stride multiplies values, which is not supported")
        factor_hw = (spec.stride, spec.stride)
    elif spec.HasField("scale_h"):
        factor_hw = (spec.scale_h, spec.scale_w)
    elif spec.HasField("height_scale"):
        factor_hw = (spec.height_scale, spec.width_scale)
    else:
        factor_hw = (spec.scale, spec.scale) if spec.HasField("scale") else (2, 2)
    size_hw = (spec.upsample_h, spec.upsample_w) if spec.HasField("upsample_h") else None
    less_hw = (int(spec.pad_out_h), int(spec.pad_out_w))
    if not by_mask and (size_hw or any(less_hw)):
        raise ParamError("upsample_h, upsample_w, pad_out_h and pad_out_w need a second bottom, the mask of a pooling")
    if min(size_hw or factor_hw) < 1:
        raise ParamError("sizes and factors must be at least 1")
    if any(less and factor != 2 for less, factor in zip(less_hw, factor_hw)):
        raise ParamError("pad_out_h and pad_out_w have a meaning with the scale 2 alone")
    return Upsample(by_mask, size_hw, factor_hw, less_hw)


_SPATIAL = re.compile(
    r"""\{\s*['"]phase['"]\s*:\s*['"](TRAIN|TEST)['"]\s*,\s*['"]p['"]\s*:\s*['"]?([\d.]+)['"]?\s*,?\s*\}"""
)


def python_spatial_dropout(layer: Any) -> SpatialDropout:
    """The Python layer of ENet's Caffe."""
    text = layer.python_param.param_str[:_LONGEST]
    match = _SPATIAL.fullmatch(text.strip())
    if not match or match[2].count(".") > 1 or not 0 < float(match[2]) < 1:
        raise ParamError(f"param_str is {text!r}; it takes phase (TRAIN or TEST) and p, above 0 and below 1")
    return SpatialDropout(float(match[2]), match[1] == "TRAIN")


_RATIOS, _SCALES = (0.5, 1.0, 2.0), (8.0, 16.0, 32.0)


def proposal(layer: Any) -> Proposal:
    spec = layer.proposal_param
    return _checked(
        Proposal(
            feat_stride=spec.feat_stride,
            base_size=spec.base_size,
            ratios=tuple(spec.ratio) or _RATIOS,
            scales=tuple(spec.scale) or _SCALES,
            min_size=spec.min_size,
            most_before=spec.pre_nms_topn,
            most=spec.post_nms_topn,
            nms_threshold=spec.iou_threshold if spec.HasField("iou_threshold") else spec.nms_thresh,
        )
    )


# `key: value` of YAML, in a flow of braces or line by line; a value is a number or a list of them.
_YAML_PAIR = re.compile(r"""['"]?(\w+)['"]?\s*:\s*(?:!!python/tuple\s*)?([\[(][^\])]*[\])]|[-+.\w]+)\s*,?""")
_LONGEST = 1000  # characters of such a text


def _numbers(text: str) -> dict[str, tuple[float, ...]]:
    """The numbers or lists of numbers that a YAML text names; none when it holds anything else."""
    if len(text) > _LONGEST or _YAML_PAIR.sub("", text).strip(" {}\n\t"):
        return {}
    lists = {key: value.strip("[]()").split(",") for key, value in _YAML_PAIR.findall(text)}
    try:
        return {key: tuple(float(number) for number in numbers if number.strip()) for key, numbers in lists.items()}
    except ValueError:
        return {}


def python_proposal(layer: Any) -> Proposal:
    """py-faster-rcnn's layer. What its file does not say is in that project's configuration; its TEST is taken."""
    text = layer.python_param.param_str
    values = _numbers(text)
    stride = values.get("feat_stride", ())
    if set(values) - {"feat_stride", "scales", "ratios"} or len(stride) != 1 or stride[0] % 1:
        found = f"param_str is {text[:_LONGEST]!r}"
        raise ParamError(f"{found}; it takes feat_stride (a whole number), scales and ratios (lists)")
    return _checked(
        Proposal(
            feat_stride=int(stride[0]),
            base_size=16,
            ratios=values.get("ratios", _RATIOS),
            scales=values.get("scales", _SCALES),
            min_size=16,
            most_before=6000,
            most=300,
            nms_threshold=0.7,
        )
    )


def _checked(p: Proposal) -> Proposal:
    if min(p.feat_stride, p.base_size, p.most_before, p.most) < 1:
        raise ParamError("feat_stride, base_size, pre_nms_topn and post_nms_topn must be at least 1")
    if not p.per_cell or min(*p.ratios, *p.scales) <= 0:
        raise ParamError("ratios and scales must be above 0")
    if p.nms_threshold < 0:
        raise ParamError(f"nms_thresh is {p.nms_threshold:g}; it must not be below 0")
    return p


def yolo_v2(layer: Any) -> Yolo:
    spec = layer.yolo_detection_output_param
    _check_yolo(spec)
    anchors = _anchors(spec.biases)
    if len(anchors) < spec.num_box:
        raise ParamError(f"num_box {spec.num_box} needs so many pairs of biases; found {len(anchors)}")
    groups = (anchors[: spec.num_box],) * len(layer.bottom)
    return Yolo(spec.num_classes, groups, True, spec.confidence_threshold, spec.nms_threshold)


def yolo_v3(layer: Any) -> Yolo:
    spec = layer.yolov3_detection_output_param
    _check_yolo(spec)
    if spec.gaussian_box:
        raise ParamError("gaussian_box is not supported")
    maps, anchors = spec.mask_group_num, _anchors(spec.biases)
    if maps != len(layer.bottom):
        raise ParamError(f"mask_group_num is {maps}, and it has {len(layer.bottom)} bottoms")
    if len(spec.anchors_scale) < maps or 0 in spec.anchors_scale:
        raise ParamError(f"anchors_scale must say the pixels of a cell for each of {maps} maps")
    if len(spec.mask) != maps * spec.num_box:
        raise ParamError(f"{maps} maps of {spec.num_box} anchors a cell (num_box) need so many mask; {len(spec.mask)}")
    if max(spec.mask) >= len(anchors):
        raise ParamError(f"mask {max(spec.mask)} needs so many pairs of biases and one; found {len(anchors)}")
    groups = [spec.mask[i * spec.num_box :][: spec.num_box] for i in range(maps)]
    in_cells = tuple(
        tuple((anchors[i][0] / scale, anchors[i][1] / scale) for i in group)
        for group, scale in zip(groups, spec.anchors_scale)
    )
    return Yolo(spec.num_classes, in_cells, False, spec.confidence_threshold, spec.nms_threshold)


def _anchors(biases: Any) -> tuple[tuple[float, float], ...]:
    if len(biases) % 2 or any(not 0 < side < math.inf for side in biases):
        raise ParamError("biases must be pairs of a width and a height above 0")
    return tuple(zip(biases[::2], biases[1::2]))


def _check_yolo(spec: Any) -> None:
    if not spec.HasField("num_classes") or not spec.num_classes:
        raise ParamError("num_classes must be given and be at least 1")
    if not spec.num_box:
        raise ParamError("num_box must be at least 1")
    if not 0 < spec.nms_threshold <= 1:
        raise ParamError(f"nms_threshold is {spec.nms_threshold:g}; it must be above 0 and at most 1")
