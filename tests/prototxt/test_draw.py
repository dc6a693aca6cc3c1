"""Pictures of nets, read back as XML: every layer and every blob is in them, and nothing lies on anything."""

from __future__ import annotations

import re
import sys
from itertools import combinations
from xml.etree import ElementTree

import pytest

from netgen.commands.draw import draw as draw_command
from prototxt.draw import draw
from prototxt.draw import picture as picture_of
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.layout import Wire, layout

SVG = "{http://www.w3.org/2000/svg}"
NET = """name: "a < b"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 20 dim: 30 } } }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1"
        convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 bias_term: false } }
layer { name: "bn1" type: "BatchNorm" bottom: "c1" top: "c1" }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "c2" type: "Convolution" bottom: "c1" top: "c2"
        convolution_param { num_output: 6 kernel_size: 3 pad: 2 dilation: 2 group: 2 } }
layer { name: "sum" type: "Eltwise" bottom: "c1" bottom: "c2" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool" pooling_param { global_pooling: true pool: AVE } }
layer { name: "perm" type: "Permute" bottom: "sum" top: "perm" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "flat" type: "Flatten" bottom: "perm" top: "flat" }
layer { name: "prior" type: "PriorBox" bottom: "sum" bottom: "data" top: "prior" prior_box_param { min_size: 3 } }
"""


