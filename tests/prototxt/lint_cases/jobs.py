"""Nets that share weights, and solvers."""

from __future__ import annotations

from tests.prototxt.lint_cases.nets import CLEAN, clean

DEPTHWISE = {name: text.replace('"c2" type: "', '"c2" type: "Depthwise') for name, text in CLEAN.items()}

CASES = {
    "shared-weights": [
        (
            clean(
                "deploy.prototxt",
                ('name: "c2" type', 'name: "c2_" type'),
                ("num_output: 6 kernel_size: 4 stride: 4", "num_output: 5 kernel_size: 4 stride: 4"),
            ),
            [
                "error c1: its blobs are 5×3×4×4, 5, but 6×3×4×4, 6 in the train net (train.prototxt:2) => alike",
                'error c2_: has no weights of this name (did you mean "c2"?); they keep their filler => its name',
                "error c1_loc: its blobs are 8×5×3×3, 8, but 8×6×3×3, 8 in => alike",
                "error c1_conf: its blobs are 6×5×3×3, 6, but 6×6×3×3, 6 in => alike",
            ],
        ),
    ],
    "same-arithmetic": [
        (
            clean(
                "deploy.prototxt",
                ("max_size: 16 step: 4 flip: true", "max_size: 17 step: 4 flip: true offset: 0"),
                ("stride: 4", "stride: 4 dilation: 1 pad: 1"),
                ("min_size: 16 step: 4", "min_size: 16 step: 4.5"),
            ),
            [
                "warning c1: other pad than in the train net (train.prototxt:2) => alike",
                "warning c1_prior: other max_sizes, offset than in the train net (train.prototxt:14) => alike",
                "warning c2_prior: other step than in the train net (train.prototxt:21) => alike",
            ],
        ),
        (DEPTHWISE, []),
        (
            DEPTHWISE
            | {"deploy.prototxt": DEPTHWISE["deploy.prototxt"].replace("size: 1 bias", "size: 1 dilation: 2 bias")},
            ["warning c2: other dilation than in the train net (train.prototxt:4) => alike"],
        ),
        # The step that Caffe works out by itself is the same; one for another input size cannot be compared.
        (clean("deploy.prototxt", ("min_size: 16 step: 4", "min_size: 16")), []),
        (
            clean(
                "deploy.prototxt",
                ("dim: [1, 3, 32, 32]", "dim: [1, 3, 34, 36]"),
                ("min_size: 16 step: 4", "min_size: 16"),
            ),
            [],
        ),
    ],
    "same-code": [
        (
            clean("deploy.prototxt", ("code_type: CENTER_SIZE", "code_type: CORNER")),
            ['error out: code_type is CORNER, but CENTER_SIZE in the loss "loss" (train.prototxt:25) => CENTER_SIZE'],
        ),
    ],
    "solver-net": [
        (
            clean("solver.prototxt", ("test_net: ", 'test_net: "gone.prototxt" # ')),
            ['error: the net "gone.prototxt" is neither in the current folder nor => correct the path'],
        ),
        (
            clean("solver.prototxt", ('"train.prototxt"', '"models/train.prototxt"')),
            ["note: train.prototxt is checked in its place => correct the path"],
        ),
        (clean("solver.prototxt", ("train_net: ", "# ")), ["error: it names no train net => train_net_param"]),
        (
            clean("solver.prototxt", ("train_net: ", 'net: "deploy.prototxt"\ntrain_net: ')),
            ["error: it gives 2 train nets (net, train_net) => give one of"],
        ),
    ],
    "solver-tests": [
        (
            clean("solver.prototxt", ("test_iter: 5\n", "")),
            ["error: it has 0 test_iter for 1 test nets => one test_iter"],
        ),
        (clean("solver.prototxt", ("test_interval: 100\n", "")), ["warning: it never tests => test_interval"]),
    ],
    "solver-steps": [
        (
            clean("solver.prototxt", ("stepvalue: 100\nstepvalue: 200", "stepvalue: 300\nstepvalue: 150")),
            [
                "warning: stepvalue 300 is beyond max_iter 200 => raise max_iter",
                "warning: stepvalue 150 comes after 300 => sort them",
            ],
        ),
        (
            clean("solver.prototxt", ('"multistep"', '"step"')),
            ['warning: lr_policy "step" does not heed stepvalue => multistep'],
        ),
        (
            clean("solver.prototxt", ("stepvalue: 100\nstepvalue: 200\n", "")),
            ["warning: without a stepvalue never steps => give a stepvalue"],
        ),
    ],
    "solver-test-images": [
        (
            clean("solver.prototxt", ("test_iter: 5", "test_iter: 4")),
            ["warning: test_iter 4 x batch_size 2 = 8 images of 10; 2 are not tested => test_iter: 5"],
        ),
        (
            clean("test.prototxt", ("batch_size: 2", "batch_size: 3")),
            ["warning: 15 images of 10; 5 are tested twice => a batch_size that divides 10"],
        ),
    ],
}
