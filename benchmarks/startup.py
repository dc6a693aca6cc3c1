"""How long the command line takes, process start included: `python benchmarks/startup.py`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

NETGEN = Path(sys.executable).with_name("netgen")
COMMANDS = {
    "netgen --help": ["--help"],
    "netgen list": ["list"],
    "netgen build scratchdet300-root34": ["build", "scratchdet300-root34", "--dataset", "voc0712", "-o", "{folder}"],
}
RUNS = 9


def seconds(arguments: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run([NETGEN, *(a.format(folder=folder) for a in arguments)], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


def main() -> None:
    table = Table("command", "min", "median", "max", title=f"wall time in seconds, {RUNS} runs after one to warm up")
    for name, arguments in COMMANDS.items():
        seconds(arguments)
        times = sorted(seconds(arguments) for _ in range(RUNS))
        table.add_row(name, *(f"{t:.3f}" for t in (times[0], statistics.median(times), times[-1])))
    Console().print(table)


if __name__ == "__main__":
    main()
