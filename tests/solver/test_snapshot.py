"""Solverstates: read from and written as real Caffe's, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import UserError
from prototxt.io import read_binary
from solver.policies import Progress
from solver.snapshot import State, check_history, find_net, paths, read_state, write_state

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([-1.5], np.float32), np.zeros((2, 0), np.float32)]


def state() -> State:
    return State(Progress(7, 2, 0.5, 3), "out/net_iter_7.caffemodel", ARRAYS)


def same(a: State, b: State) -> None:
    assert (a.progress, a.learned_net) == (b.progress, b.learned_net)
    assert len(a.history) == len(b.history)
    for one, other in zip(a.history, b.history):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("name", ["x.solverstate", "x.solverstate.h5"])
def test_round_trip(tmp_path, name):
    write_state(tmp_path / name, state())
    same(read_state(tmp_path / name), state())


def test_binary_is_caffes_message(tmp_path):
    write_state(tmp_path / "x.solverstate", state())
    message = read_binary(tmp_path / "x.solverstate", "SolverState")
    assert (message.iter, message.current_step, message.minimum_loss, message.iter_last_event) == (7, 2, 0.5, 3)
    assert message.learned_net == "out/net_iter_7.caffemodel"
    assert [list(blob.shape.dim) for blob in message.history] == [[2, 3], [1], [2, 0]]
    assert list(message.history[0].data) == [0, 1, 2, 3, 4, 5]


def test_caffes_own_state_is_read_and_written_byte_for_byte(shared, tmp_path):
    path = shared / "oracle/solver/sgd_multistep_iter_6.solverstate"
    found = read_state(path)
    assert (found.progress.iteration, found.progress.current_step, len(found.history)) == (6, 1, 26)
    write_state(tmp_path / "x.solverstate", found)
    assert (tmp_path / "x.solverstate").read_bytes() == path.read_bytes()


def test_caffes_hdf5_state_is_the_same(shared):
    folder = shared / "oracle/solver"
    binary, hdf5 = (
        read_state(folder / f"sgd_multistep{n}") for n in ("_iter_6.solverstate", "_hdf5_iter_6.solverstate.h5")
    )
    assert hdf5.learned_net == "sgd_multistep_hdf5_iter_6.caffemodel.h5"
    hdf5.learned_net = binary.learned_net
    same(binary, hdf5)


def test_names():
    assert paths(Path("a/b"), 12, False) == (Path("a/b_iter_12.caffemodel"), Path("a/b_iter_12.solverstate"))
    assert paths(Path("b"), 1, True) == (Path("b_iter_1.caffemodel.h5"), Path("b_iter_1.solverstate.h5"))


def test_weights_are_found_where_named_or_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "net_iter_7.caffemodel").touch()
    assert find_net(moved / "x.solverstate", state()) == moved / "net_iter_7.caffemodel"
    (tmp_path / "out").mkdir()
    (tmp_path / "out/net_iter_7.caffemodel").touch()
    assert find_net(moved / "x.solverstate", state()) == Path("out/net_iter_7.caffemodel")


def test_missing_weights(tmp_path):
    with pytest.raises(
        UserError, match=r'x: its weights "out/net_iter_7.caffemodel" are neither .*\n  fix: put net_it'
    ):
        find_net(tmp_path / "x", state())


@dataclass
class Blob:
    layer: str
    index: int
    tensor: np.ndarray


def test_history_of_another_net():
    check_history("x", state(), [Blob("conv", i, array) for i, array in enumerate(ARRAYS)], 1)
    with pytest.raises(
        UserError, match=r"x: it holds 3 histories; expected 1 for each of the net's 1 blobs\n  fix: res"
    ):
        check_history("x", state(), [Blob("conv", 0, ARRAYS[0])], 1)
    with pytest.raises(UserError, match=r'x: the history of blob 1 of layer "conv" is 1; expected 3×1, the net\'s'):
        check_history("x", state(), [Blob("conv", i, np.zeros(s)) for i, s in enumerate([(2, 3), (3, 1), (2, 0)])], 1)


@pytest.mark.parametrize("name", ["x.solverstate", "x.solverstate.h5"])
def test_broken_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(UserError, match="there is no such file"):
        read_state(path)
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(UserError, match=r"not a (binary SolverState|solverstate in HDF5), or it is cut short"):
        read_state(path)
    write_state(path, state())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="cut short"):
        read_state(path)


def test_an_empty_file_is_not_a_solverstate(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match="this is not a solverstate: it holds no iteration"):
        read_state(tmp_path / "x")


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be written"):
        write_state(tmp_path / "none" / "x.solverstate", state())
    (tmp_path / "x.solverstate.h5").write_bytes(b"old")
    broken = state()
    broken.history = [object()]
    with pytest.raises(TypeError):
        write_state(tmp_path / "x.solverstate.h5", broken)
    assert [p.name for p in tmp_path.iterdir()] == ["x.solverstate.h5"]
    assert (tmp_path / "x.solverstate.h5").read_bytes() == b"old"
