"""Data sets: the published ones, and the user's own with its label map."""

from __future__ import annotations

import pytest

from netgen.datasets import COCO, DATASETS, VOC07, VOC0712, VOC0712PLUS, data_set
from prototxt.errors import UserError, UserErrors

MAP = """item {{ name: "{background}" label: 0 display_name: "background" }}
item {{ name: "RBC" label: 1 }}
item {{ name: "WBC" label: 2 }}
"""


@pytest.fixture
def labelmap(tmp_path):
    path = tmp_path / "labelmap.prototxt"
    path.write_text(MAP.format(background="none_of_the_above"))
    return path


@pytest.fixture
def name_size(tmp_path):
    path = tmp_path / "test_name_size.txt"
    path.write_text("a 480 640\nb 480 640\nc 300 200\n\n")
    return path


def test_published_data_sets():
    assert list(DATASETS) == ["coco", "voc07", "voc0712", "voc0712++"]
    for data in (VOC07, VOC0712, VOC0712PLUS, COCO):
        assert DATASETS[data.name] is data
        assert len(set(data.classes)) == len(data.classes) == data.num_classes - 1
    assert (VOC0712.num_classes, VOC0712.num_test_images) == (21, 4952)
    assert (VOC07.num_test_images, VOC0712PLUS.num_test_images) == (4952, 10991)
    assert (VOC0712.classes[0], VOC0712.classes[14], VOC0712.classes[19]) == ("aeroplane", "person", "tvmonitor")
    assert (COCO.num_classes, COCO.num_test_images) == (81, 5000)
    assert (COCO.classes[0], COCO.classes[9], COCO.classes[79]) == ("person", "traffic light", "toothbrush")


def test_unknown_data_set():
    with pytest.raises(UserError, match=r'no data set called "voc0721" \(did you mean "voc0712"\?\)'):
        data_set("voc0721", None, {})


def test_root_moves_the_four_paths_and_options_win():
    data = data_set("voc0712", "/data", {"train_lmdb": "mine", "test_lmdb": None})
    assert data.test_lmdb == "/data/examples/VOC0712/VOC0712_test_lmdb"
    assert data.labelmap == "/data/data/VOC0712/labelmap_voc.prototxt"
    assert data.name_size == "/data/data/VOC0712/test_name_size.txt"
    assert data.train_lmdb == "mine"
    assert data.results_dir == "results"


def test_root_needs_a_known_data_set():
    with pytest.raises(UserError, match="--data-root is for the paths of a known data set"):
        data_set(None, "/data", {})


def test_own_data_set(labelmap, name_size):
    data = data_set(None, None, {"labelmap": labelmap, "name_size": name_size, "train_lmdb": "a", "test_lmdb": "b"})
    assert (data.name, data.classes, data.num_classes, data.num_test_images) == ("", ("RBC", "WBC"), 3, 3)
    assert (data.labelmap, data.train_lmdb, data.test_lmdb) == (str(labelmap), "a", "b")
    assert data.train_on_difficult and not data.force_color and data.results_format == "VOC"


def test_own_label_map_for_a_known_data_set(labelmap, name_size, tmp_path):
    data = data_set("coco", None, {"labelmap": labelmap, "name_size": name_size, "num_test_images": 2})
    assert (data.num_classes, data.num_test_images, data.results_format) == (3, 2, "COCO")
    data = data_set("coco", None, {"labelmap": tmp_path / "later.prototxt", "name_size": tmp_path / "later.txt"})
    assert (data.num_classes, data.num_test_images, data.labelmap) == (81, 5000, str(tmp_path / "later.prototxt"))


def test_labels_may_have_gaps(labelmap):
    labelmap.write_text('item { name: "background" label: 0 } item { name: "a" label: 7 } item { name: "b" label: 2 }')
    data = data_set("voc0712", None, {"labelmap": labelmap})
    assert (data.num_classes, data.classes) == (8, ("b", "a"))


def test_what_is_missing_of_an_own_data_set():
    with pytest.raises(UserError) as error:
        data_set(None, None, {"train_lmdb": "a"})
    assert "missing: --labelmap --test-lmdb --num-test-images (or --name-size)" in str(error.value)
    assert "--dataset (coco, voc07, voc0712, voc0712++)" in str(error.value)


def test_a_deploy_net_needs_only_the_classes(labelmap):
    data = data_set(None, None, {"labelmap": labelmap}, ["deploy"])
    assert (data.num_classes, data.num_test_images, data.name_size) == (3, 0, "")
    with pytest.raises(UserError, match="missing: --test-lmdb --num-test-images"):
        data_set(None, None, {"labelmap": labelmap}, ["deploy", "test"])


@pytest.mark.parametrize("missing", ["labelmap", "name_size"])
def test_files_of_an_own_data_set_must_exist(missing, labelmap, name_size, tmp_path):
    given = {"labelmap": labelmap, "name_size": name_size, "train_lmdb": "a", "test_lmdb": "b"}
    with pytest.raises(UserError, match=r"absent\.txt: there is no such file"):
        data_set(None, None, {**given, missing: tmp_path / "absent.txt"})


def test_no_test_images(labelmap, name_size):
    name_size.write_text("\n")
    with pytest.raises(UserError, match="the data set has 0 test images; expected at least 1"):
        data_set("voc0712", None, {"name_size": name_size})


BAD_MAPS = {
    "no background": (
        'item { name: "RBC" label: 1 }',
        'labelmap.prototxt: no class has label 0; expected the background there, called "background"',
    ),
    "a class in its place": (
        'item { name: "RBC" label: 0 }\nitem { name: "WBC" label: 1 }',
        'labelmap.prototxt:1: label 0 is the class "RBC"; expected the background there',
    ),
    "one label twice": (
        MAP.format(background="background") + 'item { name: "Platelets" label: 2 }',
        'labelmap.prototxt:4: label 2 is given to "WBC" and to "Platelets"; expected a label for each class',
    ),
    "one name twice": (
        MAP.format(background="background") + 'item { name: "RBC" label: 3 }',
        'labelmap.prototxt:4: the class "RBC" is listed twice',
    ),
    "negative": (
        MAP.format(background="background") + 'item { name: "x" label: -1 }',
        'labelmap.prototxt:4: the class "x" has label -1; expected one of 0 or more',
    ),
    "no label": (
        MAP.format(background="background") + 'item { name: "x" }',
        'labelmap.prototxt:4: the class "x" has no label; expected one of 0 or more',
    ),
    "nothing but background": (
        'item { name: "background" label: 0 }',
        "labelmap.prototxt: there is no class besides the background",
    ),
    "empty": ("", "labelmap.prototxt: there is no class besides the background"),
    "unknown field": ('item { nam: "x" }', 'did you mean "name"?'),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_bad_label_maps(case, labelmap):
    text, message = BAD_MAPS[case]
    labelmap.write_text(text)
    with pytest.raises(UserError) as error:
        data_set("voc0712", None, {"labelmap": labelmap})
    assert message in str(error.value)


def test_every_mistake_of_a_label_map_at_once(labelmap):
    labelmap.write_text(
        MAP.format(background="background") + 'item { name: "WBC" label: 1 }\nitem { name: "x" label: 2 }'
    )
    with pytest.raises(UserErrors) as error:
        data_set("voc0712", None, {"labelmap": labelmap})
    assert [e.where.rsplit(":")[-1] for e in error.value.errors] == ["4", "5"]
