"""`netgen augment`: what a contact sheet shows of a training input, and each mistake of the command."""

from __future__ import annotations

from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from typer.testing import CliRunner

from annoset.augment.expand import Window
from annoset.augment.transform import Plan
from annoset.sources.annotated_data import Sample
from annoset.sources.preview import describe_changes, describe_sampler
from netgen.commands.main import app
from prototxt.errors import UserError
from prototxt.schema import AnnotatedDatum, BatchSampler, Datum, SampleConstraint

NET = """name: "net"
layer {
  name: "data" type: "AnnotatedData" top: "data" top: "label"
  include { phase: TRAIN }
  transform_param {
    mirror: true
    resize_param { height: 60 width: 80 interp_mode: [LINEAR, AREA] }
    expand_param { prob: 0.5 max_expand_ratio: 3 }
    distort_param { brightness_prob: 0.5 brightness_delta: 32 random_order_prob: 0.5 }
  }
  data_param { source: "elsewhere" batch_size: 32 }
  annotated_data_param { batch_sampler { max_sample: 1 max_trials: 1 } label_map_file: "of_the_net.prototxt" }
}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An LMDB of three images, a label map beside it, and a net, in the current folder."""
    monkeypatch.chdir(tmp_path)
    with lmdb.open("lmdb", map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for index in range(3):
            pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            data = cv2.imencode(".png", pixels)[1].tobytes()
            record = AnnotatedDatum(type=AnnotatedDatum.BBOX, datum=Datum(encoded=True, data=data))
            box = record.annotation_group.add(group_label=1).annotation.add().bbox
            box.xmin, box.ymin, box.xmax, box.ymax = 0.25, 0.25, 0.75, 0.75
            transaction.put(f"{index:08d}_image{index}".encode(), record.SerializeToString())
    Path("labelmap.prototxt").write_text('item { name: "cat" label: 1 display_name: "cat" }')
    Path("train.prototxt").write_text(NET)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, ["augment", *arguments])


def error_of(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


@pytest.mark.parametrize(
    ("options", "rows", "columns"), [([], 3, 4), (["--count", "5"], 2, 4), (["--count", "1"], 1, 1)]
)
def test_a_sheet(folder, options, rows, columns):
    result = run("lmdb", "--net", "train.prototxt", "-o", "sheet.png", *options)
    assert result.exit_code == 0, result.output
    count = int(options[1]) if options else 12
    assert result.output == f"wrote sheet.png: the first {count} images of a training with the seed 1\n"
    sheet = cv2.imread("sheet.png")
    assert sheet.shape == (rows * (225 + 4 * 16 + 8), columns * 308, 3)  # 300 x 225 pixels and four lines of text


def test_the_seed_decides(folder):
    for name, seed in (("a.png", "3"), ("b.png", "3"), ("c.png", "4")):
        assert run("lmdb", "--net", "train.prototxt", "-o", name, "--seed", seed).exit_code == 0
    a, b, c = (Path(name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b != c


def test_a_label_map_of_choice_is_checked(folder):
    Path("other.prototxt").write_text('item { name: "dog" label: 2 display_name: "dog" }')
    error = error_of("lmdb", "--net", "train.prototxt", "-o", "sheet.png", "--labelmap", "other.prototxt")
    assert "record 00000000_image0: a box has the class 1, which other.prototxt does not list" in error
    Path("of_the_net.prototxt").write_text('item { name: "dog" label: 3 display_name: "dog" }')
    assert "which of_the_net.prototxt does not list" in error_of("lmdb", "--net", "train.prototxt", "-o", "sheet.png")
    assert not Path("sheet.png").exists()


def test_without_any_label_map(folder):
    Path("labelmap.prototxt").unlink()
    assert run("lmdb", "--net", "train.prototxt", "-o", "sheet.png").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--net", "train.prototxt", "-o", "a.png"), "nowhere: there is no LMDB here"),
        (("lmdb", "--net", "none.prototxt", "-o", "a.png"), "none.prototxt: there is no such file"),
        (("lmdb", "--net", "train.prototxt", "-o", "a.gif"), "a.gif: cannot write a picture with the ending '.gif'"),
        (("lmdb", "--net", "train.prototxt", "-o", "no/a.png"), "create the folder first"),
        (
            ("lmdb", "--net", "test.prototxt", "-o", "a.png"),
            "test.prototxt: the TRAIN net has 0 AnnotatedData layers; expected one, which says how images are"
            " augmented\n"
            "  fix: give the train prototxt, not that of another phase",
        ),
        (("lmdb", "--net", "two.prototxt", "-o", "a.png"), "two.prototxt: the TRAIN net has 2 AnnotatedData layers"),
        (("lmdb", "--net", "bad.prototxt", "-o", "a.png"), "max_expand_ratio is 1; expected a ratio above 1"),
    ],
)
def test_mistakes(folder, arguments, message):
    Path("test.prototxt").write_text(NET.replace("phase: TRAIN", "phase: TEST"))
    Path("two.prototxt").write_text(NET + NET.replace('name: "net"', ""))
    Path("bad.prototxt").write_text(NET.replace("max_expand_ratio: 3", "max_expand_ratio: 1"))
    assert message in error_of(*arguments)
    assert not list(folder.glob("a.*"))


def test_samplers_in_words():
    samplers = [
        BatchSampler(max_sample=1),
        BatchSampler(sample_constraint=SampleConstraint(min_jaccard_overlap=0.1, max_jaccard_overlap=0.7)),
    ]
    assert describe_sampler(0, samplers) == "batch_sampler[0]: no constraint"
    assert describe_sampler(1, samplers) == "batch_sampler[1]: min_jaccard_overlap 0.1, max_jaccard_overlap 0.7"
    assert describe_sampler(None, samplers) == "no sampler: all of it"
    assert describe_sampler(None, []) == "no batch_sampler"


IMAGE = Window(0, 0, 48, 64)
NOTHING = {"canvas": IMAGE, "window": IMAGE, "changes": (), "interpolation": cv2.INTER_LINEAR, "mirror": False}


@pytest.mark.parametrize(
    ("drawn", "resized", "lines"),
    [
        ({}, False, ["as it is", "no distortion"]),
        ({"interpolation": cv2.INTER_LANCZOS4}, True, ["lanczos4", "no distortion"]),
        (
            {
                "canvas": Window(-10, -20, 120, 160),
                "mirror": True,
                "changes": (("brightness", -9.6), ("contrast", 1.5)),
            },
            True,
            ["expand ×2.50, linear, mirror", "brightness -10, contrast ×1.50"],
        ),
        (
            {"changes": (("saturation", 0.5), ("hue", 3.25), ("order", (2, 0, 1)))},
            False,
            ["as it is", "saturation ×0.50, hue +3.2, channels (2, 0, 1)"],
        ),
    ],
)
def test_what_was_drawn_in_words(drawn, resized, lines):
    fields = NOTHING | {"sampler": None, "specks": np.empty((0, 2)), "crop": IMAGE, "rows": np.empty((0, 8))} | drawn
    sample = Sample("key", (48, 64), Plan(**fields), np.zeros((48, 64, 3), np.uint8), 0)
    assert describe_changes(sample, resized) == lines
