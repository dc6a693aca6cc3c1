"""BatchNorm: its statistics, and the biases that it takes away again."""

from __future__ import annotations

from collections.abc import Iterator

from prototxt.lint.finding import ERROR, NOTE, WARNING, Found, check
from prototxt.lint.net import CONVOLUTIONS, Net, Node

_BIASED = (*CONVOLUTIONS, "Deconvolution", "InnerProduct")


@check("batchnorm-learns", ERROR, Net)
def batchnorm_learns(net: Net) -> Iterator[Found]:
    """A BatchNorm without `lr_mult: 0` for its three blobs, which are sums that nothing may learn.

    With another `lr_mult` Caffe aborts, unless there are just three of them: those a newer one reads as 0. Without
    `param` it sets 0 itself; old builds do not, and let weight decay shrink the sums.
    """
    for node in net.of("BatchNorm"):
        given, fix = node.norm_mults, "give it three times `param { lr_mult: 0 decay_mult: 0 }`"
        if any(given):
            at = next(i for i, mult in enumerate(given) if mult)
            reads, severity = ("some builds of Caffe abort", WARNING) if len(given) == 3 else ("Caffe aborts", ERROR)
            yield Found(node, f"blob {at} of its statistics has lr_mult {given[at]:g}; {reads}", fix, severity)
        elif len(given) < 3:
            lacking = f"{3 - len(given)} of its 3 blobs are without lr_mult: 0"
            reason = f"{lacking}; in old Caffe builds weight decay shrinks them"
            yield Found(node, reason, fix, WARNING if net.phase == "TRAIN" else NOTE)


@check("bias-before-batchnorm", WARNING, Net)
def bias_before_batchnorm(net: Net) -> Iterator[Found]:
    """A layer adds a bias and only BatchNorm or BN reads it: it takes every channel's mean away, the bias with it."""
    for node in net.of(*_BIASED):
        if node.p.bias_term and node.tops and all(_is_undone(node, i) for i in range(len(node.tops))):
            norm = node.tops[0].readers[0][0]
            reason = f'its bias has no effect: {norm.type} "{norm.name}" takes the mean away again'
            # A net without a loss is deployed: its weights are what they are.
            yield Found(node, reason, "bias_term: false, and no `param` for a bias", "" if net.has_loss else NOTE)


def _is_undone(node: Node, top: int) -> bool:
    """Whether all that reads a top is BatchNorm or BN, with the batch's own mean in training."""
    readers = [reader for reader, _ in node.tops[top].readers]
    return bool(readers) and all(r.type in ("BatchNorm", "BN") and not _is_frozen(r) for r in readers)


def _is_frozen(norm: Node) -> bool:
    """Whether training uses the stored statistics, which a BatchNorm of a test does not say, or none at all."""
    if norm.type == "BN":
        return norm.p is None or norm.p.frozen or norm.p.bn_mode == norm.p.INFERENCE
    return norm.layer.phase == "TRAIN" and bool(norm.p) and norm.p.use_global_stats


@check("batchnorm-statistics", WARNING, Net)
def batchnorm_statistics(net: Net) -> Iterator[Found]:
    """`use_global_stats` is against the phase: batch statistics in a test, or stored ones in training."""
    for node in net.of("BatchNorm"):
        if not node.p.HasField("use_global_stats"):
            continue
        if net.phase == "TEST" and not node.p.use_global_stats:
            reason = (
                "use_global_stats: false in phase TEST: results depend on the batch, and a test moves the statistics"
            )
            yield Found(node, reason, "remove use_global_stats; the phase decides")
        elif net.phase == "TRAIN" and node.p.use_global_stats:
            reason = "use_global_stats: true in phase TRAIN: its statistics never move, and are 0 unless loaded"
            yield Found(node, reason, "remove use_global_stats, unless you fine-tune with frozen BatchNorm", NOTE)
