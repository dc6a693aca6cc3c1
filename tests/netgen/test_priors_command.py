"""`netgen priors` as it is called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from netgen.commands.main import app
from prototxt.errors import UserError
from prototxt.io import read_net

ROOT = Path(__file__).resolve().parents[2]
XML = """<annotation><size><width>100</width><height>100</height></size>{}</annotation>"""
OBJECT = """<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""
# On 100 x 100 pixels: a map of 2 x 2 cells with squares of 50, one of 1 x 1 with a square of 80 and its ratios.
NET = """name: "two"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 100, 100] } } }
layer { name: "a" type: "Pooling" bottom: "data" top: "a" pooling_param { kernel_size: 50 stride: 50 } }
layer { name: "b" type: "Pooling" bottom: "data" top: "b" pooling_param { pool: AVE global_pooling: true } }
layer { name: "a_prior" type: "PriorBox" bottom: "a" bottom: "data" top: "a_prior" prior_box_param { min_size: 50 } }
layer { name: "b_prior" type: "PriorBox" bottom: "b" bottom: "data" top: "b_prior"
  prior_box_param { min_size: 80 aspect_ratio: 2 } }
"""
DATA = """layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { resize_param { prob: 1 resize_mode: %s height: 100 width: 100 } }
  data_param { source: "x" batch_size: 1 backend: LMDB } annotated_data_param { label_map_file: "own.prototxt" } }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A net and a data set of four objects: on a prior of `a`, half of it, on the square of `b`, without area."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("data/Annotations").mkdir(parents=True)
    objects = ("cat", 0, 0, 0, 50, 50), ("cat", 1, 0, 50, 25, 100), ("dog", 0, 10, 10, 90, 90), ("dog", 0, 5, 5, 5, 9)
    Path("data/Annotations/1.xml").write_text(XML.format("".join(OBJECT.format(*each) for each in objects)))
    return tmp_path


def netgen(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["priors", *map(str, arguments)])
    if result.exception:
        raise result.exception
    return result.stdout


def report(*arguments: object) -> dict:
    return json.loads(netgen(*arguments, "--format", "json"))


def message(*arguments: object) -> str:
    with pytest.raises(UserError) as error:
        netgen(*arguments)
    return str(error.value)


def test_json(folder):
    found = report("net.prototxt", "--annotations", "data")
    assert {name: found[name] for name in ("net", "input_hw", "priors", "suggestion")} == {
        "net": "two",
        "input_hw": [100, 100],
        "priors": 4 + 3,
        "suggestion": None,
    }
    assert found["annotations"] == {
        "path": "data",
        "labelmap": None,
        "images": 1,
        "boxes": 3,
        "difficult": 1,
        "without_area": 1,
        "difficult_counted": True,
    }
    coverage = found["coverage"]
    assert coverage["all"]["covered"] == {"0.5": 1, "0.7": pytest.approx(2 / 3)}
    assert coverage["all"]["mean_iou"] == pytest.approx((1 + 0.5 + 1) / 3, abs=1e-6)
    assert [(row["name"], row["boxes"], row["covered"]["0.7"]) for row in coverage["classes"]] == [
        ("cat", 2, 0.5),
        ("dog", 1, 1),
    ]
    assert [(row["name"], row["best_here"], row["priors"]) for row in coverage["layers"]] == [
        ("a_prior", 2, 4),
        ("b_prior", 1, 3),
    ]
    assert [row["covered"]["0.7"] for row in coverage["layers"]] == [pytest.approx(1 / 3)] * 2


def test_difficult_objects_left_out(folder):
    found = report("net.prototxt", "--annotations", "data", "--no-difficult")
    assert found["annotations"]["boxes"] == 2 and not found["annotations"]["difficult_counted"]
    assert found["coverage"]["all"]["covered"] == {"0.5": 1, "0.7": 1}


def test_text(folder):
    lines = netgen("net.prototxt", "--annotations", "data").splitlines()
    assert lines[:4] == [
        "two: 7 prior boxes in 2 layers, input 100×100",
        "data: 3 objects in 1 image",
        "    1 marked difficult, counted",
        "    1 more without width or height: no prior can cover them",
    ]
    rows = [line.split() for line in lines]
    assert ["cat", "2", "100.0", "50.0", "0.750"] in rows
    assert ["small", "(below", "32²)", "0", "–", "–", "–"] in rows
    assert ["medium", "(32²–96²)", "3", "100.0", "66.7", "0.833"] in rows
    assert ["all", "3", "100.0", "66.7", "0.833"] in rows
    assert ["a_prior", "2", "66.7", "33.3", "0.573"] in rows
    assert ["a_prior", "2×2", "50", "50", "4"] in rows
    assert ["b_prior", "1×1", "100", "80", "2,", "0.5", "3"] in rows


def test_a_train_net_says_the_same(folder):
    deploy = NET.splitlines(keepends=True)
    Path("train.prototxt").write_text(deploy[0] + DATA % "WARP" + "".join(deploy[2:]))
    found = [report(f"{name}.prototxt", "--annotations", "data") for name in ("train", "net")]
    assert found[0]["coverage"] == found[1]["coverage"]


def test_label_maps_of_an_lmdb(folder, tmp_path):
    """The one given, the one beside it, the net's, in this order; without any the classes are numbers."""
    from annoset.database import create
    from prototxt.schema import AnnotatedDatum, Datum

    deploy = NET.splitlines(keepends=True)
    Path("train.prototxt").write_text(deploy[0] + DATA % "WARP" + "".join(deploy[2:]))
    record = AnnotatedDatum(type=AnnotatedDatum.BBOX, datum=Datum(height=9, width=9))
    box = record.annotation_group.add(group_label=1).annotation.add().bbox
    box.xmin = box.ymin = 0
    box.xmax = box.ymax = 0.5
    with create("lmdb") as writer:
        writer.put("0", record)
    names = []
    for labelmap in (None, "own.prototxt", "labelmap.prototxt", "given.prototxt"):
        if labelmap:
            Path(labelmap).write_text(f'item {{ name: "bg" label: 0 }} item {{ name: "{labelmap}" label: 1 }}')
        given = ["--labelmap", labelmap] if labelmap == "given.prototxt" else []
        found = report("train.prototxt", "--annotations", "lmdb", *given)
        assert found["annotations"]["labelmap"] == labelmap
        names += [row["name"] for row in found["coverage"]["classes"]]
    assert names == ["class 1", "own.prototxt", "labelmap.prototxt", "given.prototxt"]
    text = netgen("train.prototxt", "--annotations", "lmdb", "--labelmap", "given.prototxt")
    assert "    classes named by given.prototxt\n" in text


