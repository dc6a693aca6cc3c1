"""What a head ends in: the loss on its predictors, or the detections and their evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from netgen.datasets import DataSet
from netgen.net import L, Net, Top

OVERLAP = 0.5  # IoU from which a prior box or a detection matches a ground truth


@dataclass(frozen=True)
class Suppression:
    """Which of the decoded boxes are detections.

    Attributes:
        nms_threshold: IoU above which the lower-scored of two boxes of a class is dropped.
        top_k: boxes of a class that suppression looks at, the best first.
        keep_top_k: detections of an image in all classes.
        confidence_threshold: score that a box must be above.
        saves_results: whether Caffe also writes the detections into files, for the data set's own evaluation;
            that takes the names of the test images, so a data set with `name_size`.
    """

    nms_threshold: float = 0.45
    top_k: int = 400
    keep_top_k: int = 200
    confidence_threshold: float = 0.01
    saves_results: bool = True


SSD_SUPPRESSION = Suppression()


def multibox_loss(bottoms: tuple[Top, ...], num_classes: int, data: DataSet) -> Top:
    """SSD's loss: smooth L1 on offsets, softmax on classes, three of the hardest negatives for each positive.

    Args:
        bottoms: offsets [N, P*4], class scores [N, P*num_classes], prior boxes [1, 2, P*4], ground truth
            [1, 1, G, 8]; what follows these refines the prior boxes (RefineDet).
        num_classes: with the background.

    Source: Liu et al., SSD, ECCV 2016, section 2.2; Caffe's MultiBoxLoss.
    """
    return L.MultiBoxLoss(
        *bottoms,
        include={"phase": "TRAIN"},
        propagate_down=[True, True] + [False] * (len(bottoms) - 2),
        loss_param={"normalization": "VALID"},
        loc_loss_type="SMOOTH_L1",
        conf_loss_type="SOFTMAX",
        loc_weight=1,
        num_classes=num_classes,
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


def softmax(net: Net, name: str, scores: Top, num_classes: int) -> Top:
    """Scores [N, P*num_classes] as probabilities, in the same shape."""
    net[f"{name}_reshape"] = L.Reshape(scores, shape={"dim": [0, -1, num_classes]})
    net[f"{name}_softmax"] = L.Softmax(net[f"{name}_reshape"], axis=2)
    flattened = net[f"{name}_flatten"] = L.Flatten(net[f"{name}_softmax"], axis=1)
    return flattened


def detection_output(bottoms: tuple[Top, ...], data: DataSet, suppression: Suppression) -> Top:
    """Decoded and suppressed boxes, [1, 1, D, 7] of corners in 0–1.

    Args:
        bottoms: offsets, probabilities, prior boxes; what follows refines the prior boxes (RefineDet).
    """
    saves = suppression.saves_results and data.name_size
    results = {
        "output_directory": data.results_dir,
        "output_name_prefix": data.results_prefix,
        "output_format": data.results_format,
        "label_map_file": data.labelmap,
        "name_size_file": data.name_size,
        "num_test_image": data.num_test_images,
    }
    return L.DetectionOutput(
        *bottoms,
        include={"phase": "TEST"},
        num_classes=data.num_classes,
        share_location=True,
        background_label_id=0,
        nms_param={"nms_threshold": suppression.nms_threshold, "top_k": suppression.top_k},
        keep_top_k=suppression.keep_top_k,
        confidence_threshold=suppression.confidence_threshold,
        code_type="CENTER_SIZE",
        **({"save_output_param": results} if saves else {}),
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
        **({"name_size_file": data.name_size} if data.name_size else {}),
    )
