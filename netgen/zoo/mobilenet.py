"""MobileNet-SSD, from which most SSDs that run on phones and cameras in Caffe's format descend.

MobileNet is Howard et al., 2017. The detector has no paper: it is Caffe's MobileNet-SSD release of 2017, written by
that release's generator, and follows the SSD of TensorFlow's Object Detection API.
"""

from __future__ import annotations

from netgen.backbones.mobilenet import mobilenet, mobilenet_extras
from netgen.datasets import DataSet
from netgen.detector import Detector
from netgen.heads.multibox import MultiBox
from netgen.heads.output import Suppression
from netgen.heads.sources import Source
from netgen.inputs import Images
from netgen.net import Net
from netgen.schedule import Schedule
from netgen.zoo.table import MODELS

# Sides of the prior boxes: shares of a 300x300 image from 0.2 to 0.95, evenly, then all of it.
_SOURCES = (
    Source("conv11", 60),
    Source("conv13", 105, 150, (2, 3)),
    Source("conv14_2", 150, 195, (2, 3)),
    Source("conv15_2", 195, 240, (2, 3)),
    Source("conv16_2", 240, 285, (2, 3)),
    Source("conv17_2", 285, 300, (2, 3)),
)
_TESTED = Suppression(saves_results=False)
_DEPLOYED = Suppression(top_k=100, keep_top_k=100, confidence_threshold=0.25, saves_results=False)
# Values of -1 to 1, about.
_IMAGES = Images(mean_bgr=(127.5, 127.5, 127.5), scale=0.007843)

_SCHEDULE = Schedule(
    base_lr=0.0005,
    type="RMSProp",
    gamma=0.5,
    momentum=0,
    weight_decay=0.00005,
    steps=(20_000, 40_000),
    max_iter=120_000,
    batch_size=32,
    test_batch_size=8,
    test_interval=10_000,
    snapshot=1_000,
    display=10,
    weights="mobilenet_iter_73000.caffemodel",
)


def _backbone(net: Net) -> None:
    mobilenet_extras(net, mobilenet(net))


@MODELS.register("mobilenet-ssd300")
def mobilenet_ssd300(data: DataSet) -> Detector:
    """SSD on 300x300 images with MobileNet: 72.7 mAP on VOC 2007 (68 without COCO before).

    Trained as the release is, from weights for ImageNet and on every data set alike, by RMSProp. Its deploy net keeps
    the norms, so that it takes the weights as they were trained; in the release's, they are merged into convolutions
    with biases. As there, it keeps fewer detections than the test net: those above 0.25.
    """
    head = MultiBox(_SOURCES, kernel_size=1, suppression=_TESTED, deployed=_DEPLOYED)
    return Detector(data, (300, 300), _backbone, head, _SCHEDULE, _IMAGES)
