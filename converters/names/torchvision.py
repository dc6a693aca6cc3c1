"""torchvision: `ssd300_vgg16` and the ResNets of its classification models.

Source: the state_dict keys and constructors of torchvision.models.detection.ssd and torchvision.models.resnet.
"""

from __future__ import annotations

from collections.abc import Iterator

from converters.names.resnet import resnets
from converters.names.table import CODE_BASES, INSIDE, Image, Model
from converters.names.vgg import Keys, Ways, ssd

# What its transforms do to images of 0–1, in 0–255.
_SSD_IMAGE = Image("RGB", tuple(255 * mean for mean in (0.48235, 0.45882, 0.40784)))
_IMAGENET = Image(
    "RGB", tuple(255 * mean for mean in (0.485, 0.456, 0.406)), tuple(255 * std for std in (0.229, 0.224, 0.225))
)
_SSD300 = Keys(
    convs=[f"backbone.features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)]
    + [f"backbone.extra.0.{i}" for i in ("1", "3", "5", "7.1", "7.3")],
    norm="backbone.scale_weight",
    extras=[(f"backbone.extra.{i}.0", f"backbone.extra.{i}.2") for i in range(1, 5)],
    loc="head.regression_head.module_list.{}",
    conf="head.classification_head.module_list.{}",
)


@CODE_BASES.register("torchvision")
def models() -> Iterator[Model]:
    # Only the third pooling rounds up.
    ways = Ways(_SSD_IMAGE, ceil=(3,), background="first", frame=INSIDE, fixed=True)
    yield ssd("ssd300_vgg16", 300, _SSD300, ways)
    yield from resnets("", _IMAGENET)
