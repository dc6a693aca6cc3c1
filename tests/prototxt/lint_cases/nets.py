"""A small SSD with nothing wrong in any of its files, and pieces of smaller nets, to make mistakes in."""

from __future__ import annotations

FROZEN = "param { lr_mult: 0 decay_mult: 0 } " * 3
FILLER = 'weight_filler { type: "xavier" }'


def layer(name, type_name, bottoms="", tops=None, body=""):
    """A layer on a line of its own, so that layer N of a net is on line N."""
    ends = [f'bottom: "{blob}"' for blob in bottoms.split()]
    ends += [f'top: "{blob}"' for blob in (name if tops is None else tops).split()]
    return f'layer {{ name: "{name}" type: "{type_name}" {" ".join(ends)} {body} }}\n'


def head(source, priors):
    """The head on a map of 8 x 8: locations, scores of 3 classes, priors."""
    text = ""
    for kind, outputs in (("loc", priors * 4), ("conf", priors * 3)):
        name = f"{source}_{kind}"
        body = f"convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 {FILLER} }}"
        text += layer(name, "Convolution", source, body=body)
        text += layer(name + "_perm", "Permute", name, body="permute_param { order: [0, 2, 3, 1] }")
        text += layer(name + "_flat", "Flatten", name + "_perm")
    body = "min_size: 8 max_size: 16 " if priors == 2 else "min_size: 16 "
    body += "step: 4 flip: true clip: false variance: [0.1, 0.1, 0.2, 0.2]"
    return text + layer(f"{source}_prior", "PriorBox", f"{source} data", body=f"prior_box_param {{ {body} }}")


BODY = (
    layer("c1", "Convolution", "data", body=f"convolution_param {{ num_output: 6 kernel_size: 4 stride: 4 {FILLER} }}")
    + layer("r1", "ReLU", "c1", "c1")
    + layer(
        "c2",
        "Convolution",
        "c1",
        body=f"convolution_param {{ num_output: 6 kernel_size: 1 bias_term: false {FILLER} }}",
    )
    + layer("b2", "BatchNorm", "c2", "c2", FROZEN)
    + layer("s2", "Scale", "c2", "c2", "scale_param { bias_term: true }")
    + layer("r2", "ReLU", "c2", "c2")
    + head("c1", 2)
    + head("c2", 1)
    + layer("loc", "Concat", "c1_loc_flat c2_loc_flat")
    + layer("conf", "Concat", "c1_conf_flat c2_conf_flat")
    + layer("prior", "Concat", "c1_prior c2_prior", body="concat_param { axis: 2 }")
)
DATA = (
    "transform_param { resize_param { prob: 1 resize_mode: WARP height: 32 width: 32 } } "
    'data_param { source: "db" batch_size: 2 } annotated_data_param { label_map_file: "labelmap.prototxt" }'
)
LOSS = "multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE }"
SCORES = (
    layer("shaped", "Reshape", "conf", body="reshape_param { shape { dim: [0, -1, 3] } }")
    + layer("soft", "Softmax", "shaped", body="softmax_param { axis: 2 }")
    + layer("flat", "Flatten", "soft")
)
OUTPUT = (
    "detection_output_param { num_classes: 3 share_location: true background_label_id: 0 code_type: CENTER_SIZE "
    "keep_top_k: 20 confidence_threshold: 0.01 nms_param { nms_threshold: 0.45 top_k: 40 } save_output_param { "
    'label_map_file: "labelmap.prototxt" num_test_image: 10 } }'
)
TRAIN = (
    layer("data", "AnnotatedData", "", "data label", DATA + " include { phase: TRAIN }")
    + BODY
    + layer("loss", "MultiBoxLoss", "loc conf prior label", body=LOSS + " include { phase: TRAIN }")
)
TEST = (
    layer("data", "AnnotatedData", "", "data label", DATA + " include { phase: TEST }")
    + BODY
    + SCORES
    + layer("out", "DetectionOutput", "loc flat prior", body=OUTPUT)
    + layer("eval", "DetectionEvaluate", "out label", body="detection_evaluate_param { num_classes: 3 }")
)
DEPLOY = (
    layer("data", "Input", body="input_param { shape { dim: [1, 3, 32, 32] } }")
    + BODY
    + SCORES
    + layer("out", "DetectionOutput", "loc flat prior", body=OUTPUT)
)
SOLVER = (
    'train_net: "train.prototxt"\ntest_net: "test.prototxt"\ntest_iter: 5\ntest_interval: 100\nbase_lr: 0.1\n'
    'max_iter: 200\nlr_policy: "multistep"\ngamma: 0.1\nstepvalue: 100\nstepvalue: 200\n'
)
LABELMAP = (
    'item { name: "background" label: 0 display_name: "background" }\n'
    'item { name: "disc" label: 1 display_name: "disc" }\nitem { name: "ring" label: 2 display_name: "ring" }\n'
)
CLEAN = {
    "train.prototxt": TRAIN,
    "test.prototxt": TEST,
    "deploy.prototxt": DEPLOY,
    "solver.prototxt": SOLVER,
    "labelmap.prototxt": LABELMAP,
}


def net(*layers):
    """A file with a net of these layers."""
    return {"net.prototxt": "".join(layers)}


def clean(file, *changes):
    """The clean files with `changes`, (old, new) pairs, made to one of them."""
    text = CLEAN[file]
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return {**CLEAN, file: text}


INPUT = layer("data", "Input", body="input_param { shape { dim: [2, 3, 8, 8] } }")
LABEL = layer("label", "Input", body="input_param { shape { dim: [2, 4, 8, 8] } }")
TARGET = layer("loss", "EuclideanLoss", "c label")
CONV = layer("c", "Convolution", "data", body=f"convolution_param {{ num_output: 4 kernel_size: 1 {FILLER} }}")
PLAIN = layer("c", "Convolution", "data", body="convolution_param { num_output: 4 kernel_size: 1 bias_term: false }")
