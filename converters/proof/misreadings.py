"""What importers of Caffe nets that others wrote are known to compute differently, without saying so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from converters.proof.values import values_of
from prototxt.graph import Graph, Layer
from prototxt.schema import LRNParameter, PriorBoxParameter


@dataclass(frozen=True)
class Misreading:
    """Some importers compute layers of a type otherwise than Caffe where `concerns` is true of them.

    Attributes:
        backends: the importers.
        reason: what each of them does; follows its name.
    """

    backends: tuple[str, ...]
    type: str
    concerns: Callable[[Layer], bool]
    reason: str


def _has_fractions(layer: Layer) -> bool:
    sizes = layer.proto.prior_box_param
    return any(size % 1 for size in (*sizes.min_size, *sizes.max_size))


def _leaves_clip_open(layer: Layer) -> bool:
    return not layer.proto.prior_box_param.HasField("clip")


def _sizes_the_image(layer: Layer) -> bool:
    return layer.p.image_hw not in (None, layer.bottom_shapes[1][2:])


def _says_one_variance(layer: Layer) -> bool:
    return len(layer.proto.prior_box_param.variance) != 4


def _has_first_stage(layer: Layer) -> bool:
    return len(layer.bottoms) > 3


def _takes_a_batch(layer: Layer) -> bool:
    return layer.bottom_shapes[0][0] > 1


def _limits_candidates(layer: Layer) -> bool:
    nms = layer.p.nms_param
    return nms.HasField("top_k") and -1 < nms.top_k < layer.bottom_shapes[2][2] // 4


def _lowers_threshold(layer: Layer) -> bool:
    return layer.p.nms_param.eta != 1


def _codes_corners(layer: Layer) -> bool:
    return layer.p.code_type != PriorBoxParameter.CENTER_SIZE


def _encodes_variance(layer: Layer) -> bool:
    return layer.p.variance_encoded_in_target


def _shares_its_scale(layer: Layer) -> bool:
    return layer.p.channel_shared


def _weighs_its_sum(layer: Layer) -> bool:
    return layer.p.norm_region == LRNParameter.ACROSS_CHANNELS and layer.p.k != 1


def _always(layer: Layer) -> bool:
    return True


def _moves_background(layer: Layer) -> bool:
    return layer.p.background_label_id != 0


_OPENCV, _MNN, _BOTH = ("OpenCV",), ("MNN",), ("OpenCV", "MNN")
# Measured on OpenCV 4.14 and MNN 3.6.1; a test of each looks whether it is still so.
MISREADINGS = (
    Misreading(_BOTH, "PriorBox", _has_fractions, "does not cut the sizes of prior boxes to whole pixels"),
    Misreading(_OPENCV, "PriorBox", _leaves_clip_open, "clips prior boxes where no `clip: false` is written"),
    Misreading(_OPENCV, "PriorBox", _sizes_the_image, "heeds no img_size of prior boxes"),
    Misreading(_MNN, "Normalize", _shares_its_scale, "needs a scale for each channel of Normalize"),
    Misreading(_MNN, "PriorBox", _says_one_variance, "needs four variances of prior boxes"),
    Misreading(_OPENCV, "DetectionOutput", _has_first_stage, "leaves out the first stage"),
    Misreading(_MNN, "DetectionOutput", _takes_a_batch, "detects in one image only"),
    Misreading(_MNN, "DetectionOutput", _limits_candidates, "heeds no top_k of nms_param"),
    Misreading(_BOTH, "DetectionOutput", _lowers_threshold, "heeds no eta of nms_param"),
    Misreading(_MNN, "DetectionOutput", _codes_corners, "takes every code_type for CENTER_SIZE"),
    Misreading(_MNN, "DetectionOutput", _encodes_variance, "heeds no variance_encoded_in_target"),
    Misreading(_MNN, "DetectionOutput", _moves_background, "takes class 0 for the background"),
    Misreading(_OPENCV, "Axpy", _always, "multiplies the third bottom of Axpy and adds the second"),
    Misreading(_BOTH, "LRN", _weighs_its_sum, "takes 1 for the k of LRN"),
    Misreading(
        _OPENCV, "Proposal", _always, "fills up with regions of zeros, heeds no min_size, rounds anchors otherwise"
    ),
)


def known_misreadings(graph: Graph, backend: str) -> dict[str, str]:
    """Value of the net -> what a backend does otherwise than Caffe in its layer or in those that it is made from."""
    concerned = [m for m in MISREADINGS if backend in m.backends]
    names = {(value.layer.name, value.place): value.name for value in values_of(graph)}
    reasons: dict[str, list[str]] = {}
    of_value: dict[str, str] = {}
    for layer in graph.layers:
        found = [reason for bottom in layer.bottoms for reason in reasons.get(bottom, ())]
        found += [f"{backend} {m.reason}" for m in concerned if m.type == layer.type and m.concerns(layer)]
        reasons.update((top, found) for top in layer.tops)
        if found:
            tops = [names.get((layer.name, place)) for place in range(len(layer.tops))]
            of_value.update((name, "; ".join(dict.fromkeys(found))) for name in tops if name is not None)
    return of_value
