"""What name maps refuse, with the reason, and what `netgen convert` says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from converters.names import from_state, to_state
from converters.pytorch import CaffeNet
from netgen.backbones.resnet import resnet101
from netgen.datasets import VOC0712
from netgen.net import L, Net
from prototxt.errors import UserError
from prototxt.graph import Graph
from prototxt.io import write_text
from tests.converters.foreign_models import (
    BOXES,
    SSD_WIDTHS,
    MmdetSSD,
    ResNet,
    ScratchDet,
    TorchvisionSSD,
    deploy,
    graph_of,
    resnet_net,
    state_of,
    trained,
)


def message(function, *arguments) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments)
    return str(error.value)


def test_another_wiring_is_refused_with_the_reason():
    model = trained(ScratchDet(300, (4, 8, 16, 32, 8, 8, 8, 8), BOXES, 3))
    text = message(from_state, graph_of(deploy("scratchdet300-root34", 3)), state_of(model), "mmdetection-1")
    assert "the net has no layer stem_1_bn (their backbone.bn1)" in text
    assert 'layer "stem_2" (Convolution): it is not the same as their backbone.conv2: it reads relu(Scale1) ' in text
    assert "norms and ReLUs stand elsewhere in the Caffe release's nets" in text and "build scratchdet300-mmdet" in text


def test_strides_and_pooling_of_the_caffe_release_are_refused():
    net = Net("resnet")
    net.data = L.Input(input_param={"shape": {"dim": [1, 3, 320, 320]}})
    resnet101(net)
    graph = graph_of(net.to_proto())
    model = trained(ResNet((3, 4, 23, 3), (1, 3, 1), 64, 2, 3))
    text = message(from_state, graph, state_of(model), "torchvision")
    assert "it reads max3/2+0(relu(bn1)) where theirs reads max3/2+1(relu(bn1))" in text
    assert 'layer "res3a_branch2a" (Convolution): it is not the same as their layer2.0.conv1: its stride is 2 ' in text


def test_half_of_what_is_optional_is_refused():
    state = state_of(trained(ResNet((2, 2, 2, 2), (3, 3), 4, 1, 7)))
    net = graph_of(resnet_net((2, 2, 2, 2), (3, 3), strided=1, width=4, side=65))
    del state["fc.weight"]
    text = message(from_state, net, state, "torchvision")
    assert 'no model of "torchvision" has these keys' in text and "there is no fc.weight" in text


def test_pooling_that_rounds_otherwise_is_refused():
    model = trained(ResNet((2, 2, 2, 2), (3, 3), 4, 1, 7))
    net = resnet_net((2, 2, 2, 2), (3, 3), strided=1, width=4, side=64)
    text = message(from_state, graph_of(net), state_of(model), "torchvision")
    assert "its map has 17×17 cells where theirs, which rounds down (round_mode: FLOOR), has 16×16" in text
    pool = next(layer for layer in net.layer if layer.type == "Pooling").pooling_param
    pool.round_mode = pool.FLOOR
    found = from_state(graph_of(net), state_of(model), "torchvision")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tops = CaffeNet(graph_of(net), found.weights)({"data": images})["fc1000"]
        deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        wanted = model(images.flip(1) / 255 / deviation)
    assert (tops - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_mistakes_are_named():
    model = trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 3))
    state, net = state_of(model), deploy("ssd300-vgg16", 3)
    graph = graph_of(net)
    with pytest.raises(UserError, match=r'no map for the code base "torchvison" \(did you mean "torchvision"\?\)'):
        from_state(graph, state, "torchvison")
    text = message(from_state, graph, state, "mmdetection")
    assert 'no model of "mmdetection" has these keys: the nearest is ' in text and text.endswith(
        "fix: they are keys of torchvision: name that code base"
    )
    short = {key: array for key, array in state.items() if key != "backbone.scale_weight"}
    assert "the nearest is ssd300_vgg16, but there is no backbone.scale_weight;" in message(
        from_state, graph, short, "torchvision"
    )
    text = message(from_state, graph_of(deploy("ssd300-vgg16", 4)), state, "torchvision")
    assert "its weight is 16×32×3×3 where theirs is 12×32×3×3" in text and "more differences" not in text
    swapped = deploy("ssd300-vgg16", 3)
    joined = next(layer for layer in swapped.layer if layer.name == "mbox_loc")
    joined.bottom[0], joined.bottom[1] = joined.bottom[1], joined.bottom[0]
    assert "no Concat of the net is concat1(flatten1(permute0231(head.regression" in message(
        from_state, graph_of(swapped), state, "torchvision"
    )


def changed(change) -> Graph:
    net = deploy("ssd300-vgg16", 3)
    change({layer.name: layer for layer in net.layer})
    return graph_of(net)


def set_corner(layers):
    layers["detection_out"].detection_output_param.code_type = 1


def set_shared(layers):
    layers["conv4_3_norm"].norm_param.channel_shared = True


def set_across_spatial(layers):
    layers["conv4_3_norm"].norm_param.across_spatial = True


def set_ratios(layers):
    layers["fc7_mbox_priorbox"].prior_box_param.aspect_ratio[:] = [2, 4]


def set_unbiased(layers):
    layers["conv1_1"].convolution_param.bias_term = False


@pytest.mark.parametrize(
    "change, expected",
    [
        (set_corner, "code_type is CORNER; expected CENTER_SIZE"),
        (set_shared, "theirs has a factor for each channel, channel_shared: true one for all"),
        (set_across_spatial, "its across_spatial is True where theirs is False"),
        (set_ratios, "its boxes min, max, 2, 0.5, 4, 0.25 are not theirs; expected min, max, 2, 0.5, 3, 0.333"),
        (set_unbiased, "theirs has a bias, for which bias_term: false leaves no place"),
    ],
)
def test_conventions_without_a_counterpart(change, expected):
    state = state_of(trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 3)))
    assert expected in message(from_state, changed(change), state, "torchvision")


def test_arrays_of_other_shapes():
    state = state_of(trained(ScratchDet(300, (4, 8, 16, 32, 8, 8, 8, 8), BOXES, 3)))
    state |= {"backbone.bn1.bias": np.zeros((), np.float32), "bbox_head.reg_convs.0.1.running_var": np.ones(3)}
    text = message(from_state, graph_of(deploy("scratchdet300-mmdet", 3)), state, "mmdetection-1")
    assert 'layer "stem_1_scale" (Scale): it is not the same as their backbone.bn1: its bias is 4 where' in text
    assert "theirs is scalar" in text and "its running_var is 16 where theirs is 3" in text


def test_boxes_of_each_class():
    def change(layers):
        for name, layer in layers.items():
            if name.endswith("_mbox_loc"):
                layer.convolution_param.num_output *= 3
        layers["detection_out"].detection_output_param.share_location = False

    graph = changed(change)
    weights = {layer.name: [np.ones(shape, np.float32) for shape in layer.blob_shapes] for layer in graph.layers}
    text = message(to_state, graph, weights, "torchvision")
    assert "(Convolution): it is not the same as their head.regression_head.module_list.0: 48 outputs are not" in text


def test_variances_in_the_targets():
    """Where the net's offsets already hold the variances, theirs get them."""
    model = trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 3))

    def encode(layers):
        layers["detection_out"].detection_output_param.variance_encoded_in_target = True

    plain, encoded = (
        from_state(graph, state_of(model), "torchvision").weights["fc7_mbox_loc"][1]
        for graph in (changed(lambda layers: None), changed(encode))
    )
    assert np.allclose(encoded.reshape(-1, 4), plain.reshape(-1, 4) * [0.1, 0.1, 0.2, 0.2], rtol=1e-6)


