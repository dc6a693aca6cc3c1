"""What an AnnotatedData layer does to one image and its boxes (SSD-Caffe: annotated_data_layer, data_transformer).

Order: distort, expand, batch sampler's crop, resize, noise, crop_size, mirror, mean, scale. Every step that
the layer's parameters name is taken in both phases, as in Caffe; `crop_size` alone is random in TRAIN
and central in TEST.

All that is random about a sample is drawn first, into a `Plan`; then the pixels that the plan shows are computed.

Annotations are rows of the label blob, float32 [N, 8]: item, class, instance, xmin, ymin, xmax, ymax
(0–1 of the image as it is at that step), difficult.

Unlike SSD-Caffe, images are not compressed to JPEG again between distortion, expansion and crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from annoset.augment.distort import Changes, check_distortion, distort, draw_changes, needs_colour
from annoset.augment.expand import Window, check_expansion, crop, expand, fill_window, visible
from annoset.augment.mean import Mean
from annoset.augment.noise import add_noise, check_noise, draw_specks
from annoset.augment.resize import (
    check_resize,
    draw_interpolation,
    extrapolate_boxes,
    resize,
    resize_boxes,
    resized_hw,
)
from annoset.augment.sampler import CropSamplers, check_samplers, coverage
from prototxt.errors import UserError
from prototxt.graph import Layer
from prototxt.schema import EmitConstraint

ITEM, LABEL, BOX = 0, 1, slice(3, 7)  # columns of a label row


@dataclass(frozen=True)
class Plan:
    """What one sample shows and how; all that is random about it.

    Attributes:
        canvas: the image, or what it was expanded to, in the image's pixels.
        sampler: the number of the batch sampler that found the crop; None when none did, and the canvas is shown whole.
        window: the part of the canvas that is shown, in the image's pixels.
        changes: of the colours.
        interpolation: as OpenCV counts them.
        specks: pixels of the resized image that salt and pepper fall on, [S, 2] (row, column).
        crop: the part of the resized image that the net sees.
        mirror: whether left and right change places.
        rows: the boxes that are left, as label rows.
    """

    canvas: Window
    sampler: int | None
    window: Window
    changes: Changes
    interpolation: int
    specks: np.ndarray
    crop: Window
    mirror: bool
    rows: np.ndarray


class Transformer:
    """The image side of an AnnotatedData layer.

    Args:
        layer: the layer; its phase, `transform_param` and `annotated_data_param.batch_sampler` are used.
        channels: the images' channels, 3 or 1.
        root: the folder that a relative `mean_file` starts from.

    Raises:
        UserError: parameters that contradict each other or that are not supported, by name.
    """

    def __init__(self, layer: Layer, channels: int, root: Path) -> None:
        samplers = layer.proto.annotated_data_param.batch_sampler
        self.where = f'{layer.where}: layer "{layer.name}" ({layer.type})'
        self.param = layer.proto.transform_param
        self.channels = channels
        self.random_crop = layer.phase == "TRAIN"
        check_samplers(samplers, self.where)
        self._check(channels)
        self.samplers = CropSamplers(samplers)
        self.mean = Mean(self.param, channels, root, self.where)

    def __call__(self, image: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Transform one image, uint8 [H, W, 3] BGR (or [H, W]), and its label rows [N, 8]; both stay unchanged.

        Returns:
            The net's input before mean and scale, uint8 [height, width(, 3)], and the rows of the boxes left in it.
        """
        plan = self.plan(image.shape[:2], rows, rng)
        return self.render(image, plan), plan.rows

    def plan(self, image_hw: tuple[int, int], rows: np.ndarray, rng: np.random.Generator) -> Plan:
        """Draw what becomes of an image of `image_hw` with the label rows [N, 8]."""
        p, policy = self.param, self.param.resize_param
        canvas = expand(image_hw, p.expand_param, rng) if p.HasField("expand_param") else Window(0, 0, *image_hw)
        if canvas != Window(0, 0, *image_hw):
            rows = self.project(rows, canvas.box(image_hw))
        sampler, window = None, canvas
        if picked := self.samplers.pick(rows[:, BOX], rng):
            sampler, box = picked
            window, rows = crop(canvas, box), self.project(rows, box)
        window_hw = sized_hw = (window.height, window.width)
        if p.HasField("resize_param"):
            sized_hw = resized_hw(policy, window_hw)
            rows = replace_boxes(rows, resize_boxes(rows[:, BOX], policy, window_hw))
        place = self._place(sized_hw, rng)
        rows = self.project(rows, place.box(sized_hw))
        mirror = bool(p.mirror and rng.random() < 0.5)
        if mirror:
            left, top, right, bottom = rows[:, BOX].T
            rows = replace_boxes(rows, np.stack((1 - right, top, 1 - left, bottom), axis=1))
        if p.HasField("resize_param"):
            rows = replace_boxes(rows, extrapolate_boxes(rows[:, BOX], policy, window_hw, place.box(sized_hw)))
        return Plan(
            canvas,
            sampler,
            window,
            changes=draw_changes(p.distort_param, rng),
            interpolation=draw_interpolation(policy, rng),
            specks=draw_specks(p.noise_param, sized_hw, rng),
            crop=place,
            mirror=mirror,
            rows=rows,
        )

    def render(self, image: np.ndarray, plan: Plan) -> np.ndarray:
        """The net's input before mean and scale: what the plan makes of an image, uint8 [height, width(, 3)].

        Only what the plan shows is computed: colours change pixel by pixel, so the order does not matter.

        Raises:
            UserError: the image has other channels than the layer's.
        """
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels != self.channels:
            raise UserError(
                f"the image has {channels} channel(s)",
                expected=f"{self.channels}, as the first image of the LMDB",
                fix="set transform_param.force_color: true",
            )
        part = visible(image, plan.window)
        image = fill_window(distort(part, plan.changes) if part.size else part, plan.window, self.mean.fill)
        if self.param.HasField("resize_param"):
            image = resize(image, self.param.resize_param, plan.interpolation)
        if self.param.HasField("noise_param"):
            image = add_noise(image, self.param.noise_param, plan.specks)
        image = visible(image, plan.crop)
        return cv2.flip(image, 1) if plan.mirror else image

    def normalise(self, image: np.ndarray, out: np.ndarray) -> None:
        """Write (image - mean) * scale to `out`, float32 [C, height, width]."""
        self.mean.normalise(image, out)

    def output_shape(self, image_hw: tuple[int, int]) -> tuple[int, int, int]:
        """(C, height, width) of an image of `image_hw` after every step.

        Raises:
            UserError: the image is smaller than the crop, or `mean_file` has another size.
        """
        if self.param.HasField("resize_param"):
            image_hw = resized_hw(self.param.resize_param, image_hw)
        output_hw = self._crop_hw(image_hw)
        self.mean.check(output_hw)
        return self.channels, *output_hw

    def project(self, rows: np.ndarray, window: np.ndarray) -> np.ndarray:
        """The rows that meet `emit_constraint` in `window` ([4], 0–1), with boxes clipped to it and in 0–1 of it."""
        boxes = rows[:, BOX]
        keep = (boxes[:, :2] < window[2:]).all(axis=1) & (boxes[:, 2:] > window[:2]).all(axis=1)
        if self.param.HasField("emit_constraint"):
            keep &= _emitted(boxes, window, self.param.emit_constraint)
        corner = window[[0, 1, 0, 1]]
        projected = np.clip((boxes - corner) / (window[[2, 3, 2, 3]] - corner), 0, 1)
        keep &= (projected[:, 2:] > projected[:, :2]).all(axis=1)
        return replace_boxes(rows, projected)[keep]

    def _place(self, image_hw: tuple[int, int], rng: np.random.Generator) -> Window:
        """Where the crop of fixed size is cut; all of the image when there is none."""
        crop_hw = self._crop_hw(image_hw)
        spare = [side - crop for side, crop in zip(image_hw, crop_hw, strict=True)]
        top, left = (int(rng.integers(s + 1)) for s in spare) if self.random_crop else (s // 2 for s in spare)
        return Window(top, left, *crop_hw)

    def _crop_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        size = self.param.crop_size
        crop_hw = (size or self.param.crop_h or image_hw[0], size or self.param.crop_w or image_hw[1])
        if crop_hw[0] > image_hw[0] or crop_hw[1] > image_hw[1]:
            raise UserError(
                f"transform_param crops {_by(crop_hw)} (height x width) from an image of {_by(image_hw)}",
                where=self.where,
                expected="a crop no larger than the image",
                fix="set crop_size to at most the size in resize_param, or resize to a larger size",
            )
        return crop_hw

    def _check(self, channels: int) -> None:
        p = self.param
        if p.HasField("resize_param"):
            check_resize(p.resize_param, channels, self.where)
        if p.HasField("noise_param"):
            check_noise(p.noise_param, channels, self.where)
        if p.HasField("expand_param"):
            check_expansion(p.expand_param, self.where)
            if p.HasField("mean_file"):
                raise UserError(
                    "transform_param has both expand_param and mean_file",
                    where=self.where,
                    expected="mean_value, which fills a canvas of any size",
                )
        if p.HasField("distort_param"):
            check_distortion(p.distort_param, self.where)
            if needs_colour(p.distort_param) and channels != 3:
                raise UserError(
                    f"transform_param.distort_param changes colours, but the images have {channels} channel(s)",
                    where=self.where,
                    fix="set transform_param.force_color: true, or leave hue, saturation and random order out",
                )


def _by(hw: tuple[int, ...]) -> str:
    return "x".join(map(str, hw))


def replace_boxes(rows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Copies of label rows [N, 8] with other boxes [N, 4]."""
    rows = rows.copy()
    rows[:, BOX] = boxes
    return rows


def _emitted(boxes: np.ndarray, window: np.ndarray, constraint: EmitConstraint) -> np.ndarray:
    """Which boxes [N, 4] have their centre in `window` [4], or more than `emit_overlap` of their area: bool [N]."""
    if constraint.emit_type == EmitConstraint.MIN_OVERLAP:
        return coverage(boxes, window[None])[:, 0] > constraint.emit_overlap
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((centres >= window[:2]) & (centres <= window[2:])).all(axis=1)
