"""Making databases of 640×480 JPEGs with 13 boxes each: `python benchmarks/databases.py [--images 7000]`.

The line of OpenCV is what encoding anew costs at least: each image decoded and encoded, nothing read, nothing written.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

# SSD-Caffe on two cores, 7,000 JPEGs of this kind; measured on 2026-11-21.
SSD_CAFFE = (
    ("SSD-Caffe's convert_annoset", "326", "326", "141"),
    ("the same files read and put into an LMDB, no more", "24,000", "", ""),
)
CODEC = "OpenCV decoding and encoding, no more"
PICTURES = 60  # that differ; the files are copies of them
BOXES = 13

# VmHWM is the peak of this very process; getrusage's would include that of the process it was forked from.
MAKE = """
import re, resource, sys, time
from pathlib import Path
from annoset.classes import Classes
from annoset.formats.voc import read_split
from annoset.writing.outputs import Targets
from annoset.writing.pack import Options, pack
from annoset.writing.picture import Storage
root, out, how, workers = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
def busy():
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usages)
began, cpu = time.perf_counter(), busy()
targets = Targets(out / "lmdb", out / "name_size.txt", out / "labelmap.prototxt", list=out / "list.txt")
classes = None if how == "gather" else Classes.of(("disc", "square", "triangle"))
storage = {"jpg": Storage(encode="jpg"), "300": Storage(encode="jpg", resize_hw=(300, 300))}.get(how, Storage())
report = pack(read_split(root, "train"), targets, Options(storage=storage, workers=workers), classes=classes)
print(time.perf_counter() - began, busy() - cpu, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
RUNS = (
    ("bytes kept", "keep"),
    ("bytes kept, label map gathered first (two passes)", "gather"),
    ("encoded anew as JPEG", "jpg"),
    ("resized to 300×300, encoded as JPEG", "300"),
)


def draw(root: Path, images: int) -> float:
    """Write a data set in VOC's layout; the mean size of its files in kB."""
    import cv2
    import numpy as np

    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    rng, jpegs = np.random.default_rng(0), []
    for _ in range(PICTURES):
        picture = cv2.resize(rng.integers(120, 240, (6, 8, 3)).astype(np.uint8), (640, 480))
        for x, y in zip(rng.integers(40, 600, BOXES).tolist(), rng.integers(40, 440, BOXES).tolist()):
            cv2.circle(picture, (x, y), 35, rng.integers(60, 200, 3).tolist(), -1, cv2.LINE_AA)
        noise = cv2.GaussianBlur(rng.normal(0, 20, picture.shape), (0, 0), 2)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
        jpegs.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
    for number in range(images):
        (root / "JPEGImages" / f"{number:06d}.jpg").write_bytes(jpegs[number % PICTURES])
        (root / "Annotations" / f"{number:06d}.xml").write_text(annotation(rng.integers(1, 400, (BOXES, 2)).tolist()))
    (root / "ImageSets/Main/train.txt").write_text("".join(f"{number:06d}\n" for number in range(images)))
    return sum(map(len, jpegs)) / len(jpegs) / 1000


def codec(root: Path) -> float:
    """How many images a second of CPU OpenCV decodes and encodes with its defaults, as convert_annoset has it do."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    jpegs = [np.fromfile(path, np.uint8) for path in sorted((root / "JPEGImages").iterdir())[:PICTURES]]
    began = time.process_time()
    for jpeg in jpegs * 10:
        cv2.imencode(".jpg", cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    return 10 * len(jpegs) / (time.process_time() - began)


def annotation(corners: list[list[int]]) -> str:
    """An XML with all that VOC's own have."""
    objects = "".join(
        f"""
    <object>
        <name>{("disc", "square", "triangle")[number % 3]}</name>
        <pose>Unspecified</pose>
        <truncated>0</truncated>
        <difficult>0</difficult>
        <bndbox>
            <xmin>{x}</xmin>
            <ymin>{y}</ymin>
            <xmax>{x + 70}</xmax>
            <ymax>{y + 70}</ymax>
        </bndbox>
    </object>"""
        for number, (x, y) in enumerate(corners)
    )
    size = "<size>\n        <width>640</width>\n        <height>480</height>\n        <depth>3</depth>\n    </size>"
    head = f"<folder>JPEGImages</folder>\n    {size}\n    <segmented>0</segmented>"
    return f"<annotation>\n    {head}{objects}\n</annotation>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=7000)
    parser.add_argument("--folder", help="where to write; a disk in memory measures the program alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        root = Path(folder) / "VOC"
        size = draw(root, given.images)
        title = f"{given.images} JPEGs of 640×480 and {size:.0f} kB, {BOXES} boxes each"
        table = Table("what", "images/s", "images per second of CPU", "peak memory, MB", title=title)
        for row in SSD_CAFFE:
            table.add_row(*row)
        table.add_row(CODEC, "", f"{codec(root):,.0f}", "")
        for (what, how), workers in product(RUNS, (1, 2)):
            out = Path(folder) / f"{how}{workers}"
            command = [sys.executable, "-c", MAKE, root, out, how, str(workers)]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            took, busy, peak = map(float, text.split())
            speed = f"{given.images / took:,.0f}", f"{given.images / busy:,.0f}"
            table.add_row(f"{what}, {workers} worker{'s' * (workers > 1)}", *speed, f"{peak / 1024:.0f}")
            shutil.rmtree(out)
        table.caption = f"SSD-Caffe's rows: two cores, 7,000 such files, 2026-11-21; ours: {time.strftime('%Y-%m-%d')}"
        Console(width=120).print(table)


if __name__ == "__main__":
    main()
