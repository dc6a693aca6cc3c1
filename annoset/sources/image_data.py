"""Caffe's ImageData layer without Caffe: a list of image files and their classes in, batches for a net out."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from annoset.decode import decode_image
from annoset.lines import Lines
from annoset.sources.fields import check_fields
from annoset.sources.order import Order
from annoset.sources.pictures import Picture, PictureSource
from prototxt.errors import UserError
from prototxt.files import is_file
from prototxt.graph import Layer
from prototxt.io import read_bytes
from prototxt.schema import Datum


class ImageDataSource(PictureSource):
    """The batches of one ImageData layer, endlessly, in the order of the list; with `shuffle` each round in another.

    A line of the list is a path and a class, with a space between; a path may hold spaces. As in Caffe
    `root_folder` is put before the path as it is, so it ends with a slash. EXIF's rotation is ignored.

    Args:
        layer, seed, prefetch, order: as in PictureSource.
        root: the folder that the layer's relative paths start from.

    Raises:
        UserError: parameters that are unsupported or contradict each other; no list at `source`, or a line that is
            not as it should be. What is wrong with a later image is raised by the `next_batch` that needs it.
    """

    def __init__(
        self, layer: Layer, seed: int, root: Path | str = "", prefetch: int = 0, order: Order | None = None
    ) -> None:
        self._spec, self._root = layer.proto.image_data_param, Path(root)
        self._check(layer)
        check_fields(layer, "image_data_param")
        self._lock = threading.Lock()  # the list is one open file
        try:
            self._lines = Lines(self._root / self._spec.source, _entry, "list of images")
        except UserError as error:
            raise layer.error(f"{error.where}: {error.found}", expected=error.expected, fix=error.fix) from error
        for _ in self._lines:  # its mistakes show before hours of training, not after
            pass
        self.records = len(self._lines)
        super().__init__(layer, self._spec, seed, self._root, prefetch, order)

    def read(self, record: int) -> Picture:
        path, label, _ = self._entry(record)
        color = self._spec.is_color
        try:
            image = decode_image(Datum(data=read_bytes(path), encoded=True), color, not color)
        except UserError as error:
            fix = "" if is_file(path) else self._fix_root()
            raise UserError(error.found, expected=error.expected, fix=fix) from error
        if self._spec.new_height:
            image = cv2.resize(image, (self._spec.new_width, self._spec.new_height))
        return Picture(np.atleast_3d(image), label, True)

    def name(self, record: int) -> str:
        path, _, line = self._entry(record)
        return f"{path} ({line})"

    def _entry(self, record: int) -> tuple[Path, int, str]:
        with self._lock:
            name, label, line = self._lines[record]
        return self._root / (self._spec.root_folder + name), label, line

    def _fix_root(self) -> str:
        folder = self._spec.root_folder
        return f'end root_folder with a slash: "{folder}/"' if folder and not folder.endswith("/") else ""

    @staticmethod
    def _check(layer: Layer) -> None:
        spec = layer.proto.image_data_param
        if not spec.source or not spec.batch_size:
            raise layer.error("image_data_param lacks source, or has a batch_size of 0")
        if bool(spec.new_height) != bool(spec.new_width):
            found = f"image_data_param has new_height {spec.new_height} and new_width {spec.new_width}"
            raise layer.error(found, expected="both or none")
        if len(layer.tops) != 2:
            raise layer.error(f"it has {len(layer.tops)} tops", expected="2, data and label")
        transform = layer.proto.transform_param
        for name in ("force_color", "force_gray"):
            if getattr(transform, name):
                fix = "write is_color in image_data_param"
                raise layer.error(f"transform_param.{name} is of no effect in Caffe", fix=fix)


def _entry(line: str, where: str) -> tuple[str, int, str]:
    """Path, class and place of a line of the list."""
    name, _, label = line.rpartition(" ")
    try:
        number = int(label) if name else None
    except ValueError:
        number = None
    if number is None:
        expected = "the path of an image, a space and its class, a whole number"
        raise UserError(f'the line is "{line}"', where=where, expected=expected)
    return name.rstrip(), number, where
