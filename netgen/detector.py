"""A detector: a backbone, a head and a schedule, and the three nets that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from netgen import inputs
from netgen.datasets import DataSet
from netgen.heads.output import evaluation
from netgen.heads.sources import Source
from netgen.inputs import SSD_IMAGES, Images
from netgen.net import Net
from netgen.schedule import Schedule, fit_test_batch


class Head(Protocol):
    """What turns the maps of a backbone into a loss or into detections."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The maps it reads, by name, with their prior boxes."""

    def predict(self, net: Net, num_classes: int) -> None:
        """Add what training and detection share: predictors and prior boxes."""

    def loss(self, net: Net, data: DataSet) -> None:
        """Add the losses on the predictors and `net.label`."""

    def detect(self, net: Net, data: DataSet) -> None:
        """Add what makes `detection_out` of the predictors."""


@dataclass(frozen=True)
class Detector:
    """A model for a data set, as a zoo function returns it.

    Attributes:
        data: what it is trained and tested on.
        input_hw: height and width that images are resized to.
        backbone: adds layers on `net.data` and names the maps that the head reads.
        head: reads these maps; every head goes with every backbone.
        schedule: how it is trained.
        images: how images are prepared.
        name: begins the names of its nets.
        deploy_batch: images that the deploy net takes at once.
    """

    data: DataSet
    input_hw: tuple[int, int]
    backbone: Callable[[Net], None]
    head: Head
    schedule: Schedule
    images: Images = SSD_IMAGES
    name: str = ""
    deploy_batch: int = 1

    def nets(self) -> dict[str, Any]:
        """NetParameters to train, to test and to deploy, under these words."""
        return {key: make().to_proto() for key, make in self._makers().items()}

    def net(self, key: str) -> Any:
        """The NetParameter to "train", to "test" or to "deploy"."""
        return self._makers()[key]().to_proto()

    def _makers(self) -> dict[str, Callable[[], Net]]:
        return {"train": self._train, "test": self._test, "deploy": self._deploy}

    def _train(self) -> Net:
        """From the training LMDB to the losses."""
        net = Net(f"{self.name}_train")
        inputs.train_input(net, self.data, self.images, self.input_hw, self.schedule.device_batch_size)
        self._body(net)
        self.head.loss(net, self.data)
        return net

    def _test(self) -> Net:
        """From the test LMDB to `detection_out` and `detection_eval`."""
        net = Net(f"{self.name}_test")
        batch_size = fit_test_batch(self.schedule.test_batch_size, self.data.num_test_images)
        inputs.test_input(net, self.data, self.images, self.input_hw, batch_size)
        self._body(net)
        self.head.detect(net, self.data)
        evaluation(net, self.data)
        return net

    def _deploy(self) -> Net:
        """From images to `detection_out`."""
        net = Net(f"{self.name}_deploy")
        inputs.image_input(net, self.input_hw, self.deploy_batch)
        self._body(net)
        self.head.detect(net, self.data)
        return net

    def _body(self, net: Net) -> None:
        self.backbone(net)
        self.head.predict(net, self.data.num_classes)
