"""The SSD head: predictors and prior boxes on several maps, the loss, the detections.

Liu et al., SSD, ECCV 2016, section 2. The names of its layers are those of SSD's Caffe release.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netgen.blocks import BIAS, LEARNED, STATISTICS, XAVIER
from netgen.datasets import DataSet
from netgen.net import L, Net, Top

OVERLAP = 0.5  # IoU from which a prior box or a detection matches a ground truth
PRIORS = {"flip": True, "clip": False, "variance": [0.1, 0.1, 0.2, 0.2], "offset": 0.5}
NMS = {"nms_threshold": 0.45, "top_k": 400}


@dataclass(frozen=True)
class Source:
    """A map that detections are read from, and the prior boxes of each of its cells.

    Attributes:
        blob: its name in the net.
        min_size, max_size: pixels of the input image; a second square has the side sqrt(min_size * max_size).
        ratios: width to height of further boxes, each also the other way round; 1 is not listed.
        step: pixels from one cell to the next.
    """

    blob: str
    min_size: float
    max_size: float
    ratios: tuple[float, ...]
    step: float

    @property
    def num_priors(self) -> int:
        """Prior boxes in each cell."""
        return 2 + 2 * len(self.ratios)


def multibox(net: Net, sources: Sequence[Source], num_classes: int, *, use_batchnorm: bool = False) -> None:
    """Add the predictors on `sources`; names `mbox_loc`, `mbox_conf` and `mbox_priorbox` in the net.

    With P prior boxes over all maps these are [N, P*4], [N, P*num_classes] and [1, 2, P*4].

    Args:
        num_classes: with the background.
        use_batchnorm: predictors without bias, each followed by BatchNorm and Scale.
    """
    parts: dict[str, list[Top]] = {"loc": [], "conf": [], "priorbox": []}
    for source in sources:
        for kind, width in (("loc", 4), ("conf", num_classes)):
            name = f"{source.blob}_mbox_{kind}"
            predicted = _predictor(net, name, net[source.blob], source.num_priors * width, use_batchnorm)
            net[f"{name}_perm"] = L.Permute(predicted, order=[0, 2, 3, 1])
            flat = net[f"{name}_flat"] = L.Flatten(net[f"{name}_perm"], axis=1)
            parts[kind].append(flat)
        priors = net[f"{source.blob}_mbox_priorbox"] = _prior_boxes(net, source)
        parts["priorbox"].append(priors)
    net.mbox_loc = L.Concat(*parts["loc"], axis=1)
    net.mbox_conf = L.Concat(*parts["conf"], axis=1)
    net.mbox_priorbox = L.Concat(*parts["priorbox"], axis=2)


def _predictor(net: Net, name: str, bottom: Top, num_output: int, use_batchnorm: bool) -> Top:
    shape = {"num_output": num_output, "kernel_size": 3, "pad": 1, "stride": 1}
    if not use_batchnorm:
        zero = {"type": "constant", "value": 0}
        net[name] = L.Convolution(bottom, **shape, weight_filler=XAVIER, bias_filler=zero, param=[LEARNED, BIAS])
        return net[name]
    gaussian = {"type": "gaussian", "std": 0.01}
    net[name] = L.Convolution(bottom, **shape, bias_term=False, weight_filler=gaussian, param=LEARNED)
    net[f"{name}_bn"] = L.BatchNorm(
        net[name], in_place=True, eps=0.001, moving_average_fraction=0.999, param=STATISTICS
    )
    net[f"{name}_scale"] = L.Scale(
        net[f"{name}_bn"],
        in_place=True,
        bias_term=True,
        filler={"value": 1},
        bias_filler={"value": 0},
        param=[{"lr_mult": 1, "decay_mult": 0}] * 2,
    )
    return net[f"{name}_scale"]


def _prior_boxes(net: Net, source: Source) -> Top:
    return L.PriorBox(
        net[source.blob],
        net.data,
        min_size=source.min_size,
        max_size=source.max_size,
        aspect_ratio=source.ratios,
        step=source.step,
        **PRIORS,
    )


def loss(net: Net, data: DataSet) -> None:
    """Add the training loss on the predictors and `net.label`, [1, 1, G, 8]; named `mbox_loss`."""
    net.mbox_loss = L.MultiBoxLoss(
        net.mbox_loc,
        net.mbox_conf,
        net.mbox_priorbox,
        net.label,
        include={"phase": "TRAIN"},
        propagate_down=[True, True, False, False],
        loss_param={"normalization": "VALID"},
        loc_loss_type="SMOOTH_L1",
        conf_loss_type="SOFTMAX",
        loc_weight=1,
        num_classes=data.num_classes,
        share_location=True,
        match_type="PER_PREDICTION",
        overlap_threshold=OVERLAP,
        use_prior_for_matching=True,
        background_label_id=0,
        use_difficult_gt=data.train_on_difficult,
        mining_type="MAX_NEGATIVE",
        neg_pos_ratio=3,
        neg_overlap=0.5,
        code_type="CENTER_SIZE",
        ignore_cross_boundary_bbox=False,
    )


def detections(net: Net, data: DataSet) -> None:
    """Add softmax, decoding and suppression; names `detection_out`, [1, 1, D, 7] of corner boxes in 0–1."""
    net.mbox_conf_reshape = L.Reshape(net.mbox_conf, shape={"dim": [0, -1, data.num_classes]})
    net.mbox_conf_softmax = L.Softmax(net.mbox_conf_reshape, axis=2)
    net.mbox_conf_flatten = L.Flatten(net.mbox_conf_softmax, axis=1)
    net.detection_out = L.DetectionOutput(
        net.mbox_loc,
        net.mbox_conf_flatten,
        net.mbox_priorbox,
        include={"phase": "TEST"},
        num_classes=data.num_classes,
        share_location=True,
        background_label_id=0,
        nms_param=NMS,
        keep_top_k=200,
        confidence_threshold=0.01,
        code_type="CENTER_SIZE",
        save_output_param={
            "output_directory": data.results_dir,
            "output_name_prefix": data.results_prefix,
            "output_format": data.results_format,
            "label_map_file": data.labelmap,
            "name_size_file": data.name_size,
            "num_test_image": data.num_test_images,
        },
    )


def evaluation(net: Net, data: DataSet) -> None:
    """Add the comparison of `detection_out` with `net.label`; named `detection_eval`."""
    net.detection_eval = L.DetectionEvaluate(
        net.detection_out,
        net.label,
        include={"phase": "TEST"},
        num_classes=data.num_classes,
        background_label_id=0,
        overlap_threshold=OVERLAP,
        evaluate_difficult_gt=False,
        name_size_file=data.name_size,
    )
