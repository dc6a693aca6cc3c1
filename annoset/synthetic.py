"""A data set made on the spot, in VOC's layout: textured shapes on backgrounds like photographs out of focus.

Three classes that differ in outline and in texture, but not in colour: a disc has rings, a square is chequered,
a triangle is striped. Each is turned at will, and between a fifth and three fifths of the image in size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from annoset.annotation import Object
from annoset.folder import new_folder
from prototxt.labelmap import labelmap_text

LABELMAP = "labelmap.prototxt"
_SIDES = (160, 208)  # pixels; height and width are drawn independently
_DIAMETERS = (0.2, 0.62)  # of the circle around an object, in parts of the image's shorter side
_MOST_OBJECTS = 3
_MOST_OVERLAP = 0.05  # of the smaller box
_TRIES = 20
_OVERSAMPLING = 4


@dataclass(frozen=True)
class Shape:
    """A class of objects.

    Attributes:
        outline: corners in a circle of radius 1, [N, 2] (x, y).
        texture: (x, y, frequency) -> about −1…1, in units of that radius, in axes that turn with the shape.
    """

    outline: np.ndarray
    texture: Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _polygon(corners: int) -> np.ndarray:
    angles = np.arange(corners) * 2 * np.pi / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


# The textures follow the outline's axes: its first corner lies on the x axis.
SHAPES = {
    "disc": Shape(_polygon(64), lambda x, y, frequency: np.cos(frequency * np.hypot(x, y))),
    "square": Shape(_polygon(4), lambda x, y, f: np.sin(f * (x + y) / 1.41) * np.sin(f * (x - y) / 1.41) * 1.6),
    "triangle": Shape(_polygon(3), lambda x, y, frequency: np.sin(frequency * x)),
}


def make(
    root: str | Path,
    train: int,
    test: int,
    seed: int = 0,
    watch: Callable[[Sequence[int], str], Iterable[int]] = lambda items, _: items,
) -> None:
    """Write a data set: pictures, annotations, lists `train` and `test`, `labelmap.prototxt`.

    An image depends on the seed, its list and its number in it alone, so a larger data set begins as a smaller one.

    Args:
        root: folder to make.
        train, test: number of images of each list.
        watch: passes the images' numbers on and shows how far they are.

    Raises:
        UserError: `root` exists, or cannot be written.
    """
    with new_folder(root) as folder:
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (folder / name).mkdir(parents=True)
        for number, (split, count) in enumerate((("train", train), ("test", test))):
            for index in watch(range(count), f"drawing {split} images"):
                _write_image(folder, f"{split}_{index:05d}", np.random.default_rng((seed, number, index)))
            names = "".join(f"{split}_{index:05d}\n" for index in range(count))
            (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(names, "utf-8")
        labels = {name: label for label, name in enumerate(sorted(SHAPES), 1)}
        (folder / LABELMAP).write_text(labelmap_text(labels), "utf-8")


def _write_image(folder: Path, name: str, rng: np.random.Generator) -> None:
    image, objects = draw(rng)
    quality = int(rng.integers(82, 96))
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    (folder / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg.tobytes())
    (folder / "Annotations" / f"{name}.xml").write_text(_xml(name, image.shape[:2], objects), "utf-8")


def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[Object]]:
    """An image, uint8 [H, W, 3] BGR, and its objects, corners as VOC counts them."""
    size_hw = tuple(rng.integers(*_SIDES, 2, endpoint=True).tolist())
    image = _background(rng, size_hw)
    names, objects = sorted(SHAPES), []
    for _ in range(rng.integers(1, _MOST_OBJECTS, endpoint=True)):
        for _ in range(_TRIES):
            name = names[rng.integers(len(names))]
            matrix = _place(rng, size_hw)
            mask, box = _mask(SHAPES[name].outline, matrix, size_hw)
            placed = Object(name, *box)
            if all(_overlap(placed, other) < _MOST_OVERLAP for other in objects):
                image = _paint(rng, image, mask, SHAPES[name].texture, matrix)
                objects.append(placed)
                break
    return _photograph(rng, image), objects


def _background(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Float [H, W, 3] in 0–1: a gradient between muted colours, clouds of several sizes, lights out of focus."""
    height, width = size_hw
    tint = rng.uniform(-0.12, 0.12, 3)
    corners = (
        rng.uniform(0.3, 0.7) + tint + 0.18 * rng.standard_normal((2, 2, 1)) + 0.09 * rng.standard_normal((2, 2, 3))
    )
    image = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    for cells in (3, 6, 12, 24, 48):
        clouds = rng.standard_normal((cells, cells, 1)) + 0.35 * rng.standard_normal((cells, cells, 3))
        image += 0.2 / cells**0.6 * cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 5)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        light = cv2.circle(np.zeros(size_hw), centre, int(rng.integers(6, 30)), 1.0, -1)
        light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(2, 8)))
        image += light[..., None] * rng.uniform(-0.25, 0.35) * rng.uniform(0.5, 1, 3)
    return image.clip(0, 1)


