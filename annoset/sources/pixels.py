"""What Data and ImageData do to an image (SSD-Caffe's data_transformer): resize, noise, crop, mirror, mean, scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from annoset.augment.expand import Window, visible
from annoset.augment.mean import Mean
from annoset.augment.noise import add_noise, check_noise, draw_specks
from annoset.augment.resize import check_resize, draw_interpolation, resize
from prototxt.errors import UserError
from prototxt.graph import Layer


class PixelTransform:
    """The image side of a Data or ImageData layer. Errors that do not say where they are, are about the image.

    Args:
        layer: the layer.
        channels: of its images.
        root: the folder that a relative `mean_file` starts from.

    Raises:
        UserError: parameters that contradict each other, or that have no effect in Caffe.
    """

    def __init__(self, layer: Layer, channels: int, root: Path) -> None:
        self.param, self.channels = layer.proto.transform_param, channels
        self._random = layer.phase == "TRAIN"  # where the crop is cut
        where = f'{layer.where}: layer "{layer.name}" ({layer.type})'
        if self.param.HasField("resize_param"):
            check_resize(self.param.resize_param, channels, where)
        if self.param.HasField("noise_param"):
            check_noise(self.param.noise_param, channels, where)
        self._mean = Mean(self.param, channels, root, where).values

    def __call__(self, image: np.ndarray, rng: np.random.Generator, encoded: bool) -> np.ndarray:
        """The net's input, float32 [C, height, width], of an image [H, W, C] of uint8 or float32.

        Args:
            encoded: whether the image came out of a file; SSD-Caffe aligns a mean of raw pixels in another way.

        Raises:
            UserError: the image has other channels, is smaller than the crop, or the mean file has another size.
        """
        self._check(image)
        p = self.param
        image = image[..., 0] if self.channels == 1 else image  # grey, as OpenCV has it
        if p.HasField("resize_param"):
            image = resize(image, p.resize_param, draw_interpolation(p.resize_param, rng))
        if p.HasField("noise_param"):
            image = add_noise(image, p.noise_param, draw_specks(p.noise_param, image.shape[:2], rng))
        image_hw = image.shape[:2]
        place = self._place(image_hw, rng)
        mirrored = bool(p.mirror and rng.random() < 0.5)
        shown = visible(image, place)
        shown = np.atleast_3d(shown[:, ::-1] if mirrored else shown).transpose(2, 0, 1).astype(np.float32, order="C")
        mean = self._mean_of(image_hw, place, mirrored, encoded)
        if mean is not None:
            shown -= mean
        if p.scale != 1:
            shown *= np.float32(p.scale)
        return shown

    def _mean_of(self, image_hw: tuple[int, int], place: Window, mirrored: bool, encoded: bool) -> np.ndarray | None:
        """What is subtracted from the crop at `place`, [C or 1, height or 1, width or 1]."""
        mean, crop_hw = self._mean, (place.height, place.width)
        if mean is None or mean.shape[1:] == (1, 1) or (encoded and mean.shape[1:] == crop_hw):
            return mean  # SSD-Caffe's mean of the net's input, which is not mirrored with the image
        if mean.shape[1:] == image_hw:
            part = mean[:, place.top : place.top + place.height, place.left : place.left + place.width]
            return part[:, :, ::-1] if mirrored else part
        raise UserError(
            f"transform_param.mean_file holds a mean of {_by(mean.shape[1:])} (height x width)",
            expected=f"{_by(image_hw)}, the size of the images" + (f", or {_by(crop_hw)}" if encoded else ""),
            fix="use mean_value, which fits any size",
        )

    def _place(self, image_hw: tuple[int, int], rng: np.random.Generator) -> Window:
        """Where the crop is cut: anywhere in TRAIN, in the middle in TEST. The whole image when there is none."""
        p = self.param
        crop_hw = (p.crop_size or p.crop_h or image_hw[0], p.crop_size or p.crop_w or image_hw[1])
        spare = [side - crop for side, crop in zip(image_hw, crop_hw, strict=True)]
        if min(spare) < 0:
            raise UserError(
                f"transform_param crops {_by(crop_hw)} (height x width) from an image of {_by(image_hw)}",
                expected="a crop no larger than the image",
            )
        top, left = (int(rng.integers(s + 1)) for s in spare) if self._random else (s // 2 for s in spare)
        return Window(top, left, *crop_hw)

    def _check(self, image: np.ndarray) -> None:
        if image.shape[2] != self.channels:
            raise UserError(
                f"the image has {image.shape[2]} channel(s)",
                expected=f"{self.channels}, as the first image",
                fix="set transform_param.force_color: true",
            )
        p = self.param
        changed = "resize_param" if p.HasField("resize_param") else "noise_param" if p.HasField("noise_param") else ""
        if changed and (image.dtype != np.uint8 or image.shape[2] not in (1, 3)):
            raise UserError(
                f"transform_param.{changed} is given, but the image is {image.dtype} of {image.shape[2]} channel(s)",
                expected="1 or 3 channels of uint8",
                fix=f"remove {changed}",
            )


def _by(hw: tuple[int, ...]) -> str:
    return "x".join(map(str, hw))
