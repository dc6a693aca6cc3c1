"""The net language against what NetSpec of pycaffe writes, and every mistake it refuses."""

from __future__ import annotations

import copy

import pytest

from netgen.net import L, Net, layer_types
from prototxt import schema
from prototxt.errors import UserError
from prototxt.shapes import SHAPES


def data(**options):
    return L.Input(shape={"dim": [2, 3, 8, 9]}, **options)


def wiring(net):
    """`name: bottoms -> tops` of each layer, as text."""
    return [f"{layer.name}: {' '.join(layer.bottom)} -> {' '.join(layer.top)}" for layer in net.to_proto().layer]


def test_assignment_names_layer_and_top():
    net = Net("small")
    net.data = data()
    net["fc/1"] = L.InnerProduct(net.data, num_output=5)
    assert net.to_proto().name == "small"
    assert wiring(net) == ["data:  -> data", "fc/1: data -> fc/1"]
    assert list(net) == ["data", "fc/1"] and "fc/1" in net and "fc" not in net


def test_unnamed_tops_are_numbered_by_type_in_the_order_written():
    net = Net()
    net.data = data()
    # Made second, written first: what counts is the walk from the named tops, not the order of the calls.
    late = L.ReLU(L.Convolution(net.data, num_output=1))
    early = L.ReLU(L.Convolution(net.data, num_output=2))
    net.first = L.Eltwise(early, L.Convolution(net.data, num_output=3))
    net.second = L.Eltwise(late, early)
    assert wiring(net) == [
        "data:  -> data",
        "Convolution1: data -> Convolution1",
        "ReLU1: Convolution1 -> ReLU1",
        "Convolution2: data -> Convolution2",
        "first: ReLU1 Convolution2 -> first",
        "Convolution3: data -> Convolution3",
        "ReLU2: Convolution3 -> ReLU2",
        "second: ReLU2 ReLU1 -> second",
    ]
    assert [layer.convolution_param.num_output for layer in net.to_proto().layer if layer.type == "Convolution"] == [
        2,
        3,
        1,
    ]


def test_in_place_layers_keep_the_blob_and_take_their_own_name_or_number():
    net = Net()
    net.data = data()
    net.conv = L.Convolution(net.data, num_output=4)
    net.norm = L.BatchNorm(net.conv, in_place=True)
    net.out = L.Pooling(L.ReLU(L.Scale(net.norm, in_place=True), in_place=True))
    assert wiring(net)[1:] == [
        "conv: data -> conv",
        "norm: conv -> conv",
        "Scale1: conv -> conv",
        "ReLU1: conv -> conv",
        "out: conv -> out",
    ]


def test_a_shared_part_is_written_once():
    net = Net()
    net.data = data()
    shared = L.Sigmoid(net.data)
    net.a = L.TanH(shared)
    net.b = L.TanH(shared)
    assert wiring(net)[1:] == ["Sigmoid1: data -> Sigmoid1", "a: Sigmoid1 -> a", "b: Sigmoid1 -> b"]


def test_a_name_given_again_keeps_its_place_and_frees_the_old_top():
    net = Net()
    net.data = data()
    net.x = L.ReLU(net.data)
    net.y = L.TanH(net.data)
    net.x = L.Power(net.x, power=2)
    assert wiring(net)[1:] == ["ReLU1: data -> ReLU1", "x: ReLU1 -> x", "y: data -> y"]


def test_of_two_names_for_one_top_the_last_holds():
    net = Net()
    net.data = data()
    net.a = L.ReLU(net.data)
    net.b = net.a
    assert wiring(net) == ["data:  -> data", "b: data -> b"]


def test_several_tops():
    net = Net()
    net.data, net.label = L.DummyData(ntop=2, shape=[{"dim": [2, 4]}, {"dim": 2}])
    _, right = L.Slice(net.data, ntop=2, axis=1)
    net.right = right
    net.left, _ = L.Slice(net.data, ntop=2)
    assert wiring(net) == [
        "data:  -> data label",
        "Slice1: data -> Slice1 right",
        "left: data -> left Slice2",
    ]


def test_a_layer_without_tops_is_named_or_numbered():
    net = Net()
    net.data = data()
    net.quiet = L.Silence(net.data, ntop=0)
    net["more"] = L.HDF5Output(net.data, net.data, ntop=0, file_name="x.h5")
    assert wiring(net) == ["data:  -> data", "quiet: data -> ", "more: data data -> "]


def test_only_what_a_named_top_needs_is_written():
    net = Net()
    net.data = data()
    net.x = L.ReLU(net.data)
    L.TanH(net.x)
    assert len(net.to_proto().layer) == 2


def test_layer_name_may_differ_from_its_top():
    net = Net()
    net.data = data()
    net.x = L.ReLU(net.data, name="block/relu")
    assert wiring(net)[1] == "block/relu: data -> x"


def test_parameters_reach_their_fields():
    net = Net()
    net.data = data()
    net.x = L.Convolution(
        net.data,
        num_output=4,
        kernel_size=[3, 5],
        pad=1,
        weight_filler={"type": "msra", "variance_norm": "AVERAGE"},
        param=[{"lr_mult": 1}, {"lr_mult": 2, "decay_mult": 0}],
        include={"phase": "TRAIN", "stage": ["a"]},
        loss_weight=0.5,
    )
    net.up = L.Deconvolution(net.x, num_output=2, bias_term=False)
    net.detections = L.DetectionOutput(net.up, net.up, net.up, detection_output_param={"num_classes": 3})
    layer = net.to_proto().layer[1]
    p = layer.convolution_param
    assert (p.num_output, list(p.kernel_size), list(p.pad)) == (4, [3, 5], [1])
    assert (p.weight_filler.type, p.weight_filler.variance_norm) == ("msra", schema.FillerParameter.AVERAGE)
    assert [(spec.lr_mult, spec.decay_mult) for spec in layer.param] == [(1, 1), (2, 0)]
    assert (layer.include[0].phase, list(layer.include[0].stage), list(layer.loss_weight)) == (
        schema.TRAIN,
        ["a"],
        [0.5],
    )
    assert net.to_proto().layer[2].convolution_param.num_output == 2
    assert net.to_proto().layer[3].detection_output_param.num_classes == 3


