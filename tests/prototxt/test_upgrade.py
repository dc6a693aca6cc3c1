"""Nets of older Caffes, rewritten: field by field, and as OpenCV's importer (which upgrades by itself) sees them."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import net_file, read_solver
from prototxt.text import parse
from prototxt.upgrade import upgrade_net

INPUT = 'input: "data" input_dim: 2 input_dim: 3 input_dim: 8 input_dim: 9\n'
V0 = (
    INPUT
    + """
layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "padded" }
layers { layer { name: "c" type: "conv" num_output: 4 kernelsize: 5 biasterm: false
                 blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 } bottom: "padded" top: "c" }
layers { layer { name: "r" type: "relu" } bottom: "c" top: "c" }
layers { layer { name: "n" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 k: 2 } bottom: "c" top: "n" }
layers { layer { name: "p" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "n" top: "p" }
layers { layer { name: "ip" type: "innerproduct" num_output: 6 } bottom: "p" top: "ip" }
layers { layer { name: "prob" type: "softmax" } bottom: "ip" top: "prob" }
"""
)
V1 = (
    INPUT
    + """
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
         convolution_param { num_output: 4 kernel_size: 5 pad: 2 bias_term: false } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "n" type: LRN bottom: "c" top: "n" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 k: 2 } }
layers { name: "p" type: POOLING bottom: "n" top: "p" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layers { name: "ip" type: INNER_PRODUCT bottom: "p" top: "ip" inner_product_param { num_output: 6 } }
layers { name: "prob" type: SOFTMAX bottom: "ip" top: "prob" }
"""
)
CURRENT = """
layer { name: "input" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 9 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { lr_mult: 1 decay_mult: 1 }
        param { lr_mult: 2 decay_mult: 0 } convolution_param { num_output: 4 kernel_size: 5 pad: 2 bias_term: false } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "n" type: "LRN" bottom: "c" top: "n" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 k: 2 } }
