"""Learned blobs and BatchNorm."""

from __future__ import annotations

from tests.prototxt.lint_cases.nets import CONV, FROZEN, INPUT, LABEL, PLAIN, TARGET, clean, layer, net

DEPTHWISE = CONV.replace("Convolution", "ConvolutionDepthwise").replace("num_output: 4", "num_output: 3")
CASES = {
    "param-count": [
        (
            net(INPUT, PLAIN.replace(" }\n", " param { } param { } }\n"), layer("r", "ReLU", "c", "c", "param { }")),
            [
                "error c: it has 2 `param` but 1 learned blob => keep 1 of them",
                "error r: it has 1 `param` but 0 learned blobs => remove them",
            ],
        ),
    ],
    "propagate-down": [
        (
            net(INPUT, layer("r", "ReLU", "data", body="propagate_down: true propagate_down: false")),
            ["error r: it has 2 propagate_down but 1 bottom => one for each bottom"],
        ),
    ],
    "loss-weight": [
        (
            net(INPUT, LABEL, CONV, TARGET.replace(" }\n", " loss_weight: 1 loss_weight: 2 }\n")),
            ["error loss: it has 2 loss_weight but 1 top => one for each top"],
        ),
    ],
    "shared-blob": [
        (
            net(
                INPUT,
                PLAIN.replace(" }\n", ' param { name: "w" lr_mult: 1 } }\n'),
                layer(
                    "d",
                    "Convolution",
                    "c",
                    body='convolution_param { num_output: 4 kernel_size: 1 } param { name: "w" lr_mult: 2 }',
                ),
            ),
            [
                'error d: blob 0, shared as "w", is 4×4×1×1 here but 4×3×1×1 in "c" => the same shape',
                'error d: lr_mult of the shared blob "w" differs from that in layer "c" => give it once',
            ],
        ),
    ],
    "no-filler": [
        (net(INPUT, LABEL, PLAIN, TARGET), ["warning c: it has no weight_filler => xavier"]),
        (
            net(INPUT, LABEL, PLAIN.replace("Convolution", "DepthwiseConvolution").replace("4", "3"), TARGET),
            ["warning c: it has no weight_filler => xavier"],
        ),
        (net(INPUT, PLAIN), []),
    ],
    "untrained": [
        (
            net(
                INPUT,
                LABEL,
                CONV,
                TARGET,
                CONV.replace('"c"', '"d"'),
                layer("e", "Pooling", "d", body="pooling_param { kernel_size: 1 }"),
            ),
            ["warning d: no loss depends on its weights => lead it to a loss"],
        ),
        (
            net(INPUT, LABEL, CONV, TARGET.replace(" }\n", " propagate_down: false propagate_down: true }\n")),
            ["warning c: no loss depends on its weights => lead it to a loss"],
        ),
        (  # a gradient goes into the map that regions are pooled from, and not into the regions
            net(
                INPUT,
                layer("rois", "Input", body="input_param { shape { dim: [2, 5, 1, 1] } }"),
                layer("truth", "Input", body="input_param { shape { dim: [2, 4, 1, 1] } }"),
                CONV,
                layer("d", "Scale", "rois", body="scale_param { filler { value: 2 } }"),
                layer("p", "ROIPooling", "c d", body="roi_pooling_param { pooled_h: 1 pooled_w: 1 }"),
                layer("loss", "EuclideanLoss", "p truth"),
            ),
            ["warning d: no loss depends on its weights => lead it to a loss"],
        ),
    ],
    "no-loss": [
        (
            net(INPUT, CONV.replace(" }\n", " include { phase: TRAIN } }\n")),
            ["warning: the net of phase TRAIN has no loss => add a loss layer"],
        ),
    ],
    "batchnorm-learns": [
        (
            net(INPUT, layer("b", "BatchNorm", "data", body="param { lr_mult: 0 } param { lr_mult: 2 } param { }")),
            ["warning b: blob 1 of its statistics has lr_mult 2; some builds of Caffe abort => lr_mult: 0"],
        ),
        (
            net(INPUT, layer("b", "BatchNorm", "data", body="param { lr_mult: 0 } param { }")),
            ["error b: blob 1 of its statistics has lr_mult 1; Caffe aborts => lr_mult: 0"],
        ),
        (clean("train.prototxt", (FROZEN, "")), ["warning b2: 3 of its 3 blobs are without lr_mult: 0 => lr_mult: 0"]),
        (clean("deploy.prototxt", (FROZEN, "")), ["note b2: 3 of its 3 blobs => lr_mult: 0"]),
    ],
    "bias-before-batchnorm": [
        (
            net(INPUT, LABEL, CONV, layer("b", "BatchNorm", "c", "c", FROZEN), TARGET),
            ['warning c: its bias has no effect: BatchNorm "b" takes the mean away => bias_term: false'],
        ),
        (
            net(INPUT, CONV, layer("b", "BatchNorm", "c", "c", FROZEN)),
            ['note c: its bias has no effect: BatchNorm "b" takes the mean away => bias_term: false'],
        ),
        (net(INPUT, CONV, layer("b", "BatchNorm", "c", body=FROZEN), layer("r", "ReLU", "c")), []),
        (
            net(INPUT, DEPTHWISE, layer("b", "BN", "c", "c")),
            ['note c: its bias has no effect: BN "b" takes the mean away => bias_term: false'],
        ),
        (net(INPUT, DEPTHWISE, layer("b", "BN", "c", "c", "bn_param { bn_mode: INFERENCE }")), []),
        (net(INPUT, DEPTHWISE, layer("b", "BN", "c", "c", "bn_param { frozen: true }")), []),
        (
            net(
                INPUT,
                LABEL,
                CONV,
                layer("b", "BatchNorm", "c", "c", FROZEN + "batch_norm_param { use_global_stats: true }"),
                TARGET,
            ),
            [],
        ),
    ],
    "precision": [
        (
            net(INPUT, layer("r", "ReLU", "data", body="forward_type: FLOAT16 backward_math: FLOAT16")),
            ["note r: forward_type, backward_math: it computes so in one fork of Caffe alone => nothing, unless"],
        ),
        (
            net(INPUT, layer("r", "ReLU", "data", body="quantization_param { bw_params: 8 } forward_type: FLOAT")),
            ["note r: quantization_param: it computes so in one fork of Caffe alone => nothing, unless"],
        ),
    ],
    "batchnorm-statistics": [
        (
            net(INPUT, layer("b", "BatchNorm", "data", body=FROZEN + "batch_norm_param { use_global_stats: false }")),
            ["warning b: use_global_stats: false in phase TEST => remove use_global_stats"],
        ),
        (
            net(
                INPUT,
                LABEL,
                PLAIN,
                layer("b", "BatchNorm", "c", "c", FROZEN + "batch_norm_param { use_global_stats: true }"),
                TARGET,
            ),
            ["note b: its statistics never move => fine-tune"],
        ),
    ],
}
