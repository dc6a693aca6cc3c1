"""Wiring and shapes of whole nets: what is accepted, and what each mistake is told."""

from __future__ import annotations

import pytest

from prototxt.errors import UserError, UserErrors
from prototxt.graph import Graph, show

HEAD = """name: "toy"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 20 dim: 30 } } }
"""


@pytest.fixture
def load(tmp_path):
    """Build the graph of a net given as text, behind an input of 2×3×20×30 unless `head` says otherwise."""

    def load(text: str, phase: str = "TEST", head: str = HEAD, **options) -> Graph:
        path = tmp_path / "net.prototxt"
        path.write_text(head + text)
        return Graph.load(path, phase, **options)

    return load


def conv(name: str, bottom: str, outputs: int = 4, kernel: int = 3) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} }} }}\n"
    )


def test_shapes_and_blobs(load):
    graph = load(conv("c", "data") + 'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }')
    assert graph.inputs == {"data": (2, 3, 20, 30)}
    assert graph.shapes == {"data": (2, 3, 20, 30), "c": (2, 4, 18, 28)}
    assert graph.outputs == ["c"]
    assert graph.layers[1].blob_shapes == ((4, 3, 3, 3), (4,))
    assert show(graph.shapes["c"]) == "2×4×18×28"
    assert graph.name == "toy"


def test_input_shapes_replace_those_of_the_file(load):
    graph = load(conv("c", "data"), input_shapes={"data": (1, 3, 9, 11)})
    assert graph.shapes["c"] == (1, 4, 7, 9)
    with pytest.raises(UserError, match=r'"dta" is not an input of this net \(did you mean "data"\?\)'):
        load(conv("c", "data"), input_shapes={"dta": (1, 3, 9, 11)})


def test_phases_and_stages(load):
    text = conv("c", "data") + "".join(
        f'layer {{ name: "{name}" type: "ReLU" bottom: "c" top: "{name}" {rule} }}\n'
        for name, rule in {
            "train": "include { phase: TRAIN }",
            "test": "include { phase: TEST }",
            "not_train": "exclude { phase: TRAIN }",
            "level2": "include { min_level: 2 }",
            "staged": 'include { stage: "a" not_stage: "b" }',
        }.items()
    )
    names = lambda graph: [layer.name for layer in graph.layers[2:]]  # noqa: E731
    assert names(load(text, "TRAIN")) == ["train"]
    assert names(load(text)) == ["test", "not_train"]
    assert names(load(text, level=2, stages=["a"])) == ["test", "not_train", "level2", "staged"]
    assert names(load(text, stages=["a", "b"])) == ["test", "not_train"]


def test_unknown_phase(load):
    with pytest.raises(UserError, match='phase "DEPLOY" is unknown; expected TRAIN or TEST'):
        load("", "DEPLOY")


def test_unknown_layer_type(load):
    with pytest.raises(UserError) as caught:
        load('layer { name: "c" type: "Convlution" bottom: "data" top: "c" }')
    assert 'net.prototxt:3: layer "c" (Convlution): this layer type is not known (did you mean "Convolution"?)' in str(
        caught.value
    )


def test_bottom_that_nobody_makes(load):
    with pytest.raises(UserError) as caught:
        load(conv("c", "dat"))
    assert (
        'net.prototxt:3: layer "c" (Convolution): its bottom "dat" is unknown: no layer of phase TEST makes it'
        in str(caught.value)
    )
    assert 'did you mean "data"?' in str(caught.value)


def test_bottom_that_is_made_later(load):
    with pytest.raises(UserError, match=r'it is made later, by layer "b" \(.*net.prototxt:4\)'):
        load(conv("a", "b") + conv("b", "data"))


def test_bottom_that_another_phase_makes(load):
    text = conv("a", "data").replace("convolution_param", "include { phase: TRAIN } convolution_param")
    message = r'its bottom "a" is unknown: layer "a" \(.*net.prototxt:3\), which makes it, is not in phase TEST'
    with pytest.raises(UserError, match=message):
        load(text + conv("b", "a"))


def test_blob_made_twice(load):
    with pytest.raises(UserError) as caught:
        load(conv("c", "data") + conv("d", "data").replace('top: "d"', 'top: "c"'))
    assert 'layer "d" (Convolution): its top "c" is already made by layer "c"' in str(caught.value)
    assert "net.prototxt:4" in str(caught.value) and "net.prototxt:3" in str(caught.value)


def test_every_wiring_mistake_is_told_at_once(load):
    with pytest.raises(UserErrors) as caught:
        load(conv("a", "nothing") + conv("b", "nowhere"))
    assert len(caught.value.errors) == 2
    assert '"nothing"' in str(caught.value) and '"nowhere"' in str(caught.value)


