"""Heads, priors and class counts."""

from __future__ import annotations

from tests.prototxt.lint_cases.nets import SCORES, clean, layer

CASES = {
    "prior-count": [
        (
            clean("train.prototxt", ("num_output: 8", "num_output: 16"), ("num_output: 3 ", "num_output: 6 ")),
            [
                'error c1_loc: 16 location values a cell; PriorBox "c1_prior" asks for 2 x 4 => num_output: 8',
                'error c2_conf: it predicts 6 scores a cell; PriorBox "c2_prior" asks for 1 x 3 => num_output: 3',
            ],
        ),
        (
            clean("deploy.prototxt", ("max_size: 16 ", "")),
            [
                'error c1_loc: 8 location values a cell; PriorBox "c1_prior" asks for 1 x 4 => num_output: 4',
                'error c1_conf: it predicts 6 scores a cell; PriorBox "c1_prior" asks for 1 x 3 => num_output: 3',
            ],
        ),
        (
            clean("train.prototxt", ('bottom: "c1_prior" bottom: "c2_prior"', 'bottom: "c2_prior" bottom: "c1_prior"')),
            [
                "error c1_loc: it predicts 8 location values a cell; PriorBox => num_output: 4",
                "error c1_conf: it predicts 6 scores a cell; PriorBox => num_output: 3",
                "error c2_loc: it predicts 4 location values a cell; PriorBox => num_output: 8",
                "error c2_conf: it predicts 3 scores a cell; PriorBox => num_output: 6",
            ],
        ),
    ],
    "class-count": [
        (
            clean("train.prototxt", ("num_classes: 3", "num_classes: 4")),
            ["error loss: num_classes is 4, but its heads predict 3 scores a prior => num_classes: 3"],
        ),
        (
            clean(
                "test.prototxt", ("dim: [0, -1, 3]", "dim: [0, -1, 5]"), ("{ num_classes: 3 }", "{ num_classes: 21 }")
            ),
            [
                "error shaped: it lines up 5 scores for a softmax, but the heads predict 3 a prior => must be 3",
                'error eval: num_classes is 21, but that of "out" is 3 => num_classes: 3',
            ],
        ),
        (
            clean("deploy.prototxt", ("softmax_param { axis: 2 }", "softmax_param { axis: 1 }")),
            ["error soft: it lines up 192 scores for a softmax, but the heads predict 3 a prior => must be 3"],
        ),
        (
            clean("deploy.prototxt", (SCORES, layer("soft", "Softmax", "conf", "flat"))),
            ["error soft: it lines up 576 scores for a softmax, but the heads predict 3 a prior => must be 3"],
        ),
    ],
    "prior-step": [
        (
            clean("deploy.prototxt", ("min_size: 16 step: 4", "min_size: 16 step: 16")),
            ["warning c2_prior: its map of 8 rows: 32 / 16 = 2; the centres of 6 lie outside the image => step: 4"],
        ),
    ],
    "prior-image": [
        (
            clean(
                "deploy.prototxt",
                ('bottom: "c2" bottom: "data"', 'bottom: "c2" bottom: "c1"'),
                ("min_size: 16 step: 4", "min_size: 16"),
            ),
            ['warning c2_prior: its sizes are pixels of its second bottom, and "c1" is no input => the net\'s image'],
        ),
        (
            clean("deploy.prototxt", ("min_size: 16 step: 4", "min_size: 16 img_size: 300")),
            ['warning c2_prior: img_size is 300 x 300, but the image "data" is 32 x 32 => remove img_size'],
        ),
    ],
    "prior-variance": [
        (
            clean(
                "train.prototxt",
                ("min_size: 16 step: 4 flip: true clip: false variance: [0.1, 0.1, 0.2, 0.2]", "min_size: 16 step: 4"),
            ),
            ["warning c2_prior: 0.1, 0.1, 0.1, 0.1; those of the other maps are 0.1, 0.1, 0.2, 0.2 => alike"],
        ),
    ],
}
