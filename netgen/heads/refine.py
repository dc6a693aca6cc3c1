"""The RefineDet head: prior boxes are refined first, objects are classified in the refined ones.

Zhang et al., Single-Shot Refinement Neural Network for Object Detection, CVPR 2018, section 3. The names of its
layers are those of RefineDet's Caffe release, which also has what SSD-Caffe lacks: MultiBoxLoss with six bottoms and
DetectionOutput with five.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import log2

from netgen.blocks import BIAS, LEARNED, XAVIER
from netgen.datasets import DataSet
from netgen.heads.output import Suppression, detection_output, multibox_loss, softmax
from netgen.heads.predictors import flat, predictor, prior_boxes, source_map
from netgen.heads.sources import Source
from netgen.named_blocks import GAUSSIAN, PLAIN_NORM, Bottleneck, bottleneck, normalised, suffixed
from netgen.net import L, Net, Top
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file

ANCHOR_CLASSES = 2  # background, object
RELEASED = Suppression(top_k=1000, keep_top_k=500, saves_results=False)
_FIRST_LEVEL = 3  # P3 is the map of the first source, whose stride is 2^3 in the paper's nets
_SAME = {"kernel_size": 3, "pad": 1, "stride": 1}
_TWICE = {"kernel_size": 2, "pad": 0, "stride": 2}


@dataclass(frozen=True)
class Refine:
    """Anchor refinement on every source, object detection on maps that also know what the coarser sources see.

    Attributes:
        sources: the maps it reads, finest first, with their prior boxes (the paper's anchors); each is exactly twice
            as high and wide as the next.
        channels: of the maps that objects are detected on.
        batchnorm: whether the convolutions of the transfer connections are followed by BatchNorm and Scale.
        residual: the residual unit that stands before the predictors of each map; None puts them on the map itself.
        suppression: which boxes are detections.
    """

    sources: tuple[Source, ...]
    channels: int = 256
    batchnorm: bool = False
    residual: Bottleneck | None = None
    suppression: Suppression = RELEASED

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("this head has no sources", where="Refine", expected="at least one map to read")

    def predict(self, net: Net, num_classes: int) -> None:
        """Add both modules and what connects them.

        With P prior boxes over all maps, the net's names `arm_loc` and `odm_loc` are [N, P*4], `arm_conf` is
        [N, P*2], `odm_conf` [N, P*num_classes], and `arm_priorbox` [1, 2, P*4].

        Args:
            num_classes: with the background.

        Raises:
            UserError: there is no such map, or one is not twice as high and wide as the next.
        """
        check_halving(net, self.sources)
        self.transfer_connections(net)
        self.anchor_refinement(net)
        self.object_detection(net, num_classes)

    def transfer_connections(self, net: Net) -> None:
        """Add the transfer connection blocks (TCB), coarsest source first.

        Names a map `P{level}`, [N, channels, H, W], for each source, whose H and W are the source's.
        """
        above = None
        for level, source in reversed(list(enumerate(self.sources, start=_FIRST_LEVEL))):
            top = self._learned(net, f"TL{level}_1", source_map(net, source))
            if above is None:
                top = self._learned(net, f"TL{level}_2", top)
            else:
                lateral = self._learned(net, f"TL{level}_2", top, relu=False)
                upper = self._learned(net, f"P{level + 1}-up", above, doubles=True, relu=False)
                net[f"Elt{level}"] = L.Eltwise(lateral, upper)
                top = net[f"Elt{level}_relu"] = L.ReLU(net[f"Elt{level}"], in_place=True)
            above = self._learned(net, f"P{level}", top)

    def anchor_refinement(self, net: Net) -> None:
        """Add the anchor refinement module (ARM): for each prior box offsets, and whether it holds any object."""
        parts = []
        for source in self.sources:
            read = self._predicted_on(net, source)
            parts.append((*_predictors(net, read, ANCHOR_CLASSES), prior_boxes(net, read)))
        locs, confs, priors = zip(*parts)
        net.arm_loc, net.arm_conf = L.Concat(*locs, axis=1), L.Concat(*confs, axis=1)
        net.arm_priorbox = L.Concat(*priors, axis=2)

    def object_detection(self, net: Net, num_classes: int) -> None:
        """Add the object detection module (ODM): for each refined box offsets and class scores."""
        levels = enumerate(self.sources, start=_FIRST_LEVEL)
        maps = [replace(source, blob=f"P{level}", norm_scale=None) for level, source in levels]
        locs, confs = zip(*(_predictors(net, self._predicted_on(net, source), num_classes) for source in maps))
        net.odm_loc, net.odm_conf = L.Concat(*locs, axis=1), L.Concat(*confs, axis=1)

    def loss(self, net: Net, data: DataSet) -> None:
        """Add the losses `arm_loss` and `odm_loss` on the predictors and `net.label`, [1, 1, G, 8] (section 4).

        No gradient of the second one reaches the anchor refinement module's predictors.
        """
        net.arm_loss = multibox_loss((net.arm_loc, net.arm_conf, net.arm_priorbox, net.label), ANCHOR_CLASSES, data)
        refined = softmax(net, "arm_conf", net.arm_conf, ANCHOR_CLASSES), net.arm_loc
        bottoms = net.odm_loc, net.odm_conf, net.arm_priorbox, net.label, *refined
        net.odm_loss = multibox_loss(bottoms, data.num_classes, data)

    def detect(self, net: Net, data: DataSet) -> None:
        """Add softmax, decoding and suppression; names `detection_out`, [1, 1, D, 7] of corner boxes in 0–1.

        Prior boxes that hardly hold an object are dropped; the offsets of both modules move the others in turn.
        """
        refined = softmax(net, "arm_conf", net.arm_conf, ANCHOR_CLASSES), net.arm_loc
        scores = softmax(net, "odm_conf", net.odm_conf, data.num_classes)
        bottoms = net.odm_loc, scores, net.arm_priorbox, *refined
        net.detection_out = detection_output(bottoms, data, self.suppression)

    def _learned(self, net: Net, name: str, bottom: Top, *, doubles: bool = False, relu: bool = True) -> Top:
        """A 3x3 convolution, or a 2x2 deconvolution that `doubles` the map."""
        make, shape = (L.Deconvolution, _TWICE) if doubles else (L.Convolution, _SAME)
        if self.batchnorm:
            top = make(
                bottom, num_output=self.channels, **shape, bias_term=False, weight_filler=GAUSSIAN, param=LEARNED
            )
            return normalised(net, suffixed(name), top, PLAIN_NORM, relu=relu)
        filler = {"weight_filler": XAVIER, "bias_filler": {"type": "constant", "value": 0}}
        top = net[name] = make(bottom, num_output=self.channels, **shape, **filler, param=[LEARNED, BIAS])
        if relu:
            top = net[f"{name}_relu"] = L.ReLU(top, in_place=True)
        return top

    def _predicted_on(self, net: Net, source: Source) -> Source:
        """The map that the predictors read, with the prior boxes of `source`."""
        if self.residual is None:
            return replace(source, blob=source.name, norm_scale=None)
        block = f"{source.name}_inter"
        bottleneck(net, block, net[source.name], self.residual, PLAIN_NORM)
        return replace(source, blob=f"res{block}", norm_scale=None)


def _predictors(net: Net, source: Source, num_classes: int) -> tuple[Top, Top]:
    """Offsets, [N, H*W*A*4], and class scores, [N, H*W*A*num_classes], of the A prior boxes of each cell."""
    loc, conf = f"{source.name}_mbox_loc", f"{source.name}_mbox_conf"
    offsets = flat(net, loc, predictor(net, loc, net[source.name], source.num_priors * 4))
    scores = flat(net, conf, predictor(net, conf, net[source.name], source.num_priors * num_classes))
    return offsets, scores


def check_halving(net: Net, sources: tuple[Source, ...]) -> None:
    """Compare the maps that `sources` name in a net that holds an input and a backbone.

    Raises:
        UserError: there is no such map; one is not exactly twice as high and wide as the next: it names both, and
            says which sizes of the input would do.
    """
    for source in sources:
        net[source.blob]  # refuses a name that is not there
    message = net.to_proto()
    for layer in message.layer:
        layer.ClearField("include")  # the input is of one phase, and the only layer that is
    graph = Graph(net_file(message, net.name))
    shapes = {layer.name: layer.top_shapes[0] for layer in graph.layers if layer.top_shapes} | graph.shapes
    maps_hw = [shapes[source.blob][2:] for source in sources]
    for (source, lower_hw), (other, upper_hw) in pairwise(zip(sources, maps_hw)):
        spare = [2 * upper - lower for lower, upper in zip(lower_hw, upper_hw)]
        if any(spare):
            raise UserError(
                f'map "{source.blob}" is {_show(lower_hw)}, but "{other.blob}", the next source, {_show(upper_hw)}',
                where=net.name,
                expected="each source exactly twice as high and wide as the next, whose map is doubled and added",
                fix=_fitting_size(graph.shapes["data"][2:], maps_hw[-1], rounded_up=max(map(abs, spare)) == 1),
            )


def _fitting_size(input_hw: tuple[int, ...], coarsest_hw: tuple[int, ...], *, rounded_up: bool) -> str:
    """What to do about maps that do not halve: when one is only `rounded_up`, another size of the input helps."""
    if not rounded_up:
        return "read sources whose strides double from one to the next"
    stride = 2 ** max(round(log2(side / cells)) for side, cells in zip(input_hw, coarsest_hw))
    nearest_hw = tuple(max(1, round(side / stride)) * stride for side in input_hw)
    return f"give the input sides that are multiples of {stride}, such as {_show(nearest_hw)}"


def _show(size_hw: tuple[int, ...]) -> str:
    return "x".join(map(str, size_hw))
