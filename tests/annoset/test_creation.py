"""Making databases from odd data, under odd conditions: what `docs/data.md` says of them."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from annoset.database import Database, create
from annoset.synthetic import make
from netgen.commands.lmdb import app
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum

XML = """<annotation><size><width>{width}</width><height>{height}</height></size>
{objects}</annotation>"""
OBJECT = """<object><name>cat</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""
IMAGE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8), (0, 0), 2)


def run(*arguments: object) -> str:
    return CliRunner().invoke(app, ["voc", *map(str, arguments)], catch_exceptions=False).stdout


def fails(*arguments: object) -> str:
    with pytest.raises(UserError) as error:
        run(*arguments)
    return str(error.value)


class Voc:
    """A data set in VOC's layout in the making."""

    def __init__(self, root: Path) -> None:
        self.root, self.stems = root, []
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)

    def add(self, name: str, raw: bytes, *boxes: tuple, size_hw: tuple[int, int] = (40, 60)) -> Voc:
        stem = Path(name).stem
        objects = "\n".join(OBJECT.format(*box) for box in boxes or [(0, 1, 1, 30, 30)])
        text = XML.format(height=size_hw[0], width=size_hw[1], objects=objects)
        (self.root / "Annotations" / f"{stem}.xml").write_text(text)
        (self.root / "JPEGImages" / name).write_bytes(raw)
        self.stems.append(stem)
        (self.root / "ImageSets/Main/train.txt").write_text("".join(f"{one}\n" for one in self.stems))
        return self

    def pack(self, out: Path, *options: object) -> str:
        return run(self.root, "--split", "train", "-o", out, *options)


@pytest.fixture
def voc(tmp_path) -> Voc:
    return Voc(tmp_path / "VOC")


def encode(suffix: str, image: np.ndarray = IMAGE) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def with_exif(raw: bytes, orientation: int) -> bytes:
    body = b"Exif\0\0II" + struct.pack("<HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, orientation, 0)
    return raw[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + raw[2:]


def cmyk(image: np.ndarray) -> bytes:
    """A JPEG of four components, made of the grey one of `image`: its frame and scan say that there are four."""
    raw = encode(".jpg", image[..., 0])
    frame = raw.index(b"\xff\xc0")
    header = struct.pack(">HBHHB", 20, 8, *image.shape[:2], 4) + b"".join(bytes((i, 0x11, 0)) for i in range(1, 5))
    scan = b"\xff\xda" + struct.pack(">HB", 14, 4) + b"".join(bytes((i, 0)) for i in range(1, 5)) + b"\0\x3f\0"
    old = raw.index(b"\xff\xda")
    return raw[:frame] + b"\xff\xc0" + header + raw[frame + 13 : old] + scan + raw[old + 10 :]


def left(tmp_path: Path) -> list[str]:
    return sorted(set(os.listdir(tmp_path)) - {"VOC"})


# Odd images -----------------------------------------------------------------------------------------------


def test_what_is_odd_about_images_is_said_once(voc, tmp_path):
    voc.add("plain.jpg", encode(".jpg"))
    voc.add("grey.jpg", encode(".jpg", IMAGE[..., 0]))
    for name in ("turned.jpg", "over.jpg"):
        voc.add(name, with_exif(encode(".jpg"), 6))
    voc.add("four.jpg", cmyk(IMAGE))
    voc.add("a b ☃.jpg", encode(".jpg"))
    out = voc.pack(tmp_path / "db")
    assert (
        "    2 images with a camera's note to turn them, which is ignored as Caffe does: boxes are of the pixels as"
        " they are stored\n"
        "    1 image in grey among others in colour: train with force_color: true\n"
        "    1 image in CMYK, which OpenCV turns into BGR\n"
        "    1 image with a space in the name, which SSD-Caffe cannot read in lists of names\n"
    ) in out
    with Database(tmp_path / "db") as db:
        for key, record in db:
            assert record.datum.data == (voc.root / "JPEGImages" / key.rpartition("/")[2]).read_bytes()
            image = cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), cv2.IMREAD_COLOR | 128)
            assert image.shape == (40, 60, 3)
        assert list(db.keys())[-1] == "00000005_VOC/JPEGImages/a b ☃.jpg"


