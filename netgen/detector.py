"""A detector: a backbone, a head and a schedule, and the three nets that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netgen import inputs
from netgen.datasets import DataSet
from netgen.heads import multibox
from netgen.heads.multibox import Source
from netgen.jobs import Schedule, fit_test_batch
from netgen.net import Net


@dataclass(frozen=True)
class Detector:
    """A model for a data set, as a zoo function returns it.

    Attributes:
        data: what it is trained and tested on.
        input_hw: height and width that images are resized to.
        backbone: adds layers on `net.data` and names the maps that `sources` read.
        sources: maps with their prior boxes.
        schedule: how it is trained.
        head_batchnorm: whether the head's predictors are normalised.
        max_expand_ratio: how far training images are shrunk.
        name: begins the names of its nets.
    """

    data: DataSet
    input_hw: tuple[int, int]
    backbone: Callable[[Net], None]
    sources: tuple[Source, ...]
    schedule: Schedule
    head_batchnorm: bool = False
    max_expand_ratio: float = 4.0
    name: str = ""

    def nets(self) -> dict[str, Any]:
        """NetParameters to train, to test and to deploy, under these words."""
        return {"train": self._train().to_proto(), "test": self._test().to_proto(), "deploy": self._deploy().to_proto()}

    def _train(self) -> Net:
        """From the training LMDB to `mbox_loss`."""
        net = Net(f"{self.name}_train")
        inputs.train_input(net, self.data, self.input_hw, self.schedule.batch_size, self.max_expand_ratio)
        self._body(net)
        multibox.loss(net, self.data)
        return net

    def _test(self) -> Net:
        """From the test LMDB to `detection_out` and `detection_eval`."""
        net = Net(f"{self.name}_test")
        batch_size = fit_test_batch(self.schedule.test_batch_size, self.data.num_test_images)
        inputs.test_input(net, self.data, self.input_hw, batch_size)
        self._body(net)
        multibox.detections(net, self.data)
        multibox.evaluation(net, self.data)
        return net

    def _deploy(self) -> Net:
        """From one image to `detection_out`."""
        net = Net(f"{self.name}_deploy")
        inputs.image_input(net, self.input_hw)
        self._body(net)
        multibox.detections(net, self.data)
        return net

    def _body(self, net: Net) -> None:
        self.backbone(net)
        multibox.multibox(net, self.sources, self.data.num_classes, use_batchnorm=self.head_batchnorm)
