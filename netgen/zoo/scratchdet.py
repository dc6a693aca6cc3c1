"""ScratchDet: SSD trained from scratch on a ResNet with norms (Zhu et al., ScratchDet, CVPR 2019).

`scratchdet300-root34` is the Caffe release's, script for script: on COCO that for COCO, else that for VOC. The other
nets of the paper have no released prototxt. They are wired as the release's Root-ResNet-18 body and trained as its
VOC or COCO script says; what the paper leaves open is said in each docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from netgen.backbones.root_resnet import (
    RESIDUAL_EXTRAS,
    ROOT_RESNET18,
    ROOT_RESNET34,
    Stage,
    Wiring,
    resnet_stem,
    root_resnet,
    root_stem,
    ssd_extras,
)
from netgen.datasets import COCO, VOC0712, DataSet
from netgen.detector import Detector
from netgen.heads.multibox import MultiBox
from netgen.heads.sources import sources
from netgen.inputs import Images
from netgen.net import Net
from netgen.schedule import Schedule
from netgen.zoo.ssd_priors import ssd_sources
from netgen.zoo.table import MODELS, check_option

_VOC_SCHEDULE = Schedule(
    base_lr=0.05,
    steps=(40_000, 75_000, 90_000, 100_000),
    max_iter=100_000,
    batch_size=128,
    gpus="0,1,2,3",
    test_interval=5_000,
    snapshot=5_000,
)
_COCO_SCHEDULE = Schedule(
    base_lr=0.05,
    steps=(150_000, 250_000, 310_000, 320_000),
    max_iter=325_000,
    batch_size=64,
    accum_batch_size=128,
    gpus="0,1,2,3",
    test_batch_size=2,
    snapshot=10_000,
)


def trained(data: DataSet) -> dict[str, Any]:
    """What the scripts for VOC and for COCO differ in, besides the sizes of the prior boxes."""
    if data.name == COCO.name:
        return {"data": data, "schedule": _COCO_SCHEDULE}
    # The script for VOC has the solver's debugging on, which logs every blob; other data sets need not inherit that.
    return {"data": data, "schedule": replace(_VOC_SCHEDULE, debug_info=data.name == VOC0712.name)}


def _head(data: DataSet, blobs: tuple[str, ...], size: int = 300) -> MultiBox:
    """The head of the release. On COCO its predictors are normalised.

    With residual extra layers the last two maps of the release are 5x5 like the third last, yet have the steps of
    SSD's 3x3 and 1x1: most of their prior boxes lie outside the image. So it was trained.
    """
    return MultiBox(ssd_sources(blobs, data, size), batchnorm=data.name == COCO.name)


def _body(stages: tuple[Stage, ...], extras: str, wiring: Wiring, **body: Any) -> Callable[[Net], None]:
    """A backbone with SSD's extra layers or with residual blocks in their place.

    Args:
        body: what else `root_resnet` takes.
    """
    if check_option("extras", extras, ("ssd", "residual")) == "ssd":
        return partial(root_resnet, stages=stages, wiring=wiring, extras=ssd_extras, **body)
    # The paper's maps are 10, 5, 3 and 1; the release's are 10 and three times 5.
    residual = (*RESIDUAL_EXTRAS[:2], Stage(128), Stage(128, stride=3)) if wiring.named_maps else RESIDUAL_EXTRAS
    return partial(root_resnet, stages=stages + residual, wiring=wiring, **body)


def _blobs(stages: tuple[Stage, ...], wiring: Wiring, count: int = 6) -> tuple[str, ...]:
    """The maps that heads read: of stage 4 and after, and of the extra layers behind the last stage."""
    if wiring.named_maps:
        return tuple(f"conv{number}" for number in range(4, 4 + count))
    blocks = [stage.blocks for stage in stages[2:]] + [1] * count
    return tuple(f"conv{number}_{2 * blocks[number - 4]}" for number in range(4, 4 + count))


def _resnet18(
    data: DataSet, extras: str, corrected: bool, stem: Callable[..., None], stages: tuple[Stage, ...] = ROOT_RESNET18
) -> Detector:
    """ResNet-18 with the stems of ScratchDet's comparison (Figure 3 and Table 2)."""
    wiring = Wiring(in_place=False, norm_first=True, named_maps=corrected)
    backbone = _body(stages, extras, wiring, stem=stem)
    return Detector(input_hw=(300, 300), backbone=backbone, head=_head(data, _blobs(stages, wiring)), **trained(data))


