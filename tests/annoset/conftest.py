"""LMDBs as anyone might have made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
from typer.testing import CliRunner

from prototxt.errors import UserError
from prototxt.graph import Layer
from prototxt.labelmap import labelmap_text
from prototxt.schema import AnnotatedDatum, Datum, LayerParameter
from prototxt.text import parse


@pytest.fixture
def lmdb_of(tmp_path) -> Callable[..., Path]:
    """Make an LMDB of `key -> record or bytes` with the lmdb library alone; with `labels`, a label map beside it."""

    def make(records: Mapping[str | bytes, Any], name: str = "train_lmdb", labels: Mapping[str, int] | None = None):
        path = tmp_path / name
        with lmdb.open(str(path), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
            for key, record in records.items():
                value = record if isinstance(record, bytes) else record.SerializeToString()
                transaction.put(key if isinstance(key, bytes) else key.encode(), value)
        if labels:
            (tmp_path / "labelmap.prototxt").write_text(labelmap_text(labels), "utf-8")
        return path

    return make


@pytest.fixture
def image_of() -> Callable[..., bytes]:
    """An image file of the given size and grey level."""

    def make(height: int = 40, width: int = 60, level: int = 128, suffix: str = ".jpg", channels: int = 3) -> bytes:
        shape = (height, width, channels) if channels > 1 else (height, width)
        return cv2.imencode(suffix, np.full(shape, level, np.uint8))[1].tobytes()

    return make


@pytest.fixture
def record_of() -> Callable[..., AnnotatedDatum]:
    """A record of an encoded image of 40 x 60 (height x width) and boxes (label, xmin, ymin, xmax, ymax) in pixels."""

    def make(
        data: bytes, *boxes: tuple, size_hw: tuple[int, int] = (40, 60), difficult: bool = False
    ) -> AnnotatedDatum:
        height, width = size_hw
        datum = Datum(data=data, encoded=True, label=-1, channels=3, height=height, width=width)
        record = AnnotatedDatum(datum=datum, type=AnnotatedDatum.BBOX)
        groups: dict[int, Any] = {}
        for label, xmin, ymin, xmax, ymax in boxes:
            if label not in groups:
                groups[label] = record.annotation_group.add(group_label=label).annotation
            box = groups[label].add(instance_id=len(groups[label])).bbox
            box.xmin, box.ymin, box.xmax, box.ymax = xmin / width, ymin / height, xmax / width, ymax / height
            box.difficult = difficult
        return record

    return make


@pytest.fixture
def netgen_lmdb() -> Callable[..., str]:
    """Run a verb of `netgen lmdb`: what it prints. With `status`, it must end with that; it raises what it raises."""
    from netgen.commands.lmdb import app

    def run(*arguments: object, status: int = 0) -> str:
        result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.stdout

    return run


@pytest.fixture
def refused(netgen_lmdb) -> Callable[..., str]:
    """The message with which a verb of `netgen lmdb` refuses."""

    def run(*arguments: object) -> str:
        with pytest.raises(UserError) as error:
            netgen_lmdb(*arguments)
        return str(error.value)

    return run


@pytest.fixture
def layer_of() -> Callable[..., Layer]:
    """A layer of a net, as the sources of data layers take it; what later texts say counts."""

    def make(*texts: str, phase: str = "TRAIN") -> Layer:
        proto = LayerParameter()
        for text in texts:
            proto.MergeFrom(parse(text, LayerParameter(), "net.prototxt").message)
        return Layer(proto, "net.prototxt:7", phase)

    return make
