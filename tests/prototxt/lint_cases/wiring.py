"""How layers are joined."""

from __future__ import annotations

from tests.prototxt.lint_cases.nets import BODY, CONV, FROZEN, INPUT, LABEL, TARGET, clean, layer, net

SIZES = "memory_data_param { batch_size: 2 channels: 3 height: 8 width: 8 }"

CASES = {
    "phase-rules": [
        (
            net(INPUT, layer("r", "ReLU", "data", body="include { phase: TEST } exclude { phase: TRAIN }")),
            ["error r: both include and exclude => keep one kind"],
        ),
        (
            net(INPUT, layer("r", "ReLU", "data", body='exclude { stage: "a" not_stage: "a" }')),
            ['warning r: asks for the stage "a" and for its absence => in stage or in not_stage'],
        ),
        (
            net(INPUT, layer("r", "ReLU", "data", body="exclude { min_level: 2 max_level: 1 }")),
            ["warning r: min_level 2 above max_level 1 => swap"],
        ),
    ],
    "unreadable": [
        (
            net(INPUT, "layer { nme: 3 }"),
            ['error: LayerParameter has no field "nme" (did you mean "name"?) => correct the file'],
        ),
    ],
    "wiring": [
        (
            net(INPUT, layer("r", "ReLU", "dat"), layer("p", "ReLU", "datta")),
            [
                'error r: its bottom "dat" is unknown: no layer of phase TEST makes it (did you mean "data"?) => ',
                'error p: its bottom "datta" is unknown => correct the name',
            ],
        ),
        (
            net(INPUT, layer("r", "ReLU", "data", "x"), layer("p", "ReLU", "data", "x")),
            ['error p: its top "x" is already made by layer "r" => rename one of the two'],
        ),
    ],
    "unknown-type": [
        (net(INPUT, layer("c", "Convolutoin", "data")), ['error c: (did you mean "Convolution"?) => correct the type']),
        (net(INPUT, layer("s", "SPP", "data", "")), ["note s: cannot compute this type => none needed"]),
    ],
    "shapes": [
        (
            net(
                INPUT,
                layer("c", "Convolution", "data", body="convolution_param { num_output: 4 kernel_size: 9 }"),
                layer("d", "Pooling", "data", body="pooling_param { kernel_size: 2 pad: 2 }"),
                layer("r", "ReLU", "c"),
                layer("e", "Convolution", "r", body="convolution_param { kernel_size: 0 num_output: 1 }"),
            ),
            [
                "error c: the kernel of 9 x 9 is larger than the padded input (bottoms: data 2×3×8×8) => correct",
                "error d: pad 2 is not smaller than the kernel 2 => correct",
                "error e: kernel must be at least 1 => correct",
            ],
        ),
        (
            net(INPUT.replace("[2, 3, 8, 8]", "[2, 3, 0, 8]"), CONV),
            ['error data: input "data" has the shape 2×3×0×8; expected sizes of at least 1 => correct'],
        ),
    ],
    "dangling-top": [
        (
            clean(
                "train.prototxt", ('name: "conf" type', 'name: "conf" type'), (BODY, BODY + layer("x", "ReLU", "c2"))
            ),
            ['warning x: nobody reads its top "x" => read "x", or remove the layer'],
        ),
        (net(INPUT, layer("r", "ReLU", "data"), layer("s", "Sigmoid", "data")), []),
        (
            net(
                INPUT,
                LABEL,
                layer("q", "Pooling", "data", "q mask", "pooling_param { kernel_size: 1 }"),
                CONV.replace('"data"', '"q"'),
                TARGET,
            ),
            [],
        ),
    ],
    "unused-blob": [
        (
            net(INPUT, layer("extra", "Input", body="input_param { shape { dim: 1 } }"), CONV),
            ['warning extra: nobody reads the blob "extra" that it feeds => Silence'],
        ),
        (
            net(
                layer("m", "MemoryData", "", "data label", SIZES),
                layer("n", "MemoryData", "", "other label2", SIZES),
                CONV,
            ),
            ['warning n: nobody reads the blob "other" that it feeds => Silence'],
        ),
    ],
    "in-place-branch": [
        (
            net(INPUT, CONV, layer("p", "Sigmoid", "c"), layer("r", "ReLU", "c", "c"), layer("q", "ReLU", "c")),
            ['error r: it works in place on "c", which layer "p" reads, too => a name of its own'],
        ),
        (net(INPUT, CONV, layer("r", "ReLU", "c", "c"), layer("p", "Sigmoid", "c"), layer("q", "TanH", "c")), []),
        (
            net(
                INPUT, CONV.replace(" }\n", " loss_weight: 1 }\n"), layer("r", "ReLU", "c", "c"), layer("p", "Exp", "c")
            ),
            ['error r: it works in place on "c", which the loss reads, too => a name of its own'],
        ),
    ],
    "in-place-view": [
        (
            net(INPUT, CONV, layer("f", "Flatten", "c"), layer("r", "ReLU", "f", "f"), layer("p", "Sigmoid", "c")),
            ['error r: it overwrites "c", of which its bottom is a view and which layer "p" needs => of its own'],
        ),
        (net(INPUT, CONV, layer("p", "Sigmoid", "c"), layer("f", "Flatten", "c"), layer("r", "ReLU", "f", "f")), []),
        (
            net(
                INPUT,
                LABEL,
                CONV,
                layer("p", "ReLU", "c"),
                layer("f", "Flatten", "c"),
                layer("r", "TanH", "f", "f"),
                layer("loss", "EuclideanLoss", "p label"),
            ),
            ['error r: it overwrites "c", of which its bottom is a view and which layer "p" needs => of its own'],
        ),
    ],
    "in-place-gradient": [
        (
            net(INPUT, LABEL, CONV, layer("r", "ReLU", "c", "c"), layer("b", "BatchNorm", "c", "c", FROZEN), TARGET),
            ['warning b: it overwrites in place what layer "r" (ReLU) needs for its gradient => of its own'],
        ),
        (net(INPUT, LABEL, CONV, layer("b", "Sigmoid", "c", "c"), layer("r", "ReLU", "c", "c"), TARGET), []),
        (
            net(INPUT, LABEL, CONV, layer("r", "ReLU6", "c", "c"), layer("d", "Dropout", "c", "c"), TARGET),
            ['warning d: it overwrites in place what layer "r" (ReLU6) needs for its gradient => of its own'],
        ),
        (net(INPUT, LABEL, CONV, layer("r", "ReLU6", "c", "c"), layer("s", "ReLU", "c", "c"), TARGET), []),
    ],
    "duplicate-name": [
        (
            net(INPUT, CONV, CONV.replace('top: "c"', 'top: "d"')),
            ["error c: another layer with weights has this name (net.prototxt:2) => a name of its own"],
        ),
        (net(INPUT, layer("r", "ReLU", "data", "a"), layer("r", "ReLU", "data", "b")), []),
    ],
}
