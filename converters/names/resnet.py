"""ResNets (He et al., Deep Residual Learning for Image Recognition, CVPR 2016), body and classifier.

Ours are the names of their Caffe release: `conv1`, `res2a_branch1`, `bn2a_branch1`, `scale2a_branch1` … `fc1000`.
"""

from __future__ import annotations

from collections.abc import Iterator

from converters.names.table import Image, Model, Unit
from converters.names.wiring import IMAGE, pooled, relu, total

# Depth: blocks of the four stages, whether these are bottlenecks.
_DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


def resnets(prefix: str, image: Image, *, strided_3x3: bool = True, style: str = "") -> Iterator[Model]:
    """The maps of all depths.

    Args:
        prefix: what stands before all keys.
        image: what they take.
        strided_3x3: a bottleneck's stride is in its 3x3 convolution; otherwise in the first 1x1, as in Caffe's release.
        style: words for people.
    """
    for depth, (blocks, bottlenecks) in _DEPTHS.items():
        units = tuple(_units(prefix, depth, blocks, _kernels(bottlenecks, strided_3x3)))
        yield Model(f"ResNet-{depth}{style}", units, image)


def _kernels(bottlenecks: bool, strided_3x3: bool) -> tuple[tuple[int, bool], ...]:
    """Pad (1 of a 3x3 kernel) of each convolution of a block, and whether it has the block's stride."""
    if not bottlenecks:
        return (1, True), (1, False)
    return (0, not strided_3x3), (1, strided_3x3), (0, False)


def _units(prefix: str, depth: int, blocks: tuple[int, ...], kernels: tuple[tuple[int, bool], ...]) -> Iterator[Unit]:
    yield Unit("conv without bias", f"{prefix}conv1", ("conv1",), IMAGE, stride=2, pad=3)
    yield Unit("norm", f"{prefix}bn1", ("bn_conv1", "scale_conv1"), f"{prefix}conv1")
    blob = pooled(3, 2, 1, relu(f"{prefix}bn1"))
    for stage, count in enumerate(blocks, start=1):
        for number in range(count):
            theirs, ours = f"{prefix}layer{stage}.{number}", f"{stage + 1}{_letter(depth, stage, number)}"
            stride = 2 if number == 0 and stage > 1 else 1
            shortcut = blob
            if number == 0 and (stage > 1 or len(kernels) == 3):
                branch = (f"{theirs}.downsample.0", f"{theirs}.downsample.1")
                yield from _normed(branch, f"{ours}_branch1", blob, stride, 0)
                shortcut = branch[1]
            top = blob
            for i, (pad, strided) in enumerate(kernels, start=1):
                branch = (f"{theirs}.conv{i}", f"{theirs}.bn{i}")
                yield from _normed(branch, f"{ours}_branch2{'abc'[i - 1]}", top, stride if strided else 1, pad)
                top = relu(branch[1])
            blob = relu(total(shortcut, branch[1]))
    yield Unit("inner product", f"{prefix}fc", ("fc1000",), f"ave of all({blob})", optional=True)


def _normed(theirs: tuple[str, str], ours: str, reads: str, stride: int, pad: int) -> Iterator[Unit]:
    yield Unit("conv without bias", theirs[0], (f"res{ours}",), reads, stride=stride, pad=pad)
    yield Unit("norm", theirs[1], (f"bn{ours}", f"scale{ours}"), theirs[0])


def _letter(depth: int, stage: int, number: int) -> str:
    """a, b, c …; in the long stages of deep nets a, b1, b2 …"""
    if depth > 100 and stage in (2, 3) and number:
        return f"b{number}"
    return "abcdefghij"[number]
