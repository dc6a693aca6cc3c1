"""Name maps against torchvision itself: its keys, its shapes, and what its SSD finds."""

from __future__ import annotations

import pytest
import torch

from converters.names import CODE_BASES, from_state, to_state
from converters.pytorch import CaffeNet
from netgen.datasets import COCO
from netgen.zoo import build
from prototxt.graph import Graph
from prototxt.io import net_file
from tests.converters.foreign_models import state_of
from tests.converters.test_names import map_keys

try:
    from torchvision import models
    from torchvision.models.detection import ssd300_vgg16
    from torchvision.models.detection.image_list import ImageList
except (ImportError, RuntimeError) as error:  # RuntimeError: its operators are those of another PyTorch
    pytest.skip(f"needs torchvision: {error}", allow_module_level=True)


def plain_keys(model: torch.nn.Module) -> set[str]:
    return {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_keys_of_resnets(depth):
    with torch.device("meta"):
        theirs = getattr(models, f"resnet{depth}")(weights=None)
    ours = next(model for model in CODE_BASES["torchvision"]() if model.name == f"ResNet-{depth}")
    assert map_keys(ours) == plain_keys(theirs)


@pytest.fixture(scope="module")
def ssd():
    torch.manual_seed(0)
    return ssd300_vgg16(weights=None, weights_backbone=None, num_classes=COCO.num_classes).eval()


@pytest.fixture(scope="module")
def graph():
    return Graph(net_file(build("ssd300-vgg16", COCO).net("deploy")))


def test_keys_and_shapes_of_ssd300(ssd, graph):
    """Every layer of the net that `netgen build ssd300-vgg16` writes for COCO is one of theirs, and of its shape."""
    model = next(model for model in CODE_BASES["torchvision"]() if model.name == "ssd300_vgg16")
    assert map_keys(model) == plain_keys(ssd)
    found = from_state(graph, state_of(ssd), "torchvision")
    assert found.missing == []
    back, _ = to_state(graph, found.weights, "torchvision")
    assert {key: array.shape for key, array in back.items()} == {
        key: tuple(tensor.shape) for key, tensor in ssd.state_dict().items()
    }
    ssd.load_state_dict({key: torch.tensor(array) for key, array in back.items()})


def test_detections_of_ssd300(ssd, graph):
    """Its own default boxes and box coder, before its non-maximum suppression."""
    images = torch.rand(1, 3, 300, 300)  # RGB, 0-1
    with torch.no_grad():
        batch, _ = ssd.transform(list(images))
        maps = list(ssd.backbone(batch.tensors).values())
        outputs = ssd.head(maps)
        (boxes,) = ssd.anchor_generator(ImageList(batch.tensors, batch.image_sizes), maps)
        wanted = ssd.box_coder.decode_single(outputs["bbox_regression"][0], boxes) / 300
        scores = outputs["cls_logits"].softmax(-1)
        mean = torch.tensor([103.99875, 116.9991, 122.99925]).view(1, 3, 1, 1)
        net = CaffeNet(graph, from_state(graph, state_of(ssd), "torchvision").weights)
        tops = net({"data": 255 * images.flip(1) - mean}, keep=("mbox_loc", "mbox_conf_flatten", "mbox_priorbox"))
    priors, variances = tops["mbox_priorbox"].reshape(2, -1, 4)
    offsets = tops["mbox_loc"].reshape(-1, 4) * variances
    size, centre = priors[:, 2:] - priors[:, :2], (priors[:, 2:] + priors[:, :2]) / 2
    middle, half = offsets[:, :2] * size + centre, offsets[:, 2:].exp() * size / 2
    assert scores.shape[1] == 8732
    assert (torch.cat([middle - half, middle + half], 1) - wanted).abs().max() <= 1e-5
    assert (tops["mbox_conf_flatten"].reshape(scores.shape) - scores).abs().max() <= 5e-5  # of logits up to 30
