"""Pictures of nets, read back as XML: every layer and every blob is in them, and nothing lies on anything."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from netgen.commands.draw import draw as draw_command
from prototxt.draw import draw
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


class Picture:
    """What a test asks of an SVG file."""

    def __init__(self, path) -> None:
        root = ElementTree.parse(path).getroot()
        self.size = float(root.get("width")), float(root.get("height"))
        groups = [g for g in root.iter(f"{SVG}g") if g.get("data-layers")]
        self.boxes = {g.get("data-layers"): g.find(f"{SVG}rect") for g in groups}
        self.texts = {g.get("data-layers"): [t.text for t in g.findall(f"{SVG}text")] for g in groups}
        self.shapes = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "shape"]
        self.wires = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("class") == "wire"]
        self.title = next(t.text for t in root.iter(f"{SVG}text") if t.get("class") == "title")

    def edges(self, key: str) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of a box."""
        x, y, width, height = (float(self.boxes[key].get(name)) for name in ("x", "y", "width", "height"))
        return x, y, x + width, y + height

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


@pytest.mark.parametrize("model", ["scratchdet300_root34_voc", "dsod300_voc", "refinedet320_vgg_voc"])
def test_whole_nets(shared, tmp_path, model):
    graph = Graph.load(shared / f"reference/prototxt/{model}/deploy.prototxt")
    draw(graph, tmp_path / "net.svg")
    picture = Picture(tmp_path / "net.svg")
    drawn = [name for key in picture.boxes for name in key.split()]
    assert sorted(drawn) == sorted(layer.name for layer in graph.layers)
    edges = {key: picture.edges(key) for key in picture.boxes}
    for (a, first), (b, second) in combinations(edges.items(), 2):
        apart = first[2] < second[0] or second[2] < first[0] or first[3] < second[1] or second[3] < first[1]
        assert apart, f"{a} lies on {b}"
    assert all(x1 >= 0 and x2 <= picture.size[0] and y2 <= picture.size[1] for x1, _, x2, y2 in edges.values())
    by_first = {key.split()[0]: box for key, box in edges.items()}
    assert all(by_first[a][3] < by_first[b][1] for a, b in picture.links())  # downwards


def test_heads_of_scratchdet_stand_side_by_side(shared, tmp_path):
    draw(Graph.load(shared / "reference/prototxt/scratchdet300_root34_voc/deploy.prototxt"), tmp_path / "net.svg")
    picture = Picture(tmp_path / "net.svg")
    heads = [key for key in picture.boxes if re.search(r"_mbox_(loc|conf|priorbox)\b", key.split()[0])]
    assert len(heads) == 18
    assert len({picture.boxes[key].get("y") for key in heads if "priorbox" not in key}) == 1
    backbone = [picture.boxes[key] for key in picture.boxes if re.match(r"stem_|conv2_", key)]
    centres = {round(float(box.get("x")) + float(box.get("width")) / 2) for box in backbone}
    assert len(centres) == 1  # one straight line


def test_only_svg(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    with pytest.raises(UserError) as caught:
        draw(Graph.load(tmp_path / "net.prototxt"), tmp_path / "net.png")
    assert str(caught.value) == (
        f'{tmp_path / "net.png"}: pictures of nets are SVG files, not ".png"\n  fix: name the file *.svg'
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
