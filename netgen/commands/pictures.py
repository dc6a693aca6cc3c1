"""Pictures as nets take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prototxt.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from prototxt.graph import Graph


def parse_mean(text: str) -> tuple[float, ...]:
    """The numbers of `--mean`. Raises UserError when they are none."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--mean is {text}", expected="numbers with commas, such as 104,117,123") from error


def image_input(graph: Graph) -> str:
    """The name of the one input that takes pictures. Raises UserError when there is none, or more than one."""
    names = [name for name, shape in graph.inputs.items() if len(shape) == 4 and shape[1] in (1, 3)]
    if len(names) != 1:
        raise UserError(
            f"{len(names)} of its inputs take pictures", where=graph.net.path, expected="one of N×1×H×W or N×3×H×W"
        )
    return names[0]


def read_picture(path: Path) -> np.ndarray:
    """The picture in a file, uint8 [H, W, 3], channels B, G, R. Raises UserError when it cannot be decoded."""
    import cv2

    from annoset.decode import decode_bytes
    from prototxt.io import read_bytes

    picture = decode_bytes(read_bytes(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError("this is not a picture that can be decoded", where=str(path), expected="a JPEG or PNG file")
    return picture


def to_blob(picture: np.ndarray, shape: tuple[int, ...], mean: tuple[float, ...], scale: float) -> np.ndarray:
    """(picture - mean) · scale, warped to an input's shape: float32 [N, C, H, W], N times the same.

    Args:
        picture: [height, width, 3], channels B, G, R; turned to grey for an input of one channel.
        mean: one value, or one a channel; of three, an input of one channel takes their mean.

    Raises:
        UserError: another number of means.
    """
    return normalised(to_pixels(picture, shape), mean, scale)


def to_pixels(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A picture warped to an input's shape [N, C, H, W]: uint8 [N, H, W, C], N times the same."""
    import cv2
    import numpy as np

    batch, channels, height, width = shape
    if channels == 1:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    resized = cv2.resize(picture, (width, height)).reshape(height, width, channels)
    return np.broadcast_to(resized, (batch, *resized.shape)).copy()


def normalised(pixels: np.ndarray, mean: tuple[float, ...], scale: float) -> np.ndarray:
    """(pixels - mean) · scale, float32 [N, C, H, W] of uint8 [N, H, W, C]. See `to_blob`."""
    import numpy as np

    if len(mean) not in (1, 3):
        raise UserError(f"--mean has {len(mean)} numbers", expected="one, or one for each of B, G and R")
    if pixels.shape[3] == 1:
        mean = (float(np.mean(mean)),)
    values = ((pixels - np.float32(mean)) * np.float32(scale)).astype(np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