def test_only_grey_images_are_not_odd(voc, tmp_path):
    assert "in grey" not in voc.add("a.jpg", encode(".jpg", IMAGE[..., 0])).pack(tmp_path / "db")


def test_names_with_spaces_are_read_again(voc, tmp_path):
    from converters.pytorch.pixels import read_name_sizes

    voc.add("a b.jpg", encode(".jpg")).pack(tmp_path / "db")
    assert (tmp_path / "train_list.txt").read_text() == "VOC/JPEGImages/a b.jpg\tVOC/Annotations/a b.xml\n"
    (line,) = read_name_sizes(tmp_path / "train_name_size.txt")
    assert (line.name, line.size_hw) == ("a b", (40, 60))


def test_every_bad_image_is_told_and_nothing_written(voc, tmp_path):
    voc.add("a.jpg", encode(".jpg")[:-300])
    voc.add("b.jpg", encode(".png", IMAGE.astype(np.uint16)))
    voc.add("c.jpg", b"GIF89a")
    voc.add("d.jpg", encode(".jpg"))
    message = fails(voc.root, "--split", "train", "-o", tmp_path / "db")
    for told in (
        "a.jpg: the JPEG is cut short or damaged",
        "b.jpg: the image has 16 bits a channel",
        "c.jpg: the image is a GIF",
        "nothing was written",
    ):
        assert told in message
    assert left(tmp_path) == []
    out = voc.pack(tmp_path / "db", "--skip-bad")
    assert "db: 1 image, 1 box\n" in out and "left out: 3 images with mistakes" in out


def test_encoding_anew_takes_what_cannot_be_kept(voc, tmp_path):
    voc.add("a.png", encode(".png", IMAGE.astype(np.uint16) * 257)).add("b.jpg", with_exif(encode(".jpg"), 6))
    voc.add("c.jpg", encode(".bmp"))
    voc.pack(tmp_path / "db", "--encode", "png", "--workers", 2)
    with Database(tmp_path / "db") as db:
        images = [cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), cv2.IMREAD_COLOR) for _, record in db]
    np.testing.assert_array_equal(images[0], IMAGE)
    np.testing.assert_array_equal(images[2], IMAGE)
    assert images[1].shape == (40, 60, 3)


# Odd boxes ------------------------------------------------------------------------------------------------


def boxes_of(path: Path) -> list[tuple]:
    with Database(path) as db:
        ((_, record),) = db
    return [
        (b.xmin * 60, b.ymin * 40, b.xmax * 60, b.ymax * 40, b.difficult)
        for group in record.annotation_group
        for b in (one.bbox for one in group.annotation)
    ]


def test_boxes_on_the_border_and_without_area_are_kept_as_they_are(voc, tmp_path):
    """VOC counts pixels from 1: its largest box is (1, 1, width, height). Others count from 0."""
    voc.add("a.jpg", encode(".jpg"), (0, 1, 1, 60, 40), (0, 0, 0, 60, 40), (0, 5, 6, 5, 9))
    assert "1 box without area (xmin = xmax or ymin = ymax), kept" in voc.pack(tmp_path / "db")
    found = boxes_of(tmp_path / "db")
    np.testing.assert_allclose([one[:4] for one in found], [(1, 1, 60, 40), (0, 0, 60, 40), (5, 6, 5, 9)], rtol=1e-6)


