"""Parameters of the layers that forks of Caffe added: what is read of them and what is refused."""

from __future__ import annotations

import pytest

from prototxt.errors import UserError
from prototxt.fork_params import Proposal
from tests.converters.layer_cases import graph_of, layer_text


def test_clip_needs_its_limits():
    for params in ("", "clip_param { min: 1 }", "clip_param { min: 1 max: 0 }"):
        with pytest.raises(UserError, match="clip_param needs a min and a max that is not below it"):
            graph_of(layer_text("Clip", "x", params), {"x": (1, 2)})


def test_depthwise_needs_a_group_a_channel():
    params = "convolution_param { num_output: 4 kernel_size: 1 }"
    with pytest.raises(UserError, match="its 4 groups must be as many as its 2 input channels"):
        graph_of(layer_text("ConvolutionDepthwise", "x", params), {"x": (1, 2, 3, 3)})


FOUR = {"x": (1, 4, 6, 5)}


REGION = {"x": (1, 4, 6, 5), "r": (3, 5)}


RPN = {"s": (1, 18, 2, 3), "o": (1, 36, 2, 3), "i": (1, 3)}


PYTHON = "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: \"%s\" }"


MISTAKES = [
    ("Interp", FOUR, "", "it gives no size: neither zoom_factor, shrink_factor, nor height and width"),
    ("Interp", FOUR, "interp_param { height: 3 }", "it gives no size"),
    ("Interp", FOUR, "interp_param { zoom_factor: 0 }", "zoom_factor and shrink_factor must be at least 1"),
    ("Interp", FOUR, "interp_param { height: 3 width: 0 }", "height and width must be at least 1; found 0"),
    (
        "Interp",
        FOUR,
        "interp_param { zoom_factor: 2 pad_beg: 1 }",
        "pad_beg and pad_end can only cut off; found 1 and 0",
    ),
    ("Interp", FOUR, "interp_param { zoom_factor: 2 pad_beg: -5 }", "pad_beg and pad_end leave nothing of the bottom"),
    ("Upsample", FOUR, "", "it gives no scale"),
    ("Upsample", FOUR, "upsample_param { scale: 0 }", "sizes and factors must be at least 1"),
    ("Upsample", FOUR, "upsample_param { scale_h: 2 }", "scale_h and scale_w must be given together"),
    ("Upsample", FOUR, "upsample_param { scale: 3 stride: 2 }", "scale 3 beside a stride multiplies values"),
    ("Upsample", FOUR, "upsample_param { upsample_h: 9 upsample_w: 9 }", "need a second bottom, the mask of a pooling"),
    ("Upsample", {"x": (1, 4, 6, 5), "m": (1, 4, 6, 4)}, "", "the mask must have the shape of the first bottom"),
    (
        "Upsample",
        {"x": (1, 4, 6, 5), "m": (1, 4, 6, 5)},
        "upsample_param { scale: 3 pad_out_h: true }",
        "pad_out_h and pad_out_w have a meaning with the scale 2 alone",
    ),
    ("ShuffleChannel", FOUR, "shuffle_channel_param { group: 3 }", "group 3 does not divide its 4 channels"),
    ("ShuffleChannel", FOUR, "shuffle_channel_param { group: 0 }", "group 0 does not divide its 4 channels"),
    ("Axpy", {"f": (1, 4), "x": (1, 4, 6, 5), "y": (1, 4, 6, 6)}, "", "the second and the third bottom differ"),
    ("Axpy", {"f": (1, 3), "x": (1, 4, 6, 5), "y": (1, 4, 6, 5)}, "", "must have one factor for each channel"),
    ("Axpy", {"f": (1, 4, 2, 1), "x": (1, 4, 6, 5), "y": (1, 4, 6, 5)}, "", "must have one factor for each channel"),
    ("ROIPooling", REGION, "roi_pooling_param { pooled_h: 2 }", "pooled_h and pooled_w must be at least 1"),
    ("ROIPooling", {"x": (1, 4, 6, 5), "r": (3, 4)}, "", "regions have five numbers"),
    (
        "PSROIPooling",
        REGION,
        "psroi_pooling_param { output_dim: 1 group_size: 2 }",
        "it needs spatial_scale, output_dim",
    ),
    (
        "PSROIPooling",
        REGION,
        "psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 }",
        "output_dim 2 and group_size 2 need 8 channels, not 4",
    ),
    ("Proposal", RPN | {"s": (2, 18, 2, 3)}, "", "it takes one image, not 2"),
    ("Proposal", RPN | {"o": (1, 18, 2, 3)}, "", "9 anchors a cell need 36 channels of scores or offsets"),
    ("Proposal", RPN | {"i": (1, 2)}, "", "the third bottom holds height, width and scale of the image"),
    (
        "Proposal",
        RPN,
        "proposal_param { feat_stride: 0 }",
        "feat_stride, base_size, pre_nms_topn and post_nms_topn must",
    ),
    ("Proposal", RPN, "proposal_param { ratio: -1 }", "ratios and scales must be above 0"),
    ("Proposal", RPN, "proposal_param { nms_thresh: -1 }", "nms_thresh is -1; it must not be below 0"),
    ("Python", RPN, PYTHON % "", "it takes feat_stride (a whole number), scales and ratios (lists)"),
    ("Python", RPN, PYTHON % "'stride': 16", "it takes feat_stride (a whole number), scales and ratios (lists)"),
    ("Python", RPN, PYTHON % "feat_stride: 16; x", "it takes feat_stride (a whole number), scales and ratios (lists)"),
    ("Python", RPN, PYTHON % "feat_stride: 16.5", "it takes feat_stride (a whole number), scales and ratios (lists)"),
]


@pytest.mark.parametrize(("layer_type", "shapes", "params", "message"), MISTAKES)
def test_mistakes(layer_type, shapes, params, message):
    with pytest.raises(UserError) as error:
        graph_of(layer_text(layer_type, " ".join(shapes), params), shapes)
    assert message in str(error.value) and 'layer "top"' in str(error.value)


@pytest.mark.parametrize(
    ("text", "ratios", "scales"),
    [
        ("'feat_stride': 8", (0.5, 1, 2), (8, 16, 32)),
        ("{'feat_stride': 8, 'scales': [4, 8]}", (0.5, 1, 2), (4, 8)),
        ("'feat_stride': 8\\n'scales': !!python/tuple [4, 8, 16, 32]", (0.5, 1, 2), (4, 8, 16, 32)),
        ("feat_stride: 8\\nscales: (2, 4)\\nratios: [1]\\n", (1,), (2, 4)),
    ],
)
def test_param_str_of_py_faster_rcnn(text, ratios, scales):
    anchors_a_cell = len(ratios) * len(scales)
    shapes = {"s": (1, 2 * anchors_a_cell, 2, 3), "o": (1, 4 * anchors_a_cell, 2, 3), "i": (1, 3)}
    layer = graph_of(layer_text("Python", "s o i", PYTHON % text), shapes).layers[-1]
    assert layer.type == "rpn.proposal_layer.ProposalLayer"
    assert layer.p == Proposal(8, 16, ratios, scales, 16, 6000, 300, 0.7)
