"""mmdetection: SSD300 and SSD512 with VGG-16, ResNets, and ScratchDet's own Root-ResNet-34 with SSDBNHead.

Its versions name and order things apart: 1.x (2018–2020, and ScratchDet's release) has the background as the first
class and prior boxes of whole pixels, 2.x and 3.x the background as the last; from 2.14 on the extra layers of SSD are
a neck. SSD's keys of 1.x and of 2.0 to 2.13 are the same, so nobody but the user knows which of the two wrote a file.
Source: the state_dict keys, model and configuration files of these versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from converters.names.resnet import resnets
from converters.names.table import CODE_BASES, WHOLE, Head, Image, Model, Priors, Unit
from converters.names.vgg import BOXES, COCO_PRIORS, VARIANCES, Keys, Ways, ssd
from converters.names.wiring import IMAGE, joined, pooled, relu, total

_RGB = Image("RGB", (123.675, 116.28, 103.53))
_RGB_STD = Image("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_BGR = Image("BGR", (103.53, 116.28, 123.675))  # with weights of Caffe's release
_VGG = [f"backbone.features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33)]


def _early(side: int) -> Keys:
    """Extra layers in the backbone, predictors without a sequence around them: until 2.13."""
    pairs = 4 if side == 300 else 5
    extras = [(f"backbone.extra.{2 * i}", f"backbone.extra.{2 * i + 1}") for i in range(pairs)]
    return Keys(_VGG, "backbone.l2_norm.weight", extras, "bbox_head.reg_convs.{}", "bbox_head.cls_convs.{}")


def _late(side: int) -> Keys:
    pairs = 4 if side == 300 else 5
    extras = [(f"neck.extra_layers.{i}.0.conv", f"neck.extra_layers.{i}.1.conv") for i in range(pairs)]
    return Keys(_VGG, "neck.l2_norm.weight", extras, "bbox_head.reg_convs.{}.0", "bbox_head.cls_convs.{}.0")


def _resnets() -> Iterator[Model]:
    for prefix in ("backbone.", ""):
        yield from resnets(prefix, _RGB_STD, style=" in PyTorch's style")
        yield from resnets(prefix, _BGR, strided_3x3=False, style=" in Caffe's style")


_CEIL = (1, 2, 3, 4)


@CODE_BASES.register("mmdetection")
def models() -> Iterator[Model]:
    """2.14 and later, 3.x."""
    for side in (300, 512):
        yield ssd(f"SSD{side}", side, _late(side), Ways(_RGB, _CEIL, background="last"))
    yield from _resnets()


@CODE_BASES.register("mmdetection-2.0")
def models_2() -> Iterator[Model]:
    """2.0 to 2.13."""
    for side in (300, 512):
        yield ssd(f"SSD{side}", side, _early(side), Ways(_RGB, _CEIL, background="last"))
    yield from _resnets()


@CODE_BASES.register("mmdetection-1")
def models_1() -> Iterator[Model]:
    """1.x and before."""
    for side in (300, 512):
        yield ssd(f"SSD{side}", side, _early(side), Ways(_RGB, _CEIL, background="first", frame=WHOLE))
        yield _scratchdet(side)
    yield from _resnets()


# Blocks and strides of the eight stages, by the image's side.
_BLOCKS, _STRIDES = (3, 4, 6, 3, 1, 1, 1, 1), {300: (1, 2, 2, 2, 2, 2, 2, 1), 512: (1, 2, 2, 2, 2, 2, 2, 2)}


def _scratchdet(side: int) -> Model:
    """ScratchDet (Zhu et al., CVPR 2019) as its mmdetection release has it: blocks end with their ReLU.

    Its Caffe release has other nets: norm and ReLU stand before the convolutions there, and shortcuts have no norm.
    """
    units, maps = _root_resnet(side)
    joins: dict[str, list[str]] = {"reg": [], "cls": []}
    for i, (source, blob) in enumerate(maps):
        head = Head(f"{source}_mbox_priorbox", BOXES[side][i], frame=WHOLE)
        for kind, ours, extra in (("reg", "loc", {"variances": VARIANCES}), ("cls", "conf", {"background": "first"})):
            theirs, name = f"bbox_head.{kind}_convs.{i}", f"{source}_mbox_{ours}"
            turn = replace(head, background=extra.get("background", ""))
            units.append(Unit("conv without bias", f"{theirs}.0", (name,), blob, pad=1, head=turn))
            norm = f"{name}_bn", f"{name}_scale"
            units.append(Unit("norm", f"{theirs}.1", norm, f"{theirs}.0", head=replace(head, **extra)))
            joins[kind].append(f"{theirs}.1")
    priors = [Priors(f"{source}_mbox_priorbox", *size) for (source, _), size in zip(maps, COCO_PRIORS[side])]
    return Model(
        f"ScratchDet{side}",
        tuple(units),
        _RGB,
        tuple(map(joined, joins.values())),
        tuple(priors),
        advice="norms and ReLUs stand elsewhere in the Caffe release's nets, which cannot take these weights; "
        f"build scratchdet{side}-mmdet",
    )


def _root_resnet(side: int) -> tuple[list[Unit], list[tuple[str, str]]]:
    """The units of the body, and for each map the name of our blob and what reads it takes."""
    units: list[Unit] = []

    def normed(theirs: tuple[str, str], ours: str, reads: str, **window: int) -> str:
        conv, norm = (f"backbone.{name}" for name in theirs)
        units.append(Unit("conv without bias", conv, (ours,), reads, **window))
        units.append(Unit("norm", norm, (f"{ours}_bn", f"{ours}_scale"), conv))
        return norm

    blob, maps = IMAGE, []
    for i in (1, 2, 3):
        blob = relu(normed((f"conv{i}", f"bn{i}"), f"stem_{i}", blob, pad=1))
    blob = pooled(2, 2, 0, blob)
    for stage, (count, first) in enumerate(zip(_BLOCKS, _STRIDES[side]), start=1):
        for block in range(count):
            theirs, ours = f"layer{stage}.{block}.", f"conv{stage + 1}_{block + 1}"
            stride, shortcut = first if block == 0 else 1, blob
            if block == 0 and (stride != 1 or stage in (2, 3, 4, 5)):
                projection = theirs + "downsample.0", theirs + "downsample.1"
                shortcut = normed(projection, f"{ours}_shortcut", blob, stride=stride)
            top = relu(normed((theirs + "conv1", theirs + "bn1"), f"{ours}_1", blob, stride=stride, pad=1))
            blob = relu(total(shortcut, normed((theirs + "conv2", theirs + "bn2"), f"{ours}_2", top, pad=1)))
        if stage > 2:
            maps.append((f"conv{stage + 1}", blob))
    if side == 512:
        for name, number in (("conv10", 4), ("conv11", 5)):
            blob = relu(normed((f"conv{number}", f"bn{number}"), name, blob, pad=1))
        maps.append(("conv11", blob))
    return units, maps
