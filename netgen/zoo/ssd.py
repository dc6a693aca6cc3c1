"""SSD, and the comparison of norms in it by which ScratchDet shows what trains from scratch.

Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016; Zhu et al., ScratchDet, CVPR 2019, section 3 and table 1.

SSD follows its Caffe release: the scripts for VOC07+12 and for COCO, and on the voc0712++ data twice the iterations of
VOC, as the released weights tell. Other data sets are trained as VOC07+12.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from netgen.backbones.resnet import resnet101
from netgen.backbones.vgg import SSD300_EXTRAS, SSD512_EXTRAS, Extra, ssd_extras, vgg16
from netgen.datasets import COCO, VOC0712PLUS, DataSet
from netgen.detector import Detector
from netgen.heads.multibox import MultiBox
from netgen.heads.sources import Source
from netgen.inputs import Images
from netgen.named_blocks import SSD_NORM, gaussian_conv, normalised, suffixed
from netgen.net import L, Net
from netgen.schedule import Schedule
from netgen.zoo.scratchdet import trained
from netgen.zoo.ssd_priors import ssd_sources
from netgen.zoo.table import MODELS, check_option

_BLOBS = ("conv4_3", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2", "conv10_2")
# What conv4_3 is multiplied by when its channels have been L2-normalised (Liu et al., ParseNet, 2015).
_L2_SCALE = 20

_VGG16_WEIGHTS = "models/VGGNet/VGG_ILSVRC_16_layers_fc_reduced.caffemodel"
_RESNET101_WEIGHTS = "models/ResNet/ResNet-101-model.caffemodel"

# Iterations at which the learning rate falls, the last of which ends the training; and between snapshots.
_SSD300_STEPS = {
    VOC0712PLUS.name: ((160_000, 200_000, 240_000), 80_000),
    COCO.name: ((280_000, 360_000, 400_000), 40_000),
}
_SSD512_STEPS = {**_SSD300_STEPS, COCO.name: ((280_000, 320_000, 360_000), 40_000)}
_VOC_STEPS = (80_000, 100_000, 120_000), 80_000

# The learning rate by which table 1 of ScratchDet has the best result for each place of the norms.
_ABLATION_RATES = {"none": 0.001, "backbone": 0.05, "head": 0.01, "both": 0.05}


def _schedule(steps: tuple[int, ...], snapshot: int, weights: str) -> Schedule:
    return Schedule(
        base_lr=0.001,
        steps=steps,
        max_iter=steps[-1],
        batch_size=32,
        gpus="0,1,2,3",
        test_batch_size=8,
        test_interval=10_000,
        snapshot=snapshot,
        display=10,
        weights=weights,
    )


def _vgg16(net: Net, extras: tuple[Extra, ...]) -> None:
    """VGG-16, whose `fc7` has stride 16, and SSD's extra layers."""
    ssd_extras(net, vgg16(net, dilated=True), extras)


def _vgg16_with_norms(net: Net, corrected: bool) -> None:
    """The same with norms, as VGGNetBNBody of ScratchDet's release, or without its two oddities."""
    top = vgg16(net, dilated=True, batchnorm=True, pool_norms=not corrected)
    top = ssd_extras(net, top, batchnorm=True)
    if corrected:
        net["conv9_2_relu"] = top


