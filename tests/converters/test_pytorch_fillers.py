"""Caffe's fillers by their laws: bounds, moments, fans."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from converters.pytorch.fillers import FILLERS, blob_filler, fill
from prototxt.errors import UserError
from prototxt.schema import FillerParameter

SHAPE = (40, 30, 5, 4)  # fan-in 30 · 5 · 4 = 600, fan-out 40 · 5 · 4 = 800, mean 700


@pytest.fixture
def filled(make_layer):
    def filled(text: str, shape: tuple[int, ...] = SHAPE, seed: int = 1) -> torch.Tensor:
        layer = make_layer(
            f'name: "it" type: "Bias" top: "y" bias_param {{ filler {{ {text} }} }}', {"x": (2, *(shape or (1,)))}
        )
        blob = torch.full(shape, float("nan"))
        fill(blob, blob_filler(layer, "filler"), torch.Generator().manual_seed(seed), layer)
        return blob

    return filled


def test_every_type_of_the_schema_is_there(filled):
    documented = {"constant", "uniform", "gaussian", "xavier", "msra", "bilinear", "positive_unitball"}
    assert set(FILLERS) == documented
    for kind in documented - {"bilinear"}:
        assert filled(f'type: "{kind}"').isfinite().all()
        assert filled(f'type: "{kind}"', (7,)).isfinite().all()
        assert filled(f'type: "{kind}"', ()).isfinite().all()


def test_constant(filled):
    assert filled("value: 0.3").unique().tolist() == [pytest.approx(0.3)]
    assert filled("").unique().tolist() == [0]


def test_uniform(filled):
    blob = filled('type: "uniform" min: -1 max: 3')
    assert blob.min() >= -1
    assert blob.max() < 3
    assert blob.mean().item() == pytest.approx(1, abs=0.03)
    assert blob.var().item() == pytest.approx(4**2 / 12, rel=0.02)


def test_gaussian(filled):
    blob = filled('type: "gaussian" mean: 2 std: 0.01')
    assert blob.mean().item() == pytest.approx(2, abs=3e-4)
    assert blob.std().item() == pytest.approx(0.01, rel=0.02)
    within = ((blob - 2).abs() < 0.01).float().mean().item()
    assert within == pytest.approx(0.6827, abs=0.01)


FANS = [("", 600), ("variance_norm: FAN_IN", 600), ("variance_norm: FAN_OUT", 800), ("variance_norm: AVERAGE", 700)]


@pytest.mark.parametrize("norm, fan", FANS)
def test_xavier_is_uniform_within_root_three_by_fan(filled, norm, fan):
    blob = filled(f'type: "xavier" {norm}')
    bound = sqrt(3 / fan)
    assert 0.999 * bound < blob.abs().max().item() <= bound * (1 + 1e-6)
    assert blob.mean().item() == pytest.approx(0, abs=0.02 * bound)
    assert blob.var().item() == pytest.approx(1 / fan, rel=0.02)


@pytest.mark.parametrize("norm, fan", FANS)
def test_msra_is_gaussian_with_variance_two_by_fan(filled, norm, fan):
    blob = filled(f'type: "msra" {norm}')
    assert blob.mean().item() == pytest.approx(0, abs=0.02 * sqrt(2 / fan))
    assert blob.var().item() == pytest.approx(2 / fan, rel=0.03)
    assert blob.abs().max() > 3 * sqrt(2 / fan)


def test_fans_of_blobs_with_fewer_axes(filled):
    """An InnerProduct's [out, in] weight, a bias [out] (fan-in 1), one slope for all."""
    assert filled('type: "xavier"', (200, 300)).abs().max().item() == pytest.approx(sqrt(3 / 300), rel=1e-3)
    out = 'type: "xavier" variance_norm: FAN_OUT'
    assert filled(out, (200, 300)).abs().max().item() == pytest.approx(sqrt(3 / 200), rel=1e-3)
    assert filled('type: "xavier"', (3000,)).abs().max().item() == pytest.approx(sqrt(3), rel=1e-2)
    assert filled(out, (3000,)).abs().max().item() == pytest.approx(sqrt(3 / 3000), rel=1e-2)


def test_positive_unitball_sums_to_one_for_each_output(filled):
    blob = filled('type: "positive_unitball"')
    assert blob.min() >= 0
    torch.testing.assert_close(blob.flatten(1).sum(1), torch.ones(40))
    assert filled('type: "positive_unitball"', ()).item() == 1


@pytest.mark.parametrize(
    "size, side",
    [
        (1, [1]),
        (2, [1, 0]),
        (3, [0.25, 0.75, 0.75]),
        (4, [0.25, 0.75, 0.75, 0.25]),
        (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
    ],
)
def test_bilinear(filled, size, side):
    """1 - |x / f - c| with f = ceil(k / 2), c = (2f - 1 - f mod 2) / 2f, on both sides; k = 2 has a single tap."""
    blob = filled('type: "bilinear"', (3, 2, size, size))
    wanted = torch.tensor(side)[:, None] * torch.tensor(side)
    torch.testing.assert_close(blob, wanted.expand(3, 2, size, size).float())


def test_a_seed_repeats(filled):
    assert filled('type: "msra"', seed=5).equal(filled('type: "msra"', seed=5))
    assert not filled('type: "msra"', seed=5).equal(filled('type: "msra"', seed=6))


@pytest.mark.parametrize(
    "text, message",
    [
        ('type: "orthogonal"', 'filler type "orthogonal" is not known; expected one of bilinear, constant, gaussian'),
        ('type: "gaussian" sparse: 3', "the `sparse` of a gaussian filler is not supported\n  fix: leave `sparse` out"),
        ('type: "xavier" sparse: 3', "the `sparse` of a xavier filler is not supported"),
        ('type: "gaussian" std: 0', "the gaussian filler has std 0; expected a number above 0"),
        ('type: "uniform" min: 2 max: 1', "the uniform filler has min 2 above max 1"),
        ('type: "bilinear"', "the bilinear filler needs square kernels, not 40×30×5×4"),
    ],
)
def test_refusals(filled, text, message):
    with pytest.raises(UserError) as caught:
        filled(text)
    assert f'layer "it" (Bias): {message}' in str(caught.value)


@pytest.mark.parametrize(
    "text, field, value",
    [
        ('type: "Scale"', "filler", 1),
        ('type: "Scale" scale_param { bias_term: true }', "bias_filler", 0),
        ('type: "PReLU"', "filler", 0.25),
        ('type: "Normalize"', "scale_filler", 1),
        ('type: "Normalize" norm_param { scale_filler { value: 20 } }', "scale_filler", 20),
        ('type: "Convolution" convolution_param { num_output: 2 kernel_size: 1 }', "weight_filler", 0),
        ('type: "InnerProduct" inner_product_param { num_output: 2 }', "bias_filler", 0),
    ],
)
def test_what_a_layer_takes_when_none_is_given(make_layer, text, field, value):
    filler = blob_filler(make_layer(f'{text} top: "y"', {"x": (2, 3, 4, 5)}), field)
    assert isinstance(filler, FillerParameter)
    assert (filler.type, filler.value) == ("constant", value)
