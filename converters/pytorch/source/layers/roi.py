"""Proposal, and what is pooled from its regions."""

from __future__ import annotations

from converters.pytorch.source.layers.table import FORMS, Form, call, number, numbers
from prototxt.graph import Layer
from prototxt.shapes.roi import PROPOSALS


@FORMS.register(*PROPOSALS)
def proposal(layer: Layer) -> Form:
    p = layer.p
    module = call(
        "Proposal",
        stride=(str(p.feat_stride), ""),
        base_size=(str(p.base_size), ""),
        ratios=(numbers(p.ratios), ""),
        scales=(numbers(p.scales), ""),
        min_size=(number(p.min_size), ""),
        most_before=(str(p.most_before), ""),
        most=(str(p.most), ""),
        nms_threshold=(number(p.nms_threshold), ""),
    )
    return Form("{me}({0}, {1}, {2})" + "[0]" * (len(layer.tops) == 1), module, opens=True)


@FORMS.register("ROIPooling")
def roi_pooling(layer: Layer) -> Form:
    p = layer.p
    size_hw = p.pooled_h, p.pooled_w
    return Form(f"roi_pool({{0}}, {{1}}, {size_hw}, {number(p.spatial_scale)})", opens=True)


@FORMS.register("PSROIPooling")
def psroi_pooling(layer: Layer) -> Form:
    p = layer.p
    return Form(f"psroi_pool({{0}}, {{1}}, {p.output_dim}, {p.group_size}, {number(p.spatial_scale)})", opens=True)
