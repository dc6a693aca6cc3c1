"""PyTorch models with the module names and the structure of other code bases, and the same nets in Caffe's format.

All are as narrow as a test wants them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netgen.datasets import COCO
from netgen.named_blocks import PLAIN_NORM, Names, gaussian_conv, normalised
from netgen.net import L, Net
from netgen.zoo import build
from prototxt.graph import Graph
from prototxt.io import net_file

BOXES = [4, 6, 6, 6, 4, 4]
BOXES512 = [4, 6, 6, 6, 6, 4, 4]
# Kernel, stride and padding of the second convolution of each pair of extra layers, for images of 300 or 512 pixels.
EXTRAS = {4: [(3, 2, 1), (3, 2, 1), (3, 1, 0), (3, 1, 0)], 5: [*[(3, 2, 1)] * 4, (4, 1, 1)]}
SSD_WIDTHS = [4, 8, 16, 32, 32, 64, (16, 32), (8, 16), (8, 16), (8, 16)]


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, pad: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, pad, dilation)


def vgg_layers(widths: list[int], ceil: tuple[int, ...]) -> list[nn.Module]:
    """VGG-16's features, the last pooling included."""
    layers: list[nn.Module] = []
    inputs = 3
    for stage, (count, width) in enumerate(zip((2, 2, 3, 3, 3), widths), start=1):
        for _ in range(count):
            layers += [conv(inputs, width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2, ceil_mode=stage in ceil))
    return layers


def rows(outputs: list[Tensor], values: int) -> Tensor:
    """Maps of predictions as [N, boxes, values]: cell by cell, in a cell box by box."""
    found = []
    for out in outputs:
        n, _, h, w = out.shape
        found.append(out.view(n, -1, values, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, values))
    return torch.cat(found, 1)


class TorchvisionBackbone(nn.Module):
    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        layers = vgg_layers(widths, ceil=(3,))
        w, fc = widths[4], widths[5]
        self.scale_weight = nn.Parameter(torch.rand(widths[3]) + 19)
        self.features = nn.Sequential(*layers[:23])
        last = nn.Sequential(
            nn.MaxPool2d(3, 1, 1), conv(w, fc, pad=6, dilation=6), nn.ReLU(), conv(fc, fc, 1, pad=0), nn.ReLU()
        )
        blocks = [nn.Sequential(*layers[23:-1], last)]
        inputs = fc
        for (narrow, wide), (stride, pad) in zip(widths[6:], ((2, 1), (2, 1), (1, 0), (1, 0))):
            pair = conv(inputs, narrow, 1, pad=0), nn.ReLU(), conv(narrow, wide, 3, stride, pad), nn.ReLU()
            blocks.append(nn.Sequential(*pair))
            inputs = wide
        self.extra = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.features(x)
        found = [self.scale_weight.view(1, -1, 1, 1) * F.normalize(x)]
        for block in self.extra:
            x = block(x)
            found.append(x)
        return found


class Predictors(nn.Module):
    def __init__(self, inputs: list[int], outputs: list[int]) -> None:
        super().__init__()
        self.module_list = nn.ModuleList(conv(i, o) for i, o in zip(inputs, outputs))


class TorchvisionSSD(nn.Module):
    """torchvision's ssd300_vgg16."""

    def __init__(self, widths: list[int], boxes: list[int], classes: int) -> None:
        super().__init__()
        self.backbone = TorchvisionBackbone(widths)
        maps = [widths[3], widths[5], *(wide for _, wide in widths[6:])]
        self.head = nn.Module()
        self.head.classification_head = Predictors(maps, [b * classes for b in boxes])
        self.head.regression_head = Predictors(maps, [b * 4 for b in boxes])
        self.classes = classes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.backbone(x)
        heads = self.head.regression_head.module_list, self.head.classification_head.module_list
        loc, conf = ([predict(m) for predict, m in zip(head, maps)] for head in heads)
        return rows(loc, 4), rows(conf, self.classes)


class L2Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels) + 19)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[None, :, None, None] * x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)


