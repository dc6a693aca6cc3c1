"""Losses, detections, label maps, importers."""

from __future__ import annotations

from tests.prototxt.lint_cases.nets import BODY, LABELMAP, SCORES, clean, layer

CASES = {
    "output-settings": [
        (
            clean(
                "deploy.prototxt",
                ("keep_top_k: 20", "keep_top_k: 0"),
                ("confidence_threshold: 0.01", "confidence_threshold: 1"),
                ("top_k: 40", "top_k: 0"),
            ),
            [
                "warning out: keep_top_k: 0 keeps no detection => keep_top_k: 200",
                "warning out: top_k: 0 lets no box into the suppression => top_k: 400",
                "warning out: confidence_threshold 1: no score is above it => 0.01",
            ],
        ),
        (
            clean(
                "deploy.prototxt",
                ("keep_top_k: 20", "keep_top_k: 200"),
                ("background_label_id: 0", "background_label_id: 3"),
            ),
            [
                "error out: background_label_id 3 is no class of 3 => background_label_id: 0",
                "note out: keep_top_k 200 is out of reach: 3 classes give at most 40 each => raise top_k",
            ],
        ),
        (
            clean(
                "deploy.prototxt",
                ("background_label_id: 0", "background_label_id: -1"),
                ("nms_threshold: 0.45", "nms_threshold: 0.45 eta: 0"),
            ),
            [
                "error out: background_label_id: -1 with share_location: true; Caffe aborts => share_location: false",
                "error out: eta 0 is out of range; Caffe aborts => an eta above 0",
            ],
        ),
        (
            clean("deploy.prototxt", ("num_classes: 3", "")),
            ["error out: num_classes is missing => background included"],
        ),
    ],
    "loss-settings": [
        (
            clean("train.prototxt", ("num_classes: 3", "num_classes: 3 background_label_id: 3 do_neg_mining: false")),
            [
                "error loss: background_label_id 3 is no class of 3; Caffe aborts => background_label_id: 0",
                "error loss: do_neg_mining: false contradicts its mining_type; Caffe aborts => mining_type: NONE",
            ],
        ),
        (
            clean(
                "train.prototxt",
                (
                    "num_classes: 3",
                    "num_classes: 3 map_object_to_agnostic: true mining_type: HARD_EXAMPLE sample_size: 0",
                ),
            ),
            [
                "error loss: map_object_to_agnostic with num_classes 3; Caffe aborts => num_classes: 2",
                "error loss: HARD_EXAMPLE with sample_size 0; Caffe aborts => sample_size: 64",
            ],
        ),
        (
            clean("train.prototxt", ("num_classes: 3", "share_location: false")),
            [
                "error loss: num_classes is missing => background included",
                "error loss: share_location: false with mining; Caffe aborts => mining_type: NONE",
            ],
        ),
    ],
    "scores": [
        (
            clean("deploy.prototxt", ('bottom: "flat"', 'bottom: "conf"'), (SCORES, "")),
            ['warning out: its bottom "conf" holds raw scores of layer "c1_conf" => put a Softmax'],
        ),
        (
            clean(
                "deploy.prototxt",
                ('"c1_conf" type: "Convolution"', '"c1_conf" type: "ConvolutionDepthwise"'),
                ('bottom: "flat"', 'bottom: "conf"'),
                (SCORES, ""),
            ),
            ['warning out: its bottom "conf" holds raw scores of layer "c1_conf" => put a Softmax'],
        ),
        (
            clean(
                "train.prototxt",
                ('bottom: "conf" bottom: "prior"', 'bottom: "flat" bottom: "prior"'),
                (BODY, BODY + SCORES),
            ),
            ['warning loss: its bottom "flat" went through Softmax "soft" already => read the bottom of "soft"'],
        ),
    ],
    "label-source": [
        (
            clean(
                "train.prototxt",
                ('"data" top: "label"', '"data"'),
                (BODY, BODY + layer("label", "ReLU", "truth")),
                ('top: "data"', 'top: "data" top: "truth"'),
            ),
            ['warning loss: its ground truth "label" is made by layer "label" (ReLU) => the label of the data layer'],
        ),
    ],
    "labelmap": [
        (
            clean("labelmap.prototxt", ("label: 2", "label: 1")),
            ['error: label 1 is given to "disc" and to "ring" => correct the label map'],
        ),
    ],
    "labelmap-background": [
        (
            clean("labelmap.prototxt", ('"background" label: 0', '"cat" label: 0')),
            ['warning: label 0, the background, is called "cat" => none_of_the_above'],
        ),
        (
            clean("labelmap.prototxt", (LABELMAP.splitlines()[0], "")),
            ["warning: no item has label 0 => none_of_the_above"],
        ),
    ],
    "labelmap-classes": [
        (
            clean("labelmap.prototxt", ("label: 2", "label: 7")),
            [
                "error loss: num_classes is 3, but the labels of labelmap.prototxt go up to 7 => num_classes: 8",
                "error out: num_classes is 3, but the labels of labelmap.prototxt go up to 7 => num_classes: 8",
                "error out: num_classes is 3, but the labels of labelmap.prototxt go up to 7 => num_classes: 8",
            ],
        ),
    ],
    "opencv-import": [
        (
            clean(
                "deploy.prototxt",
                ("share_location: true", ""),
                ("min_size: 16 step: 4 flip: true clip: false", "min_size: 16 step: 4"),
            ),
            [
                "note c2_prior: without clip, OpenCV 4 clips the prior boxes and Caffe does not => clip: false",
                "note out: OpenCV 4 cannot import it without share_location => write Caffe's defaults out",
            ],
        ),
        (
            clean(
                "deploy.prototxt",
                ("keep_top_k: 20 ", ""),
                ("nms_threshold: 0.45 ", ""),
                ("variance: [0.1, 0.1, 0.2, 0.2]", ""),
            ),
            [
                "note c1_prior: OpenCV 4 cannot import it without variance => defaults",
                "note c2_prior: OpenCV 4 cannot import it without variance => defaults",
                "note out: OpenCV 4 cannot import it without keep_top_k, nms_threshold => defaults",
            ],
        ),
    ],
}
