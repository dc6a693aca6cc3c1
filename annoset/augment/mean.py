"""Mean and scale: what turns grey levels into the numbers that a net is fed with (SSD-Caffe: data_transformer)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prototxt.errors import UserError
from prototxt.io import read_binary
from prototxt.schema import TransformationParameter


class Mean:
    """The mean of a layer's `mean_value` or `mean_file`, and its `scale`.

    Args:
        param: the layer's transform_param.
        channels: of the images, 3 or 1.
        root: the folder that a relative `mean_file` starts from.
        where: names the layer in errors.

    Attributes:
        values: float32 [C or 1, H or 1, W or 1]; None for no mean.
        fill: the colour that subtracts to about 0, uint8 [C]; black where there is no mean.

    Raises:
        UserError: both kinds of mean, or one that does not have the images' channels.
    """

    def __init__(self, param: TransformationParameter, channels: int, root: Path, where: str) -> None:
        self._scale, self._where = param.scale, where
        self._of_file = param.HasField("mean_file")
        if self._of_file and param.mean_value:
            raise UserError("transform_param has both mean_file and mean_value", where=where, expected="one of them")
        self.values = _read(root / param.mean_file, channels) if self._of_file else self._given(param, channels)
        fill = np.zeros(1) if self.values is None else self.values[:, 0, 0]
        self.fill = np.clip(np.rint(np.broadcast_to(fill, channels)), 0, 255).astype(np.uint8)

    def check(self, input_hw: tuple[int, int]) -> None:
        """Raises UserError when a mean of a file has another size than the net's input."""
        if self._of_file and self.values.shape[1:] != input_hw:
            height, width = self.values.shape[1:]
            raise UserError(
                f"transform_param.mean_file holds a mean of {height}x{width} (height x width)",
                where=self._where,
                expected=f"{input_hw[0]}x{input_hw[1]}, the size of the net's input",
                fix="use mean_value, which fits any size",
            )

    def normalise(self, image: np.ndarray, out: np.ndarray) -> None:
        """Write (image - mean) * scale to `out`, float32 [C, height, width]; `image` is uint8 [height, width(, C)].

        A mean of a file is subtracted place by place from the image as the net sees it, mirrored or not.
        """
        self.check(image.shape[:2])
        planes = np.atleast_3d(image).transpose(2, 0, 1)
        if self.values is None:
            out[...] = planes
        else:
            np.subtract(planes, self.values, out=out)
        if self._scale != 1:
            out *= np.float32(self._scale)

    def _given(self, param: TransformationParameter, channels: int) -> np.ndarray | None:
        values = param.mean_value
        if len(values) not in (0, 1, channels):
            raise UserError(
                f"transform_param has {len(values)} mean_values",
                where=self._where,
                expected=f"one, or one for each of the {channels} channels",
            )
        return np.array(values, np.float32).reshape(-1, 1, 1) if values else None


def _read(path: Path, channels: int) -> np.ndarray:
    """The mean in a binary BlobProto, float32 [C, H, W]."""
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