class ConvModule(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.conv = conv(*shape)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class MmdetSSD(nn.Module):
    """mmdetection's SSD300, or SSD512 with one more pair of widths; `late` from 2.14 on, when these became a neck."""

    def __init__(self, widths: list[int], boxes: list[int], classes: int, late: bool) -> None:
        super().__init__()
        w, fc = widths[4], widths[5]
        body = [
            *vgg_layers(widths, ceil=(1, 2, 3, 4))[:-1],
            *(nn.MaxPool2d(3, 1, 1), conv(w, fc, pad=6, dilation=6), nn.ReLU(), conv(fc, fc, 1, pad=0), nn.ReLU()),
        ]
        shapes = []
        inputs = fc
        for (narrow, wide), second in zip(widths[6:], EXTRAS[len(widths[6:])]):
            shapes.append(((inputs, narrow, 1, 1, 0), (narrow, wide, *second)))
            inputs = wide
        self.backbone, self.late, self.classes = nn.Module(), late, classes
        self.backbone.features = nn.Sequential(*body)
        if late:
            self.neck = nn.Module()
            self.neck.extra_layers = nn.ModuleList(nn.Sequential(*(ConvModule(*s) for s in pair)) for pair in shapes)
            self.neck.l2_norm = L2Norm(widths[3])
        else:
            self.backbone.extra = nn.Sequential(*(conv(*s) for pair in shapes for s in pair))
            self.backbone.l2_norm = L2Norm(widths[3])
        maps = [widths[3], fc, *(wide for _, wide in widths[6:])]
        self.bbox_head = nn.Module()
        self.bbox_head.reg_convs = nn.ModuleList(self._head(m, b * 4) for m, b in zip(maps, boxes))
        self.bbox_head.cls_convs = nn.ModuleList(self._head(m, b * classes) for m, b in zip(maps, boxes))

    def _head(self, inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(conv(inputs, outputs)) if self.late else conv(inputs, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = []
        for i, layer in enumerate(self.backbone.features):
            x = layer(x)
            if i in (22, 34):
                maps.append(x)
        if self.late:
            for pair in self.neck.extra_layers:
                x = pair(x)
                maps.append(x)
            maps[0] = self.neck.l2_norm(maps[0])
        else:
            for i, layer in enumerate(self.backbone.extra):
                x = F.relu(layer(x))
                maps += [x] if i % 2 else []
            maps[0] = self.backbone.l2_norm(maps[0])
        loc, conf = (
            [predict(m) for predict, m in zip(head, maps)]
            for head in (self.bbox_head.reg_convs, self.bbox_head.cls_convs)
        )
        return rows(loc, 4), rows(conf, self.classes)


class Block(nn.Module):
    """A residual block; `kernels` with the place of its stride: (3, 3) or (1, 3, 1)."""

    def __init__(self, inputs: int, widths: list[int], kernels: tuple[int, ...], stride: int, strided: int) -> None:
        super().__init__()
        self.count, before = len(kernels), inputs
        for i, (width, kernel) in enumerate(zip(widths, kernels), start=1):
            step = stride if i == strided else 1
            setattr(self, f"conv{i}", nn.Conv2d(before, width, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(width))
            before = width
        self.downsample = None
        if stride != 1 or inputs != before:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, before, 1, stride, bias=False), nn.BatchNorm2d(before))

    def forward(self, x: Tensor) -> Tensor:
        top = x
        for i in range(1, self.count + 1):
            top = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(top))
            top = F.relu(top) if i < self.count else top
        return F.relu(top + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's and mmdetection's ResNet; `strided` is the convolution with a block's stride."""

    def __init__(
        self, blocks: tuple[int, ...], kernels: tuple[int, ...], width: int, strided: int, classes: int
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(blocks):
            narrow = width * 2**stage
            widths = [narrow, narrow] if len(kernels) == 2 else [narrow, narrow, 4 * narrow]
            stack = []
            for block in range(count):
                stack.append(Block(inputs, widths, kernels, 2 if stage and not block else 1, strided))
                inputs = widths[-1]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*stack))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


class ScratchDet(nn.Module):
    """SSDRES300 or SSDRES512 of ScratchDet's mmdetection release with its SSDBNHead."""

    def __init__(self, side: int, widths: tuple[int, ...], boxes: list[int], classes: int) -> None:
        super().__init__()
        self.classes, self.last = classes, side == 512
        self.backbone = body = nn.Module()
        inputs = 3
        for i in (1, 2, 3):
            self._unit(i, inputs, widths[0], 3)
            inputs = widths[0]
        strides = (1, 2, 2, 2, 2, 2, 2, 2 if self.last else 1)
        for i, (count, width, stride) in enumerate(zip((3, 4, 6, 3, 1, 1, 1, 1), widths, strides), start=1):
            stack = [Block(inputs, [width, width], (3, 3), stride, 1)]
            stack += [Block(width, [width, width], (3, 3), 1, 1) for _ in range(count - 1)]
            setattr(body, f"layer{i}", nn.Sequential(*stack))
            inputs = width
        if self.last:
            self._unit(4, inputs, inputs, 3)
            self._unit(5, inputs, inputs, 4)
        self.bbox_head = nn.Module()
        maps = [*widths[2:], *([inputs] if self.last else [])]
        for kind, values in (("reg", 4), ("cls", classes)):
            pairs = (
                nn.Sequential(nn.Conv2d(m, b * values, 3, padding=1, bias=False), nn.BatchNorm2d(b * values))
                for m, b in zip(maps, boxes)
            )
            setattr(self.bbox_head, f"{kind}_convs", nn.ModuleList(pairs))

    def _unit(self, number: int, inputs: int, outputs: int, kernel: int) -> None:
        setattr(self.backbone, f"conv{number}", nn.Conv2d(inputs, outputs, kernel, padding=1, bias=False))
        setattr(self.backbone, f"bn{number}", nn.BatchNorm2d(outputs))

    def _apply_unit(self, number: int, x: Tensor) -> Tensor:
        return F.relu(getattr(self.backbone, f"bn{number}")(getattr(self.backbone, f"conv{number}")(x)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for i in (1, 2, 3):
            x = self._apply_unit(i, x)
        x, maps = F.max_pool2d(x, 2, 2), []
        for i in range(1, 9):
            x = getattr(self.backbone, f"layer{i}")(x)
            maps += [x] if i > 2 else []
        if self.last:
            maps.append(self._apply_unit(5, self._apply_unit(4, x)))
        loc, conf = (
            [predict(m) for predict, m in zip(head, maps)]
            for head in (self.bbox_head.reg_convs, self.bbox_head.cls_convs)
        )
        return rows(loc, 4), rows(conf, self.classes)


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation with statistics, factors and biases that a test would notice."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dim() > 1:
                fan_in = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / fan_in) ** 0.5)
            elif tensor.is_floating_point() and "l2_norm" not in name and "scale_weight" not in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + (0.75 if "var" in name else 0.1))
    return model.eval()


