"""What lint says of the nets that the official generators write: only what is true, and all of it known."""

from __future__ import annotations

from collections import Counter

import pytest

from netgen.datasets import DATASETS
from netgen.zoo import MODELS, build
from prototxt.lint import CHECKS, NOTE, lint_files, lint_nets

FILES = ("train", "test", "deploy", "solver")
# Findings in the four files together, besides the notes on where the solver looks for its nets.
KNOWN = {
    # The last map of DSOD is 2 x 2 and has the step of a 1 x 1 map.
    "dsod300_coco": {"prior-step": 3},
    "dsod300_voc": {"prior-step": 3},
    # The same; and the fully connected layers of the gates start at 0: 3 on each of 6 maps.
    "grp_dsod320_voc": {"prior-step": 3, "no-filler": 18},
    # Written for a Caffe that takes the statistics of BatchNorm out of training by itself.
    "refinedet320_res101_coco": {"batchnorm-learns": 3 * 155},
    "refinedet320_vgg_voc": {},
    "refinedet512_vgg_voc": {},
    # The last two maps stay 5 x 5 and have the steps of 3 x 3 and 1 x 1 maps.
    "scratchdet300_root34_coco": {"prior-step": 6},
    "scratchdet300_root34_voc": {"prior-step": 6},
    "ssd300_vgg_coco": {},
    "ssd300_vgg_voc": {},
}


@pytest.mark.parametrize("name", KNOWN)
def test_references(shared, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shared / "reference" / "prototxt" / name
    findings = lint_files([folder / f"{file}.prototxt" for file in FILES])
    moved = [f for f in findings if f.check == "solver-net"]
    assert all(f.severity == NOTE and "is checked in its place" in f.reason for f in moved)
    assert Counter(f.check for f in findings) == {**KNOWN[name], "solver-net": len(moved)}
    assert all(f.line and f.fix for f in findings)


def test_every_reference_is_looked_at(shared):
    assert {path.name for path in (shared / "reference" / "prototxt").iterdir()} == set(KNOWN)


def test_steps_of_scratchdet(shared):
    findings = lint_files([shared / "reference" / "prototxt" / "scratchdet300_root34_voc" / "deploy.prototxt"])
    assert [(f.layer, f.line) for f in findings] == [("conv8_2_mbox_priorbox", 3279), ("conv9_2_mbox_priorbox", 3395)]
    assert findings[1].reason == (
        "step 300 does not match its map of 5 rows: 300 / 300 = 1; the centres of 4 lie outside the image"
    )
    assert findings[1].fix == "step: 60, or leave it out"


def test_a_net_of_the_real_world(shared):
    """The QR code detector: a bias in front of a BatchNorm, as its authors trained it."""
    findings = lint_files(sorted((shared / "models" / "wechat_qr").glob("*.prototxt")))
    assert [(f.check, f.layer) for f in findings] == [("bias-before-batchnorm", "stage1")]


@pytest.mark.parametrize("model", MODELS)
def test_zoo(model):
    """What netgen writes has no error on any data set, and only the quirks of its publication otherwise."""
    for name in DATASETS:
        findings = lint_nets(build(model, DATASETS[name]).nets().items())
        quirks = {"prior-step", "no-filler", "batchnorm-learns", "bias-before-batchnorm"} & set(CHECKS)
        assert [f for f in findings if f.severity == "error" or f.check not in quirks] == []
