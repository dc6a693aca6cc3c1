"""ScratchDet: SSD trained from scratch on a Root-ResNet (Zhu et al., ScratchDet, CVPR 2019).

A published model follows the Caffe release's script for its data set; for data sets without one, the VOC script.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from netgen.backbones.root_resnet import Stage, root_resnet
from netgen.datasets import COCO, VOC0712, DataSet
from netgen.detector import Detector
from netgen.heads.multibox import Source
from netgen.jobs import Schedule
from netgen.zoo.table import MODELS

# Map, aspect ratios, step. The last two maps are 5x5 like the third last, yet have the steps of SSD's 3x3 and 1x1:
# most of their prior boxes lie outside the image. So the release was trained.
_ROOT34_MAPS = (
    ("conv4_12", (2,), 8),
    ("conv5_6", (2, 3), 16),
    ("conv6_2", (2, 3), 32),
    ("conv7_2", (2, 3), 64),
    ("conv8_2", (2,), 100),
    ("conv9_2", (2,), 300),
)
_VOC_SIZES = (30, 60, 111, 162, 213, 264, 315)
_COCO_SIZES = (21, 45, 99, 153, 207, 261, 315)

_VOC_SCHEDULE = Schedule(
    base_lr=0.05,
    steps=(40_000, 75_000, 90_000, 100_000),
    max_iter=100_000,
    batch_size=32,
    test_interval=5_000,
    snapshot=5_000,
    gpus="0,1,2,3",
)
_COCO_SCHEDULE = Schedule(
    base_lr=0.05,
    steps=(150_000, 250_000, 310_000, 320_000),
    max_iter=325_000,
    batch_size=16,
    iter_size=2,
    test_batch_size=2,
    snapshot=10_000,
    gpus="0,1,2,3",
)


def _sources(maps: tuple[tuple[str, tuple[float, ...], float], ...], sizes: tuple[float, ...]) -> tuple[Source, ...]:
    """Each map's prior boxes reach from one of `sizes` (pixels) to the next."""
    return tuple(
        Source(blob, min_size, max_size, ratios, step)
        for (blob, ratios, step), min_size, max_size in zip(maps, sizes, sizes[1:], strict=False)
    )


@MODELS.register("scratchdet300-root34")
def scratchdet300_root34(data: DataSet) -> Detector:
    """ScratchDet on 300x300 images with Root-ResNet-34: 80.4 mAP on VOC 2007, 32.7 AP on COCO."""
    if data.name == COCO.name:
        return Detector(
            data=data,
            input_hw=(300, 300),
            backbone=root_resnet,
            sources=_sources(_ROOT34_MAPS, _COCO_SIZES),
            schedule=_COCO_SCHEDULE,
            head_batchnorm=True,
        )
    return Detector(
        data=data,
        input_hw=(300, 300),
        backbone=root_resnet,
        sources=_sources(_ROOT34_MAPS, _VOC_SIZES),
        schedule=replace(_VOC_SCHEDULE, debug_info=data.name == VOC0712.name),
    )


_MINI_STAGES = (
    Stage(16, stride=None),
    Stage(32),
    Stage(64),
    Stage(64),
    Stage(64),
    Stage(64, stride=1),
)
_MINI_MAPS = (("conv4_2", (2,), 8), ("conv5_2", (2,), 16), ("conv6_2", (2,), 32), ("conv7_2", (2,), 32))


@MODELS.register("scratchdet-mini")
def scratchdet_mini(data: DataSet) -> Detector:
    """ScratchDet's structure on 96x96 images, small enough to train on a CPU in minutes; for demonstrations."""
    return Detector(
        data=data,
        input_hw=(96, 96),
        backbone=partial(root_resnet, stages=_MINI_STAGES),
        sources=_sources(_MINI_MAPS, (14, 26, 40, 54, 70)),
        schedule=Schedule(
            base_lr=0.007,
            steps=(400, 550),
            max_iter=600,
            batch_size=16,
            test_batch_size=8,
            test_interval=200,
            snapshot=200,
            solver_mode="CPU",
        ),
        max_expand_ratio=1.5,
    )
