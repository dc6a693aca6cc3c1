"""GRP-DSOD: DSOD with a recurrent feature pyramid and a gate before each prediction layer.

Shen et al., Learning Object Detectors from Scratch with Gated Recurrent Feature Pyramids, 2017, later Improving Object
Detection from Scratch via Gated Feature Reuse, BMVC 2019. The wiring is that of its Caffe release, which normalises
convolutions after themselves, in place, where DSOD normalises before them.
"""

from __future__ import annotations

from typing import Any

from netgen.backbones.dsod import FULL, conv, dense_block, down_sampling, max_pool
from netgen.blocks import XAVIER, bn_relu
from netgen.net import L, Net, Top

FROZEN = {"lr_mult": 0, "decay_mult": 0}
_EPS = 1e-4
# The maps behind `Second`, as for DSOD, and their channels.
_MAPS = (("Third", 86), ("Fourth", 86), ("Fifth", 86), ("Sixth", 128))
# The recurrent pyramid: what a level adds to its map, from the next map, in channels; and the kernel of the release's
# deconvolution. With 2 it doubles the map's size; with 1 the result is a row and a column less.
_LEVELS = (
    ("Recurrent1", "First", "Second", 128, 2),
    ("Recurrent2", "Second", "Third", 171, 2),
    ("Recurrent3", "Third", "Fourth", 86, 2),
    ("Recurrent4", "Fourth", "Fifth", 86, 1),
    ("Recurrent5", "Fifth", "Sixth", 86, 1),
)
