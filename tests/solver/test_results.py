"""Result files: pixels, formats, and complaints about the files a layer names."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.schema import NetParameter
from prototxt.text import parse
from solver.results import ResultFiles, result_files

NET = """
layer {{ name: "in" type: "Input" top: "loc" top: "conf" top: "prior" input_param {{
  shape {{ dim: 2 dim: 8 }} shape {{ dim: 2 dim: 6 }} shape {{ dim: 1 dim: 2 dim: 8 }} }} }}
layer {{ name: "det" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "found"
  detection_output_param {{ num_classes: 3 save_output_param {{
    output_directory: "out/deep" output_name_prefix: "det_" output_format: "{format}"
    label_map_file: "labels.prototxt" name_size_file: "sizes.txt" {more} }} }} }}
"""
LABELS = """
item { name: "none" label: 0 } item { name: "7" label: 1 display_name: "cat" } item { name: "9" label: 2 }
"""
ROWS = [
    [[0, 1, 0.123456789, 0.1, 0.2, 0.5, 1.5], [1, 2, 0.5, -0.5, 0.25, 0.75, 0.999]],
    [[0, 2, 1.0, 0, 0, 0.003, 0.006]],
]


def graph(form: str = "VOC", more: str = "") -> Graph:
    return Graph(net_file(parse(NET.format(format=form, more=more), NetParameter(), "test.prototxt").message))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "labels.prototxt").write_text(LABELS)
    (tmp_path / "sizes.txt").write_text("a 200 100\n000042 50 300\n\nc 333 500\n")
    return tmp_path


def written(root, form: str, more: str = "") -> dict[str, str]:
    (files,) = result_files(graph(form, more), root)
    for rows in ROWS:
        files.add(np.array(rows, np.float32)[None, None])
    paths = files.write()
    assert all(path.parent == root / "out/deep" for path in paths)
    return {path.name: path.read_text() for path in paths}


def test_voc(root):
    # a is 100 wide, 200 high: x 10 to 50, y 40 to 200 (clipped); 000042 is 300 wide, 50 high;
    # c: 1.5 wide and 2 (1.998) high, cut to 1 and 2
    assert written(root, "VOC") == {
        "det_7.txt": "a 0.123457 10 40 50 200\n",
        "det_9.txt": "000042 0.5 0 12 225 49\nc 1 0 0 1 2\n",
    }


def test_ilsvrc(root):
    assert written(root, "ILSVRC") == {
        "det_.txt": "a 1 0.123457 10 40 50 200\n000042 2 0.5 0 12 225 49\nc 2 1 0 0 1 2\n"
    }


def test_coco(root):
    records = json.loads(written(root, "COCO")["det_.json"])
    assert [(r["image_id"], r["category_id"]) for r in records] == [("a", 7), (42, 9), ("c", 9)]
    assert records[0]["bbox"] == [10, 40, 40, 160] and records[0]["score"] == pytest.approx(0.12345679)
    assert records[1]["bbox"] == pytest.approx([0, 12.5, 225, 37.45]) and records[2]["bbox"] == [0, 0, 1.5, 2.0]


def test_images_beyond_the_limit_are_repetitions(root):
    assert written(root, "ILSVRC", "num_test_image: 1")["det_.txt"] == "a 1 0.123457 10 40 50 200\n"


def test_a_batch_without_detections(root):
    files = ResultFiles(graph().layers[-1], root)
    files.add(np.array([[0, -1, -1, -1, -1, -1, -1], [1, -1, -1, -1, -1, -1, -1]], np.float32)[None, None])
    assert [path.read_text() for path in files.write()] == ["", ""]


def test_no_folder_no_files(root):
    made = graph()
    made.layers[-1].p.save_output_param.ClearField("output_directory")
    assert result_files(made, root) == []


@pytest.mark.parametrize(
    "form, more, message",
    [
        ("VOOC", "", r'layer "det" .*: output_format "VOOC" is unknown \(did you mean "VOC"\?\); expected one of COCO'),
        ("VOC", "resize_param { resize_mode: FIT_SMALL_SIZE }", "resize_param is covered for WARP only"),
        ("VOC", "num_test_image: 9", r"num_test_image is 9, but sizes.txt lists 3 images"),
    ],
)
def test_layer_complaints(root, form, more, message):
    with pytest.raises(UserError) as error:
        result_files(graph(form, more), root)
    assert re.search(message, str(error.value))


def test_file_complaints(root):
    (root / "sizes.txt").write_text("a 200 100\nb 3 x\n")
    with pytest.raises(
        UserError, match=r'sizes.txt:2: "b 3 x" is not a line of a name_size file; expected NAME HEIGHT WIDTH'
    ):
        result_files(graph(), root)
    (root / "sizes.txt").unlink()
    with pytest.raises(UserError, match=r"sizes.txt: there is no such file"):
        result_files(graph(), root)
    (root / "sizes.txt").write_text("a 200 100\n")
    (root / "labels.prototxt").write_text('item { name: "7" label: 1 }')
    files = ResultFiles(graph().layers[-1], root)
    with pytest.raises(UserError, match=r'layer "det" .*class 2 is not in the labelmap labels.prototxt'):
        files.write()
