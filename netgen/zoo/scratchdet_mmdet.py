"""ScratchDet as its mmdetection release has it, for weights that were trained there (`netgen convert --from`).

Zhu et al., ScratchDet, CVPR 2019. The Caffe release's nets (`scratchdet300-root34`) have other blocks and other maps.
"""

from __future__ import annotations

from functools import partial

from netgen.backbones.post_root_resnet import STAGES_300, STAGES_512, post_root_resnet
from netgen.datasets import DataSet
from netgen.detector import Detector
from netgen.heads.multibox import MultiBox
from netgen.inputs import Images
from netgen.zoo.scratchdet import trained
from netgen.zoo.ssd_priors import ssd_sources
from netgen.zoo.table import MODELS

# RGB's 123.675, 116.28, 103.53 in Caffe's order.
_IMAGES = Images(mean_bgr=(103.53, 116.28, 123.675))


@MODELS.register("scratchdet300-mmdet")
def scratchdet300_mmdet(data: DataSet) -> Detector:
    """ScratchDet on 300x300 images as mmdetection has it: blocks end with their ReLU; no result is published.

    Maps of 38, 19, 10, 5, 3 and 3, predictors with norms. How it is trained is what the Caffe release's scripts say.
    """
    head = MultiBox(ssd_sources([f"conv{number}" for number in range(4, 10)], data), batchnorm=True)
    backbone = partial(post_root_resnet, stages=STAGES_300)
    return Detector(input_hw=(300, 300), backbone=backbone, head=head, images=_IMAGES, **trained(data))


@MODELS.register("scratchdet512-mmdet")
def scratchdet512_mmdet(data: DataSet) -> Detector:
    """ScratchDet on 512x512 images as mmdetection has it, maps of 64 to 1; no result is published."""
    blobs = [f"conv{number}" for number in (*range(4, 10), 11)]
    head = MultiBox(ssd_sources(blobs, data, 512), batchnorm=True)
    backbone = partial(post_root_resnet, stages=STAGES_512, last=True)
    return Detector(input_hw=(512, 512), backbone=backbone, head=head, images=_IMAGES, **trained(data))
