"""The SSD head: predictors and prior boxes on several maps, the loss, the detections.

Liu et al., SSD, ECCV 2016, section 2. The names of its layers are those of SSD's Caffe release.
"""

from __future__ import annotations

from dataclasses import dataclass

from netgen.datasets import DataSet
from netgen.heads.output import SSD_SUPPRESSION, Suppression, detection_output, multibox_loss, softmax
from netgen.heads.predictors import flat, predictor, prior_boxes, source_map
from netgen.heads.sources import Source
from netgen.net import L, Net, Top


@dataclass(frozen=True)
class MultiBox:
    """Offsets and class scores for every prior box of every source.

    Attributes:
        sources: the maps it reads, with their prior boxes.
        batchnorm: predictors without bias, each followed by BatchNorm and Scale.
        kernel_size: of the predictors.
        clip: whether prior boxes are cut off at the image's border.
        suppression: which boxes are detections.
        deployed: which are in a net without ground truth; None is `suppression`, too.
    """

    sources: tuple[Source, ...]
    batchnorm: bool = False
    kernel_size: int = 3
    clip: bool = False
    suppression: Suppression = SSD_SUPPRESSION
    deployed: Suppression | None = None

    def predict(self, net: Net, num_classes: int) -> None:
        """Add the predictors; names `mbox_loc`, `mbox_conf` and `mbox_priorbox` in the net.

        With P prior boxes over all maps these are [N, P*4], [N, P*num_classes] and [1, 2, P*4].

        Args:
            num_classes: with the background.
        """
        parts: dict[str, list[Top]] = {"loc": [], "conf": [], "priorbox": []}
        for source in self.sources:
            bottom = source_map(net, source)
            for kind, width in (("loc", 4), ("conf", num_classes)):
                name = f"{source.name}_mbox_{kind}"
                num_output = source.num_priors * width
                predicted = predictor(
                    net, name, bottom, num_output, batchnorm=self.batchnorm, kernel_size=self.kernel_size
                )
                parts[kind].append(flat(net, name, predicted))
            parts["priorbox"].append(prior_boxes(net, source, clip=self.clip))
        net.mbox_loc = L.Concat(*parts["loc"], axis=1)
        net.mbox_conf = L.Concat(*parts["conf"], axis=1)
        net.mbox_priorbox = L.Concat(*parts["priorbox"], axis=2)

    def loss(self, net: Net, data: DataSet) -> None:
        """Add the training loss on the predictors and `net.label`, [1, 1, G, 8]; named `mbox_loss`."""
        bottoms = net.mbox_loc, net.mbox_conf, net.mbox_priorbox, net.label
        net.mbox_loss = multibox_loss(bottoms, data.num_classes, data)

    def detect(self, net: Net, data: DataSet) -> None:
        """Add softmax, decoding and suppression; names `detection_out`, [1, 1, D, 7] of corner boxes in 0–1."""
        scores = softmax(net, "mbox_conf", net.mbox_conf, data.num_classes)
        suppression = self.suppression if "label" in net else self.deployed or self.suppression
        net.detection_out = detection_output((net.mbox_loc, scores, net.mbox_priorbox), data, suppression)
