"""The loss layers and Accuracy against a real Caffe, and their messages."""

from __future__ import annotations

import math

import pytest
import torch

from converters.pytorch.layers import MODULES
from converters.pytorch.losses import LARGEST_NLL, divisor, softmax_nll
from prototxt.errors import UserError

CASES = ("softmaxloss_*", "sigmoidceloss_*", "euclideanloss*", "smoothl1loss*", "hingeloss_*", "accuracy*")


def test_case(case):
    case.check_tops()
    case.check_diffs()


def test_softmax_nll_stops_growing_but_its_gradient_does_not():
    scores = torch.tensor([[200.0, 0.0]], requires_grad=True)
    loss = softmax_nll(scores, torch.tensor([1]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(87.33654, abs=1e-4)
    assert scores.grad.tolist() == [[1.0, -1.0]]
    assert pytest.approx(87.33654, abs=1e-4) == LARGEST_NLL


@pytest.mark.parametrize(("mode", "wanted"), [("FULL", 12), ("VALID", 5), ("BATCH_SIZE", 3), ("NONE", 1)])
def test_divisor(mode, wanted):
    assert divisor(mode, images=3, positions=4, valid=5) == wanted


def test_divisor_is_at_least_one():
    assert divisor("VALID", images=3, positions=4, valid=0) == 1


def test_softmax_loss_gives_probabilities_as_second_top(make_layer):
    layer = make_layer('type: "SoftmaxWithLoss" name: "l" top: "y" top: "p"', {"x": (2, 3), "label": (2,)})
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.0, math.log(2), 0.0]])
    loss, probabilities = MODULES["SoftmaxWithLoss"](layer)(scores, torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx((math.log(3) + math.log(2)) / 2)
    assert probabilities[1].tolist() == pytest.approx([0.25, 0.5, 0.25])


def test_accuracy_without_a_counted_label_is_nan_as_in_caffe(make_layer):
    text = 'type: "Accuracy" name: "a" top: "y" accuracy_param { ignore_label: 1 }'
    layer = make_layer(text, {"x": (2, 3), "label": (2,)})
    assert math.isnan(MODULES["Accuracy"](layer)(torch.zeros(2, 3), torch.ones(2)).item())


def test_accuracy_ranks_the_higher_class_first_when_scores_are_equal(make_layer):
    layer = make_layer('type: "Accuracy" name: "a" top: "y"', {"x": (2, 3), "label": (2,)})
    assert MODULES["Accuracy"](layer)(torch.zeros(2, 3), torch.tensor([0.0, 2.0])).item() == 0.5


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ('type: "SoftmaxWithLoss"', {"x": (2, 3, 4), "label": (2,)}, "2 labels; expected 8"),
        ('type: "HingeLoss"', {"x": (2, 3), "label": (3,)}, "3 labels; expected one for each of 2 images"),
        ('type: "Accuracy"', {"x": (2, 3), "label": (3,)}, "3 labels; expected 2"),
        ('type: "Accuracy" accuracy_param { top_k: 4 }', {"x": (2, 3), "label": (2,)}, "top_k is 4; expected 1 to 3"),
    ],
)
def test_refused(make_layer, text, shapes, message):
    layer = make_layer(f'{text} name: "bad" top: "y"', shapes)
    with pytest.raises(UserError, match=f'layer "bad" .*{message}'):
        MODULES[layer.type](layer)


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "HingeLoss", "Accuracy"])
def test_label_that_is_no_class(make_layer, kind):
    layer = make_layer(f'type: "{kind}" name: "bad" top: "y"', {"x": (2, 3), "label": (2,)})
    with pytest.raises(UserError, match=r'layer "bad" .*a label is 3; expected 0 to 2'):
        MODULES[kind](layer)(torch.zeros(2, 3), torch.tensor([0.0, 3.0]))