def test_reversed_corners_are_told_with_their_line(voc, tmp_path):
    voc.add("a.jpg", encode(".jpg"), (0, 1, 1, 20, 20), (0, 30, 1, 20, 20))
    message = fails(voc.root, "--split", "train", "-o", tmp_path / "db")
    assert f'{voc.root}/Annotations/a.xml:4: object 2, "cat": the box (30, 1, 20, 20) has reversed corners' in message


def test_difficult_objects_can_be_left_out(voc, tmp_path):
    voc.add("a.jpg", encode(".jpg"), (1, 1, 1, 20, 20), (0, 2, 2, 30, 30), (1, 3, 3, 300, 300))
    out = voc.pack(tmp_path / "db", "--drop-difficult")
    assert "1 image, 1 box\n" in out and [one[4] for one in boxes_of(tmp_path / "db")] == [False]


def test_the_line_of_a_box_behind_difficult_ones(voc, tmp_path):
    voc.add("a.jpg", encode(".jpg"), (1, 1, 1, 20, 20), (0, 2, 2, 300, 30))
    message = fails(voc.root, "--split", "train", "-o", tmp_path / "db", "--drop-difficult")
    assert 'a.xml:4: object 1, "cat": the box (2, 2, 300, 30) reaches outside' in message


# Options --------------------------------------------------------------------------------------------------


def test_shards_hold_every_nth_record(voc, tmp_path):
    for number in range(5):
        voc.add(f"{number}.jpg", encode(".jpg"))
    out = voc.pack(tmp_path / "db", "--shards", 2)
    assert f"{tmp_path}/db: 5 images, 5 boxes (2 LMDBs: {tmp_path}/db_0 …)" in out
    keys = []
    for shard in range(2):
        with Database(tmp_path / f"db_{shard}") as db:
            keys.append([key[:8] for key in db.keys()])  # noqa: SIM118
    assert keys == [["00000000", "00000002", "00000004"], ["00000001", "00000003"]]
    assert (tmp_path / "train_name_size.txt").read_text().split()[::3] == ["0", "1", "2", "3", "4"]


def test_shards_that_cannot_be(voc, tmp_path):
    voc.add("a.jpg", encode(".jpg"))
    message = fails(voc.root, "--split", "train", "-o", tmp_path / "db", "--shards", 2)
    assert message.startswith("there are 1 images for 2 shards; expected an image for each shard")
    assert left(tmp_path) == []
    assert "--shards is 0; expected 1 or more" in fails(
        voc.root, "--split", "train", "-o", tmp_path / "db", "--shards", 0
    )
    (tmp_path / "db_1").mkdir()
    assert "db_1: this exists already" in fails(voc.root, "--split", "train", "-o", tmp_path / "db", "--shards", 2)


@pytest.mark.parametrize(
    ("options", "size_hw"),
    [(("--resize", "30x50"), (30, 50)), (("--min-dim", 80), (80, 120)), (("--max-dim", 30, "--gray"), (20, 30))],
)
def test_resizing(voc, tmp_path, options, size_hw):
    voc.add("a.png", encode(".png"), (0, 6, 4, 30, 20)).pack(tmp_path / "db", *options)
    with Database(tmp_path / "db") as db:
        ((_, record),) = db
    image = cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (size_hw if "--gray" in options else (*size_hw, 3))
    assert (record.datum.height, record.datum.width) == size_hw and record.datum.channels == (image.ndim == 3) * 2 + 1
    np.testing.assert_allclose(boxes_of(tmp_path / "db")[0][:4], (6, 4, 30, 20), rtol=1e-6)
    assert (tmp_path / "train_name_size.txt").read_text() == "a 40 60\n"  # of the image that boxes are brought back to


@pytest.mark.parametrize("text", ["300", "30x", "axb", "3x3x3"])
def test_sizes_that_are_none(voc, tmp_path, text):
    voc.add("a.jpg", encode(".jpg"))
    message = fails(voc.root, "--split", "train", "-o", tmp_path / "db", "--resize", text)
    assert message == f"--resize is {text}; expected HEIGHTxWIDTH in pixels, such as 300x300"


