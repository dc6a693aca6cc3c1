"""SSD-Caffe's AnnotatedData layer without Caffe: an LMDB of AnnotatedDatum in, batches for a net out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from annoset.augment.transform import ITEM, LABEL, Plan, Transformer, check_supported
from annoset.database import Database
from annoset.decode import decode_image, label_rows, size_text
from annoset.order import Order, draw_skip, image_rng
from prototxt.errors import UserError
from prototxt.labelmap import read_labelmap
from prototxt.schema import AnnotatedDatum, DataParameter, LayerParameter

_NO_BOX = np.full((1, 8), -1, np.float32)  # the label rows of a batch without any box


@dataclass(frozen=True)
class Sample:
    """One image of a run.

    Attributes:
        key: of its record.
        image_hw: the size of the record's image.
        plan: what was drawn for it; `plan.rows` are its boxes.
        image: what the net sees before mean and scale, uint8 [height, width(, 3)] BGR.
        label: the class of the whole image; of use only where records have no boxes.
    """

    key: str
    image_hw: tuple[int, int]
    plan: Plan
    image: np.ndarray
    label: int


class AnnotatedDataSource:
    """The batches of one AnnotatedData layer, endlessly, in the order of the LMDB's keys or as `order` says.

    All that is random about image k of a run (counted from 0) comes from a generator of its own, which (seed, k)
    seeds. So a batch depends on the seed and on its number alone: not on threads, not on whether the run was
    interrupted; and processes that share a run see together what one would have seen.

    Args:
        layer_proto: the layer.
        phase: "TRAIN" or "TEST"; only where `crop_size` cuts depends on it, as in Caffe.
        seed: any integer, or None to let the system draw one.
        root: the folder that the layer's relative paths start from; by default the current one, as in Caffe.
        prefetch: how many batches are made ahead, each by a thread; 0 makes a batch when it is asked for. With
            threads of ours OpenCV's own are switched off in the whole process: they would only wait for each other.
            (`data_param.prefetch` sizes a queue inside Caffe and is of no effect here.)
        order: shuffling, and this process's share of the run.

    Attributes:
        shape: top -> shape. The first top is [N, C, H, W] float32, BGR (under FIT_SMALL_SIZE H and W are those of
            the first image). The second, if there is one, is [1, 1, boxes in the batch, 8] float32: rows of item in the
            batch, class, instance, xmin, ymin, xmax, ymax (0–1), difficult; one row of -1 when the batch has no
            box. The shape given here has one row. Of records that have no boxes but a class (convert_annoset
            --anno_type=classification) it is [N, 1, 1, 1]: the classes.
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
        order: Order = Order(),  # noqa: B008 (it cannot change)
    ) -> None:
        self._layer, self._root, self._order = layer_proto, Path(root or ""), order
        self._where = f'layer "{layer_proto.name}" ({layer_proto.type})'
        self._check()
        self._batch_size = layer_proto.data_param.batch_size
        self._start(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) if seed is None else seed, 0)
        self._known_labels = self._read_labels()
        self._source = self._root / layer_proto.data_param.source
        self._database = Database(self._source)
        self._keys = list(self._database.keys())
        with self._naming(self._keys[0]) as key:
            record = self._database[key]
            self._has_boxes = self._says_boxes(record)
            first = self._decode(record)[0]
        self._transform = Transformer(layer_proto, phase, np.atleast_3d(first).shape[2], self._root)
        data = (self._batch_size, *self._transform.output_shape(first.shape[:2]))
        label = (1, 1, 1, 8) if self._has_boxes else (self._batch_size, 1, 1, 1)
        self.shape = dict(zip(layer_proto.top, (data, label), strict=False))
        self._prefetch = prefetch
        self._threads = ThreadPoolExecutor(prefetch, "annotated-data") if prefetch else None
        if prefetch:
            cv2.setNumThreads(0)
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

    def sample(self, position: int) -> Sample:
        """Image `position` of this process's share of the run, whatever `next_batch` has given. Raises as it does."""
        number = self._order.number(position)
        record = self._order.record(number, len(self._keys), self.seed, self._skip)
        with self._naming(self._keys[record]) as key:
            datum = self._database[key]
            image, rows = self._decode(datum)
            plan = self._transform.plan(image.shape[:2], rows, image_rng(self.seed, number))
            return Sample(key, image.shape[:2], plan, self._transform.render(image, plan), datum.datum.label)

    def state(self) -> dict[str, int]:
        """What `restore` needs to go on with the batch that `next_batch` would give now: seed and images given."""
        return {"seed": self.seed, "position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        """Go on as the source whose `state()` this is, wherever this one stands."""
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._start(state["seed"], state["position"])

    def close(self) -> None:
        """Stop the threads and close the LMDB."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._database.close()

    def __enter__(self) -> AnnotatedDataSource:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _start(self, seed: int, position: int) -> None:
        self.seed, self._position = seed, position
        self._skip = draw_skip(self._layer.data_param.rand_skip, seed)

    def _make(self, start: int) -> dict[str, np.ndarray]:
        """The batch that begins with image `start` of this process."""
        first = self.sample(start)
        size_hw = first.image.shape[:2]
        data = np.empty((self._batch_size, self._transform.channels, *size_hw), np.float32)
        labels = []
        for item in range(self._batch_size):
            sample = self.sample(start + item) if item else first
            self._check_size(sample, size_hw)
            self._transform.normalise(sample.image, data[item])
            sample.plan.rows[:, ITEM] = item
            labels.append(sample.plan.rows if self._has_boxes else np.float32([[sample.label]]))
        return dict(zip(self._layer.top, (data, self._pack(np.concatenate(labels))), strict=False))

    def _pack(self, rows: np.ndarray) -> np.ndarray:
        """The label blob of a batch's rows."""
        if not self._has_boxes:
            return rows.reshape(-1, 1, 1, 1)
        return (rows if len(rows) else _NO_BOX.copy())[None, None]

    def _check_size(self, sample: Sample, size_hw: tuple[int, int]) -> None:
        if sample.image.shape[:2] != size_hw:
            with self._naming(sample.key):
                raise UserError(
                    f"the image is {size_text(sample.image)}, the first of its batch {size_hw[0]} x {size_hw[1]}",
                    expected="images of one size in a batch",
                    fix="give the layer's transform_param a resize_param",
                )

    @contextmanager
    def _naming(self, key: str) -> Iterator[str]:
        """The key; mistakes found in the block are reported with the LMDB and that key."""
        try:
            yield key
        except UserError as error:
            where = f"{self._source}, record {key}"
            raise UserError(error.found, where=where, expected=error.expected, fix=error.fix) from error

    def _decode(self, record: AnnotatedDatum) -> tuple[np.ndarray, np.ndarray]:
        """A record's image, uint8 [H, W, 3] BGR or [H, W], and its label rows [N, 8]."""
        if not record.HasField("datum"):
            raise UserError(
                "the record is not an AnnotatedDatum",
                expected="an image with its boxes, as `netgen lmdb` and SSD-Caffe's convert_annoset write them",
                fix="make the LMDB from images and their annotations with `netgen lmdb`",
            )
        if self._says_boxes(record) != self._has_boxes:
            wanted, other = ("boxes", "a class of the image") if self._has_boxes else ("a class of the image", "boxes")
            raise UserError(f"the label is {other}", expected=f"{wanted}, as in the first record")
        rows = label_rows(record) if self._has_boxes else np.empty((0, 8), np.float32)
        unknown = set(rows[:, LABEL].astype(int)) - self._known_labels if self._known_labels else ()
        if unknown:
            raise UserError(
                f"a box has the class {min(unknown)}, which {self._label_map} does not list",
                expected=f"one of {sorted(self._known_labels)}",
                fix="make the LMDB with the labelmap that the net's data layer names",
            )
        transform = self._layer.transform_param
        return decode_image(record.datum, transform.force_color, transform.force_gray), rows

    def _says_boxes(self, record: AnnotatedDatum) -> bool:
        """Whether the label of a record is its boxes; otherwise it is the class of the whole image."""
        if record.HasField("type") or self._layer.annotated_data_param.HasField("anno_type"):
            return True
        if record.HasField("datum") and (record.annotation_group or not record.datum.HasField("label")):
            raise UserError(
                "the record does not say what its annotations are",
                expected="an AnnotatedDatum of type BBOX",
                fix="set annotated_data_param.anno_type: BBOX if it holds boxes",
            )
        return False

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