@MODELS.register("ssd300-vgg16")
def ssd300_vgg16(data: DataSet, *, batch_norm: str | None = None, corrected: bool = False) -> Detector:
    """SSD on 300x300 images with VGG-16: 77.2 mAP on VOC 2007, 25.1 AP on COCO.

    Without `batch_norm` it is the release's, for which VGG-16 is pretrained. With it, it is the net that ScratchDet
    trains from scratch to see what norms do there: without L2 normalisation, in batches of 128, by the schedule of
    ScratchDet's scripts, from the learning rate that was best for it:

        norms in   learning rate and mAP on VOC 2007
        none       0.001: 67.6
        backbone   0.001: 72.8; 0.01: 77.8; 0.05: 78.0
        head       0.001: 71.0; larger: 75.6 (the paper leaves open which; here it is 0.01)
        both       0.05: 78.7

    The norms of the backbone are those of VGGNetBNBody in ScratchDet's release, which no script of it builds. There
    each pooling has another norm and ReLU behind it, and the norm of `conv9_2` is never written into the file, since
    the head reads the map before it. `corrected` leaves the first out and has the head read the normalised map.
    """
    backbone = partial(_vgg16, extras=SSD300_EXTRAS)
    if batch_norm is None:
        head = MultiBox(ssd_sources(_BLOBS[:6], data, norm_scales=(_L2_SCALE,)))
        schedule = _schedule(*_SSD300_STEPS.get(data.name, _VOC_STEPS), _VGG16_WEIGHTS)
        return Detector(data, (300, 300), backbone, head, schedule)
    if check_option("batch-norm", batch_norm, tuple(_ABLATION_RATES)) in ("backbone", "both"):
        backbone = partial(_vgg16_with_norms, corrected=corrected)
    head = MultiBox(ssd_sources(_BLOBS[:6], data), batchnorm=batch_norm in ("head", "both"))
    schedule = replace(trained(data)["schedule"], base_lr=_ABLATION_RATES[batch_norm])
    return Detector(data, (300, 300), backbone, head, schedule)


@MODELS.register("ssd512-vgg16")
def ssd512_vgg16(data: DataSet) -> Detector:
    """SSD on 512x512 images with VGG-16: 79.8 mAP on VOC 2007, 28.8 AP on COCO.

    No script of the release writes it; layers, prior boxes and schedules are those of the prototxts that came with
    the weights.
    """
    schedule = _schedule(*_SSD512_STEPS.get(data.name, _VOC_STEPS), _VGG16_WEIGHTS)
    head = MultiBox(ssd_sources(_BLOBS, data, 512, norm_scales=(_L2_SCALE,)))
    return Detector(data, (512, 512), partial(_vgg16, extras=SSD512_EXTRAS), head, schedule)


# Of SSD300 with ResNet-101: maps of 38, 19, 10, 5, 3 and 1, and the sides of their prior boxes.
_RESNET101_SOURCES = (
    Source("res3b3_relu", 30),
    Source("res5c_relu", 60, 114, (2, 3)),
    Source("res5c_relu/conv1_2", 114, 168, (2, 3)),
    Source("res5c_relu/conv2_2", 168, 222, (2, 3)),
    Source("res5c_relu/conv3_2", 222, 276, (2, 3)),
    Source("pool6", 276, 330, (2, 3)),
)


def _resnet101(net: Net) -> None:
    """ResNet-101, whose `res5c` has stride 16, three pairs of extra layers, the mean of the last."""
    resnet101(net, dilated=True)
    top = net["res5c_relu"]
    for number in (1, 2, 3):
        for layer, num_output, kernel_size in ((1, 256, 1), (2, 512, 3)):
            name = suffixed(f"res5c_relu/conv{number}_{layer}")
            top = gaussian_conv(top, num_output, kernel_size=kernel_size, stride=layer)
            top = normalised(net, name, top, SSD_NORM)
    net["pool6"] = L.Pooling(top, pool="AVE", global_pooling=True)


@MODELS.register("ssd300-resnet101")
def ssd300_resnet101(data: DataSet) -> Detector:
    """SSD on 300x300 images with ResNet-101, as SSD's release has it; no result is published.

    The script for it is for VOC07+12, and older than the others: it neither expands images nor distorts colours, its
    prior boxes are cut off at the image's border, and no map is L2-normalised. On COCO and voc0712++ it is trained as
    long as with VGG-16, an analogy.
    """
    schedule = _schedule(*_SSD300_STEPS.get(data.name, _VOC_STEPS), _RESNET101_WEIGHTS)
    if data.name not in _SSD300_STEPS:
        schedule = replace(schedule, steps=(), stepsize=40_000, max_iter=60_000, snapshot=40_000)
    schedule = replace(schedule, test_batch_size=1)
    head, images = MultiBox(_RESNET101_SOURCES, clip=True), Images(distorts=False, max_expand_ratio=None)
    return Detector(data, (300, 300), _resnet101, head, schedule, images)