def calm(model: nn.Module) -> nn.Module:
    """The model with predictors whose scores and boxes are neither 0 nor infinite."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(part in name for part in ("_head.module_list", "reg_convs", "cls_convs")):
                parameter.mul_(0.05)
    return model


def graph_of(net) -> Graph:
    return Graph(net_file(net, "net.prototxt"))


def narrow(net, divisor: int = 16):
    """The net with a part of its channels; predictors keep theirs."""
    for layer in net.layer:
        if layer.type == "Convolution" and "mbox" not in layer.name:
            layer.convolution_param.num_output //= divisor
    return net


def deploy(model: str, classes: int, data=COCO):
    return narrow(build(model, replace(data, num_classes=classes)).net("deploy"))


def state_of(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {key: tensor.numpy() for key, tensor in model.state_dict().items()}


def resnet_net(counts, kernels, *, strided, width, side, prefix_names=("a", "b", "c", "d", "e", "f"), pad=1):
    """A ResNet in the names of Caffe's release, with its pooling padded as PyTorch's."""
    net = Net("resnet")
    net.data = L.Input(input_param={"shape": {"dim": [2, 3, side, side]}})
    stem = gaussian_conv(net.data, width, kernel_size=7, stride=2)
    top = normalised(net, Names("conv1", "bn_conv1", "scale_conv1"), stem, PLAIN_NORM)
    top = net["pool1"] = L.Pooling(top, pool="MAX", kernel_size=3, stride=2, pad=pad)
    for stage, count in enumerate(counts):
        for block in range(count):
            name, first = f"{stage + 2}{prefix_names[block]}", block == 0
            stride = 2 if stage and first else 1

            def branch(part, top, channels, kernel, step, relu, name=name):
                names = Names(*(f"{kind}{name}_{part}" for kind in ("res", "bn", "scale")))
                made = gaussian_conv(top, channels, kernel_size=kernel, stride=step)
                return normalised(net, names, made, PLAIN_NORM, relu=relu)

            narrow = width * 2**stage
            widths = [narrow] * (len(kernels) - 1) + [narrow * (4 if len(kernels) == 3 else 1)]
            shortcut = top
            if first and (stage or len(kernels) == 3):
                shortcut = branch("branch1", top, widths[-1], 1, stride, False)
            inner = top
            for i, (kernel, channels) in enumerate(zip(kernels, widths)):
                step = stride if i + 1 == strided else 1
                inner = branch(f"branch2{'abc'[i]}", inner, channels, kernel, step, i + 1 < len(kernels))
            net[f"res{name}"] = L.Eltwise(shortcut, inner)
            top = net[f"res{name}_relu"] = L.ReLU(net[f"res{name}"], in_place=True)
    net.pool5 = L.Pooling(top, pool="AVE", global_pooling=True)
    net.fc1000 = L.InnerProduct(net.pool5, num_output=7)
    return net.to_proto()
