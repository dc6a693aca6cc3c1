"""How fast SSD's full augmentation at 300x300 goes, and whether its memory grows: `python benchmarks/augmentation.py`.

The records are made on the spot, from a seed: JPEGs of 640x480 with 13 boxes each. `--lmdb` measures another LMDB,
`--seconds` how long for each line, `--minutes` how long memory is watched.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RECORDS, BOXES, HEIGHT, WIDTH, QUALITY = 400, 13, 480, 640, 75
# SSD-Caffe's AnnotatedData layer with the same parameters on 7,000 such records, one of two cores.
SSD_CAFFE = ("SSD-Caffe, 2026-11-21", 42)


@dataclass
class Measured:
    """Images in `wall` seconds, which took `cpu` seconds of all cores together; private memory at both ends, in MiB."""

    images: int
    wall: float
    cpu: float
    memory: tuple[float, float]


def make(folder: Path) -> float:
    """Write the records; their mean size in KB."""
    import cv2
    import numpy as np

    from annoset.database import create
    from prototxt.schema import AnnotatedDatum, Datum

    total = 0
    with create(folder) as writer:
        for index in range(RECORDS):
            rng = np.random.default_rng(index)
            image, boxes = _picture(rng)
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            datum = Datum(channels=3, height=HEIGHT, width=WIDTH, data=data, encoded=True)
            record = AnnotatedDatum(type=AnnotatedDatum.BBOX, datum=datum)
            for number, (left, top, right, bottom) in enumerate(boxes.tolist()):
                group = record.annotation_group.add(group_label=1 + number)
                box = group.annotation.add(instance_id=0).bbox
                box.xmin, box.ymin, box.xmax, box.ymax = left, top, right, bottom
            writer.put(f"{index:08d}_{index}.jpg", record)
            total += len(data)
    return total / RECORDS / 1000


def _picture(rng):
    """Ellipses on soft colours, with a little noise, and the boxes around them: uint8 [H, W, 3] and [13, 4] in 0–1."""
    import cv2
    import numpy as np

    image = cv2.resize(rng.uniform(60, 200, (6, 8, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    radii = rng.integers(20, 90, (BOXES, 2))
    centres = np.array([rng.integers(radius, (WIDTH, HEIGHT) - radius) for radius in radii])
    for centre, radius in zip(centres.tolist(), radii.tolist(), strict=True):
        cv2.ellipse(image, centre, radius, 0, 0, 360, rng.uniform(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    image += rng.normal(0, 3, image.shape)
    boxes = np.concatenate((centres - radii, centres + radii), axis=1) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
    return np.rint(image.clip(0, 255)).astype(np.uint8), boxes


def private_memory() -> float:
    """MiB of this process's own; pages of the LMDB's file, which the system may take back, are not among them."""
    return _status("RssAnon")


def _status(name: str) -> float:
    """A line of what Linux says of this process, in MiB."""
    status = Path("/proc/self/status")
    found = re.search(rf"{name}:\s+(\d+)", status.read_text()) if status.is_file() else None
    return int(found[1]) / 1024 if found else float("nan")


def _source(lmdb: str, threads: int, rank: int, ranks: int):
    import cv2

    from annoset.sources.annotated_data import AnnotatedDataSource
    from annoset.sources.order import Order
    from netgen.zoo import build
    from prototxt.graph import Layer

    cv2.setNumThreads(0)
    layer = next(one for one in build("scratchdet300-root34").nets()["train"].layer if one.type == "AnnotatedData")
    layer.data_param.source = lmdb
    layer.annotated_data_param.ClearField("label_map_file")
    return AnnotatedDataSource(
        Layer(layer, "train.prototxt", "TRAIN"), 1, prefetch=threads, order=Order(rank=rank, ranks=ranks)
    )


def measure(lmdb: str, seconds: float, threads: int, rank: int = 0, ranks: int = 1) -> Measured:
    """Take batches of 32 for some seconds, in this process."""
    with _source(lmdb, threads, rank, ranks) as source:
        for _ in range(2 + 2 * threads):  # until all threads are at work and memory has settled
            source.next_batch()
        start, wall, cpu, images = private_memory(), time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - wall < seconds:
            images += len(source.next_batch()["data"])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Measured(images, wall, cpu, (start, private_memory()))


def together(lmdb: str, seconds: float, threads: int, processes: int) -> list[Measured]:
    """The same in new processes at once, which share one run."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(measure, lmdb, seconds, threads, rank, processes) for rank in range(processes)]
        return [job.result() for job in jobs]


def speed(lmdb: str, seconds: float, title: str) -> Table:
    table = Table("", "images/s", "CPU ms an image", "images/s a core", "x SSD-Caffe", title=title)
    table.add_row(SSD_CAFFE[0], str(SSD_CAFFE[1]), "", str(SSD_CAFFE[1]), "1.0")
    cores = os.cpu_count() or 1
    ways = {"no threads": (0, 1), "1 thread": (1, 1)}
    ways |= {f"{count} threads": (count, 1) for count in sorted({2, 4, cores})}
    ways |= {f"{cores} processes": (0, cores)} if cores > 1 else {}
    for name, (threads, processes) in ways.items():
        results = together(lmdb, seconds, threads, processes)
        rate = sum(one.images / one.wall for one in results)
        cpu = sum(one.cpu for one in results) / sum(one.images for one in results)
        table.add_row(name, f"{rate:.0f}", f"{1000 * cpu:.2f}", f"{1 / cpu:.0f}", f"{1 / cpu / SSD_CAFFE[1]:.1f}")
    return table


def memory(lmdb: str, minutes: float) -> Table:
    title = f"memory over {minutes:g} minutes, 2 threads"
    table = Table("up to minute", "images", "most private MiB", "MiB resident then", title=title)
    began, images = time.perf_counter(), 0
    with _source(lmdb, 2, 0, 1) as source:
        for line in range(1, 9):
            most, end = 0.0, minutes * line / 8
            while (time.perf_counter() - began) / 60 < end:
                images += len(source.next_batch()["data"])
                most = max(most, private_memory())
            table.add_row(f"{end:.1f}", str(images), f"{most:.1f}", f"{_status('VmRSS'):.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lmdb", type=Path, help="LMDB to measure on; by default one is made")
    parser.add_argument("--seconds", type=float, default=10, help="for each line of the table")
    parser.add_argument("--minutes", type=float, default=2, help="that memory is watched")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lmdb, title = given.lmdb, str(given.lmdb)
        if lmdb is None:
            lmdb = Path(folder) / "lmdb"
            kilobytes = make(lmdb)
            title = f"{RECORDS} JPEGs of {WIDTH}x{HEIGHT}, {kilobytes:.1f} KB and {BOXES} boxes each"
        Console().print(speed(str(lmdb), given.seconds, title))
        if given.minutes:
            Console().print(memory(str(lmdb), given.minutes))


if __name__ == "__main__":
    main()