def edges(rectangle) -> tuple[float, float, float, float]:
    """Left, top, right, bottom."""
    x, y, width, height = (float(rectangle.get(name)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


class Picture:
    """What a test asks of an SVG file."""

    def __init__(self, path) -> None:
        root = ElementTree.parse(path).getroot()
        self.size = float(root.get("width")), float(root.get("height"))
        groups = [g for g in root.iter(f"{SVG}g") if g.get("data-layers")]
        self.boxes = {g.get("data-layers"): g.find(f"{SVG}rect") for g in groups}
        self.texts = {g.get("data-layers"): [t.text for t in g.findall(f"{SVG}text")] for g in groups}
        blocks = [g for g in root.iter(f"{SVG}g") if g.get("data-block")]
        self.blocks = [(g.get("data-block"), g.findall(f"{SVG}text")[-1].text) for g in blocks]
        self.frames = [(g.findall(f"{SVG}rect")[1], g.findall(f"{SVG}g")) for g in blocks]
        self.labels = [t for t in root.iter(f"{SVG}text") if t.get("class") == "shape"]
        self.shapes = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "shape"]
        self.wires = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("class") == "wire"]
        self.title = next(t.text for t in root.iter(f"{SVG}text") if t.get("class") == "title")

    def edges(self, key: str) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of a box."""
        return edges(self.boxes[key])

    def links(self) -> set[tuple[str, str]]:
        """Boxes that a wire joins, found by where it starts and ends."""
        result = set()
        for path in self.wires:
            numbers = [float(n) for n in re.findall(r"-?[\d.]+", path)]
            (x1, y1), (x2, y2) = numbers[:2], numbers[-2:]
            (start,) = [k for k in self.boxes if self._on(k, x1, y1, 3)]
            (end,) = [k for k in self.boxes if self._on(k, x2, y2, 1)]
            result.add((start.split()[0], end.split()[0]))
        return result

    def _on(self, key: str, x: float, y: float, side: int) -> bool:
        edges = self.edges(key)
        return edges[0] <= x <= edges[2] and abs(y - edges[side]) < 0.2


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    draw_command(tmp_path / "net.prototxt", tmp_path / "net.svg", "TEST")
    return Picture(tmp_path / "net.svg")


def test_layers_that_finish_anothers_work_share_its_box(picture):
    assert list(picture.boxes) == ["data", "c1 bn1 r1", "c2", "sum", "pool", "perm flat", "prior"]


def test_boxes_name_layers_and_parameters(picture):
    assert picture.title == "a < b, phase TEST"
    assert picture.texts == {
        "data": ["data", "Input"],
        "c1 bn1 r1": ["c1", "Convolution 3×3 /2 → 6", "+ BatchNorm, ReLU"],
        "c2": ["c2", "Convolution 3×3 dilation 2×2 group 2 → 6"],
        "sum": ["sum", "Eltwise SUM"],
        "pool": ["pool", "Pooling AVE global"],
        "perm flat": ["perm", "Permute", "+ Flatten"],
        "prior": ["prior", "PriorBox 1 a cell"],
    }


def test_wires_join_what_the_net_joins_and_name_their_shapes(picture):
    assert picture.links() == {
        ("data", "c1"),
        ("c1", "c2"),
        ("c1", "sum"),
        ("c2", "sum"),
        ("sum", "pool"),
        ("sum", "perm"),
        ("sum", "prior"),
    }
    assert picture.shapes == ["1×3×20×30", "1×6×10×15", "1×6×10×15", "1×6×10×15"]


def apart(first, second) -> bool:
    return first[2] < second[0] or second[2] < first[0] or first[3] < second[1] or second[3] < first[1]


@pytest.mark.parametrize("detail", ["blocks", "full"])
@pytest.mark.parametrize("model", ["scratchdet300_root34_voc", "grp_dsod320_voc", "refinedet320_vgg_voc"])
def test_whole_nets(shared, tmp_path, model, detail):
    graph = Graph.load(shared / f"reference/prototxt/{model}/deploy.prototxt")
    draw(graph, tmp_path / "net.svg", detail)
    picture = Picture(tmp_path / "net.svg")
    drawn = [name for key in picture.boxes for name in key.split()]
    assert sorted(drawn) == sorted(layer.name for layer in graph.layers)
    places = {key: picture.edges(key) for key in picture.boxes}
    for (a, first), (b, second) in combinations(places.items(), 2):
        assert apart(first, second), f"{a} lies on {b}"
    assert all(x1 >= 0 and x2 <= picture.size[0] and y2 <= picture.size[1] for x1, _, x2, y2 in places.values())
    for label in picture.labels:
        x, y = float(label.get("x")), float(label.get("y"))
        on = [key for key, place in places.items() if not apart(place, (x, y - 7, x + 5 * len(label.text), y))]
        assert not on, f"{label.text} lies on {on}"
    if detail == "full":
        by_first = {key.split()[0]: box for key, box in places.items()}
        assert all(by_first[a][3] < by_first[b][1] for a, b in picture.links())  # downwards


@pytest.mark.parametrize("kind", ["train", "test", "deploy"])
def test_every_reference_fits_on_a_portrait_page(shared, kind):
    for path in sorted((shared / "reference/prototxt").glob(f"*/{kind}.prototxt")):
        text = picture_of(Graph.load(path, "TRAIN" if kind == "train" else "TEST"))
        width, height = map(int, re.search(r'width="(\d+)" height="(\d+)"', text).groups())
        assert width <= 1700 and width < height < 5500, path


def test_heads_of_scratchdet_stand_side_by_side(shared, tmp_path):
    draw(
        Graph.load(shared / "reference/prototxt/scratchdet300_root34_voc/deploy.prototxt"), tmp_path / "net.svg", "full"
    )
    picture = Picture(tmp_path / "net.svg")
    heads = [key for key in picture.boxes if re.search(r"_mbox_(loc|conf|priorbox)\b", key.split()[0])]
    assert len(heads) == 18
    assert len({picture.boxes[key].get("y") for key in heads if "priorbox" not in key}) == 1
    backbone = [picture.boxes[key] for key in picture.boxes if re.match(r"stem_|conv2_", key)]
    centres = {round(float(box.get("x")) + float(box.get("width")) / 2) for box in backbone}
    assert len(centres) == 1  # one straight line


BLOCKS = {
    "dsod300_voc": [
        ("6 × dense layer, one after the other", "BatchNorm4 … Concat6; 128 → 416 channels"),
        ("8 × dense layer, one after the other", "BatchNorm17 … Concat14; 416 → 800 channels"),
        ("8 × dense layer, one after the other", "BatchNorm34 … Concat22; 800 → 1184 channels"),
        ("8 × dense layer, one after the other", "BatchNorm51 … Concat30; 1184 → 1568 channels"),
        ("3 × block, one after the other", "Pooling6 … Sixth; 512 → 256 channels"),
        ("6 × prediction head, side by side", "First_norm … Sixth_norm_mbox_priorbox"),
    ],
    "grp_dsod320_voc": [
        ("6 × dense layer, one after the other", "Convolution4 … Concat6; 128 → 416 channels"),
        ("8 × dense layer, one after the other", "Convolution17 … Concat14; 416 → 800 channels"),
        ("8 × dense layer, one after the other", "Convolution36 … Concat22; 800 → 1184 channels"),
        ("8 × dense layer, one after the other", "Convolution53 … Concat30; 1184 → 1568 channels"),
        ("3 × block, one after the other", "Pooling7 … Fifth; 342 → 172 channels"),
        ("5 × block, side by side", "Deconvolution1 … Recurrent5"),
        ("6 × block, side by side", "Recurrent1_pool … Recurrent6_gate"),
        ("6 × prediction head, side by side", "Recurrent1_gate_norm … Recurrent6_gate_norm_mbox_priorbox"),
    ],
    "refinedet320_res101_coco": [
        ("3 × residual block, one after the other", "res2a_branch2a … res2c_relu; 64 → 256 channels"),
        ("3 × residual block, one after the other", "res3b1_branch2a … res3b3_relu; 512 channels"),
        ("22 × residual block, one after the other", "res4b1_branch2a … res4b22_relu; 1024 channels"),
        ("2 × residual block, one after the other", "res5b_branch2a … res5c_relu; 2048 channels"),
        ("3 × block, one after the other", "TL5_1 … P3_relu"),
        ("4 × prediction head, side by side", "resres3b3_relu_inter_branch1 … resres6_relu_inter_mbox_priorbox"),
        ("4 × prediction head, side by side", "resP3_inter_branch1 … resP6_inter_mbox_conf_flat"),
    ],
    "ssd300_vgg_voc": [("6 × prediction head, side by side", "conv4_3_norm_mbox_loc … conv9_2_mbox_priorbox")],
}


@pytest.mark.parametrize("model", BLOCKS)
def test_published_nets_fold_into_their_blocks(shared, tmp_path, model):
    draw(Graph.load(shared / f"reference/prototxt/{model}/deploy.prototxt"), tmp_path / "net.svg")
    picture = Picture(tmp_path / "net.svg")
    assert picture.blocks == BLOCKS[model]
    for frame, inside in picture.frames:
        outer = edges(frame)
        for group in inside:
            box = edges(group.find(f"{SVG}rect"))
            assert outer[0] < box[0] and outer[1] < box[1] and box[2] < outer[2] and box[3] < outer[3]


def test_the_inside_of_a_dense_block(shared, tmp_path):
    draw(Graph.load(shared / "reference/prototxt/dsod300_voc/deploy.prototxt"), tmp_path / "net.svg")
    picture = Picture(tmp_path / "net.svg")
    texts = {tuple(lines) for lines in picture.texts.values()}
    assert ("Convolution{50…64}", "Convolution 1×1 → 192", "+ BatchNorm, Scale, ReLU") in texts
    assert ("{First…Sixth}_norm_mbox_loc", "Convolution 3×3 → 16, 24, 24, 24, 16, 16",
            "+ BatchNorm, Scale, Permute, Flatten") in texts  # fmt: skip
    assert {"1×1232…1568×19×19", "1×23104…64", "3 blobs", "6 blobs"} <= set(picture.shapes)


def test_a_branch_that_only_the_last_block_gives_away_is_named(shared, tmp_path):
    """ScratchDet's heads read the branch of a stage's last block, before its sum."""
    draw(Graph.load(shared / "reference/prototxt/scratchdet300_root34_voc/deploy.prototxt"), tmp_path / "net.svg")
    assert {"conv4_12", "conv5_6"} <= set(Picture(tmp_path / "net.svg").shapes)


def test_other_files(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    with pytest.raises(UserError) as caught:
        draw(Graph.load(tmp_path / "net.prototxt"), tmp_path / "net.jpg")
    assert str(caught.value) == (
        f'{tmp_path / "net.jpg"}: pictures of nets are SVG or PNG files, not ".jpg"\n'
        "  fix: name the file *.svg or *.png"
    )
    assert not (tmp_path / "net.jpg").exists()


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_png(tmp_path, scale):
    pytest.importorskip("resvg_py")
    import cv2

    (tmp_path / "net.prototxt").write_text(NET)
    draw_command(tmp_path / "net.prototxt", tmp_path / "net.svg", "TEST")
    draw_command(tmp_path / "net.prototxt", tmp_path / "net.png", "TEST", scale=scale)
    pixels = cv2.imread(str(tmp_path / "net.png"))
    width, height = Picture(tmp_path / "net.svg").size
    assert pixels.shape[:2] == pytest.approx((height * scale, width * scale), abs=1)
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    title = pixels[int(20 * scale) : int(42 * scale), int(20 * scale) : int(300 * scale)]
    assert 0.02 < (title.max(axis=2) < 128).mean() < 0.5  # letters, not nothing and not boxes


def test_png_without_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    (tmp_path / "net.prototxt").write_text(NET)
    with pytest.raises(UserError) as caught:
        draw(Graph.load(tmp_path / "net.prototxt"), tmp_path / "net.png")
    assert str(caught.value) == (
        "PNG pictures need resvg_py, which is not installed\n  fix: pip install '.[draw]', or name the file *.svg"
    )
    assert not (tmp_path / "net.png").exists()


def test_a_missing_folder(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    with pytest.raises(UserError, match="No such file or directory\n  fix: create the folder first"):
        draw(Graph.load(tmp_path / "net.prototxt"), tmp_path / "none/net.svg")


def test_an_empty_net(tmp_path):
    (tmp_path / "net.prototxt").write_text("")
    draw(Graph.load(tmp_path / "net.prototxt"), tmp_path / "net.svg")
    assert Picture(tmp_path / "net.svg").boxes == {}


def test_layout_of_a_branch():
    """0 feeds 1 and 3; 1 feeds 2, 2 feeds 3: the short way round stands beside the long one, which is straight."""
    plan = layout([(100, 20)] * 4, [Wire(0, [1, 3]), Wire(1, [2]), Wire(2, [3])])
    assert [x for x, _ in plan.centres] == pytest.approx([plan.centres[0][0]] * 4)
    assert [y for _, y in plan.centres] == sorted({y for _, y in plan.centres})
    around = plan.paths[0][1]
    assert len(around) == 6 and [x for x, _ in around[1:5]] == pytest.approx([around[1][0]] * 4)
    assert abs(around[1][0] - plan.centres[1][0]) > 50


def test_every_family_has_a_colour():
    from prototxt.boxes import family
    from prototxt.shapes import SHAPES
    from prototxt.svg import COLOURS

    assert {family(name) for name in SHAPES} <= set(COLOURS)
