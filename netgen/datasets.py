"""Data sets: their classes, their image counts and where their files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prototxt.errors import UserError
from prototxt.io import read_bytes
from prototxt.labelmap import BACKGROUND, read_labelmap
from prototxt.registry import Registry

PATHS = ("train_lmdb", "test_lmdb", "labelmap", "name_size")


@dataclass(frozen=True)
class DataSet:
    """What the nets and the solver must know of a data set.

    Attributes:
        name: its name on the command line; empty for the user's own.
        classes: names without the background; the first has the label 1.
        num_classes: the largest label plus one, so with the background.
        num_test_images: images in the test LMDB.
        train_lmdb, test_lmdb, labelmap, name_size: paths as they are written into the nets.
        results_dir, results_prefix, results_format: where and how DetectionOutput saves what it found.
        train_on_difficult: whether ground truths marked difficult are trained on.
        force_color: whether grey images are read as three channels.
    """

    name: str
    classes: tuple[str, ...]
    num_classes: int
    num_test_images: int
    train_lmdb: str
    test_lmdb: str
    labelmap: str
    name_size: str
    results_dir: str = "results"
    results_prefix: str = "comp4_det_test_"
    results_format: str = "VOC"
    train_on_difficult: bool = True
    force_color: bool = False

    def under(self, root: str | Path) -> DataSet:
        """The same data set with its four paths below the folder `root`."""
        return replace(self, **{path: str(Path(root) / getattr(self, path)) for path in PATHS})


DATASETS: Registry[DataSet] = Registry("data set", "called")


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(text.split()).split(", "))


def _published(data: DataSet) -> DataSet:
    return DATASETS.register(data.name)(data)


_VOC = """aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike, person,
pottedplant, sheep, sofa, train, tvmonitor"""

_COCO = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote,
keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush"""

# Trained on VOC07 trainval + VOC12 trainval (16,551 images), tested on VOC07 test.
VOC0712 = _published(
    DataSet(
        name="voc0712",
        classes=_names(_VOC),
        num_classes=21,
        num_test_images=4952,
        train_lmdb="examples/VOC0712/VOC0712_trainval_lmdb",
        test_lmdb="examples/VOC0712/VOC0712_test_lmdb",
        labelmap="data/VOC0712/labelmap_voc.prototxt",
        name_size="data/VOC0712/test_name_size.txt",
    )
)

# Trained on trainval35k (118,287 images), tested on minival2014.
COCO = _published(
    DataSet(
        name="coco",
        classes=_names(_COCO),
        num_classes=81,
        num_test_images=5000,
        train_lmdb="examples/coco/coco_train_lmdb",
        test_lmdb="examples/coco/coco_minival_lmdb",
        labelmap="data/coco/labelmap_coco.prototxt",
        name_size="data/coco/minival2014_name_size.txt",
        results_prefix="detections_minival_ssd300_results",
        results_format="COCO",
        train_on_difficult=False,
        force_color=True,
    )
)


def data_set(name: str | None, root: str | Path | None, given: Mapping[str, Any]) -> DataSet:
    """The data set called `name`, or the user's own, with what is `given` on the command line.

    Args:
        name: None for a data set that `given` describes alone.
        root: folder that the paths of the data set called `name` start in.
        given: values for fields of DataSet; None means not given. A `labelmap` that exists decides on the
            classes; a `name_size` that exists decides on `num_test_images` when that is not given.

    Raises:
        UserError: unknown name, what is missing of the user's own data set, a label map that contradicts itself.
    """
    given = {key: str(value) if isinstance(value, Path) else value for key, value in given.items() if value is not None}
    base = DATASETS[name] if name is not None else None
    if root is not None:
        if base is None:
            raise UserError("--data-root is for the paths of a known data set", fix="name it with --dataset")
        base = base.under(root)
    for option, read in (("labelmap", _classes), ("name_size", _count)):
        if option in given and (base is None or Path(given[option]).exists()):
            given = {**read(given[option]), **given}
    if base is not None:
        return _checked(replace(base, **given))
    missing = [path for path in PATHS if path not in given]
    if missing:
        options = " ".join(f"--{path.replace('_', '-')}" for path in missing)
        raise UserError(
            f"the data set is not fully described; missing: {options}",
            fix=f"give these, or name a data set with --dataset ({', '.join(DATASETS)})",
        )
    return _checked(DataSet(name="", **given))


def _checked(data: DataSet) -> DataSet:
    if not 0 < data.num_test_images < 2**31:
        raise UserError(f"the data set has {data.num_test_images} test images", expected="at least 1, below 2^31")
    return data


def _classes(path: str) -> dict[str, Any]:
    """`classes` and `num_classes` of a label map. Raises UserErrors with everything that is wrong in it."""
    items = read_labelmap(path, named_background=True)
    if 0 not in items:
        raise UserError("no class has label 0", where=path, expected=f'the background there, called "{BACKGROUND[1]}"')
    return {"classes": tuple(item.name for label, item in items.items() if label), "num_classes": max(items) + 1}


def _count(path: str) -> dict[str, Any]:
    """`num_test_images` of a name_size file: one line (`name height width`) for each image."""
    lines = read_bytes(path).split(b"\n")
    return {"num_test_images": sum(bool(line.strip()) for line in lines)}
