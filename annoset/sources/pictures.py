"""What the sources of images with a class share: items in order, batches of one size, mistakes named by image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from annoset.sources.batches import Batch, Batches
from annoset.sources.order import Order, draw_skip, image_rng
from annoset.sources.pixels import PixelTransform
from prototxt.errors import UserError
from prototxt.graph import Layer, show


class Picture(NamedTuple):
    """An image with a class.

    Attributes:
        pixels: [H, W, C], uint8 or float32; BGR where it has three channels.
        label: the class.
        encoded: whether it was an image file, not raw values.
    """

    pixels: np.ndarray
    label: int
    encoded: bool


class PictureSource(Batches):
    """Batches of images: data [N, C, H, W] and, for a second top, label [N]. A source sets `records` and reads them.

    Images may differ in size from batch to batch, as in Caffe; `shape` is that of the first.

    Args:
        layer, seed, prefetch: as in Batches. With threads of ours OpenCV's own are switched off in the whole process:
            they would only wait for each other.
        spec: the layer's own parameters, with `batch_size`, `rand_skip` and perhaps `shuffle`.
        root: the folder that a relative `mean_file` starts from.
        order: this process's share of the run.
    """

    records: int

    def __init__(self, layer: Layer, spec: Any, seed: int, root: Path, prefetch: int, order: Order | None) -> None:
        order = order or Order()
        shuffle = order.shuffle or getattr(spec, "shuffle", False)  # each round then has an order of its own
        super().__init__(layer, spec.batch_size, seed, prefetch, replace(order, shuffle=shuffle))
        self._rand_skip = spec.rand_skip
        if prefetch:
            cv2.setNumThreads(0)
        record = self._record(self.order.number(0))
        with self._naming(record):
            self._transform = PixelTransform(layer, self.read(record).pixels.shape[2], root)
        shape = self._item(0)[0].shape
        self.shape = dict(zip(layer.tops, ((self.batch_size, *shape), (self.batch_size,)), strict=False))

    @abstractmethod
    def read(self, record: int) -> Picture:
        """Image `record` of `records`. Raises UserError when it cannot be read. Called by several threads."""

    @abstractmethod
    def name(self, record: int) -> str:
        """Where image `record` is, for messages."""

    def make(self, start: int) -> Batch:
        data, labels = np.empty(0), np.empty(self.batch_size, np.float32)
        for item in range(self.batch_size):
            pixels, labels[item] = self._item(start + item)
            if not item:
                data = np.empty((self.batch_size, *pixels.shape), np.float32)
            if pixels.shape != data.shape[1:]:
                raise self._other_size(start + item, pixels.shape, data.shape[1:])
            data[item] = pixels
        return dict(zip(self.layer.tops, (data, labels), strict=False))

    def _item(self, position: int) -> tuple[np.ndarray, int]:
        """Image `position` of this process as the net sees it, float32 [C, height, width], and its class."""
        number = self.order.number(position)
        record = self._record(number)
        with self._naming(record):
            picture = self.read(record)
            rng = image_rng(self.seed, number)
            return self._transform(picture.pixels, rng, picture.encoded), picture.label

    def _record(self, number: int) -> int:
        """The record of image `number` of the whole run."""
        return self.order.record(number, self.records, self.seed, draw_skip(self._rand_skip, self.seed))

    def _other_size(self, position: int, found: tuple[int, ...], wanted: tuple[int, ...]) -> UserError:
        return self.layer.error(
            f"{self.name(self._record(self.order.number(position)))}: the image is {show(found)},"
            f" the first of its batch {show(wanted)} (channels, height, width)",
            expected="images of one size in a batch",
            fix="give transform_param a resize_param or a crop_size",
        )

    @contextmanager
    def _naming(self, record: int) -> Iterator[None]:
        """Mistakes found in the block that do not say where they are, are reported with the layer and the image."""
        try:
            yield
        except UserError as error:
            if error.where:
                raise
            found = f"{self.name(record)}: {error.found}"
            raise self.layer.error(found, expected=error.expected, fix=error.fix) from error
