"""Labels to the last bit: the chain of boxes against SSD-Caffe's float arithmetic, written out one box at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annoset.augment import transform
from annoset.augment.expand import Window, crop
from annoset.augment.transform import Transformer
from prototxt.graph import Layer
from prototxt.schema import EmitConstraint, LayerParameter
from prototxt.schema import ResizeParameter as R
from prototxt.text import parse

F = np.float32
ZERO, ONE = F(0), F(1)


def resized(box, p, height, width):
    """UpdateBBoxByResizePolicy: one box of an image of height x width."""
    new_h, new_w, old_h, old_w = F(p.height), F(p.width), F(height), F(width)
    aspect = old_w / old_h
    x0, y0, x1, y1 = box[0] * old_w, box[1] * old_h, box[2] * old_w, box[3] * old_h
    if p.resize_mode == R.FIT_LARGE_SIZE_AND_PAD:
        if aspect > new_w / new_h:
            pad = (new_h - new_w / aspect) / F(2)
            x0, x1 = max(ZERO, x0 * new_w / old_w), min(new_w, x1 * new_w / old_w)
            y0 = pad + max(ZERO, y0 * (new_h - F(2) * pad) / old_h)
            y1 = pad + min(new_h, y1 * (new_h - F(2) * pad) / old_h)
        else:
            pad = (new_w - aspect * new_h) / F(2)
            x0 = pad + max(ZERO, x0 * (new_w - F(2) * pad) / old_w)
            x1 = pad + min(new_w, x1 * (new_w - F(2) * pad) / old_w)
            y0, y1 = max(ZERO, y0 * new_h / old_h), min(new_h, y1 * new_h / old_h)
    else:
        if p.resize_mode == R.FIT_SMALL_SIZE:
            if aspect < new_w / new_h:
                new_h = new_w / aspect
            else:
                new_w = aspect * new_h
        x0, x1 = max(ZERO, x0 * new_w / old_w), min(new_w, x1 * new_w / old_w)
        y0, y1 = max(ZERO, y0 * new_h / old_h), min(new_h, y1 * new_h / old_h)
    return x0 / new_w, y0 / new_h, x1 / new_w, y1 / new_h


def emitted(box, window, constraint):
    if constraint.emit_type == EmitConstraint.CENTER:
        x, y = (box[0] + box[2]) / F(2), (box[1] + box[3]) / F(2)
        return window[0] <= x <= window[2] and window[1] <= y <= window[3]
    width = min(box[2], window[2]) - max(box[0], window[0])
    height = min(box[3], window[3]) - max(box[1], window[1])
    shared = width * height if width > 0 and height > 0 else ZERO
    return shared > 0 and shared / ((box[2] - box[0]) * (box[3] - box[1])) > F(constraint.emit_overlap)


def projected(box, window):
    if box[0] >= window[2] or box[2] <= window[0] or box[1] >= window[3] or box[3] <= window[1]:
        return None
    width, height = window[2] - window[0], window[3] - window[1]
    raw = ((box[0] - window[0]) / width, (box[1] - window[1]) / height)
    raw += ((box[2] - window[0]) / width, (box[3] - window[1]) / height)
    clipped = tuple(max(min(value, ONE), ZERO) for value in raw)
    return clipped if (clipped[2] - clipped[0]) * (clipped[3] - clipped[1]) > 0 else None


def passed(rows, window, p, resize_of=None, mirror=False):
    """TransformAnnotation: the rows that go through one window; the last one resizes (`resize_of` its size) first."""
    out = []
    for row in rows:
        box = tuple(row[3:7])
        if resize_of:
            box = resized(box, p.resize_param, *resize_of)
        if p.HasField("emit_constraint") and not emitted(box, window, p.emit_constraint):
            continue
        box = projected(box, window)
        if box is None:
            continue
        if mirror:
            box = (ONE - box[2], box[1], ONE - box[0], box[3])
        out.append([*row[:3], *box, row[7]])
    return np.array(out, F).reshape(-1, 8)


EMIT = ("", "emit_constraint { emit_type: CENTER }", "emit_constraint { emit_type: MIN_OVERLAP emit_overlap: 0.4 }")


@pytest.mark.parametrize("mode", ["WARP", "FIT_SMALL_SIZE", "FIT_LARGE_SIZE_AND_PAD"])
@pytest.mark.parametrize("emit", EMIT, ids=["all", "centre", "overlap"])
def test_expansion_crop_resize_crop_size_and_mirror(mode, emit, monkeypatch):
    text = f"""name: "data" transform_param {{ mirror: true crop_size: 190 expand_param {{ max_expand_ratio: 4 }} {emit}
        resize_param {{ resize_mode: {mode} height: 211 width: 307 }} }}"""
    made = Transformer(Layer(parse(text, LayerParameter()).message, "net.prototxt:7", "TEST"), 3, Path())
    rng, kept = np.random.default_rng(4), 0
    for _ in range(60):
        image_hw = height, width = tuple(rng.integers(200, 700, 2).tolist())
        canvas = Window(*(-rng.integers(0, 300, 2)).tolist(), height + 310, width + 330)
        corner, side = rng.random(2, F) * F(0.4), F(0.5) + rng.random(2, F) * F(0.1)
        cut = np.concatenate((corner, corner + side))
        monkeypatch.setattr(transform, "expand", lambda *_, canvas=canvas: canvas)
        monkeypatch.setattr(made.samplers, "pick", lambda *_, cut=cut: (0, cut))
        rows = np.zeros((13, 8), F)
        rows[:, 1:3] = rng.integers(0, 20, (13, 2))
        rows[:, 3:7] = np.sort(rng.random((13, 2, 2), F), axis=1).reshape(13, 4)
        plan = made.plan(image_hw, rows, rng)

        canvas_box = F([-F(-canvas.left), -F(-canvas.top), canvas.left + canvas.width, canvas.top + canvas.height])
        expected = passed(rows, canvas_box / F([width, height, width, height]), made.param)
        expected = passed(expected, cut, made.param)
        window = crop(canvas, cut)
        sized_h, sized_w = made.param.resize_param.height, made.param.resize_param.width
        if mode == "FIT_SMALL_SIZE":
            aspect = F(window.width) / F(window.height)
            if aspect < F(sized_w) / F(sized_h):
                sized_h = int(F(sized_w) / aspect)
            else:
                sized_w = int(aspect * F(sized_h))
        top, left = (sized_h - 190) // 2, (sized_w - 190) // 2
        place = F([left, top, left + 190, top + 190]) / F([sized_w, sized_h, sized_w, sized_h])
        expected = passed(expected, place, made.param, (window.height, window.width), plan.mirror)
        np.testing.assert_array_equal(plan.rows, expected)
        kept += len(expected)
    assert kept > 60


def test_boxes_in_units_of_a_scale():
    """ExtrapolateBBox: multiplied first, then divided."""
    text = """name: "data" transform_param { resize_param { resize_mode: FIT_SMALL_SIZE height: 211 width: 307
        height_scale: 37 width_scale: 41 } }"""
    made = Transformer(Layer(parse(text, LayerParameter()).message, "net.prototxt:7", "TEST"), 3, Path())
    rows = np.zeros((1, 8), F)
    rows[0, 3:7] = 0.1, 0.2, 0.7, 0.9
    box = made.plan((333, 401), rows, np.random.default_rng(0)).rows[0, 3:7]
    first = resized(rows[0, 3:7], made.param.resize_param, 333, 401)
    fit_h, fit_w = F(307) / (F(401) / F(333)), F(307)
    scaled = [first[0] * fit_w / F(41), first[1] * fit_h / F(37), first[2] * fit_w / F(41), first[3] * fit_h / F(37)]
    np.testing.assert_array_equal(box, scaled)
