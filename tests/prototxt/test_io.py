"""Files: what is read, what is refused, and that nothing is ever half written."""

from __future__ import annotations

import errno
import os

import pytest

from prototxt import schema
from prototxt.errors import UserError, nearest
from prototxt.files import atomic_write
from prototxt.io import read_binary, read_bytes, read_net, read_solver, write_binary, write_text
from prototxt.registry import Registry


def test_text_and_binary_round_trip(tmp_path):
    net = schema.NetParameter(name="n")
    net.layer.add(name="c", type="Convolution").convolution_param.kernel_size.append(3)
    write_text(net, tmp_path / "n.prototxt")
    assert read_net(tmp_path / "n.prototxt").message == net
    write_binary(net, tmp_path / "n.bin")
    assert read_binary(tmp_path / "n.bin", "NetParameter") == net


def test_old_solver_type_is_upgraded(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text("base_lr: 0.1 solver_type: NESTEROV")
    assert read_solver(path).message.type == "Nesterov"


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match=r"none\.prototxt: there is no such file"):
        read_net(tmp_path / "none.prototxt")
    with pytest.raises(UserError, match="this is a folder"):
        read_net(tmp_path)


def test_a_name_that_no_file_has():
    with pytest.raises(UserError, match=r"'a\\x00b': this is no name of a file: embedded null byte"):
        read_bytes("a\0b")


def test_a_hole_of_terabytes(tmp_path):
    with open(tmp_path / "net.caffemodel", "wb") as file:
        file.truncate(1 << 42)  # takes no space
    with pytest.raises(UserError, match=r"net.caffemodel: reading it would take 4,398.0 GB of memory, and .* are free"):
        read_bytes(tmp_path / "net.caffemodel")


def test_weights_given_as_net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b'name: "x"\n\xff\xfe')
    with pytest.raises(UserError, match=r"net\.prototxt:2: byte 0xff is not UTF-8 text") as caught:
        read_net(path)
    assert "fix: give the .prototxt, not the .caffemodel" in str(caught.value)


def test_binary_that_is_cut_short(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(schema.SolverState(iter=7, learned_net="x" * 50).SerializeToString()[:-5])
    with pytest.raises(UserError, match="not a binary SolverState, or it is cut short"):
        read_binary(path, "SolverState")


def test_atomic_write_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path, "w") as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_disk_full_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        write_text(schema.NetParameter(name="n"), tmp_path / "net.prototxt")
    assert os.listdir(tmp_path) == []


def test_a_really_full_disk(tmp_path):
    """A file that outgrows the process's file-size limit, as on a full disk, is not left behind."""
    import subprocess
    import sys

    script = (
        "import resource, signal, sys\n"
        "from prototxt.io import write_text\n"
        "from prototxt import schema\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_text(schema.NetParameter(name='x' * 5000), sys.argv[1])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "net.prototxt"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1 and "cannot be written: File too large" in run.stderr
    assert os.listdir(tmp_path) == []


def test_missing_target_folder(tmp_path):
    with pytest.raises(UserError, match=r"cannot be written: No such file.*\n  fix: create the folder first"):
        write_text(schema.NetParameter(), tmp_path / "no" / "net.prototxt")


def test_registry():
    table = Registry("shape rule")
    table.register("Convolution", "Deconvolution")(str)
    assert table["Convolution"] is str and list(table) == ["Convolution", "Deconvolution"]
    with pytest.raises(UserError, match=r'no shape rule for layer type "Convolutoin" \(did you mean "Convolution"\?\)'):
        table["Convolutoin"]
    with pytest.raises(ValueError, match="registered twice"):
        table.register("Convolution")(int)


def test_nearest():
    assert nearest("kernel_sise", ["kernel_size", "stride"]) == ' (did you mean "kernel_size"?)'
    assert nearest("zzz", ["kernel_size", "stride"]) == ""