layer { name: "p" type: "Pooling" bottom: "n" top: "p" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "p" top: "ip" inner_product_param { num_output: 6 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


def upgraded(text: str):
    parsed = parse(text, schema.NetParameter(), "old.prototxt")
    return net_file(parsed.message, parsed.path, parsed.lines)


def layer_of(text: str):
    """The one layer that a net of one old layer becomes."""
    (layer,) = upgraded(text).message.layer
    return layer


@pytest.mark.parametrize("old", [V0, V1, CURRENT], ids=["V0", "V1", "current"])
def test_all_generations_say_the_same(old):
    assert upgraded(old).message == upgraded(CURRENT).message


@pytest.mark.parametrize("old", [V0, V1], ids=["V0", "V1"])
def test_opencv_computes_the_same_from_the_old_and_the_upgraded_text(old):
    """OpenCV's importer has Caffe's own upgrade code; with one set of weights the two texts are one net."""
    cv2 = pytest.importorskip("cv2")
    net, rng = upgraded(old), np.random.default_rng(7)
    weights = schema.NetParameter()
    for layer in Graph(net).layers:
        if layer.blob_shapes:
            entry = weights.layer.add(name=layer.name, type=layer.type)
            for shape in layer.blob_shapes:
                blob = entry.blobs.add(data=rng.normal(0, 0.1, np.prod(shape)))
                blob.shape.dim.extend(shape)
    binary = weights.SerializeToString()
    image = rng.normal(0, 1, (2, 3, 8, 9)).astype(np.float32)
    outputs = []
    for text in (old, text_format.MessageToString(net.message)):
        importer = cv2.dnn.readNetFromCaffe(*(np.frombuffer(raw, np.uint8) for raw in (text.encode(), binary)))
        importer.setInput(image)
        outputs.append(importer.forward("prob"))
    assert outputs[0].shape == (2, 6) and outputs[0].std() > 0
    np.testing.assert_array_equal(*outputs)


def test_graph_points_at_the_lines_of_the_old_file():
    net = upgraded(V0)
    assert net.origins == [("input", 0), *(("layers", i) for i in range(1, 7))]
    assert [net.where_layer(i) for i in (0, 1, 3)] == ["old.prototxt:1", "old.prototxt:4", "old.prototxt:7"]
    with pytest.raises(UserError, match=r"^old.prototxt:3: layer \"c\" \(ReLU\): its bottom \"x\" is unknown"):
        Graph(upgraded(INPUT + '\nlayers { name: "c" type: RELU bottom: "x" top: "c" }'))


TYPES = """ABSVAL AbsVal, ACCURACY Accuracy, ARGMAX ArgMax, BNLL BNLL, CONCAT Concat, CONTRASTIVE_LOSS ContrastiveLoss,
CONVOLUTION Convolution, DATA Data, DECONVOLUTION Deconvolution, DROPOUT Dropout, DUMMY_DATA DummyData,
ELTWISE Eltwise, EUCLIDEAN_LOSS EuclideanLoss, EXP Exp, FLATTEN Flatten, HDF5_DATA HDF5Data, HDF5_OUTPUT HDF5Output,
HINGE_LOSS HingeLoss, IM2COL Im2col, IMAGE_DATA ImageData, INFOGAIN_LOSS InfogainLoss, INNER_PRODUCT InnerProduct,
LRN LRN, MEMORY_DATA MemoryData, MULTINOMIAL_LOGISTIC_LOSS MultinomialLogisticLoss, MVN MVN, POOLING Pooling,
POWER Power, RELU ReLU, SIGMOID Sigmoid, SIGMOID_CROSS_ENTROPY_LOSS SigmoidCrossEntropyLoss, SILENCE Silence,
SLICE Slice, SOFTMAX Softmax, SOFTMAX_LOSS SoftmaxWithLoss, SPLIT Split, TANH TanH, THRESHOLD Threshold,
WINDOW_DATA WindowData"""


def test_every_v1_type():
    names = dict(pair.split() for pair in TYPES.split(","))
    assert {"NONE", *names} == set(schema.V1LayerParameter.LayerType.keys())
    for old, new in names.items():
        assert layer_of(f'layers {{ name: "x" type: {old} }}').type == new
    assert layer_of('layers { name: "x" type: NONE }').type == ""


def test_every_v1_parameter_message_is_carried_over():
    for field in schema.V1LayerParameter.DESCRIPTOR.fields:
        if field.name.endswith("_param"):
            layer = layer_of(f'layers {{ name: "x" {field.name} {{ }} }}')
            assert layer.HasField(field.name), field.name


def test_v1_shared_names_rates_losses_and_rules():
    layer = layer_of(
        """layers { name: "x" type: INNER_PRODUCT param: "w" param: "b" blob_share_mode: PERMISSIVE blobs_lr: 3
        weight_decay: 4 weight_decay: 5 weight_decay: 6 loss_weight: 0.5
        include { phase: TRAIN } exclude { stage: "s" } }"""
    )
    assert [(spec.name, spec.share_mode, spec.lr_mult, spec.decay_mult) for spec in layer.param] == [
        ("w", schema.ParamSpec.PERMISSIVE, 3, 4),
        ("b", schema.ParamSpec.STRICT, 1, 5),
        ("", schema.ParamSpec.STRICT, 1, 6),
    ]
    assert not layer.param[1].HasField("lr_mult")
    assert list(layer.loss_weight) == [0.5]
    assert layer.include[0].phase == schema.TRAIN and list(layer.exclude[0].stage) == ["s"]


@pytest.mark.parametrize("kind", ["DATA data_param", "IMAGE_DATA image_data_param", "WINDOW_DATA window_data_param"])
def test_v1_transform_fields_move(kind):
    layer_type, field = kind.split()
    layer = layer_of(
        f'layers {{ type: {layer_type} transform_param {{ force_color: true }} {field} {{ source: "s" batch_size: 2 '
        'scale: 0.5 mean_file: "m" crop_size: 7 mirror: true } }'
    )
    assert layer.transform_param == schema.TransformationParameter(
        scale=0.5, mean_file="m", crop_size=7, mirror=True, force_color=True
    )
    assert sorted(f.name for f, _ in getattr(layer, field).ListFields()) == ["batch_size", "source"]


def test_v0_data_layers():
    layer = layer_of(
        'layers { layer { name: "d" type: "images" source: "s" batchsize: 2 rand_skip: 3 shuffle_images: true '
        'new_height: 4 new_width: 5 scale: 0.5 meanfile: "m" cropsize: 7 mirror: true } top: "data" }'
    )
    assert layer.type == "ImageData"
    assert layer.image_data_param == schema.ImageDataParameter(
        source="s", batch_size=2, rand_skip=3, shuffle=True, new_height=4, new_width=5
    )
    assert layer.transform_param == schema.TransformationParameter(scale=0.5, mean_file="m", crop_size=7, mirror=True)
    window = layer_of(
        'layers { layer { name: "w" type: "window_data" det_fg_threshold: 0.6 det_bg_threshold: 0.4 '
        'det_fg_fraction: 0.3 det_context_pad: 2 det_crop_mode: "square" } top: "data" }'
    )
    assert window.window_data_param == schema.WindowDataParameter(
        fg_threshold=0.6, bg_threshold=0.4, fg_fraction=0.3, context_pad=2, crop_mode="square"
    )
    output = layer_of('layers { layer { type: "hdf5_output" hdf5_output_param { file_name: "f" } } bottom: "a" }')
    assert output.hdf5_output_param.file_name == "f"


def test_weights_are_carried_over_and_bare_inputs_dropped():
    """Old caffemodels name their inputs without shapes."""
    text = 'input: "data" layers { name: "c" type: CONVOLUTION blobs { num: 1 data: 3 data: 4 } blobs { data: 5 } }'
    layer = layer_of(text)
    assert [list(blob.data) for blob in layer.blobs] == [[3, 4], [5]] and layer.blobs[0].num == 1
    v0 = layer_of('layers { layer { name: "c" type: "conv" blobs { data: 3 } } bottom: "data" top: "c" }')
    assert list(v0.blobs[0].data) == [3]


def test_two_inputs_become_one_layer_with_two_tops():
    net = upgraded(
        'input: "a" input_shape { dim: 1 dim: 2 } input: "b" input_shape { dim: 3 } layer { name: "s" type: "Silence" }'
    )
    layer = net.message.layer[0]
    assert list(layer.top) == ["a", "b"] and [list(s.dim) for s in layer.input_param.shape] == [[1, 2], [3]]
    assert net.origins == [("input", 0), ("layer", 0)]
    assert not net.message.input and not net.message.input_shape


def test_batch_norm_with_three_param_specs_is_not_learned():
    layer = layer_of('layer { type: "BatchNorm" param { lr_mult: 1 name: "m" } param { } param { decay_mult: 2 } }')
    assert [(spec.name, spec.lr_mult, spec.decay_mult) for spec in layer.param] == [("m", 0, 0), ("", 0, 0), ("", 0, 0)]
    assert all(spec.HasField("lr_mult") for spec in layer.param)


def test_a_current_net_stays_as_it_is():
    net = parse(CURRENT, schema.NetParameter()).message
    before = net.SerializeToString(deterministic=True)
    assert upgrade_net(net) == [("layer", i) for i in range(7)]
    assert net.SerializeToString(deterministic=True) == before


CONV = 'layers { layer { name: "c" type: "conv" } bottom: "p" top: "c" }'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'layer { name: "a" }\nlayers { name: "b" }',
            "old.prototxt:2: the net has both `layer` and old `layers`\n"
            "  fix: keep one of the two generations; Caffe drops every `layer` of such a file",
        ),
        (
            'layers { layer { name: "a" type: "convv" } }',
            'old.prototxt:1: layer "a": the V0 type "convv" is not known (did you mean "conv"?)',
        ),
        (
            'layers { layer { name: "a" type: "relu" num_output: 3 } }',
            'old.prototxt:1: layer "a": a V0 layer of type "relu" has no num_output',
        ),
        (
            CONV + '\nlayers { name: "d" type: RELU }',
            'old.prototxt:2: layer "d" has name in a net of V0 layers; expected bottom, top and layer alone',
        ),
        (
            CONV + '\nlayers { bottom: "d" }',
            'old.prototxt:2: layer "" has no inner layer in a net of V0 layers; expected bottom, top and layer alone',
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "a" top: "p" }\n'
            'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }',
            'old.prototxt:2: layer "r" (relu) reads the padding layer "p"; '
            "expected a conv or pool layer with one bottom",
        ),
        (
            'layers { layer { name: "p" type: "padding" } top: "p" }\n' + CONV,
            'old.prototxt:2: padding layer "p" has 0 bottoms and 1 tops; expected one of each',
        ),
        (
            '\ninput: "a" input_dim: 1 input_dim: 2',
            "old.prototxt:2: 2 input_dim for 1 inputs; expected four for each",
        ),
        (
            'input: "a" input: "b" input_shape { dim: 1 }',
            "old.prototxt:1: 1 input_shape for 2 inputs; expected one for each",
        ),
        (
            'input: "a" input_shape { dim: 1 } input_dim: 1',
            "old.prototxt:1: both input_shape and input_dim are given\n  fix: keep input_shape",
        ),
        (
            'input: "a"',
            'old.prototxt:1: input "a" has no shape\n  fix: add `input_shape { dim: … }` below it',
        ),
    ],
)
def test_refused(text, message):
    with pytest.raises(UserError) as caught:
        upgraded(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
        ("5", "Adam"),
    ],
)
def test_solver_type(tmp_path, old, new):
    path = tmp_path / "solver.prototxt"
    path.write_text(f"base_lr: 0.1\nsolver_type: {old}\n")
    solver = read_solver(path).message
    assert solver.type == new and not solver.HasField("solver_type")
    path.write_text(path.read_text() + 'type: "SGD"')
    with pytest.raises(UserError) as caught:
        read_solver(path)
    assert str(caught.value) == f"{path}:2: both type and the old solver_type are given\n  fix: keep type"
