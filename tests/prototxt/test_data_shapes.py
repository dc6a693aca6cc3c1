"""Shapes of the layers that feed a net, as far as the net itself tells them."""

from __future__ import annotations

import pytest

from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.schema import NetParameter
from prototxt.text import parse

BOTH = 'top: "x" top: "y"'


def graph(text: str, **options) -> Graph:
    parsed = parse(f'layer {{ name: "feed" {text} }}', NetParameter(), "net.prototxt")
    return Graph(net_file(parsed.message, "net.prototxt", parsed.lines), "TRAIN", **options)


@pytest.mark.parametrize(
    "text, shapes",
    [
        ('type: "Data" data_param { batch_size: 4 } transform_param { force_gray: true crop_size: 5 }', (4, 1, 5, 5)),
        (
            'type: "Data" data_param { batch_size: 4 } transform_param { mean_value: [1, 2, 3] crop_h: 5 crop_w: 6 }',
            (4, 3, 5, 6),
        ),
        (
            'type: "Data" data_param { batch_size: 4 } '
            "transform_param { force_color: true resize_param { height: 5 width: 6 } }",
            (4, 3, 5, 6),
        ),
        ('type: "ImageData" image_data_param { batch_size: 4 new_height: 5 new_width: 6 }', (4, 3, 5, 6)),
        (
            'type: "ImageData" image_data_param { batch_size: 4 is_color: false new_height: 5 new_width: 6 }'
            "transform_param { crop_size: 3 }",
            (4, 1, 3, 3),
        ),
        (
            'type: "ImageData" image_data_param { new_height: 5 new_width: 6 }'
            "transform_param { resize_param { height: 7 width: 8 } }",
            (1, 3, 7, 8),
        ),
        ('type: "MemoryData" memory_data_param { batch_size: 4 channels: 3 height: 5 width: 6 }', (4, 3, 5, 6)),
    ],
)
def test_images_with_a_class(text, shapes):
    assert graph(f"{BOTH} {text}").inputs == {"x": shapes, "y": shapes[:1]}


UNKNOWN = [
    ('type: "Data" data_param { batch_size: 4 } transform_param { crop_size: 5 }', "its records tell their size"),
    ('type: "Data" data_param { batch_size: 4 } transform_param { force_color: true }', "its records tell their size"),
    (
        'type: "ImageData" image_data_param { new_height: 5 new_width: 6 } '
        "transform_param { resize_param { resize_mode: FIT_SMALL_SIZE height: 7 width: 8 } }",
        "its files tell their size",
    ),
    ('type: "ImageData"', "its files tell their size"),
    ('type: "HDF5Data" hdf5_data_param { batch_size: 4 }', "its files tell the shapes of its tops"),
]


@pytest.mark.parametrize("text, message", UNKNOWN)
def test_shapes_that_only_the_data_tell(text, message):
    with pytest.raises(UserError, match=r'^net.prototxt:1: layer "feed" \(\w+\): ' + message):
        graph(f"{BOTH} {text}")
    shapes = {"x": (4, 3, 7, 9), "y": (4,)}
    assert graph(f"{BOTH} {text}", input_shapes=shapes).inputs == shapes


@pytest.mark.parametrize("text, message", UNKNOWN)
def test_lint_notes_that_it_does_not_know(tmp_path, text, message):
    from prototxt.lint import lint_files

    path = tmp_path / "net.prototxt"
    path.write_text(f'name: "n" layer {{ name: "feed" {BOTH} {text} }}')
    found = [one for one in lint_files([str(path)]) if one.check == "shapes"]
    assert [str(one.severity) for one in found] == ["note"]
    assert message in found[0].reason and "shapes behind it are not checked" in found[0].reason


@pytest.mark.parametrize(
    "text, message",
    [
        ('type: "Data" top: "x"', "data_param needs a batch_size of at least 1"),
        (f'type: "Data" {BOTH} top: "z" data_param {{ batch_size: 1 }}', "it has 3 tops but makes 1 or 2"),
        ('type: "ImageData" top: "x"', "it has 1 tops but makes 2"),
        (f'type: "ImageData" {BOTH} image_data_param {{ batch_size: 0 }}', "image_data_param needs a batch_size"),
        (f'type: "ImageData" {BOTH} image_data_param {{ new_width: 3 }}', "one of new_height and new_width"),
        ('type: "HDF5Data" top: "x"', "hdf5_data_param needs a batch_size"),
        (
            f'type: "MemoryData" {BOTH} memory_data_param {{ batch_size: 2 channels: 1 height: 3 }}',
            "height and width of",
        ),
        ('type: "MemoryData" top: "x"', "it has 1 tops but makes 2"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(UserError, match=r'^net.prototxt:1: layer "feed" \(\w+\): .*' + message):
        graph(text)


def test_a_label_that_a_deployed_net_does_not_read(tmp_path):
    """MemoryData cannot do without one; it is then neither an input nor an output."""
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "m" type: "MemoryData" top: "data" top: "label" '
        "memory_data_param { batch_size: 1 channels: 3 height: 2 width: 2 } }\n"
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    )
    graph = Graph.load(tmp_path / "net.prototxt")
    assert (graph.inputs, graph.outputs) == ({"data": (1, 3, 2, 2)}, ["r"])
    trained = Graph.load(tmp_path / "net.prototxt", "TRAIN")
    assert (list(trained.inputs), trained.outputs) == (["data", "label"], ["label", "r"])