@MODELS.register("scratchdet300-resnet18")
def scratchdet300_resnet18(data: DataSet, *, extras: str = "ssd", corrected: bool = False) -> Detector:
    """ScratchDet on ResNet-18, whose stem halves the image twice: 73.1 mAP on VOC 2007.

    All nets of the comparison have maps of 38, 19, 10, 5, 3, 1 with the same channels. After this stem stage 4 would
    have 19 already; how the paper keeps it at 38 is not said. Here its stride is left out.
    """
    narrow, stage3, stage4, stage5 = ROOT_RESNET18
    stages = (narrow, stage3, replace(stage4, stride=None), stage5)
    return _resnet18(data, extras, corrected, resnet_stem, stages)


@MODELS.register("scratchdet300-resnet18-a")
def scratchdet300_resnet18_a(data: DataSet, *, extras: str = "ssd", corrected: bool = False) -> Detector:
    """ScratchDet on ResNet-18-A, without the max pooling of the stem: 75.3 mAP on VOC 2007."""
    return _resnet18(data, extras, corrected, partial(resnet_stem, pool=False))


@MODELS.register("scratchdet300-resnet18-b")
def scratchdet300_resnet18_b(data: DataSet, *, extras: str = "ssd", corrected: bool = False) -> Detector:
    """ScratchDet on ResNet-18-B, whose 7x7 convolution has stride 1: 77.6 mAP on VOC 2007."""
    return _resnet18(data, extras, corrected, partial(resnet_stem, stride=1))


@MODELS.register("scratchdet300-root18")
def scratchdet300_root18(data: DataSet, *, extras: str = "ssd", corrected: bool = False) -> Detector:
    """ScratchDet on Root-ResNet-18, three 3x3 convolutions for the 7x7: 78.5 mAP on VOC 2007.

    The body is in the release, yet no script builds it: the maps that the head reads are chosen as for Root-ResNet-34.
    """
    return _resnet18(data, extras, corrected, root_stem)


@MODELS.register("scratchdet300-root34")
def scratchdet300_root34(data: DataSet, *, extras: str = "residual", corrected: bool = False) -> Detector:
    """ScratchDet on 300x300 images with Root-ResNet-34: 80.4 mAP on VOC 2007, 32.7 AP on COCO.

    The release's heads read the residual branch of each stage's last block before its sum, without norm and ReLU, and
    its last three maps all are 5x5. Corrected, they read the normalised sums, and the maps are 10, 5, 3 and 1.
    """
    wiring = Wiring(named_maps=corrected)
    backbone, head = _body(ROOT_RESNET34, extras, wiring), _head(data, _blobs(ROOT_RESNET34, wiring))
    return Detector(input_hw=(300, 300), backbone=backbone, head=head, **trained(data))


@MODELS.register("scratchdet512-root34")
def scratchdet512_root34(data: DataSet, *, corrected: bool = False) -> Detector:
    """ScratchDet on 512x512 images with Root-ResNet-34 and one more residual extra layer, maps of 64 to 1.

    Not in the Caffe release: maps and channels are those of its mmdetection net, prior boxes SSD512's, the schedule
    that of the 300x300 net.
    """
    wiring = Wiring(named_maps=corrected)
    stages = ROOT_RESNET34 + (Stage(128),) * 5
    head = _head(data, _blobs(ROOT_RESNET34, wiring, 7), 512)
    return Detector(
        input_hw=(512, 512), backbone=partial(root_resnet, stages=stages, wiring=wiring), head=head, **trained(data)
    )


_MINI_STAGES = (Stage(16, stride=None), Stage(32), Stage(64), Stage(64), Stage(64), Stage(64, stride=1))


@MODELS.register("scratchdet-mini")
def scratchdet_mini(data: DataSet) -> Detector:
    """ScratchDet's structure on 96x96 images, small enough to train on a CPU in minutes; for demonstrations."""
    blobs = ("conv4_2", "conv5_2", "conv6_2", "conv7_2")
    maps = zip(blobs, ((2,),) * 4, (8, 16, 32, 32), strict=True)
    return Detector(
        data=data,
        input_hw=(96, 96),
        backbone=partial(root_resnet, stages=_MINI_STAGES),
        head=MultiBox(sources(maps, (14, 26, 40, 54, 70))),
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
        images=Images(max_expand_ratio=1.5),
    )
