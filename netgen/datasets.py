"""Data sets: their classes, their image counts and where their files lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prototxt.errors import UserError
from prototxt.io import read_bytes
from prototxt.labelmap import BACKGROUND, read_labelmap
from prototxt.registry import Registry

PATHS = ("train_lmdb", "test_lmdb", "labelmap", "name_size")
# What of the user's own data set each file of a job needs.
NEEDED = {
    "train": ("labelmap", "train_lmdb"),
    "test": ("labelmap", "test_lmdb", "num_test_images"),
    "deploy": ("labelmap",),
    "solver": ("num_test_images",),
}


@dataclass(frozen=True)
class DataSet:
    """What the nets and the solver must know of a data set.

    Attributes:
        name: its name on the command line; empty for the user's own.
        classes: names without the background; the first has the label 1.
        num_classes: the largest label plus one, so with the background.
        num_test_images: images in the test LMDB; 0 when no test net is wanted.
        train_lmdb, test_lmdb, labelmap: paths as they are written into the nets.
        name_size: path of the list of test images with their sizes; without it no result files are written.
        results_dir, results_prefix, results_format: where and how DetectionOutput saves what it found.
        train_on_difficult: whether ground truths marked difficult are trained on.
        force_color: whether grey images are read as three channels.
    """

    name: str
    classes: tuple[str, ...]
    num_classes: int
    num_test_images: int = 0
    train_lmdb: str = ""
    test_lmdb: str = ""
    labelmap: str = ""
    name_size: str = ""
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


def _voc(name: str, folder: str, num_test_images: int) -> DataSet:
    """A data set of VOC's classes, its files where SSD-Caffe's scripts make them."""
    return _published(
        DataSet(
            name=name,
            classes=_names(_VOC),
            num_classes=21,
            num_test_images=num_test_images,
            train_lmdb=f"examples/{folder}/{folder}_trainval_lmdb",
            test_lmdb=f"examples/{folder}/{folder}_test_lmdb",
            labelmap=f"data/{folder}/labelmap_voc.prototxt",
            name_size=f"data/{folder}/test_name_size.txt",
        )
    )


# Trained on VOC07 trainval (5,011 images), tested on VOC07 test.
VOC07 = _voc("voc07", "VOC2007", 4952)
# Trained on VOC07 trainval + VOC12 trainval (16,551 images), tested on VOC07 test.
VOC0712 = _voc("voc0712", "VOC0712", 4952)
# Trained on VOC07 trainval + test + VOC12 trainval (21,503 images), tested on VOC12 test: its ground truth is kept by
# the evaluation server, so only result files come of a test.
VOC0712PLUS = _voc("voc0712++", "VOC0712Plus", 10991)

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


def data_set(
    name: str | None, root: str | Path | None, given: Mapping[str, Any], files: Iterable[str] = NEEDED
) -> DataSet:
    """The data set called `name`, or the user's own, with what is `given` on the command line.

    Args:
        name: None for a data set that `given` describes alone.
        root: folder that the paths of the data set called `name` start in.
        given: values for fields of DataSet; None means not given. A `labelmap` that exists decides on the
            classes; a `name_size` that exists decides on `num_test_images` when that is not given.
        files: those to be written, keys of NEEDED; what they need of the user's own data set must be given.

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
    if base is None:
        _check_complete(given, files)
        base = DataSet(name="", classes=(), num_classes=0)
    data = replace(base, **given)
    if not 0 <= data.num_test_images < 2**31 or (data.num_test_images == 0 and "num_test_images" in given):
        raise UserError(f"the data set has {data.num_test_images} test images", expected="at least 1, below 2^31")
    return data


def _check_complete(given: Mapping[str, Any], files: Iterable[str]) -> None:
    needed = dict.fromkeys(option for file in files for option in NEEDED[file])
    missing = [f"--{option.replace('_', '-')}" for option in needed if option not in given]
    if missing:
        shown = " ".join(missing).replace("--num-test-images", "--num-test-images (or --name-size)")
        raise UserError(
            f"the data set is not fully described; missing: {shown}",
            fix=f"give these, or name a data set with --dataset ({', '.join(DATASETS)})",
        )


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