def test_padded_images_and_those_of_any_size(folder):
    deploy = NET.splitlines(keepends=True)
    Path("data/Annotations/1.xml").write_text(
        XML.replace("<height>100", "<height>50").format(OBJECT.format("cat", 0, 0, 0, 100, 50))
    )
    Path("pad.prototxt").write_text(deploy[0] + DATA % "FIT_LARGE_SIZE_AND_PAD" + "".join(deploy[2:]))
    # The whole image is 100 x 50 of the net's input; the prior of ratio 2 is 113 x 57.
    found = report("pad.prototxt", "--annotations", "data")["coverage"]["all"]["mean_iou"]
    assert found == pytest.approx(100 * 50 / (80**2), abs=1e-6)
    Path("any.prototxt").write_text(deploy[0] + DATA % "FIT_SMALL_SIZE" + "".join(deploy[2:]))
    assert message("any.prototxt", "--annotations", "data").startswith(
        "any.prototxt:2: resize_mode FIT_SMALL_SIZE gives each image a size of its own"
    )


def test_suggestion_on_blood_cells(shared, tmp_path, monkeypatch):
    """Sizes for the published net on other data: tables, a picture and a net in which nothing else changed."""
    monkeypatch.chdir(tmp_path)
    net = shared / "reference/prototxt/scratchdet300_root34_voc/train.prototxt"
    wanted = ["--annotations", shared / "data/bccd", "--suggest", "--write", "new.prototxt"]
    found = report(net, *wanted, "-o", "found.png")
    before, after = found["coverage"], found["suggestion"]["coverage"]
    assert found["annotations"]["boxes"] == 4886 and found["annotations"]["without_area"] == 2
    assert before["all"]["covered"] == {"0.5": pytest.approx(0.9619, abs=1e-3), "0.7": pytest.approx(0.572, abs=2e-3)}
    assert after["all"]["covered"]["0.5"] > 0.99 and after["all"]["covered"]["0.7"] > 0.68
    assert [row["covered"]["0.5"] > 0.95 for row in after["classes"]] == [True] * 3
    assert found["suggestion"]["prototxt"].count("prior_box_param") == 6
    assert Path("found.png").read_bytes().startswith(b"\x89PNG")

    old, new = read_net(net).message, read_net("new.prototxt").message
    for old_layer, new_layer in zip(old.layer, new.layer, strict=True):
        if old_layer.type == "PriorBox":
            sizes = [list(new_layer.prior_box_param.min_size), list(new_layer.prior_box_param.max_size)]
            row = next(row for row in after["layers"] if row["name"] == new_layer.name)
            assert sizes == [row["min_sizes"], row["max_sizes"]]
            for field in ("min_size", "max_size", "aspect_ratio"):
                new_layer.prior_box_param.ClearField(field)
                getattr(new_layer.prior_box_param, field).extend(getattr(old_layer.prior_box_param, field))
    assert new == old
    again = report("new.prototxt", "--annotations", shared / "data/bccd")["coverage"]
    assert again["all"] == {**after["all"], "mean_iou": pytest.approx(after["all"]["mean_iou"], abs=1e-6)}