def test_shapes_that_do_not_concat(load):
    with pytest.raises(UserError) as caught:
        load(
            conv("a", "data")
            + conv("b", "data", kernel=5)
            + 'layer { name: "both" type: "Concat" bottom: "a" bottom: "b" top: "both" }'
        )
    assert str(caught.value).endswith(
        'net.prototxt:5: layer "both" (Concat): the bottoms differ outside axis 1, along which they are joined '
        "(bottoms: a 2×4×18×28, b 2×4×16×26)"
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('type: "Convolution" convolution_param { num_output: 4 }', "kernel_size is missing"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 40 }', "larger than the padded input"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 group: 2 }', "does not divide its 3"),
        ('type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 group: 2 }', "does not divide num_out"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 kernel_h: 3 }', "keep one of them"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 stride: 0 }', "at least 1"),
        ('type: "Pooling" pooling_param { kernel_size: 2 pad: 2 }', "not smaller than the kernel"),
        ('type: "Pooling" pooling_param { global_pooling: true kernel_size: 2 }', "takes no kernel"),
        ('type: "Pooling"', "kernel_size is missing"),
        ('type: "Permute" permute_param { order: 0 order: 0 }', "is no permutation"),
        ('type: "Eltwise"', "takes at least 2"),
        ('type: "Flatten" flatten_param { axis: 4 }', "axis 4 is out of range for 4 axes"),
        ('type: "Reshape" reshape_param { shape { dim: -1 dim: -1 } }', "may hold one -1"),
        ('type: "Reshape" reshape_param { shape { dim: 7 dim: -1 } }', "do not divide by 7"),
        ('type: "Reshape" reshape_param { shape { dim: 2 dim: 3 } }', "holds 6 values, the bottom 3600"),
        ('type: "Softmax" softmax_param { axis: 9 }', "out of range"),
        ('bottom: "data" bottom: "data" type: "EuclideanLoss"', "it has 3 bottoms but takes 2"),
        ('bottom: "data" type: "SigmoidCrossEntropyLoss" top: "z"', "it names 2 tops but makes 1"),
        ('type: "ArgMax" argmax_param { top_k: 0 }', "top_k 0 is not in 1 to 1800, the values that it picks from"),
        ('type: "ArgMax" argmax_param { top_k: 4 axis: 1 }', "top_k 4 is not in 1 to 3"),
        ('type: "Slice" slice_param { slice_point: 3 }', "must rise and stay below 3"),
        ('type: "Scale" scale_param { axis: 2 num_axes: 3 }', "reach beyond its 4 axes"),
    ],
)
def test_parameters_and_shapes_that_caffe_aborts_on(load, layer, message):
    with pytest.raises(UserError, match=message) as caught:
        load(f'layer {{ name: "x" bottom: "data" top: "x" {layer} }}')
    assert 'net.prototxt:3: layer "x"' in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("", "min_size is missing"),
        ("min_size: 0", "at least 1; found 0"),
        ("min_size: 30 max_size: 30", "must be above min_size"),
        ("min_size: 30 max_size: 40 max_size: 50", "1 min_size but 2 max_size"),
        ("min_size: 30 variance: 0.1 variance: 0.2", "2 values of variance; give none, one or four"),
        ("min_size: 30 variance: 0", "variance must be above 0"),
        ("min_size: 30 step: 8 step_h: 8 step_w: 8", "both step and step_h"),
        ("min_size: 30 step_h: 8", "must be given together"),
        ("min_size: 30 img_h: 8", "must be given together"),
        ("min_size: 30 img_size: 8 img_h: 8 img_w: 8", "both img_size and img_h"),
        ("min_size: 30 aspect_ratio: 0", "must be above 0"),
    ],
)
def test_prior_boxes_that_caffe_aborts_on(load, parameters, message):
    with pytest.raises(UserError, match=message):
        load(
            'layer { name: "p" type: "PriorBox" bottom: "data" bottom: "data" top: "p" '
            f"prior_box_param {{ {parameters} }} }}"
        )


def test_prior_count_and_head_must_agree(load):
    layers = conv("loc", "data", 8, 1) + conv("conf", "data", 6, 1)
    layers += (
        'layer { name: "p" type: "PriorBox" bottom: "data" bottom: "data" top: "p" prior_box_param { min_size: 4 } }'
    )
    layers += "".join(
        f'layer {{ name: "{n}_flat" type: "Flatten" bottom: "{n}" top: "{n}_flat" }}\n' for n in ("loc", "conf")
    )
    layers += (
        'layer { name: "out" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat" bottom: "p" top: "out" '
        "detection_output_param { num_classes: 3 } }"
    )
    with pytest.raises(UserError, match="600 priors need 2400 location values an image, not 4800"):
        load(layers)


def test_a_bottom_with_too_few_axes(load):
    text = 'layer { name: "flat" type: "Reshape" bottom: "data" top: "flat" reshape_param { shape { dim: -1 } } }\n'
    with pytest.raises(UserError, match=r'layer "p" \(PReLU\): a bottom has too few axes \(bottoms: flat 3600\)'):
        load(text + 'layer { name: "p" type: "PReLU" bottom: "flat" top: "p" }')


def test_oracle_shapes(shared):
    """Every measured layer case has the shapes that Caffe gave its outputs and its parameters."""
    import json

    import numpy as np

    folder = shared / "oracle/layers"
    index = json.loads((folder / "index.json").read_text())
    checked = 0
    for case, about in index.items():
        graph = Graph.load(folder / f"{case}.prototxt", about["phase"].upper())
        arrays = np.load(folder / f"{case}.npz")
        blobs = {f"param/{la.name}/{i}": s for la in graph.layers for i, s in enumerate(la.blob_shapes)}
        for key in arrays.files:
            kind, _, name = key.partition("/")
            if kind == "out":
                # the number of detections is known only after the forward
                width = 2 if graph.shapes[name][-1:] in ((5,), (7,)) and arrays[key].ndim == 4 else None
                got, want = graph.shapes[name], arrays[key].shape
                assert (got[:2], got[3:]) == (want[:2], want[3:]) if width else got == want, (case, key)
            elif kind == "param":
                assert blobs[key] == arrays[key].shape, (case, key)
            else:
                continue
            checked += 1
    assert len(index) == 288 and checked == 399


def test_a_loss_without_a_top_counts(load):
    """Caffe gives it a top of its own; the weight is for that one."""
    graph = load(
        """
layer { name: "d" type: "Input" top: "x" top: "y" input_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
layer { name: "a" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" loss_weight: 2 }
layer { name: "b" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "loss" }
""",
        head="",
    )
    assert graph.outputs == ["(automatic) a", "loss"]
    assert graph.shapes["(automatic) a"] == ()
