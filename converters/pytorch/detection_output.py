"""DetectionOutput: decoding, non-maximum suppression and the rows that leave the net. Runs on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from converters.detection_check import check_detection
from converters.pytorch.boxes import check_sizes, decode, split_priors
from converters.pytorch.nms import Suppression
from prototxt.graph import Layer


class DetectionOutput(nn.Module):
    """The detections of a batch, as rows: image, class, score, xmin, ymin, xmax, ymax (0–1, not clipped).

    Rows are ordered by image, then class, then descending score; of equal scores the first prior comes first. When
    the whole batch has no detection there is one row an image: the image, then six times -1.

    Source: Caffe's DetectionOutput. With a fourth and a fifth bottom, RefineDet (2018): a prior whose object score in
    the first stage is below `objectness_score` scores 1 for class 0 and 0 for the others; the priors are first moved
    by the first stage.

    Attributes:
        save_output: the SaveOutputParameter, or None. The layer writes no files: who runs a whole test set does.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        check_detection(layer)
        self.layer, self.p = layer, layer.p
        self.save_output = layer.p.save_output_param if layer.p.HasField("save_output_param") else None

    @torch.no_grad()
    @np.errstate(over="ignore", invalid="ignore")  # an untrained net's boxes may be infinite; so they are in Caffe
    def forward(
        self,
        loc: Tensor,
        conf: Tensor,
        priors: Tensor,
        arm_conf: Tensor | None = None,
        arm_loc: Tensor | None = None,
    ) -> Tensor:
        """Rows [1, 1, D, 7] of loc [N, 4PL], conf [N, PC] (probabilities) and priors [1, 2, 4P].

        Raises:
            UserError: a prior without width or height that boxes are coded by.
        """
        images = loc.shape[0]
        decoded, scores = self.decoded(loc, conf, priors, arm_conf, arm_loc)
        rows = np.concatenate([self._detect(i, decoded[i], scores[i]) for i in range(images)])
        if not len(rows):
            rows = np.full((images, 7), -1, np.float32)
            rows[:, 0] = np.arange(images)
        return torch.from_numpy(rows[None, None]).to(loc.device)

    @np.errstate(over="ignore", invalid="ignore")
    def decoded(
        self,
        loc: Tensor,
        conf: Tensor,
        priors: Tensor,
        arm_conf: Tensor | None = None,
        arm_loc: Tensor | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes [N, L, P, 4], L sets of them for an image, and scores [N, C, P]: what is to be suppressed.

        Raises:
            UserError: see `forward`.
        """
        p = self.p
        boxes, variances = split_priors(_array(priors))
        spread = None if p.variance_encoded_in_target else variances
        images, count = loc.shape[0], len(boxes)
        check_sizes(self.layer, p.code_type, boxes)
        if arm_loc is not None:
            # A first stage that has learned little may move a prior to no width at all, where Caffe ends the process;
            # what is decoded from that has no width either, and is a detection like another.
            boxes = decode(p.code_type, boxes, _array(arm_loc).reshape(images, count, 4), spread)[:, None]
        offsets = _array(loc).reshape(images, count, -1, 4).swapaxes(1, 2)
        decoded = decode(p.code_type, boxes, offsets, spread)  # [N, L, P, 4]
        scores = _array(conf).reshape(images, count, p.num_classes)
        if arm_conf is not None:
            scores = self._objects_only(scores, _array(arm_conf).reshape(images, count, 2)[..., 1])
        return decoded, np.ascontiguousarray(scores.swapaxes(1, 2))

    def _objects_only(self, scores: np.ndarray, objectness: np.ndarray) -> np.ndarray:
        nothing = np.zeros(self.p.num_classes, np.float32)
        nothing[0] = 1
        return np.where((objectness < self.p.objectness_score)[..., None], nothing, scores)

    def _detect(self, image: int, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The rows [D, 7] of one image, of its boxes [L, P, 4] and scores [C, P]."""
        p, nms = self.p, self.p.nms_param
        classes = [c for c in range(p.num_classes) if c != p.background_label_id]
        priors = [self._candidates(scores[c]) for c in classes]
        own = [boxes[0 if p.share_location else c] for c in classes]
        suppressions = [Suppression(own[k][priors[k]], nms.nms_threshold, nms.eta) for k in range(len(classes))]
        # Offering the boxes of all classes by score allows to stop at keep_top_k with the same rows as Caffe's, which
        # suppresses every class to its end and then keeps the best.
        turns = [(k, i) for k in range(len(classes)) for i in range(len(priors[k]))]
        by_score = np.argsort(-np.concatenate([scores[c, prior] for c, prior in zip(classes, priors)]), kind="stable")
        kept: list[tuple[int, int]] = []
        for k, i in map(turns.__getitem__, by_score.tolist()):
            if len(kept) == p.keep_top_k:
                break
            if suppressions[k].keeps(i):
                kept.append((k, priors[k][i]))
        kept.sort(key=lambda pair: pair[0])  # stable: by score inside a class
        rows = [(image, classes[k], scores[classes[k], prior], *own[k][prior]) for k, prior in kept]
        return np.array(rows, np.float32).reshape(-1, 7)

    def _candidates(self, scores: np.ndarray) -> np.ndarray:
        """The priors [K] of one class above the confidence threshold, the best `top_k` of them, by descending score."""
        p, nms = self.p, self.p.nms_param
        lowest = p.confidence_threshold if p.HasField("confidence_threshold") else np.finfo(np.float32).min
        above = np.flatnonzero(scores > lowest)
        above = above[np.argsort(-scores[above], kind="stable")]
        return above[: nms.top_k] if nms.HasField("top_k") and nms.top_k > -1 else above


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
