"""Readers that do each thing that a reader must not do; the fuzzer has to notice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.table import Target


def _hang(_: Path) -> None:
    while True:
        time.sleep(0.1)


def _take_memory(_: Path) -> None:
    bytearray(b"x") * (600 << 20)


def _write_beside(path: Path) -> None:
    path.with_name("new").write_text("")


def _read_above(path: Path) -> None:
    (path.parent / "link.bin").resolve().read_bytes()


def _start(_: Path) -> None:
    subprocess.run([sys.executable, "--version"], capture_output=True)


def _on_damage(do: Callable[[Path], None]) -> Target:
    """Does it to every file but a whole one."""
    return Target(".txt", lambda path: None if path.read_bytes() == b"whole" else do(path), lambda: [b"whole"])


TARGETS = {
    "traceback": _on_damage(lambda path: {}["key"]),
    "crash": _on_damage(lambda path: os.abort()),
    "hang": _on_damage(_hang),
    "memory": _on_damage(_take_memory),
    "wrote": _on_damage(_write_beside),
    "os.remove": _on_damage(lambda path: os.remove(path.parent / "beside.bin")),
    "read": _on_damage(_read_above),
    "subprocess.popen": _on_damage(_start),
}
