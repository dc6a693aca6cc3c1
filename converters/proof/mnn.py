"""A Caffe net in MNN, in a process of its own: what MNN does not understand may end the process that it is in."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from converters.worker import calling


class MnnError(Exception):
    """MNN is absent, or cannot import or run a net; and why."""


class MnnNet:
    """A net that MNN's importer has read.

    Raises:
        MnnError: MNN is not installed, or it cannot import the net.
    """

    def __init__(self, prototxt: Path, caffemodel: Path) -> None:
        try:
            self._version = metadata.version("MNN")
        except metadata.PackageNotFoundError as error:
            raise MnnError("MNN is not installed") from error
        self._folder = TemporaryDirectory(prefix="netgen-")
        self._call("import", "convert", prototxt, caffemodel, self._file("net.mnn"))

    def run(self, inputs: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
        """The tensors called `names`, without those that MNN has optimised away. Raises MnnError."""
        files = [self._file(name) for name in ("net.mnn", "inputs.npz", "tops.npz")]
        np.savez(files[1], **inputs)
        self._call("run", "run", *files, *names)
        with np.load(files[2]) as tops:
            return dict(tops)

    def _file(self, name: str) -> Path:
        return Path(self._folder.name) / name

    def _call(self, verb: str, *arguments: str | Path) -> None:
        """Have `converters.proof.mnn_worker` do something."""
        done = subprocess.run(
            **calling("converters.proof.mnn_worker", arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        # MNN says so when a check fails, but goes on and may make a net that computes something else.
        complaints = re.findall(r"Check failed: (.*\S)", done.stdout)
        if done.returncode < 0:
            complaints.append(f"the process ended with signal {-done.returncode}")
        elif done.returncode > 0:
            complaints.append(done.stdout.strip().rpartition("\n")[2])
        if complaints:
            raise MnnError(f"MNN {self._version} cannot {verb} the net: {'; '.join(complaints)}")
