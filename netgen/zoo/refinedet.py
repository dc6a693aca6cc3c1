"""RefineDet: SSD in two steps of one pass (Zhang et al., RefineDet, CVPR 2018).

A model follows the Caffe release's script for its data set; data sets without one, the script for VOC07+12. The
release trains ResNet-101 on COCO only: on VOC it has VGG-16's iterations here, an analogy that nobody has measured.

The release suppresses the best 1000 boxes of a class and keeps 500 detections of an image. The paper's figures
(section 4), which `corrected` takes, are 400 and 200.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from netgen.backbones.resnet import resnet101
from netgen.backbones.vgg import SSD300_EXTRAS, ssd_extras, vgg16
from netgen.datasets import COCO, VOC0712PLUS, DataSet
from netgen.detector import Detector
from netgen.heads.output import Suppression
from netgen.heads.refine import Refine
from netgen.heads.sources import Source
from netgen.named_blocks import PLAIN_NORM, Bottleneck, bottleneck
from netgen.net import Net
from netgen.schedule import Schedule
from netgen.zoo.table import MODELS

# Side and step of the prior boxes, in pixels: four cells wide, in three shapes.
_ANCHORS = ((32, 8), (64, 16), (128, 32), (256, 64))

# Iterations at which the learning rate falls; the last ends the training.
_VOC_STEPS = (80_000, 100_000, 120_000)
_STEPS = {VOC0712PLUS.name: (160_000, 200_000, 240_000), COCO.name: (280_000, 360_000, 400_000)}
_STEPS_OF_20 = {**_STEPS, COCO.name: (400_000, 480_000, 540_000)}

_PAPER = Suppression(top_k=400, keep_top_k=200, saves_results=False)


@dataclass(frozen=True)
class _Body:
    """A pretrained backbone and the head that reads it.

    Attributes:
        weights: caffemodel that training starts from.
    """

    backbone: Callable[[Net], None]
    head: Refine
    weights: str


def _vgg16(net: Net) -> None:
    """VGG-16 whose `fc7` has stride 32, and `conv6_2` with stride 64."""
    ssd_extras(net, vgg16(net), SSD300_EXTRAS[:1])


def _resnet101(net: Net) -> None:
    """ResNet-101 and `res6` with stride 64."""
    resnet101(net, norm=PLAIN_NORM)
    bottleneck(net, "6", net["res5c_relu"], Bottleneck(narrow=128, wide=512, stride=2, projects=True), PLAIN_NORM)


def _sources(*maps: tuple[str, float | None]) -> tuple[Source, ...]:
    """The sources of four maps and, where they are L2-normalised, the norm's scale."""
    return tuple(
        Source(blob, side, step=step, norm_scale=norm_scale)
        for (blob, norm_scale), (side, step) in zip(maps, _ANCHORS, strict=True)
    )


_VGG16 = _Body(
    _vgg16,
    Refine(_sources(("conv4_3", 10), ("conv5_3", 8), ("fc7", None), ("conv6_2", None))),
    weights="models/VGGNet/VGG_ILSVRC_16_layers_fc_reduced.caffemodel",
)
_RESNET101 = _Body(
    _resnet101,
    Refine(
        _sources(("res3b3_relu", None), ("res4b22_relu", None), ("res5c_relu", None), ("res6_relu", None)),
        batchnorm=True,
        residual=Bottleneck(narrow=256, wide=1024, projects=True),
    ),
    weights="models/ResNet/ResNet-101-model.caffemodel",
)


def _refinedet(
    data: DataSet,
    size: int,
    body: _Body,
    corrected: bool,
    batch_size: int = 32,
    steps: Mapping[str, tuple[int, ...]] = _STEPS,
) -> Detector:
    taken = steps.get(data.name, _VOC_STEPS)
    schedule = Schedule(
        base_lr=0.001,
        steps=taken,
        max_iter=taken[-1],
        batch_size=batch_size,
        gpus="0,1,2,3",
        display=10,
        snapshot=5_000 if taken == _VOC_STEPS else 10_000,
        weights=body.weights,
    )
    head = replace(body.head, suppression=_PAPER) if corrected else body.head
    return Detector(data=data, input_hw=(size, size), backbone=body.backbone, head=head, schedule=schedule)


@MODELS.register("refinedet320-vgg16")
def refinedet320_vgg16(data: DataSet, *, corrected: bool = False) -> Detector:
    """RefineDet on 320x320 images with VGG-16: 80.0 mAP on VOC 2007, 78.1 on VOC 2012, 29.4 AP on COCO."""
    return _refinedet(data, 320, _VGG16, corrected)


@MODELS.register("refinedet512-vgg16")
def refinedet512_vgg16(data: DataSet, *, corrected: bool = False) -> Detector:
    """RefineDet on 512x512 images with VGG-16: 81.8 mAP on VOC 2007, 80.1 on VOC 2012, 33.0 AP on COCO."""
    return _refinedet(data, 512, _VGG16, corrected)


@MODELS.register("refinedet320-resnet101")
def refinedet320_resnet101(data: DataSet, *, corrected: bool = False) -> Detector:
    """RefineDet on 320x320 images with ResNet-101: 32.0 AP on COCO."""
    return _refinedet(data, 320, _RESNET101, corrected)


@MODELS.register("refinedet512-resnet101")
def refinedet512_resnet101(data: DataSet, *, corrected: bool = False) -> Detector:
    """RefineDet on 512x512 images with ResNet-101: 36.4 AP on COCO.

    A pass has 20 images, not 32, for the memory they take; on COCO there are more passes for it.
    """
    return _refinedet(data, 512, _RESNET101, corrected, batch_size=20, steps=_STEPS_OF_20)