def _place(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """[2, 3]: from a shape's axes to pixels; turned, scaled, and wholly inside the image."""
    radius = min(size_hw) * rng.uniform(*_DIAMETERS) / 2
    angle = rng.uniform(0, 2 * np.pi)
    x, y = (rng.uniform(radius + 1, side - radius - 2) for side in size_hw[::-1])
    cos, sin = radius * np.cos(angle), radius * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def _mask(outline: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """How much of each pixel the shape covers, float [H, W], and its box as VOC counts pixels."""
    # Drawn larger and averaged down, because OpenCV's own anti-aliasing makes polygons half a pixel too large.
    corners = (outline @ matrix[:, :2].T + matrix[:, 2] + 0.5) * _OVERSAMPLING - 0.5
    large = np.zeros([side * _OVERSAMPLING for side in size_hw], np.uint8)
    cv2.fillPoly(large, [np.rint(corners).astype(np.int32)], 255)
    mask = cv2.resize(large, size_hw[::-1], interpolation=cv2.INTER_AREA)
    x, y, width, height = cv2.boundingRect((mask > 127).astype(np.uint8))
    return mask / 255.0, [x + 1, y + 1, x + width, y + height]


def _overlap(one: Object, other: Object) -> float:
    """Area in common, as a part of the smaller box."""
    (a, b, c, d), (e, f, g, h) = one.corners, other.corners
    common = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
    return common / min((c - a) * (d - b), (g - e) * (h - f))


def _paint(
    rng: np.random.Generator,
    image: np.ndarray,
    mask: np.ndarray,
    texture: Callable[..., np.ndarray],
    matrix: np.ndarray,
) -> np.ndarray:
    """The image with the shape on it, lit from one side, and its soft shadow."""
    inverse = cv2.invertAffineTransform(matrix)
    rows, columns = np.indices(mask.shape)
    x, y = (line[0] * columns + line[1] * rows + line[2] for line in inverse)
    pattern = 0.5 + 0.5 * np.tanh(2.5 * texture(x, y, rng.uniform(7, 11)))
    dark, bright = rng.uniform(0.05, 0.45, 3), rng.uniform(0.45, 1, 3)
    light = 1 + 0.25 * np.cos(rng.uniform(0, 2 * np.pi)) * x + 0.25 * np.sin(rng.uniform(0, 2 * np.pi)) * y
    colour = (dark + (bright - dark) * pattern[..., None]) * light[..., None]
    reach = np.sqrt(np.abs(np.linalg.det(matrix[:, :2])))
    shift = np.float32([[1, 0, 0.12 * reach], [0, 1, 0.15 * reach]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(mask, shift, mask.shape[::-1]), (0, 0), 0.12 * reach)
    shaded = image * (1 - 0.5 * shadow[..., None])
    return shaded + (colour - shaded) * mask[..., None]


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What a camera makes of it: a little blur, a vignette, noise; uint8."""
    height, width = image.shape[:2]
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 0.9)))
    across, down = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    image *= (1 - rng.uniform(0.05, 0.25) * (across**2 + down**2) / 2)[..., None]
    image += rng.uniform(0.005, 0.025) * rng.standard_normal(image.shape)
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def _xml(name: str, size_hw: tuple[int, ...], objects: Sequence[Object]) -> str:
    def element(tag: str, *parts: Any) -> str:
        return f"<{tag}>{''.join(map(str, parts))}</{tag}>\n"

    height, width = size_hw
    size = element("size", element("width", width), element("height", height), element("depth", 3))
    boxes = [
        element(
            "object",
            element("name", one.name),
            element("difficult", int(one.difficult)),
            element("bndbox", *(element(corner, getattr(one, corner)) for corner in ("xmin", "ymin", "xmax", "ymax"))),
        )
        for one in objects
    ]
    return element("annotation", "\n", element("filename", f"{name}.jpg"), size, *boxes)
