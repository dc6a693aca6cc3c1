"""GRP-DSOD: DSOD whose maps also know the coarser ones, and whose gates say how much of each map counts.

Shen et al., Learning Object Detectors from Scratch with Gated Recurrent Feature Pyramids, 2017; as published in 2019
(BMVC), Improving Object Detection from Scratch via Gated Feature Reuse. The release has a script for VOC07+12.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from netgen.backbones.grp_dsod import grp_dsod
from netgen.datasets import COCO, DataSet
from netgen.detector import Detector
from netgen.heads.multibox import MultiBox
from netgen.heads.sources import sources
from netgen.zoo.dsod import NORM_SCALE, schedule
from netgen.zoo.table import MODELS

_MAPS = (
    ("Recurrent1_gate", (1.6, 2, 3), 8, NORM_SCALE),
    ("Recurrent2_gate", (1.6, 2, 3), 16, NORM_SCALE),
    ("Recurrent3_gate", (1.6, 2, 3), 32, NORM_SCALE),
    ("Recurrent4_gate", (1.6, 2, 3), 64, NORM_SCALE),
    ("Recurrent5_gate", (1.6, 2), 100, NORM_SCALE),
    ("Recurrent6_gate", (1.6, 2), 320, NORM_SCALE),
)
# The image's side times 0.1, then 0.2 to 0.9 and one step more; on COCO, by DSOD300's rule, 0.07 and 0.15 to 0.9.
_SIZES = (32, 64, 118.4, 172.8, 227.2, 281.6, 336)
_COCO_SIZES = (22.4, 48, 105.6, 163.2, 220.8, 278.4, 336)


@MODELS.register("grp-dsod320")
def grp_dsod320(data: DataSet, *, corrected: bool = False) -> Detector:
    """GRP-DSOD on 320x320 images: 16.0M parameters, 78.7 mAP on VOC 2007, 30.0 AP on COCO.

    In the release the gates' fully connected layers start from 0, so that they hardly learn, and the deconvolutions of
    the pyramid give all channels the same sum, with zeros between the cells. Corrected, the former start from Xavier,
    and maps are interpolated bilinearly and then go through a 1x1 convolution, as the paper of 2019 says.

    By analogy, voc0712++ and COCO have the iterations of DSOD300, and COCO the smaller prior boxes, too. The release
    trains on 6 images at once on each of 8 GPUs, 144 for an update.
    """
    maps = sources(_MAPS, _COCO_SIZES if data.name == COCO.name else _SIZES)
    dsods = schedule(data)
    steps = tuple(step for step in dsods.steps if step < dsods.max_iter)
    backbone, head = partial(grp_dsod, corrected=corrected), MultiBox(maps, batchnorm=True)
    return Detector(data, (320, 320), backbone, head, replace(dsods, steps=steps, batch_size=48))
