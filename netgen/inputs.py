"""The input layers of a detector's three nets: annotated images to train on, to test on, or one image.

The training layer samples, expands and distorts as SSD does (Liu et al., SSD, section 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netgen.datasets import DataSet
from netgen.net import L, Net

# The least IoU that a crop must have with some ground truth; None is the crop that may miss them all.
CROP_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, None)
CROP = {"min_scale": 0.3, "max_scale": 1, "min_aspect_ratio": 0.5, "max_aspect_ratio": 2}
DISTORTION = {
    "brightness_prob": 0.5,
    "brightness_delta": 32,
    "contrast_prob": 0.5,
    "contrast_lower": 0.5,
    "contrast_upper": 1.5,
    "hue_prob": 0.5,
    "hue_delta": 18,
    "saturation_prob": 0.5,
    "saturation_lower": 0.5,
    "saturation_upper": 1.5,
    "random_order_prob": 0,
}
ANY_INTERPOLATION = ["LINEAR", "AREA", "NEAREST", "CUBIC", "LANCZOS4"]


@dataclass(frozen=True)
class Images:
    """How images become the blob `data`.

    Attributes:
        mean_bgr: what is subtracted from the channels, which are 0–255.
        scale: what the differences are multiplied by; None leaves them as they are.
        distorts: whether colours of training images are changed.
        max_expand_ratio: half of the training images are shrunk, on a canvas up to this many times as wide and high;
            None leaves them all as they are.
    """

    mean_bgr: tuple[float, float, float] = (104, 117, 123)
    scale: float | None = None
    distorts: bool = True
    max_expand_ratio: float | None = 4.0


SSD_IMAGES = Images()


def train_input(net: Net, data: DataSet, images: Images, size_hw: tuple[int, int], batch_size: int) -> None:
    """Add `data`, [N, 3, H, W] of BGR less its mean, and `label`, [1, 1, G, 8], from the training LMDB."""
    samplers: list[dict[str, Any]] = [{"max_sample": 1, "max_trials": 1}]
    for overlap in CROP_OVERLAPS:
        constraint = {"max_jaccard_overlap": 1} if overlap is None else {"min_jaccard_overlap": overlap}
        samplers.append({"sampler": CROP, "sample_constraint": constraint, "max_sample": 1, "max_trials": 50})
    transform = _transform(data, images, size_hw, ANY_INTERPOLATION)
    transform |= {"mirror": True, "emit_constraint": {"emit_type": "CENTER"}}
    if images.distorts:
        transform["distort_param"] = DISTORTION
    if images.max_expand_ratio is not None:
        transform["expand_param"] = {"prob": 0.5, "max_expand_ratio": images.max_expand_ratio}
    net.data, net.label = L.AnnotatedData(
        ntop=2,
        include={"phase": "TRAIN"},
        transform_param=transform,
        data_param={"source": data.train_lmdb, "batch_size": batch_size, "backend": "LMDB"},
        batch_sampler=samplers,
        label_map_file=data.labelmap,
    )


def test_input(net: Net, data: DataSet, images: Images, size_hw: tuple[int, int], batch_size: int) -> None:
    """Add `data`, [N, 3, H, W], and `label`, [1, 1, G, 8], from the test LMDB: whole images, only resized."""
    net.data, net.label = L.AnnotatedData(
        ntop=2,
        include={"phase": "TEST"},
        transform_param=_transform(data, images, size_hw, ["LINEAR"]),
        data_param={"source": data.test_lmdb, "batch_size": batch_size, "backend": "LMDB"},
        batch_sampler=[{}],
        label_map_file=data.labelmap,
    )


def image_input(net: Net, size_hw: tuple[int, int], batch_size: int = 1) -> None:
    """Add `data`, [N, 3, H, W], to be fed from outside."""
    net.data = L.Input(shape={"dim": [batch_size, 3, *size_hw]})


def _transform(data: DataSet, images: Images, size_hw: tuple[int, int], interpolations: list[str]) -> dict[str, Any]:
    height, width = size_hw
    size = {"height": height, "width": width, "interp_mode": interpolations}
    given = {"scale": images.scale, "force_color": data.force_color or None}
    values = {"mean_value": images.mean_bgr, **{key: value for key, value in given.items() if value is not None}}
    return {**values, "resize_param": {"prob": 1, "resize_mode": "WARP", **size}}
