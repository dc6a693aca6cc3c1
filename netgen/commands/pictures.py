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
    import numpy as np

    from prototxt.io import read_bytes

    data = np.frombuffer(read_bytes(path), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
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
    import cv2
    import numpy as np

    _, channels, height, width = shape
    if len(mean) not in (1, 3):
        raise UserError(f"--mean has {len(mean)} numbers", expected="one, or one for each of B, G and R")
    if channels == 1:
        picture, mean = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (float(np.mean(mean)),)
    resized = cv2.resize(picture, (width, height)).reshape(height, width, channels)
    blob = ((resized - np.float32(mean)) * np.float32(scale)).astype(np.float32).transpose(2, 0, 1)
    return np.broadcast_to(blob, shape).copy()
