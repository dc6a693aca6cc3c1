"""What an AnnotatedData layer does to one image and its boxes (SSD-Caffe: annotated_data_layer, data_transformer).

Order: distort, expand, batch sampler's crop, resize, crop_size, mirror, mean, scale. Every step that
the layer's parameters name is taken in both phases, as in Caffe; `crop_size` alone is random in TRAIN
and central in TEST.

Annotations are rows of the label blob, float32 [N, 8]: item, class, instance, xmin, ymin, xmax, ymax
(0–1 of the image as it is at that step), difficult.

Unlike SSD-Caffe, images are not compressed to JPEG again between distortion, expansion and crop.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from annoset.augment.distort import check_distortion, distort, needs_colour
from annoset.augment.expand import Window, check_expansion, crop, expand, fill_window, visible
from annoset.augment.resize import check_resize, extrapolate_boxes, resize, resize_boxes, resized_hw
from annoset.augment.sampler import check_samplers, coverage, pick_crop
from prototxt.errors import UserError
from prototxt.io import read_binary
from prototxt.schema import EmitConstraint, LayerParameter, ResizeParameter

ITEM, LABEL, BOX = 0, 1, slice(3, 7)  # columns of a label row
_WHOLE = np.array([0, 0, 1, 1], np.float32)

# Fields of Caffe's schema that change nothing here: each is refused when it is set, with what to do.
_REFUSED = {
    "transform_param.noise_param": "remove noise_param",
    "transform_param.resize_param.prob": "remove it, or set it to 1: SSD-Caffe resizes every image whatever it says",
    "data_param.rand_skip": "remove it: SSD-Caffe does not skip records either",
    "data_param.scale": "write it in transform_param",
    "data_param.mean_file": "write it in transform_param",
    "data_param.crop_size": "write it in transform_param",
    "data_param.mirror": "write it in transform_param",
    "data_param.force_encoded_color": "write force_color in transform_param",
}


class Transformer:
    """The image side of an AnnotatedData layer.

    Args:
        layer: the layer; its `transform_param` and `annotated_data_param.batch_sampler` are used.
        phase: "TRAIN" or "TEST".
        channels: the images' channels, 3 or 1.
        root: the folder that a relative `mean_file` starts from.

    Raises:
        UserError: parameters that contradict each other or that are not supported, by name.
    """

    def __init__(self, layer: LayerParameter, phase: str, channels: int, root: Path) -> None:
        self.where = f'layer "{layer.name}" ({layer.type})'
        self.param = layer.transform_param
        self.samplers = list(layer.annotated_data_param.batch_sampler)
        self.channels = channels
        self.random_crop = phase == "TRAIN"
        self._check(channels)
        self.mean = self._read_mean(channels, root)
        fill = np.zeros(1) if self.mean is None else self.mean[:, 0, 0]
        self.fill = np.clip(np.rint(np.broadcast_to(fill, channels)), 0, 255).astype(np.uint8)

    def __call__(self, image: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Transform one image, uint8 [H, W, 3] BGR (or [H, W]), and its label rows [N, 8]; both stay unchanged.

        Returns:
            The net's input before mean and scale, uint8 [height, width(, 3)], and the rows of the boxes left in it.
        """
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels != self.channels:
            raise UserError(
                f"the image has {channels} channel(s)",
                expected=f"{self.channels}, as the first image of the LMDB",
                fix="set transform_param.force_color: true",
            )
        image, rows = self._frame(image, rows, rng)
        frame_hw, policy = image.shape[:2], self.param.resize_param
        if self.param.HasField("resize_param"):
            image = resize(image, policy, rng)
            rows = replace_boxes(rows, resize_boxes(rows[:, BOX], policy, frame_hw))
        image, crop_box = self._crop_size(image, rng)
        rows = self.project(rows, crop_box)
        if self.param.mirror and rng.random() < 0.5:
            image = image[:, ::-1]
            left, top, right, bottom = rows[:, BOX].T
            rows = replace_boxes(rows, np.stack((1 - right, top, 1 - left, bottom), axis=1))
        if self.param.HasField("resize_param"):
            rows = replace_boxes(rows, extrapolate_boxes(rows[:, BOX], policy, frame_hw, crop_box))
        return image, rows

    def normalise(self, image: np.ndarray, out: np.ndarray) -> None:
        """Write (image - mean) * scale to `out`, float32 [C, height, width]."""
        planes = np.atleast_3d(image).transpose(2, 0, 1)
        self._check_mean(image.shape[:2])
        if self.mean is None:
            out[...] = planes
        else:
            np.subtract(planes, self.mean, out=out)
        if self.param.scale != 1:
            out *= np.float32(self.param.scale)

    def output_shape(self, image_hw: tuple[int, int]) -> tuple[int, int, int]:
        """(C, height, width) of an image of `image_hw` after every step.

        Raises:
            UserError: the image is smaller than the crop, or `mean_file` has another size.
        """
        if self.param.HasField("resize_param"):
            image_hw = resized_hw(self.param.resize_param, image_hw)
        output_hw = self._crop_hw(image_hw) or image_hw
        self._check_mean(output_hw)
        return self.channels, *output_hw

    def project(self, rows: np.ndarray, window: np.ndarray) -> np.ndarray:
        """The rows that meet `emit_constraint` in `window` ([4], 0–1), with boxes clipped to it and in 0–1 of it."""
        boxes = rows[:, BOX]
        keep = (boxes[:, :2] < window[2:]).all(axis=1) & (boxes[:, 2:] > window[:2]).all(axis=1)
        if self.param.HasField("emit_constraint"):
            keep &= _emitted(boxes, window, self.param.emit_constraint)
        size = window[2:] - window[:2]
        projected = np.clip((boxes - np.tile(window[:2], 2)) / np.tile(size, 2), 0, 1)
        keep &= (projected[:, 2:] > projected[:, :2]).all(axis=1)
        return replace_boxes(rows, projected)[keep]

    def _frame(self, image: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Distortion, expansion and the batch sampler's crop, of which only the crop's pixels are computed."""
        image_hw = image.shape[:2]
        window = Window(0, 0, *image_hw)
        if self.param.HasField("expand_param"):
            window = expand(image_hw, self.param.expand_param, rng)
            if window != Window(0, 0, *image_hw):
                rows = self.project(rows, window.box(image_hw))
        box = pick_crop(self.samplers, rows[:, BOX], rng)
        if box is not None:
            window, rows = crop(window, box), self.project(rows, box)
        part = visible(image, window)
        if self.param.HasField("distort_param") and part.size:
            part = distort(part, self.param.distort_param, rng)
        return fill_window(part, window, self.fill), rows

    def _crop_size(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The crop of fixed size, and the box [4] in 0–1 of `image` that it shows."""
        image_hw = image.shape[:2]
        crop_hw = self._crop_hw(image_hw)
        if crop_hw is None:
            return image, _WHOLE
        spare = [side - crop for side, crop in zip(image_hw, crop_hw, strict=True)]
        top, left = (int(rng.integers(s + 1)) for s in spare) if self.random_crop else (s // 2 for s in spare)
        window = Window(top, left, *crop_hw)
        return visible(image, window), window.box(image_hw)

    def _crop_hw(self, image_hw: tuple[int, int]) -> tuple[int, int] | None:
        size = self.param.crop_size
        crop_hw = (size or self.param.crop_h, size or self.param.crop_w)
        if not any(crop_hw):
            return None
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
        check_samplers(self.samplers, self.where)
        if p.HasField("resize_param"):
            check_resize(p.resize_param, channels, self.where)
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
        if not p.crop_size and bool(p.crop_h) != bool(p.crop_w):
            raise UserError(
                f"transform_param has crop_h {p.crop_h} and crop_w {p.crop_w}", where=self.where, expected="both"
            )

    def _read_mean(self, channels: int, root: Path) -> np.ndarray | None:
        """The mean to subtract, float32 [C or 1, H or 1, W or 1]."""
        values = self.param.mean_value
        if self.param.HasField("mean_file"):
            return self._read_mean_file(channels, root / self.param.mean_file)
        if not values:
            return None
        if len(values) not in (1, channels):
            raise UserError(
                f"transform_param has {len(values)} mean_values",
                where=self.where,
                expected=f"one, or one for each of the {channels} channels",
            )
        return np.array(values, np.float32).reshape(-1, 1, 1)

    def _read_mean_file(self, channels: int, path: Path) -> np.ndarray:
        blob = read_binary(path, "BlobProto")
        legacy = (blob.num, blob.channels, blob.height, blob.width)
        shape = tuple(blob.shape.dim) if blob.HasField("shape") else legacy
        mean = np.array(blob.data or blob.double_data, np.float32)
        if len(shape) not in (3, 4) or shape[-3] != channels or mean.size != np.prod(shape):
            raise UserError(
                f"the mean has shape {shape} and {mean.size} values",
                where=str(path),
                expected=f"1 x {channels} x height x width of the net's input",
            )
        return mean.reshape(shape[-3:])

    def _check_mean(self, input_hw: tuple[int, int]) -> None:
        if self.param.HasField("mean_file") and self.mean.shape[1:] != input_hw:
            raise UserError(
                f"transform_param.mean_file holds a mean of {_by(self.mean.shape[1:])} (height x width)",
                where=self.where,
                expected=f"{_by(input_hw)}, the size of the net's input",
                fix="use mean_value, which fits any size",
            )


def check_supported(layer: LayerParameter) -> None:
    """Raises UserError for the first field that is set and not supported, or that contradicts another."""
    where = f'layer "{layer.name}" ({layer.type})'
    for path, fix in _REFUSED.items():
        *parents, field = path.split(".")
        message = layer
        for parent in parents:
            message = getattr(message, parent)
        if (
            message.HasField(field)
            and getattr(message, field) != message.DESCRIPTOR.fields_by_name[field].default_value
        ):
            raise UserError(f"{path} is not supported yet", where=where, fix=fix)
    p = layer.transform_param
    for one, other in (("force_color", "force_gray"), ("mean_file", "mean_value")):
        if getattr(p, one) and getattr(p, other):
            raise UserError(f"transform_param has both {one} and {other}", where=where, expected="one of them")
    small = p.HasField("resize_param") and p.resize_param.resize_mode == ResizeParameter.FIT_SMALL_SIZE
    if small and layer.data_param.batch_size != 1:
        raise UserError(
            f"resize_mode FIT_SMALL_SIZE gives images of different sizes, batch_size is {layer.data_param.batch_size}",
            where=where,
            expected="data_param.batch_size 1",
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