def test_a_test_set_without_annotations(voc, tmp_path):
    voc.add("a.jpg", encode(".jpg"))
    (voc.root / "Annotations/a.xml").unlink()
    (tmp_path / "map").write_text('item { name: "cat" label: 1 }')
    out = voc.pack(tmp_path / "db", "--unlabelled", "--labelmap", tmp_path / "map")
    assert "db: 1 image, 0 boxes" in out
    assert (tmp_path / "train_list.txt").read_text() == "VOC/JPEGImages/a.jpg VOC/Annotations/a.xml\n"
    assert (tmp_path / "train_name_size.txt").read_text() == "a 40 60\n"


# Odd places -----------------------------------------------------------------------------------------------


def test_spaces_and_other_scripts_in_paths(tmp_path):
    voc = Voc(tmp_path / "VOC" / "Mon jeu ☃")
    voc.add("ä ö.jpg", encode(".jpg")).pack(tmp_path / "aus gabe ☃" / "db")
    with Database(tmp_path / "aus gabe ☃" / "db") as db:
        assert list(db.keys()) == ["00000000_Mon jeu ☃/JPEGImages/ä ö.jpg"]


def test_a_folder_that_may_not_be_written(voc, tmp_path):
    """Root may write everywhere, so the folder is one in which nobody may."""
    voc.add("a.jpg", encode(".jpg"))
    message = fails(voc.root, "--split", "train", "-o", "/proc/netgen/db")
    assert message.startswith("/proc/netgen/db: cannot be written: ")
    (tmp_path / "file").write_text("")
    message = fails(voc.root, "--split", "train", "-o", tmp_path / "db", "--name-size", tmp_path / "file" / "sizes")
    assert message == f"{tmp_path}/file/sizes: cannot be written: Not a directory"
    assert left(tmp_path) == ["file"]


def test_a_folder_that_is_missing_shows_before_images_are_read(voc, tmp_path):
    voc.add("a.jpg", b"no image")
    message = fails(voc.root, "--split", "train", "-o", tmp_path / "db", "--list", tmp_path / "nothing" / "list")
    assert "nothing/list: cannot be written: No such file or directory\n  fix: create the folder first" in message


FULL = """
import resource, sys
from netgen.commands.lmdb import app
from prototxt.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    app(sys.argv[1:])
except UserError as error:
    print(error)
"""
ROOT = Path(__file__).resolve().parents[2]


