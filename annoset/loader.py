"""SSD-Caffe's AnnotatedData layer without Caffe: an LMDB of AnnotatedDatum in, batches for a net out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from annoset.augment.transform import ITEM, LABEL, Transformer, check_supported
from annoset.database import Database
from prototxt.errors import UserError
from prototxt.labelmap import read_labelmap
from prototxt.schema import AnnotatedDatum, DataParameter, Datum, LayerParameter

_NO_BOX = np.full((1, 8), -1, np.float32)  # the label rows of a batch without any box


class AnnotatedDataSource:
    """The batches of one AnnotatedData layer, endlessly, in the order of the LMDB's keys.

    Image k of a run (counted from 0) is record k modulo the number of records, augmented by a random
    generator of its own that (seed, k) seeds. So a batch depends on the seed and on its number alone: not
    on threads, and not on whether the run was interrupted.

    Args:
        layer_proto: the layer.
        phase: "TRAIN" or "TEST"; only where `crop_size` cuts depends on it, as in Caffe.
        seed: any integer, or None to let the system draw one.
        root: the folder that the layer's relative paths start from; by default the current one, as in Caffe.
        prefetch: how many batches are made ahead, each by a thread; 0 makes a batch when it is asked for.
            (`data_param.prefetch` sizes a queue inside Caffe and is of no effect here.)

    Attributes:
        shape: top -> shape. The first top is [N, C, H, W] float32, BGR (under FIT_SMALL_SIZE H and W are those of
            the first image). The second, if there is one, is [1, 1, boxes in the batch, 8] float32: rows of item in the
            batch, class, instance, xmin, ymin, xmax, ymax (0–1), difficult; one row of -1 when the batch has no
            box. The shape given here has one row.
        seed: the seed in use.

    Raises:
        UserError: parameters that are unsupported or contradict each other; no LMDB at `source`, or not one of
            AnnotatedDatum. What is wrong with a later record is raised by the `next_batch` that needs it.
    """

    def __init__(
        self,
        layer_proto: LayerParameter,
        phase: str,
        seed: int | None,
        root: Path | str | None = None,
        prefetch: int = 0,
    ) -> None:
        self._layer, self._root = layer_proto, Path(root or "")
        self._where = f'layer "{layer_proto.name}" ({layer_proto.type})'
        self._check()
        self._batch_size = layer_proto.data_param.batch_size
        self.seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) if seed is None else seed
        self._position = 0
        self._known_labels = self._read_labels()
        self._source = self._root / layer_proto.data_param.source
        self._database = Database(self._source)
        self._keys = list(self._database.keys())
        with self._naming_record(0) as key:
            first = self._decode(key)[0]
        self._transform = Transformer(layer_proto, phase, np.atleast_3d(first).shape[2], self._root)
        data = (self._batch_size, *self._transform.output_shape(first.shape[:2]))
        self.shape = dict(zip(layer_proto.top, (data, (1, 1, 1, 8)), strict=False))
        self._prefetch = prefetch
        self._threads = ThreadPoolExecutor(prefetch, "annotated-data") if prefetch else None
        self._ahead: deque[Future] = deque()

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        while True:
            yield self.next_batch()

    def next_batch(self) -> dict[str, np.ndarray]:
        """The next batch: top -> array, shaped and ordered as `shape` describes.

        Raises:
            UserError: an image that cannot be decoded or differs in size from the others, a record that says
                nothing of boxes, a class that the labelmap lacks. The LMDB and the record's key are named;
                the next call gives the next batch.
        """
        start = self._position
        self._position += self._batch_size
        if self._threads is None:
            return self._make(start)
        while len(self._ahead) <= self._prefetch:
            self._ahead.append(self._threads.submit(self._make, start + len(self._ahead) * self._batch_size))
        return self._ahead.popleft().result()

    def state(self) -> dict[str, int]:
        """What `restore` needs to go on with the batch that `next_batch` would give now: seed and images given."""
        return {"seed": self.seed, "position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        """Go on as the source whose `state()` this is, wherever this one stands."""
        self._drop_ahead()
        self.seed, self._position = state["seed"], state["position"]

    def close(self) -> None:
        """Stop the threads and close the LMDB."""
        self._drop_ahead()
        if self._threads is not None:
            self._threads.shutdown()
        self._database.close()

    def __enter__(self) -> AnnotatedDataSource:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _drop_ahead(self) -> None:
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()

    def _make(self, start: int) -> dict[str, np.ndarray]:
        """The batch that begins with image `start` of the run."""
        images, labels = zip(*(self._item(start + item) for item in range(self._batch_size)), strict=True)
        data = np.empty((self._batch_size, self._transform.channels, *images[0].shape[:2]), np.float32)
        for item, (image, rows) in enumerate(zip(images, labels, strict=True)):
            if image.shape != images[0].shape:
                with self._naming_record(start + item):
                    raise UserError(
                        f"the image is {_size(image)}, the first of its batch {_size(images[0])}",
                        expected="images of one size in a batch",
                        fix="give the layer's transform_param a resize_param",
                    )
            self._transform.normalise(image, data[item])
            rows[:, ITEM] = item
        rows = np.concatenate(labels)
        label = (rows if len(rows) else _NO_BOX.copy())[None, None]
        return dict(zip(self._layer.top, (data, label), strict=False))

    def _item(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Image `position` of the run, transformed but for mean and scale, and its label rows."""
        rng = np.random.default_rng((self.seed % 2**64, position))
        with self._naming_record(position) as key:
            return self._transform(*self._decode(key), rng)

    @contextmanager
    def _naming_record(self, position: int) -> Iterator[str]:
        """The key of image `position`; mistakes found in the block are reported with the LMDB and that key."""
        key = self._keys[position % len(self._keys)]
        try:
            yield key
        except UserError as error:
            where = f"{self._source}, record {key}"
            raise UserError(error.found, where=where, expected=error.expected, fix=error.fix) from error

    def _decode(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """A record's image, uint8 [H, W, 3] BGR or [H, W], and its label rows [N, 8]."""
        record = self._database[key]
        if not record.HasField("datum"):
            raise UserError(
                "the record is not an AnnotatedDatum",
                expected="an image with its boxes, as `netgen lmdb` and SSD-Caffe's convert_annoset write them",
                fix="make the LMDB from images and their annotations with `netgen lmdb`",
            )
        if not record.HasField("type") and not self._layer.annotated_data_param.HasField("anno_type"):
            raise UserError(
                "the record does not say what its annotations are",
                expected="an AnnotatedDatum of type BBOX",
                fix="set annotated_data_param.anno_type: BBOX if it holds boxes",
            )
        rows = label_rows(record)
        unknown = set(rows[:, LABEL].astype(int)) - self._known_labels if self._known_labels else ()
        if unknown:
            raise UserError(
                f"a box has the class {min(unknown)}, which {self._label_map} does not list",
                expected=f"one of {sorted(self._known_labels)}",
                fix="make the LMDB with the labelmap that the net's data layer names",
            )
        transform = self._layer.transform_param
        return decode_image(record.datum, transform.force_color, transform.force_gray), rows

    def _check(self) -> None:
        data = self._layer.data_param
        if not data.source or not data.batch_size:
            raise UserError("data_param lacks source or batch_size", where=self._where, expected="both")
        if data.backend != DataParameter.LMDB:
            raise UserError(
                "data_param.backend is LEVELDB, which is Caffe's default",
                where=self._where,
                expected="backend: LMDB",
                fix="make an LMDB of the data and write backend: LMDB",
            )
        if len(self._layer.top) not in (1, 2):
            raise UserError(f"the layer has {len(self._layer.top)} tops", where=self._where, expected="1 or 2")
        check_supported(self._layer)

    def _read_labels(self) -> frozenset[int]:
        """The classes of the layer's labelmap; none when it names no labelmap."""
        if not self._layer.annotated_data_param.label_map_file:
            return frozenset()
        if not self._label_map.is_file():
            raise UserError(
                f"annotated_data_param.label_map_file is {self._label_map}, which is not there",
                where=self._where,
                fix="correct the path, or remove the field: then classes are not checked",
            )
        return frozenset(read_labelmap(self._label_map))

    @property
    def _label_map(self) -> Path:
        return self._root / self._layer.annotated_data_param.label_map_file


def label_rows(record: AnnotatedDatum) -> np.ndarray:
    """The record's boxes as rows of the label blob, float32 [N, 8], item 0, in the order of its groups."""
    rows = [
        (0, group.group_label, one.instance_id, b.xmin, b.ymin, b.xmax, b.ymax, b.difficult)
        for group in record.annotation_group
        for one in group.annotation
        for b in (one.bbox,)
    ]
    return np.array(rows, np.float32).reshape(-1, 8)


def decode_image(datum: Datum, force_color: bool, force_gray: bool) -> np.ndarray:
    """The image of a Datum, encoded or raw, uint8 [H, W, 3] BGR or [H, W].

    An encoded image keeps the channels it has unless one of the two flags is set. The orientation that a
    camera noted in it is not applied: boxes belong to the pixels as they are stored.

    Raises:
        UserError: what the datum holds is no image of 8 bits a channel and 1 or 3 channels.
    """
    image = _decode_bytes(datum, force_color, force_gray) if datum.encoded else _raw_image(datum)
    if image.dtype != np.uint8 or (image.ndim == 3 and image.shape[2] != 3):
        raise UserError(
            f"the image is {_size(image)} of {image.dtype}",
            expected="1 or 3 channels of uint8",
            fix="set transform_param.force_color: true",
        )
    if force_color and image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if force_gray and image.ndim == 3 else image


def _decode_bytes(datum: Datum, force_color: bool, force_gray: bool) -> np.ndarray:
    flag = cv2.IMREAD_COLOR if force_color else cv2.IMREAD_GRAYSCALE if force_gray else cv2.IMREAD_UNCHANGED
    raw = np.frombuffer(datum.data, np.uint8)
    image = cv2.imdecode(raw, flag | cv2.IMREAD_IGNORE_ORIENTATION) if raw.size else None
    if image is None:
        raise UserError(
            f"the image cannot be decoded ({raw.size} bytes)",
            expected="a whole JPEG, PNG or other image that OpenCV reads",
            fix="replace the image and make the LMDB again",
        )
    return image


def _raw_image(datum: Datum) -> np.ndarray:
    shape = (datum.channels, datum.height, datum.width)
    if datum.channels not in (1, 3) or len(datum.data) != np.prod(shape):
        raise UserError(
            f"the record holds {len(datum.data)} bytes and {len(datum.float_data)} floats for an image of"
            f" {' x '.join(map(str, shape))} (channels, height, width)",
            expected="an encoded image, or one byte for each pixel of 1 or 3 channels",
        )
    planes = np.frombuffer(datum.data, np.uint8).reshape(shape)
    return planes[0] if datum.channels == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))


def _size(image: np.ndarray) -> str:
    height, width, channels = np.atleast_3d(image).shape
    return f"{height} x {width} pixels and {channels} channel(s)"
