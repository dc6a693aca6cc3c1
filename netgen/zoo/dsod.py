"""DSOD: a detector without pretraining, by deep supervision through dense connections (Shen et al., ICCV 2017).

`dsod300` is the Caffe release's on VOC07+12, VOC07++12 and COCO, script for script; other data sets are trained as
VOC07+12, and the other nets as this one. What no script of the release fixes is said in each docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from netgen.backbones.dsod import DSOD512_MAPS, LITE, SMALLEST, dsod, dsod_plain
from netgen.datasets import COCO, VOC0712PLUS, DataSet
from netgen.detector import Detector
from netgen.heads.multibox import MultiBox
from netgen.net import Net
from netgen.schedule import Schedule
from netgen.zoo.ssd_priors import ssd_sources
from netgen.zoo.table import MODELS

_BLOBS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")
_BLOBS512 = (*_BLOBS[:4], "Fifth_", "Sixth_", "Seventh_")
# What every map is multiplied by when its channels have been L2-normalised (Liu et al., ParseNet, 2015).
NORM_SCALE = 20

_VOC_SCHEDULE = Schedule(
    base_lr=0.1,
    steps=(20_000, 40_000, 60_000, 80_000, 100_000),
    max_iter=100_000,
    batch_size=32,
    accum_batch_size=128,
    gpus="0,1,2,3,4,5,6,7",
    test_batch_size=2,
    test_interval=2_000,
    test_initialization=True,
    snapshot=2_000,
)
# Their test intervals are longer than the training: a test net is named, yet only `score.sh` ever runs it.
_SCHEDULES = {
    VOC0712PLUS.name: replace(_VOC_SCHEDULE, max_iter=120_000, test_interval=160_000, test_initialization=False),
    COCO.name: replace(
        _VOC_SCHEDULE,
        steps=(80_000, 140_000, 200_000, 260_000, 320_000),
        max_iter=320_000,
        test_interval=1_000_000,
        test_initialization=False,
        snapshot=10_000,
        display=10,
    ),
}


def schedule(data: DataSet) -> Schedule:
    """How the release trains on a data set: 128 images for an update, 4 of them at once on each of 8 GPUs."""
    return _SCHEDULES.get(data.name, _VOC_SCHEDULE)


def _dsod300(data: DataSet, backbone: Callable[[Net], None]) -> Detector:
    head = MultiBox(ssd_sources(_BLOBS, data, norm_scales=(NORM_SCALE,) * len(_BLOBS)), batchnorm=True)
    return Detector(data, (300, 300), backbone, head, schedule(data))


@MODELS.register("dsod300")
def dsod300(data: DataSet) -> Detector:
    """DSOD on 300x300 images, DS/64-192-48-1: 14.8M parameters, 77.7 mAP on VOC 2007, 29.3 AP on COCO."""
    return _dsod300(data, dsod)


@MODELS.register("dsod300-lite")
def dsod300_lite(data: DataSet) -> Detector:
    """DSOD with fewer and wider dense layers, DS/64-256-64-1: 10.4M parameters, 76.7 mAP on VOC 2007.

    The depths of its dense blocks, 3, 4, 4 and 4, are published nowhere. They are inferred: half of those of the full
    net, and the only regular ones for which the parameters and the size of the released file come out.
    """
    return _dsod300(data, partial(dsod, setting=LITE))


@MODELS.register("dsod300-smallest")
def dsod300_smallest(data: DataSet) -> Detector:
    """DSOD with the narrowest dense layers, DS/64-64-16-1: 5.9M parameters, 73.6 mAP on VOC 2007."""
    return _dsod300(data, partial(dsod, setting=SMALLEST))


@MODELS.register("dsod300-plain")
def dsod300_plain(data: DataSet) -> Detector:
    """DSOD with plain prediction layers, as SSD's, for comparison: 18.2M parameters, 77.3 mAP on VOC 2007.

    In the plain structure each map comes of the one before through a 1x1 and a 3x3 convolution with stride 2, without
    pooled branches and without the one from `First` to `Second` (figure 1). The widths are published nowhere. Inferred
    are those of SSD's extra layers and, since with them the parameters come out, 1280 channels for `Second`; so are
    the order of norm and convolution, the maps' sizes and the L2 normalisation, all as in the dense structure.
    """
    return _dsod300(data, dsod_plain)


@MODELS.register("dsod512")
def dsod512(data: DataSet) -> Detector:
    """DSOD on 512x512 images, with one map more, of 1x1 cells; no result is published.

    The release has its body, but no script that builds it: prior boxes are SSD512's, the schedule is DSOD300's.
    """
    head = MultiBox(ssd_sources(_BLOBS512, data, 512, (NORM_SCALE,) * len(_BLOBS512)), batchnorm=True)
    return Detector(data, (512, 512), partial(dsod, maps=DSOD512_MAPS), head, schedule(data))
