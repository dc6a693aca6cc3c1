"""The files of detections that a DetectionOutput layer with `save_output_param` writes in the test phase."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.pytorch.pixels import read_name_sizes
from prototxt.errors import nearest
from prototxt.files import atomic_write
from prototxt.graph import Graph, Layer
from prototxt.labelmap import read_labelmap
from prototxt.schema import ResizeParameter


class ResultFiles:
    """The detections of one DetectionOutput layer, in pixels of the original images.

    Unlike Caffe, which empties `output_directory` first, only the files written are replaced.

    Args:
        layer: the layer; its `save_output_param` names the folder, the format, the labelmap and the file of
            image names and sizes (`name height width` a line, in the order of the LMDB).
        root: the folder that relative paths start from.

    Attributes:
        blob: the top that holds the detections.
        folder: where the files go.

    Raises:
        UserError: a format or resize mode that is not covered, a file that is missing or malformed.
    """

    def __init__(self, layer: Layer, root: Path) -> None:
        self._layer, save = layer, layer.p.save_output_param
        self.blob, self.folder = layer.tops[0], root / save.output_directory
        if save.output_format not in FORMATS:
            raise layer.error(
                f'output_format "{save.output_format}" is unknown{nearest(save.output_format, FORMATS)}',
                expected="one of " + ", ".join(sorted(FORMATS)),
            )
        if save.HasField("resize_param") and save.resize_param.resize_mode != ResizeParameter.WARP:
            raise layer.error("save_output_param.resize_param is covered for WARP only")
        self._labels = {label: item.name for label, item in read_labelmap(root / save.label_map_file).items()}
        self._images = read_name_sizes(root / save.name_size_file)
        self._limit = save.num_test_image if save.HasField("num_test_image") else len(self._images)
        if self._limit > len(self._images):
            raise layer.error(
                f"num_test_image is {self._limit}, but {save.name_size_file} lists {len(self._images)} images"
            )
        self._batch = layer.bottom_shapes[0][0]
        self._count, self._found = 0, []

    def add(self, rows: np.ndarray) -> None:
        """Take the detections [1, 1, D, 7] of the next batch; images beyond `num_test_image` are repetitions."""
        rows = rows.reshape(-1, 7)
        for item in range(self._batch):
            if self._count < self._limit:
                image = self._images[self._count]
                own = rows[(rows[:, 0] == item) & (rows[:, 1] >= 0)]
                self._found += [self._detection(image.name, image.size_hw, row) for row in own]
            self._count += 1

    def write(self) -> list[Path]:
        """Write the files and give their paths."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save = self._layer.p.save_output_param
        background = self._layer.p.background_label_id
        names = [self._label(c) for c in range(self._layer.p.num_classes) if c != background]
        texts = FORMATS[save.output_format](self._found, names)
        paths = []
        for suffix, text in texts.items():
            paths.append(self.folder / (save.output_name_prefix + suffix))
            with atomic_write(paths[-1], "w") as file:
                file.write(text)
        return paths

    def _detection(self, image: str, size_hw: tuple[int, int], row: np.ndarray) -> dict:
        height, width = size_hw
        scale = np.array([width, height, width, height], np.float32)
        xmin, ymin, xmax, ymax = np.clip(row[3:], 0, 1) * scale
        box = np.array([xmin, ymin, xmax - xmin, ymax - ymin], np.float32)
        box = np.floor((box * np.float32(100)).astype(np.float64) + 0.5) / 100  # C's round(), not the even one
        return {"image": image, "class": int(row[1]), "name": self._label(int(row[1])), "box": box, "score": row[2]}

    def _label(self, number: int) -> str:
        if number not in self._labels:
            file = self._layer.p.save_output_param.label_map_file
            raise self._layer.error(f"class {number} is not in the labelmap {file}")
        return self._labels[number]


def result_files(graph: Graph, root: Path) -> list[ResultFiles]:
    """Those of every DetectionOutput layer that names a folder, a labelmap and an image list (as Caffe, else none)."""
    return [
        ResultFiles(layer, root)
        for layer in graph.layers
        if layer.type == "DetectionOutput"
        and layer.p.save_output_param.output_directory
        and layer.p.save_output_param.label_map_file
        and layer.p.save_output_param.name_size_file
    ]


def _corners(box: np.ndarray) -> str:
    # Caffe cuts position and size to integers before it adds them.
    x, y, width, height = box.astype(np.float32).astype(int).tolist()
    return f"{x} {y} {x + width} {y + height}"


def _voc(found: list[dict], names: list[str]) -> dict[str, str]:
    """A file a class: `image score xmin ymin xmax ymax`."""
    texts: dict[str, list[str]] = {name: [] for name in names}
    for d in found:
        texts[d["name"]].append(f"{d['image']} {d['score']:g} {_corners(d['box'])}\n")
    return {f"{name}.txt": "".join(lines) for name, lines in texts.items()}


def _ilsvrc(found: list[dict], names: list[str]) -> dict[str, str]:
    """One file: `image class score xmin ymin xmax ymax`."""
    return {".txt": "".join(f"{d['image']} {d['class']} {d['score']:g} {_corners(d['box'])}\n" for d in found)}


def _coco(found: list[dict], names: list[str]) -> dict[str, str]:
    """One file of COCO results. A labelmap for COCO names each class by its category id."""
    records = [
        {
            "image_id": _number(d["image"]),
            "category_id": _number(d["name"]),
            "bbox": d["box"].tolist(),
            "score": float(f"{d['score']:.9g}"),
        }
        for d in found
    ]
    return {".json": json.dumps(records, indent=1) + "\n"}


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text


FORMATS: dict[str, Callable[[list[dict], list[str]], dict[str, str]]] = {
    "VOC": _voc,
    "COCO": _coco,
    "ILSVRC": _ilsvrc,
}
