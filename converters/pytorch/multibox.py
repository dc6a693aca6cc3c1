"""MultiBoxLoss: the training loss of SSD and of its relatives, RefineDet's two stages included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from converters.pytorch.boxes import check_sizes, decode, encode, split_priors
from converters.pytorch.losses import divisor, half_square, normalization, sigmoid_nll, smooth_l1, softmax_nll
from converters.pytorch.matching import UNMATCHED, GroundTruth, match, read_ground_truth
from converters.pytorch.mining import hardest, hardest_apart
from converters.pytorch.multibox_check import check_multibox
from prototxt import schema
from prototxt.graph import Layer

_Param = schema.MultiBoxLossParameter
_LOC_LOSS = {_Param.L2: half_square, _Param.SMOOTH_L1: smooth_l1}


@dataclass(frozen=True)
class _Batch:
    """What one forward works on. N images, P priors, L classes of locations (1 when they are shared), C classes.

    Attributes:
        loc: predicted offsets [N, P, L, 4].
        conf: scores [N, P, C].
        arm_conf: RefineDet's scores of the first stage, background and object [N, P, 2].
        priors: boxes that the net predicts from [N, P, 4].
        anchors: the priors as moved by RefineDet's first stage; else the priors.
        variances: [P, 4].
        truths: the ground truths.
    """

    loc: Tensor
    conf: Tensor
    arm_conf: Tensor | None
    priors: np.ndarray
    anchors: np.ndarray
    variances: np.ndarray
    truths: GroundTruth


class MultiBoxLoss(nn.Module):
    """Smooth L1 (or L2) loss of the matched locations plus softmax (or logistic) loss of the mined scores.

    Source: Liu et al., SSD (2016), section 2.2; Caffe's MultiBoxLoss. With a fifth and a sixth bottom, Zhang et al.,
    RefineDet (2018): only priors whose object score reaches `objectness_score` are mined, and the priors are first
    moved by the first stage. Caffe's oddities are kept, each noted at its line, but not its reuse of the matches of
    an earlier forward that had no backward.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        check_multibox(layer)
        self.layer = layer
        self.p = layer.proto.multibox_loss_param
        self.mode = normalization(layer.proto.loss_param)
        self.loc_counts, self.conf_counts = (list(layer.proto.propagate_down) or [True, True])[:2]

    def forward(
        self,
        loc: Tensor,
        conf: Tensor,
        priors: Tensor,
        label: Tensor,
        arm_conf: Tensor | None = None,
        arm_loc: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar, of loc [N, 4PL], conf [N, PC], priors [1, 2, 4P] and label [1, 1, G, 8].

        Raises:
            UserError: a ground truth of the background or of an unknown class, a variance that is not above 0, a
                prior without width or height that a box is coded by.
        """
        batch = self._batch(loc, conf, _array(priors), _array(label), (arm_conf, arm_loc))
        index, overlap = self._match(batch)
        labels = self._labels(batch, index)
        mined = None
        if self.p.mining_type != _Param.NONE:
            index[:, 0], mined = self._mine(batch, index[:, 0], overlap[:, 0], labels)
        matches = int((index >= 0).sum())
        loss = loc.new_zeros(())
        if self.loc_counts:
            loss = loss + self.p.loc_weight * self._loc_losses(batch, index, batch.anchors).sum()
        if self.conf_counts:
            loss = loss + self._conf_loss(batch, index, labels, mined)
        return loss / divisor(self.mode, loc.shape[0], len(batch.variances), matches)

    def _batch(
        self, loc: Tensor, conf: Tensor, priors: np.ndarray, label: np.ndarray, arm: tuple[Tensor | None, Tensor | None]
    ) -> _Batch:
        arm_conf, arm_loc = arm
        boxes, variances = split_priors(priors)
        if not (variances > 0).all():
            raise self.layer.error("the prior blob holds a variance that is not above 0")
        images, count = loc.shape[0], len(boxes)
        boxes = np.broadcast_to(boxes, (images, count, 4))
        anchors = boxes
        if arm_loc is not None:
            anchors = self._decode(boxes, _array(arm_loc).reshape(boxes.shape), variances)
        return _Batch(
            loc=loc.reshape(images, count, -1, 4),
            conf=conf.reshape(images, count, -1),
            arm_conf=None if arm_conf is None else arm_conf.detach().reshape(images, count, 2),
            priors=boxes,
            anchors=anchors,
            variances=variances,
            truths=read_ground_truth(self.layer, label, images),
        )

    def _decode(self, priors: np.ndarray, offsets: np.ndarray, variances: np.ndarray) -> np.ndarray:
        check_sizes(self.layer, self.p.code_type, priors)
        return decode(self.p.code_type, priors, offsets, None if self.p.encode_variance_in_target else variances)

    def _match(self, batch: _Batch) -> tuple[np.ndarray, np.ndarray]:
        """For each image, location class and prior [N, L, P]: the ground truth (or UNMATCHED, IGNORED), the overlap."""
        images, count, classes = batch.loc.shape[:3]
        index = np.full((images, classes, count), UNMATCHED)
        overlap = np.zeros((images, classes, count), np.float32)
        for image in np.unique(batch.truths.image):
            own = np.flatnonzero(batch.truths.image == image)
            if self.p.use_prior_for_matching:
                found = self._match_priors(batch, image, own)
            else:
                found = self._match_predictions(batch, image, own)
            for loc_class, (truth, shared) in found.items():
                index[image, loc_class] = np.where(truth >= 0, own[truth], truth)
                overlap[image, loc_class] = shared
        return index, overlap

    def _match_priors(self, batch: _Batch, image: int, own: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        truth, shared = match(batch.anchors[image], batch.truths.box[own], self.p)
        if self.p.share_location:
            return {0: (truth, shared)}
        labels = np.where(truth >= 0, batch.truths.label[own][truth], UNMATCHED)
        return {c: (np.where(labels == c, truth, UNMATCHED), shared) for c in np.unique(labels[labels >= 0])}

    def _match_predictions(
        self, batch: _Batch, image: int, own: np.ndarray
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        found = {}
        for c in range(batch.loc.shape[2]):
            if c == self.p.background_label_id and not self.p.share_location:
                continue
            # Caffe decodes from the priors here even where RefineDet's first stage has moved them.
            boxes = self._decode(batch.priors[image], _array(batch.loc[image, :, c]), batch.variances)
            mine = np.flatnonzero(self.p.share_location | (batch.truths.label[own] == c))
            truth, shared = match(boxes, batch.truths.box[own[mine]], self.p)
            found[c] = np.where(truth >= 0, mine[truth], truth) if len(mine) else truth, shared
        return found

    def _labels(self, batch: _Batch, index: np.ndarray) -> np.ndarray:
        """The class that each prior should score [N, P]."""
        labels = np.full(batch.conf.shape[:2], self.p.background_label_id, np.int64)
        image, loc_class, prior = np.nonzero(index >= 0)
        # A prior that matches in several classes keeps the last one: NumPy assigns in order.
        labels[image, prior] = batch.truths.label[index[image, loc_class, prior]]
        return labels

    def _loc_losses(self, batch: _Batch, index: np.ndarray, anchors: np.ndarray) -> Tensor:
        """Loss of each coordinate of each match [M, 4], in the order of `index` [N, L, P]."""
        p = self.p
        image, loc_class, prior = np.nonzero(index >= 0)
        boxes, variances = anchors[image, prior], batch.variances[prior]
        check_sizes(self.layer, p.code_type, boxes)
        target = encode(p.code_type, boxes, batch.truths.box[index[image, loc_class, prior]], variances)
        device = batch.loc.device
        predicted = batch.loc[tuple(torch.from_numpy(i).to(device) for i in (image, prior, loc_class))]
        if p.bp_inside and not p.use_prior_for_matching:
            boxes = self._decode(boxes, _array(predicted), variances)
        if p.encode_variance_in_target:  # Caffe divides the value but not the gradient
            predicted = predicted + (predicted / torch.from_numpy(variances).to(device) - predicted).detach()
        wanted = torch.from_numpy(target).to(device)
        if p.bp_inside:  # a corner outside the image is given its target: no loss and no gradient
            predicted = torch.where(torch.from_numpy((boxes < 0) | (boxes > 1)).to(device), wanted, predicted)
        return _LOC_LOSS[p.loc_loss_type](predicted, wanted)

    @torch.no_grad()
    def _mine(
        self, batch: _Batch, index: np.ndarray, overlap: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The matches that stay [N, P], and the mask [N, P] of the priors whose scores count."""
        p = self.p
        loss = self._conf_losses(batch, labels)
        positive = index >= 0
        if p.mining_type == _Param.MAX_NEGATIVE:
            eligible = (index == UNMATCHED) & (overlap < p.neg_overlap)
            wanted = (positive.sum(axis=1) * np.float32(p.neg_pos_ratio)).astype(np.int64).clip(0)
        else:
            # RefineDet's Caffe mines by the offsets from the priors, although it trains those from the moved ones.
            hard = self._loc_losses(batch, index[:, None], batch.priors).sum(dim=1)
            loss[torch.from_numpy(positive).to(loss.device)] += hard
            eligible = np.isin(np.arange(len(index)), batch.truths.image)[:, None] & np.ones_like(positive)
            wanted = np.full(len(index), p.sample_size)
        allowed = torch.from_numpy(eligible).to(loss.device)
        if batch.arm_conf is not None:
            allowed &= batch.arm_conf[..., 1] >= p.objectness_score
        count = torch.from_numpy(wanted).to(loss.device)
        if p.HasField("nms_param") and p.nms_param.nms_threshold > 0:
            chosen = hardest_apart(loss, allowed, count, self._boxes_apart(batch), p.nms_param)
        else:
            chosen = hardest(loss, allowed, count)
        mask = chosen.cpu().numpy()
        if p.mining_type == _Param.HARD_EXAMPLE:
            positive &= mask
            index = np.where(positive | (index < 0), index, UNMATCHED)
        return index, positive | (mask & (index == UNMATCHED))

    def _boxes_apart(self, batch: _Batch) -> np.ndarray:
        """The boxes [N, P, 4] that chosen priors must not share."""
        if self.p.use_prior_for_nms:
            return batch.priors
        return self._decode(batch.priors, _array(batch.loc[:, :, 0]), batch.variances)

    def _conf_losses(self, batch: _Batch, labels: np.ndarray) -> Tensor:
        """Loss of the scores of each prior [N, P]."""
        wanted = torch.from_numpy(labels).to(batch.conf.device)
        if self.p.conf_loss_type == _Param.SOFTMAX:
            return softmax_nll(batch.conf.flatten(0, 1), wanted.flatten()).reshape(wanted.shape)
        targets = torch.zeros_like(batch.conf).scatter_(2, wanted[..., None], 1.0)
        return sigmoid_nll(batch.conf, targets).sum(dim=2)

    def _conf_loss(self, batch: _Batch, index: np.ndarray, labels: np.ndarray, mined: np.ndarray | None) -> Tensor:
        """Sum of the losses of the scores of the mined priors, or of all of them."""
        rows = np.arange(labels.size) if mined is None else np.flatnonzero(mined)
        scores = batch.conf.flatten(0, 1)
        if mined is not None:
            scores = scores.index_select(0, torch.from_numpy(rows).to(scores.device))
        if self.p.conf_loss_type == _Param.SOFTMAX:
            return softmax_nll(scores, torch.from_numpy(labels.reshape(-1)[rows]).to(scores.device)).sum()
        # Caffe fills the targets with the number of the background class, which is what 0 is meant to be.
        targets = np.full(scores.shape, self.p.background_label_id, np.float32)
        if mined is not None:
            targets[np.arange(len(rows)), labels.reshape(-1)[rows]] = 1
        else:
            image, loc_class, prior = np.nonzero(index >= 0)
            classes = batch.truths.label[index[image, loc_class, prior]]
            count, width = batch.conf.shape[1:]
            # Without mining Caffe steps over an image by P instead of P * C, so only the first image's are in place.
            targets.reshape(-1)[image * count + prior * width + classes] = 1
        return sigmoid_nll(scores, torch.from_numpy(targets).to(scores.device)).sum()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