def test_convert_command(tmp_path, capsys):
    from netgen.commands.convert import convert

    torch.manual_seed(5)
    model = trained(MmdetSSD(SSD_WIDTHS, BOXES, 3, late=True))
    net, theirs, ours = tmp_path / "net.prototxt", tmp_path / "epoch_24.pth", tmp_path / "net.caffemodel"
    write_text(deploy("ssd300-vgg16", 3), net)
    torch.save({"meta": {"epoch": 24}, "state_dict": model.state_dict()}, theirs)
    convert(str(net), theirs, ours, from_="mmdetection")
    assert "note: read as SSD300 of mmdetection" in capsys.readouterr().out
    back = tmp_path / "back.pth"
    convert(str(net), ours, back, to="mmdetection")
    assert re.search(r"a state_dict of 71 tensors; written as SSD300 of mmdetection", capsys.readouterr().out)
    loaded = torch.load(back, weights_only=True)
    model.load_state_dict(loaded)  # nothing missing, nothing unknown
    assert all(torch.equal(loaded[key], tensor) for key, tensor in torch.load(theirs)["state_dict"].items())
    convert(str(net), theirs, back, from_="mmdetection", to="mmdetection-1")
    older = torch.load(back, weights_only=True)
    assert torch.equal(older["backbone.l2_norm.weight"], loaded["neck.l2_norm.weight"])
    background = older["bbox_head.cls_convs.0.bias"].view(4, 3)[:, 0]
    assert torch.equal(background, loaded["bbox_head.cls_convs.0.0.bias"].view(4, 3)[:, 2])
    assert "--from mmdetection reads a state_dict; expected .pth" in message(
        lambda: convert(str(net), ours, back, from_="mmdetection")
    )
    assert "--to mmdetection writes a state_dict; expected .pth" in message(
        lambda: convert(str(net), ours, tmp_path / "net.onnx", to="mmdetection")
    )


def test_a_body_alone_leaves_the_rest_to_the_fillers(tmp_path, capsys):
    from netgen.commands.convert import convert

    model = trained(ResNet((2, 2, 2, 2), (3, 3), 4, 1, 5))
    net = tmp_path / "net.prototxt"
    proto = resnet_net((2, 2, 2, 2), (3, 3), strided=1, width=4, side=65)
    proto.layer[-1].name = "classes"
    write_text(proto, net)
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    convert(str(net), tmp_path / "resnet18.pth", tmp_path / "start.caffemodel", from_="torchvision")
    out = capsys.readouterr().out
    assert "note: left out, as the other has nothing like it: fc\n" in out
    assert "note: not trained, but as their fillers make them: classes\n" in out


def test_voc_models_are_told_apart_by_their_prior_boxes():
    model = trained(MmdetSSD(SSD_WIDTHS, BOXES, 3, late=True))
    notes = from_state(graph_of(deploy("ssd300-vgg16", 3, VOC0712)), state_of(model), "mmdetection").notes
    assert (
        "prior boxes of fc7_mbox_priorbox: 60 to 111 pixels, step 16; "
        "those of SSD300 are 45 to 99 pixels, step 16 by default"
    ) in notes


def test_steps_and_clipped_prior_boxes_are_told():
    def change(layers):
        layers["fc7_mbox_priorbox"].prior_box_param.step = 15
        layers["conv6_2_mbox_priorbox"].prior_box_param.clip = True

    model = trained(TorchvisionSSD(SSD_WIDTHS, BOXES, 3))
    assert from_state(changed(change), state_of(model), "torchvision").notes[2:] == [
        "prior boxes of fc7_mbox_priorbox: step 15; those of ssd300_vgg16 are step 16 by default",
        "prior boxes of conv6_2_mbox_priorbox: step 32, clipped; those of ssd300_vgg16 are step 32 by default",
    ]
