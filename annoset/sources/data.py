"""Caffe's Data layer without Caffe: an LMDB of Datum in, batches for a net out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from annoset.database import Database, printable
from annoset.decode import decode_image
from annoset.sources.fields import check_fields, check_lmdb
from annoset.sources.order import Order
from annoset.sources.pictures import Picture, PictureSource
from prototxt.errors import UserError
from prototxt.graph import Layer
from prototxt.schema import AnnotatedDatum, Datum

_REMAKE = "make the LMDB with Caffe's convert_imageset, or feed the images themselves with an ImageData layer"


class DataSource(PictureSource):
    """The batches of one Data layer, endlessly, in the order of the LMDB's keys.

    Args:
        layer, seed, prefetch, order: as in PictureSource.
        root: the folder that the layer's relative paths start from.

    Raises:
        UserError: parameters that are unsupported or contradict each other; no LMDB at `source`, or not one of
            Datum. What is wrong with a later record is raised by the `next_batch` that needs it.
    """

    def __init__(
        self, layer: Layer, seed: int, root: Path | str = "", prefetch: int = 0, order: Order | None = None
    ) -> None:
        spec = layer.proto.data_param
        check_lmdb(layer, "make an LMDB of the data (convert_imageset --backend=lmdb) and write backend: LMDB")
        check_fields(layer, "data_param")
        self._path = Path(root, spec.source)
        try:
            self._database = Database(self._path, Datum)
        except UserError as error:
            raise layer.error(f"{error.where}: {error.found}", expected=error.expected, fix=_REMAKE) from error
        self._keys = list(self._database.keys())
        self.records = len(self._keys)
        super().__init__(layer, spec, seed, Path(root), prefetch, order)

    def read(self, record: int) -> Picture:
        try:
            datum = self._database[self._keys[record]]
        except UserError as error:
            raise UserError("the record is no Datum", fix=_REMAKE) from error
        if not datum.data and not datum.float_data:
            raise _no_image(datum)
        transform = self.layer.proto.transform_param
        if datum.encoded or transform.force_color or transform.force_gray:
            pixels = np.atleast_3d(decode_image(datum, transform.force_color, transform.force_gray))
        else:
            pixels = _raw(datum)
        return Picture(pixels, datum.label, datum.encoded)

    def name(self, record: int) -> str:
        return f"{self._path}, record {printable(self._keys[record])}"

    def close(self) -> None:
        super().close()
        self._database.close()


def _raw(datum: Datum) -> np.ndarray:
    """The values of a Datum that is not encoded, [H, W, C] uint8, or float32 where it holds floats."""
    shape = (datum.channels, datum.height, datum.width)
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    if values.size != np.prod(shape) or not values.size:
        raise UserError(
            f"the record holds {len(datum.data)} bytes and {len(datum.float_data)} floats for an image of"
            f" {' x '.join(map(str, shape))} (channels, height, width)",
            expected="a byte or a float for each value",
        )
    return values.reshape(shape).transpose(1, 2, 0)


def _no_image(datum: Datum) -> UserError:
    annotated = AnnotatedDatum.FromString(datum.SerializeToString()).HasField("datum")
    return UserError(
        "the record is an image with boxes (AnnotatedDatum)" if annotated else "the record is no image",
        expected="a Datum: an image with one label",
        fix='give the layer type: "AnnotatedData"' if annotated else _REMAKE,
    )