def test_empty_dicts_are_messages_that_are_there():
    net = Net()
    net.data, net.label = L.AnnotatedData(ntop=2, batch_sampler=[{}], annotated_data_param={"label_map_file": "m"})
    p = net.to_proto().layer[0].annotated_data_param
    assert len(p.batch_sampler) == 1 and p.label_map_file == "m"


def test_a_net_may_be_written_twice_and_copied():
    net = Net("n")
    net.data = data()
    net.x = L.ReLU(L.TanH(net.data))
    assert net.to_proto() == net.to_proto() == copy.copy(net).to_proto()
    assert not hasattr(net, "y") and hasattr(net, "x")


def test_a_chain_of_5000_layers():
    net = Net()
    net.data = top = data()
    for _ in range(5000):
        top = L.ReLU(top)
    net.end = top
    layers = net.to_proto().layer
    assert len(layers) == 5001 and layers[4999].name == "ReLU4999" and layers[5000].name == "end"


def test_every_type_with_a_shape_rule_can_be_written():
    assert {name for name in SHAPES if "." not in name} <= set(layer_types())  # a class in Python is an L.Python
    assert "Loss" not in layer_types() and "Transformation" not in layer_types() and "Recurrent" not in layer_types()
    assert dir(L) == list(layer_types())


MISTAKES = {
    "layer type": (lambda net: L.Convolutoin, 'Caffe has no layer type "Convolutoin" (did you mean "Convolution"?)'),
    "field": (
        lambda net: L.Convolution(net.data, num_ouput=3),
        'L.Convolution: there is no field "num_ouput" (did you mean "num_output"?)',
    ),
    "field of the layer": (lambda net: L.Split(net.data, propagate=1), "L.Split: there is no field"),
    "nested field": (
        lambda net: L.Convolution(net.data, weight_filler={"typ": "xavier"}),
        'L.Convolution(weight_filler): there is no field "typ" (did you mean "type"?)',
    ),
    "enum": (
        lambda net: L.Pooling(net.data, pool="MAXX"),
        "L.Pooling(pool): 'MAXX' does not fit the field; expected one of MAX, AVE, STOCHASTIC (did you mean \"MAX\"?)",
    ),
    "text for a number": (
        lambda net: L.Convolution(net.data, pad=["a"]),
        "L.Convolution(pad): ['a'] does not fit the field; expected a whole number in the field's range",
    ),
    "negative": (lambda net: L.InnerProduct(net.data, num_output=-1), "L.InnerProduct(num_output): -1 does not fit"),
    "number for text": (
        lambda net: L.Python(net.data, module=3),
        "L.Python(module): 3 does not fit the field; expected text",
    ),
    "None for a number": (
        lambda net: L.Power(net.data, power=None),
        "L.Power(power): None does not fit the field; expected a number",
    ),
    "text for a flag": (
        lambda net: L.Scale(net.data, bias_term="yes"),
        "L.Scale(bias_term): 'yes' does not fit the field; expected True or False",
    ),
    "list for one value": (
        lambda net: L.InnerProduct(net.data, num_output=[1, 2]),
        "L.InnerProduct(num_output): a list of 2 for a field that takes one value",
    ),
    "no dict for a message": (
        lambda net: L.Convolution(net.data, weight_filler="xavier"),
        "L.Convolution(weight_filler): 'xavier' does not fit the field; expected a dict with FillerParameter's fields",
    ),
    "decided field": (
        lambda net: L.ReLU(net.data, top="x"),
        'L.ReLU: "top" is not a parameter; expected net.NAME = L.TYPE(…)',
    ),
    "bottom": (lambda net: L.Convolution(3), "input 0 of L.Convolution is an int; expected a top"),
    "second bottom": (lambda net: L.Eltwise(net.data, "data"), "input 1 of L.Eltwise is a str; expected a top"),
    "bottom is a tuple": (
        lambda net: L.ReLU(L.Slice(net.data, ntop=2)),
        "input 0 of L.ReLU is a tuple; expected a top\n  fix: give one of its tops: `a, b = L.Slice(…, ntop=2)`",
    ),
    "bottom without tops": (
        lambda net: L.ReLU(L.Silence(net.data, ntop=0)),
        "input 0 of L.ReLU is a Function; expected a top",
    ),
    "in place with several tops": (
        lambda net: L.ReLU(net.data, in_place=True, ntop=2),
        "L.ReLU: in_place with 1 bottoms and 2 tops; expected as many tops",
    ),
    "no top for a name": (lambda net: setattr(net, "x", 1.5), 'net["x"] is a float; expected a top'),
    "unknown top": (lambda net: net.dota, 'the net has no top "dota" (did you mean "data"?)'),
    "the net's own": (lambda net: setattr(net, "to_proto", net.data), '"net.to_proto" is part of the net itself'),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    net = Net()
    net.data = data()
    act, message = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        act(net)
    assert message in str(error.value)


def test_a_name_that_looks_like_a_number_given_by_the_net():
    net = Net()
    net.data = data()
    net.ReLU1 = L.TanH(net.data)
    net.x = L.Power(L.ReLU(net.data))
    with pytest.raises(UserError, match='two layers are called "ReLU1"'):
        net.to_proto()