def test_a_disk_that_fills_up(voc, tmp_path):
    for number in range(12):
        voc.add(
            f"{number}.png",
            encode(".png", np.random.default_rng(number).integers(0, 256, (100, 100, 3), np.uint8)),
            size_hw=(100, 100),
        )
    command = [sys.executable, "-c", FULL, "voc", voc.root, "--split", "train", "-o", tmp_path / "db"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{tmp_path}/db: " in done.stdout and "(ulimit -f) and run the command again" in done.stdout
    assert left(tmp_path) == []


# Interruption ---------------------------------------------------------------------------------------------

SLOW = """
import signal, sys, time
# Whoever runs the tests may ignore them: a job in the background the first, one under nohup the second.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from annoset.writing import pack
from netgen.commands import lmdb
load = pack.load_picture
pack.load_picture = lambda *arguments: (time.sleep(0.05), load(*arguments))[1]
from netgen.commands.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_creation_leaves_nothing(tmp_path, number):
    process, _ = start(tmp_path)
    process.send_signal(number)
    assert process.wait(20) != 0
    assert left(tmp_path) == []


def test_what_a_killed_creation_left_is_removed_by_the_next(tmp_path):
    process, root = start(tmp_path)
    process.kill()
    process.wait()
    abandoned = left(tmp_path)
    assert len(abandoned) == 1 and abandoned[0].startswith(".db.")
    (tmp_path / ".db.12345678x").mkdir()  # not one of ours
    run(root, "--split", "train", "-o", tmp_path / "db")
    assert left(tmp_path) == [".db.12345678x", "db", "labelmap.prototxt", "train_list.txt", "train_name_size.txt"]


def test_a_creation_under_way_is_left_alone(tmp_path):
    with create(tmp_path / "db") as writer:
        writer.put("a", AnnotatedDatum(type=AnnotatedDatum.BBOX))
        with create(tmp_path / "db_0") as other:
            other.put("a", AnnotatedDatum(type=AnnotatedDatum.BBOX))
        with pytest.raises(UserError, match="db: cannot be written"), create(tmp_path / "db") as third:
            third.put("b", AnnotatedDatum(type=AnnotatedDatum.BBOX))
            (tmp_path / "db").mkdir()
            (tmp_path / "db" / "file").touch()
        (tmp_path / "db" / "file").unlink()
        (tmp_path / "db").rmdir()
    with Database(tmp_path / "db") as db:
        assert list(db.keys()) == ["a"]


def start(tmp_path: Path) -> tuple[subprocess.Popen, Path]:
    """A creation that goes on for long, in the midst of it."""
    voc = Voc(tmp_path / "VOC")
    for number in range(300):
        voc.add(f"{number}.jpg", encode(".jpg"))
    command = [sys.executable, "-c", SLOW, "lmdb", "voc", voc.root, "--split", "train", "-o", tmp_path / "db"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    for _ in range(400):
        if any(name.startswith(".db.") for name in os.listdir(tmp_path)):
            break
        time.sleep(0.05)
    time.sleep(0.3)
    assert process.poll() is None
    return process, voc.root


# Much data ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thousands(tmp_path_factory) -> Path:
    """2,500 images, of which ten differ."""
    root = tmp_path_factory.mktemp("much") / "shapes"
    make(root, 10, 0)
    names = (root / "ImageSets/Main/train.txt").read_text()
    (root / "ImageSets/Main/long.txt").write_text(names * 250)
    return root


@pytest.mark.parametrize("options", [(), ("--shuffle", "--seed", 3)])
def test_worker_processes_change_nothing(thousands, tmp_path, options):
    written = []
    for workers in (1, 3):
        out = tmp_path / str(workers)
        run(thousands, "--split", "long", "-o", out / "db", "--workers", workers, *options)
        written.append({path.name: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()})
    assert written[0] == written[1] and len(written[0]) == 4


def test_mistakes_are_told_by_worker_processes_too(thousands, tmp_path):
    (thousands / "ImageSets/Main/bad.txt").write_text((thousands / "ImageSets/Main/long.txt").read_text() + "missing\n")
    message = fails(thousands, "--split", "bad", "-o", tmp_path / "db", "--workers", 2)
    assert f'{thousands}/ImageSets/Main/bad.txt:2501: "missing" has no image; expected ' in message
    assert "2500 images" in run(thousands, "--split", "bad", "-o", tmp_path / "db", "--workers", 2, "--skip-bad")


PEAK = """
import re, sys
from netgen.commands.lmdb import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
@pytest.mark.parametrize("encode_anew", [False, True])
def test_memory_does_not_grow_with_the_data_set(thousands, tmp_path, encode_anew):
    options = ["--encode", "jpg"] if encode_anew else []
    names = (thousands / "ImageSets/Main/train.txt").read_text()
    peaks = []
    for times in (100, 500):
        (thousands / f"ImageSets/Main/{times}.txt").write_text(names * times)
        command = [sys.executable, "-c", PEAK, "voc", thousands, "--split", times, "-o", tmp_path / f"db{times}"]
        command += ["--labelmap", thousands / "labelmap.prototxt", *options]
        done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]) / 1024)
    size = (tmp_path / "db500/data.mdb").stat().st_size / 2**20
    assert peaks[1] < peaks[0] + 16 and peaks[1] < 200 and size > 40  # MiB
