"""Reading and writing a caffemodel of 60 MB: `python benchmarks/weights.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

# VmHWM is the peak of this very process; getrusage's would include that of the process it was forked from.
READ = """
import re, sys, time
from converters.caffemodel import read_weights
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = peak()
began = time.perf_counter()
weights = read_weights(sys.argv[1])
print(time.perf_counter() - began, peak() - before)
"""


def make(path: Path) -> float:
    """Write a net of twelve convolutions, of 9 and of 1 MB in turn; the seconds it took."""
    import numpy as np

    from converters.caffemodel import write_weights
    from netgen.net import L, Net
    from prototxt.graph import Graph
    from prototxt.io import net_file

    net = Net("weights")
    net.data = L.Input(shape={"dim": [1, 512, 8, 8]})
    top = net.data
    for i in range(12):
        top = net[f"conv{i}"] = L.Convolution(top, num_output=512, kernel_size=1 if i % 2 else 3, pad=1 - i % 2)
    graph = Graph(net_file(net.to_proto()))
    rng = np.random.default_rng(0)
    weights = {layer.name: [rng.random(s, np.float32) for s in layer.blob_shapes] for layer in graph.layers[1:]}
    began = time.perf_counter()
    write_weights(path, graph, weights)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.caffemodel"
        written = make(path)
        size = path.stat().st_size / 2**20
        table = Table("what", "seconds", "memory above the start, MiB", title=f"a caffemodel of {size:.1f} MiB")
        table.add_row("write_weights", f"{written:.3f}", "")
        for _ in range(3):
            out = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True).stdout
            took, grown = map(float, out.split())
            table.add_row("read_weights", f"{took:.3f}", f"{grown:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