def test_suggestion_as_text(folder):
    """The whole image: the square of 80 covers it with 0.64, one of about 100 wholly; `a` cannot help."""
    Path("data/Annotations/1.xml").write_text(XML.format(OBJECT.format("cat", 0, 0, 0, 100, 100)))
    text = netgen("net.prototxt", "--annotations", "data", "--suggest", "--write", "new.prototxt", "-o", "found.svg")
    rows = [line.split() for line in text.splitlines()]
    covered = ["100.0", "→", "100.0", "0.0", "→", "100.0"]
    assert next(row for row in rows if row[:1] == ["cat"])[:-3] == ["cat", "1", *covered]
    assert "Their priors as suggested" in text
    assert "\n# b_prior\nprior_box_param {\n  min_size: 100.0\n" in text
    assert text.endswith("}\nwrote found.svg\nwrote new.prototxt\n")
    assert Path("found.svg").read_text().startswith("<?xml")
    (written,) = (each for each in read_net("new.prototxt").message.layer if each.name == "b_prior")
    assert list(written.prior_box_param.min_size) == [100]


def test_nothing_better(folder):
    Path("data/Annotations/1.xml").write_text(XML.format(OBJECT.format("cat", 0, 10, 10, 90, 90)))
    text = netgen("net.prototxt", "--annotations", "data", "--suggest")
    assert text.endswith("no sizes or ratios were found that cover more than the net's own\n")
    found = message("net.prototxt", "--annotations", "data", "--write", "new.prototxt")
    assert found == "new.prototxt: not written: no sizes or ratios were found that cover more than the net's own"
    assert not Path("new.prototxt").exists()


def test_picture_alone(folder):
    assert netgen("net.prototxt", "--annotations", "data", "-o", "found.pdf").endswith("wrote found.pdf\n")
    assert Path("found.pdf").read_bytes().startswith(b"%PDF")


def test_mistakes(folder):
    arguments = "net.prototxt", "--annotations", "data"
    assert message(*arguments, "-o", "a.txt").startswith(
        'a.txt: pictures ending in ".txt" are not known; expected eps,'
    )
    assert message(*arguments, "-o", "no/a.png") == (
        "no/a.png: cannot be written: No such file or directory\n  fix: create the folder first"
    )
    assert message(*arguments, "--write", "./net.prototxt") == (
        "net.prototxt: --write names the net itself\n  fix: write to another file"
    )
    Path("plain.prototxt").write_text("".join(NET.splitlines(keepends=True)[:4]))
    assert message("plain.prototxt", *arguments[1:]).startswith("plain.prototxt: the net has no PriorBox layer")
    assert message("net.prototxt", "--annotations", "nowhere").startswith("nowhere: there is no such folder")
    Path("data/Annotations/1.xml").write_text(XML.format(OBJECT.format("cat", 0, 5, 5, 5, 9)))
    assert message(*arguments) == "data: no box with a width and a height is left"
    Path("data/Annotations/1.xml").write_text(XML.format(OBJECT.format("cat", 1, 5, 5, 9, 9)))
    assert message(*arguments, "--no-difficult") == (
        "data: no box with a width and a height is left without the difficult ones"
    )


def test_torch_is_not_loaded(folder):
    code = "import sys; from netgen.commands.main import app; app(sys.argv[1:], standalone_mode=False); "
    code += "sys.exit('torch' in sys.modules)"
    arguments = ["priors", "net.prototxt", "--annotations", "data", "--suggest"]
    run = subprocess.run([sys.executable, "-c", code, *arguments], env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert run.returncode == 0, run.stderr
