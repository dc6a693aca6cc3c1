"""Training against real SSD-Caffe: the same weights and batches give the same losses and parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.caffemodel import read_weights
from converters.pytorch.net import CaffeNet
from prototxt.errors import UserError
from solver import snapshot
from solver.config import read_config
from solver.train import Trainer

RUNS = (
    *("sgd_fixed", "sgd_step", "sgd_multistep", "sgd_multistep_itersize2", "sgd_plain_no_momentum", "sgd_l1"),
    *("sgd_clip_gradients", "sgd_clip_gradients_itersize2", "sgd_bn_fraction09", "sgd_bn_global_stats"),
    *("sgd_bn_no_param", "sgd_exp", "sgd_inv", "sgd_poly", "sgd_sigmoid", "sgd_plateau", "sgd_multistep_hdf5"),
    *("nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adam_step", "adam_itersize2"),
)
# Where a gradient is nearly 0, its sign is noise, and these divide by its size.
ATOL = {"rmsprop": 1e-4, "adam": 1e-4, "adam_step": 1e-4, "adam_itersize2": 1e-4}


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "oracle/solver"


@pytest.fixture(scope="module")
def feed(folder):
    inputs = np.load(folder / "inputs.npz")
    return lambda batch: {top: inputs[f"{top}/{batch}"] for top in ("data", "label")}


def weights_of(data, prefix: str) -> dict[str, list[np.ndarray]]:
    weights: dict[str, list[np.ndarray]] = {}
    for key in data:
        if key.startswith(f"{prefix}/"):
            weights.setdefault(key.split("/")[1], []).append(data[key])
    return weights


def trainer(folder, run: str, feed, weights) -> Trainer:
    config = read_config(folder / f"{run}.solver.prototxt")
    return Trainer(config, CaffeNet(config.train.graph(), weights), feed)


def check(net, data, prefix: str, atol: float = 1e-5) -> None:
    ours = net.weights()
    for layer, arrays in weights_of(data, prefix).items():
        for index, array in enumerate(arrays):
            # Statistics: 1e-5 of the array's largest value; a mean near 0 is the sum of larger values that cancel.
            bound = 1e-5 * np.abs(array).max(initial=0) if layer.startswith("bn") else atol
            np.testing.assert_allclose(
                ours[layer][index], array, rtol=0, atol=bound, err_msg=f"{prefix} {layer}/{index}"
            )


@pytest.mark.parametrize("run", RUNS)
def test_trajectory_is_caffes(folder, feed, run):
    data = np.load(folder / f"{run}.npz")
    trained = trainer(folder, run, feed, weights_of(data, "param_init"))
    losses = []
    for iteration in range(1, 13):
        losses.append(trained.step())
        if iteration in (1, 6, 12):
            check(trained.net, data, f"param_iter{iteration}", ATOL.get(run, 1e-5))
    np.testing.assert_allclose(losses, data["loss"], rtol=1e-5)


@pytest.mark.parametrize("run", ["adam", "adadelta", "sgd_multistep"])
def test_resume_is_bit_for_bit(folder, feed, run, tmp_path):
    """Both histories of a blob, where there are two, and the number of the iteration come back from the snapshot."""
    data = np.load(folder / f"{run}.npz")
    whole = trainer(folder, run, feed, weights_of(data, "param_init"))
    for _ in range(6):
        whole.step()
    _, path = whole.save(tmp_path / "net")
    state = snapshot.read_state(path)
    resumed = trainer(folder, run, feed, read_weights(snapshot.find_net(path, state)))
    resumed.restore(path, state)
    assert [resumed.step() for _ in range(3)] == [whole.step() for _ in range(3)]
    for layer, arrays in whole.net.weights().items():
        for ours, theirs in zip(resumed.net.weights()[layer], arrays):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("suffix", ["sgd_multistep_iter_6.solverstate", "sgd_multistep_hdf5_iter_6.solverstate.h5"])
def test_caffes_snapshot_is_resumed(folder, feed, suffix):
    data = np.load(folder / "sgd_multistep.npz")
    state = snapshot.read_state(folder / suffix)
    weights = read_weights(snapshot.find_net(folder / suffix, state))
    resumed = trainer(folder, "sgd_multistep", feed, weights)
    resumed.restore(suffix, state)
    losses = [resumed.step() for _ in range(6)]
    np.testing.assert_allclose(losses, data["loss"][6:], rtol=1e-5)
    check(resumed.net, data, "param_iter12")


@pytest.mark.parametrize("run", ["sgd_multistep_itersize2", "sgd_multistep_hdf5", "sgd_plateau"])
def test_resuming_our_snapshot_changes_no_bit(folder, feed, tmp_path, run):
    start = weights_of(np.load(folder / f"{run}.npz"), "param_init")
    straight = trainer(folder, run, feed, start)
    losses = [straight.step() for _ in range(12)]
    first = trainer(folder, run, feed, start)
    for _ in range(6):
        first.step()
    model, path = first.save(tmp_path / "new" / "x")
    state = snapshot.read_state(path)
    assert snapshot.find_net(path, state) == model
    second = trainer(folder, run, feed, read_weights(model))
    second.restore(path, state)
    assert [second.step() for _ in range(6)] == losses[6:]
    for ours, theirs in zip(second.net.blobs(), straight.net.blobs()):
        assert torch.equal(ours.tensor, theirs.tensor), ours
    for ours, theirs in zip(second.updater.history, straight.updater.history):
        assert torch.equal(ours, theirs)


def test_our_snapshot_is_like_caffes(folder, feed, tmp_path):
    trained = trainer(folder, "sgd_multistep", feed, weights_of(np.load(folder / "sgd_multistep.npz"), "param_init"))
    for _ in range(6):
        trained.step()
    model, path = trained.save(tmp_path / "sgd_multistep")
    ours, caffes = (snapshot.read_state(p) for p in (path, folder / "sgd_multistep_iter_6.solverstate"))
    assert (ours.progress.iteration, ours.progress.current_step) == (6, 1)
    for one, other in zip(ours.history, caffes.history, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, strict=True)
    weights, caffes = read_weights(model), read_weights(folder / "sgd_multistep_iter_6.caffemodel")
    assert {name for name in weights if weights[name]} == {name for name in caffes if caffes[name]}
    for name, arrays in caffes.items():
        for one, other in zip(weights.get(name, []), arrays, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, strict=True)


def test_the_loss_shown_is_a_mean_of_the_last(folder, feed):
    data = np.load(folder / "sgd_fixed.npz")
    trained = trainer(folder, "sgd_fixed", feed, weights_of(data, "param_init"))
    trained._losses = type(trained._losses)(maxlen=3)
    means = []
    for _ in range(5):
        trained.step()
        means.append(trained.loss)
    np.testing.assert_allclose(means, [data["loss"][max(0, i - 2) : i + 1].mean() for i in range(5)], rtol=1e-5)


def test_snapshot_of_another_net(folder, feed):
    state = snapshot.read_state(folder / "sgd_multistep_iter_6.solverstate")
    state.history.pop()
    trained = trainer(folder, "sgd_fixed", feed, None)
    with pytest.raises(UserError, match=r"x.solverstate: it holds 25 histories; expected 1 for each of the net's 26 b"):
        trained.restore("x.solverstate", state)
