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
ZOO = """
from pathlib import Path
from netgen.datasets import DATASETS
from netgen.jobs import JobPaths, job_texts
from netgen.zoo import MODELS, build
for model in MODELS:
    for data in DATASETS:
        job_texts(build(model, DATASETS[data]), JobPaths(Path("job"), Path("job/net")))
"""
RUNS = 9


def seconds(command: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [part.replace("{folder}", folder) for part in command]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


def main() -> None:
    table = Table("command", "min", "median", "max", title=f"wall time in seconds, {RUNS} runs after one to warm up")
    commands = {name: [str(NETGEN), *arguments] for name, arguments in COMMANDS.items()}
    commands["every model for every data set"] = [sys.executable, "-c", ZOO]
    for name, command in commands.items():
        seconds(command)
        times = sorted(seconds(command) for _ in range(RUNS))
        table.add_row(name, *(f"{t:.3f}" for t in (times[0], statistics.median(times), times[-1])))
    Console().print(table)


if __name__ == "__main__":
    main()
