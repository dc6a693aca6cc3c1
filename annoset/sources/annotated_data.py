"""SSD-Caffe's AnnotatedData layer without Caffe: an LMDB of AnnotatedDatum in, batches for a net out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from annoset.augment.transform import ITEM, LABEL, Plan, Transformer
from annoset.database import Database, printable
from annoset.decode import decode_image, label_rows, size_text
from annoset.reading.records import annotated
from annoset.sources.batches import Batch, Batches
from annoset.sources.fields import check_fields, check_lmdb
from annoset.sources.order import Order, draw_skip, image_rng
from prototxt.errors import UserError
from prototxt.graph import Layer
from prototxt.labelmap import read_labelmap
from prototxt.schema import AnnotatedDatum, ResizeParameter

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


class AnnotatedDataSource(Batches):
    """The batches of one AnnotatedData layer, endlessly, in the order of the LMDB's keys or as `order` says.

    All that is random about image k of a run comes from a generator of its own, which (seed, k) seeds.

    Args:
        layer: the layer; where `crop_size` cuts depends on its phase.
        root: the folder that the layer's relative paths start from; by default the current one, as in Caffe.
        seed, prefetch, order: as in Batches. With threads of ours OpenCV's own are switched off in the whole process:
            they would only wait for each other. (`data_param.prefetch` sizes a queue inside Caffe and is of no
            effect here.)

    Attributes:
        shape: top -> shape. The first top is [N, C, H, W] float32, BGR (under FIT_SMALL_SIZE H and W are those of
            the first image). The second, if there is one, is [1, 1, boxes in the batch, 8] float32: rows of item in the
            batch, class, instance, xmin, ymin, xmax, ymax (0–1), difficult; one row of -1 when the batch has no
            box. The shape given here has one row. Of records that have no boxes but a class (convert_annoset
            --anno_type=classification) it is [N, 1, 1, 1]: the classes.

    Raises:
        UserError: parameters that are unsupported or contradict each other; no LMDB at `source`, or not one of
            AnnotatedDatum. What is wrong with a later record is raised by the `next_batch` that needs it: an image
            that cannot be decoded or differs in size from the others, a record that says nothing of boxes, a class
            that the labelmap lacks. The LMDB and the record's key are named.
    """

    records: int

    def __init__(
        self, layer: Layer, seed: int, root: Path | str = "", prefetch: int = 0, order: Order | None = None
    ) -> None:
        _check(layer)
        self._annotations, self._transform_param = layer.proto.annotated_data_param, layer.proto.transform_param
        self._label_map = Path(root, self._annotations.label_map_file)
        self._known_labels = self._read_labels(layer)
        super().__init__(layer, layer.proto.data_param.batch_size, seed, prefetch, order)
        self._source = Path(root, layer.proto.data_param.source)
        self._database = Database(self._source)
        self._keys = list(self._database.keys())
        self.records = len(self._keys)
        with self._naming(self._keys[0]) as key:
            record = annotated(self._database, key)
            self._has_boxes = self._says_boxes(record)
            first = self._decode(record)[0]
        self._transform = Transformer(layer, np.atleast_3d(first).shape[2], Path(root))
        data = (self.batch_size, *self._transform.output_shape(first.shape[:2]))
        label = (1, 1, 1, 8) if self._has_boxes else (self.batch_size, 1, 1, 1)
        self.shape = dict(zip(layer.tops, (data, label), strict=False))
        if prefetch:
            cv2.setNumThreads(0)

    def sample(self, position: int) -> Sample:
        """Image `position` of this process's share of the run, whatever `next_batch` has given. Raises as it does."""
        number = self.order.number(position)
        skip = draw_skip(self.layer.proto.data_param.rand_skip, self.seed)
        with self._naming(self._keys[self.order.record(number, self.records, self.seed, skip)]) as key:
            record = annotated(self._database, key)
            image, rows = self._decode(record)
            plan = self._transform.plan(image.shape[:2], rows, image_rng(self.seed, number))
            return Sample(key, image.shape[:2], plan, self._transform.render(image, plan), record.datum.label)

    def make(self, start: int) -> Batch:
        first = self.sample(start)
        size_hw = first.image.shape[:2]
        data = np.empty((self.batch_size, self._transform.channels, *size_hw), np.float32)
        labels = []
        for item in range(self.batch_size):
            sample = self.sample(start + item) if item else first
            self._check_size(sample, size_hw)
            self._transform.normalise(sample.image, data[item])
            sample.plan.rows[:, ITEM] = item
            labels.append(sample.plan.rows if self._has_boxes else np.float32([[sample.label]]))
        return dict(zip(self.layer.tops, (data, self._pack(np.concatenate(labels))), strict=False))

    def _pack(self, rows: np.ndarray) -> np.ndarray:
        """The label blob of a batch's rows."""
        if not self._has_boxes:
            return rows.reshape(-1, 1, 1, 1)
        return (rows if len(rows) else _NO_BOX.copy())[None, None]

    def close(self) -> None:
        super().close()
        self._database.close()

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
            where = f"{self._source}, record {printable(key)}"
            raise UserError(error.found, where=where, expected=error.expected, fix=error.fix) from error

    def _decode(self, record: AnnotatedDatum) -> tuple[np.ndarray, np.ndarray]:
        """A record's image, uint8 [H, W, 3] BGR or [H, W], and its label rows [N, 8]."""
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
        transform = self._transform_param
        return decode_image(record.datum, transform.force_color, transform.force_gray), rows

    def _says_boxes(self, record: AnnotatedDatum) -> bool:
        """Whether the label of a record is its boxes; otherwise it is the class of the whole image."""
        if record.HasField("type") or self._annotations.HasField("anno_type"):
            return True
        if record.annotation_group or not record.datum.HasField("label"):
            raise UserError(
                "the record does not say what its annotations are",
                expected="an AnnotatedDatum of type BBOX",
                fix="set annotated_data_param.anno_type: BBOX if it holds boxes",
            )
        return False

    def _read_labels(self, layer: Layer) -> frozenset[int]:
        """The classes of the layer's labelmap; none when it names no labelmap."""
        if not self._annotations.label_map_file:
            return frozenset()
        if not self._label_map.is_file():
            found = f"annotated_data_param.label_map_file is {self._label_map}, which is not there"
            raise layer.error(found, fix="correct the path, or remove the field: then classes are not checked")
        return frozenset(read_labelmap(self._label_map))


def _check(layer: Layer) -> None:
    check_lmdb(layer, "make an LMDB of the data and write backend: LMDB")
    check_fields(layer, "data_param")
    resize, batch_size = layer.proto.transform_param.resize_param, layer.proto.data_param.batch_size
    if resize.resize_mode == ResizeParameter.FIT_SMALL_SIZE and batch_size != 1:
        found = f"resize_mode FIT_SMALL_SIZE gives images of different sizes, batch_size is {batch_size}"
        raise layer.error(found, expected="data_param.batch_size 1")
