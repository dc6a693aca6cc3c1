"""Update rules: the first update of each measured run from its gradients, and the order of the steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from prototxt.schema import SolverParameter
from solver.config import read_config
from solver.updates import Updater

RUNS = (
    *("sgd_fixed", "sgd_step", "sgd_multistep", "sgd_multistep_itersize2", "sgd_plain_no_momentum", "sgd_l1"),
    *("sgd_clip_gradients", "sgd_clip_gradients_itersize2", "sgd_bn_fraction09", "sgd_bn_no_param"),
    *("nesterov", "adagrad", "rmsprop", "adadelta", "adam"),
)


@dataclass
class Blob:
    tensor: torch.Tensor
    lr_mult: float = 1
    decay_mult: float = 1


def multipliers(layer: str, index: int) -> tuple[float, float]:
    """As the nets of the measured runs have them."""
    if layer.startswith("bn"):
        return 0, 0
    if index == 1:
        return 2, 0
    return 1, 0 if layer.startswith("scale") else 1


@pytest.mark.parametrize("run", RUNS)
def test_first_update_is_caffes(shared, run):
    data = np.load(shared / f"oracle/solver/{run}.npz")
    p = read_config(shared / f"oracle/solver/{run}.solver.prototxt").p
    names = [key.removeprefix("param_init/") for key in data if key.startswith("param_init/")]
    blobs = []
    for name in names:
        layer, index = name.split("/")
        lr, decay = multipliers(layer, int(index))
        blobs.append(Blob(torch.tensor(data[f"param_init/{name}"]), lr, decay))
    updater = Updater(blobs, p)
    for name, blob in zip(names, blobs):
        if f"grad_iter1/{name}" in data and blob.lr_mult:
            blob.tensor.grad = torch.tensor(data[f"grad_iter1/{name}"]) * p.iter_size
    updater.step(p.base_lr, 0)
    checked = 0
    for name, blob in zip(names, blobs):
        if blob.lr_mult:
            moved = data[f"param_init/{name}"] - blob.tensor.detach().numpy()
            np.testing.assert_allclose(moved, data[f"update_iter1/{name}"], atol=2e-6)
            checked += 1
    assert checked == 17


def solver(**fields) -> SolverParameter:
    return SolverParameter(type="SGD", base_lr=1, **fields)


def learned(value: float, gradient: float, **multipliers) -> Blob:
    blob = Blob(torch.tensor([value]), **multipliers)
    blob.tensor.requires_grad_()
    blob.tensor.grad = torch.tensor([gradient])
    return blob


def test_momentum_and_multipliers():
    blob = learned(10.0, 1.0, lr_mult=2, decay_mult=0)
    updater = Updater([blob], solver(momentum=0.5, weight_decay=0.1))
    updater.step(0.1, 0)
    assert blob.tensor.item() == pytest.approx(9.8)
    blob.tensor.grad = torch.tensor([0.0])
    updater.step(0.1, 0)
    assert blob.tensor.item() == pytest.approx(9.7)
    assert updater.history[0].item() == pytest.approx(0.1)


def test_clipping_comes_before_iter_size_and_decay():
    blob = learned(2.0, 10.0)
    Updater([blob], solver(clip_gradients=4, iter_size=2, weight_decay=0.5)).step(1.0, 0)
    assert blob.tensor.item() == pytest.approx(2 - (4 / 2 + 0.5 * 2))


def test_l1_decay_has_the_sign_of_the_weight():
    blob = learned(-3.0, 0.0)
    Updater([blob], solver(weight_decay=0.25, regularization_type="L1")).step(1.0, 0)
    assert blob.tensor.item() == pytest.approx(-2.75)


def test_a_blob_without_rate_is_left_alone_and_has_a_history():
    fixed, moving = Blob(torch.ones(2), lr_mult=0), learned(1.0, 1.0)
    updater = Updater([fixed, moving], solver(weight_decay=0.1))
    updater.step(1.0, 0)
    assert fixed.tensor.tolist() == [1, 1] and not fixed.tensor.requires_grad
    assert [tuple(h.shape) for h in updater.history] == [(2,), (1,)]


def test_a_blob_that_got_no_gradient_only_decays():
    blob = learned(1.0, 0.0)
    blob.tensor.grad = None
    Updater([blob], solver(weight_decay=0.5)).step(1.0, 0)
    assert blob.tensor.item() == pytest.approx(0.5)
