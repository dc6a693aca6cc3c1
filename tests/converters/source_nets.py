"""Nets in a few lines, their stand-alone code as a module, and whether it gives what CaffeNet gives."""

from __future__ import annotations

import numpy as np
import torch

from converters.pytorch import CaffeNet
from converters.pytorch.source import source_layout, source_text
from prototxt import schema
from prototxt.graph import Graph
from prototxt.io import net_file
from prototxt.text import parse

# Types of training and scoring: no deployed net holds them.
TRAINING = {"Accuracy", "DetectionEvaluate", "EuclideanLoss", "HingeLoss", "MultiBoxLoss", "SoftmaxWithLoss"}
TRAINING |= {"SigmoidCrossEntropyLoss", "SmoothL1Loss"}


def graph_of(text: str, shape: tuple[int, ...] = (2, 4, 6, 5), name: str = "small") -> Graph:
    dims = " ".join(f"dim: {size}" for size in shape)
    head = f'name: "{name}" layer {{ name: "in" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'
    net = parse(head + text, schema.NetParameter(), "net.prototxt")
    return Graph(net_file(net.message, net.path, net.lines), "TEST")


def module_of(graph: Graph, weights) -> torch.nn.Module:
    """The class that the code of a net defines, with weights."""
    names = {"__name__": "sys"}  # dataclasses look into the module that they are in
    exec(compile(source_text(graph, "net.pth"), "net.py", "exec"), names)
    kind = [value for value in names.values() if isinstance(value, type) and issubclass(value, torch.nn.Module)][-1]
    module = kind().eval()
    state = source_layout(graph).state(weights)
    module.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()})
    return module


def run(module: torch.nn.Module, graph: Graph, inputs) -> dict[str, np.ndarray]:
    with torch.no_grad():
        tops = module(*(torch.as_tensor(inputs[name]) for name in graph.inputs))
    tops = tops if isinstance(tops, dict) else {graph.outputs[0]: tops}
    return {name: top.numpy() for name, top in tops.items()}


def check_same(graph: Graph, weights, inputs, atol: float = 1e-6) -> None:
    """The code gives what CaffeNet gives, and takes as little or as many images."""
    found = run(module_of(graph, weights), graph, inputs)
    with torch.no_grad():
        wanted = CaffeNet(graph, weights)({name: torch.as_tensor(array) for name, array in inputs.items()})
    assert list(found) == list(wanted) == graph.outputs
    for name, top in wanted.items():
        assert found[name].shape == tuple(top.shape)
        np.testing.assert_allclose(found[name], top.numpy(), rtol=1e-6, atol=atol, err_msg=name)


def random_weights(graph: Graph, seed: int = 0) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        layer.name: [rng.uniform(0.5, 1.5, shape).astype(np.float32) for shape in layer.blob_shapes]
        for layer in graph.layers
        if layer.blob_shapes
    }


FORKS = [
    'type: "Transpose" bottom: "data" top: "s" transpose_param { dim: [3, 0, 1, 2] } } '
     'layer { name: "i" type: "ContinuationIndicator" top: "i" '
     'continuation_indicator_param { time_step: 5 batch_size: 2 } } '
     'layer { name: "l" type: "LSTM" bottom: "s" bottom: "i" top: "l" recurrent_param { num_output: 3 } } '
     'layer { name: "m" type: "Lstm" bottom: "l" top: "y" lstm_param { num_output: 2 }',
    'type: "ArgMax" bottom: "data" top: "k" argmax_param { axis: 1 } } '
     'layer { name: "e" type: "Embed" bottom: "k" top: "y" embed_param { input_dim: 4 num_output: 2 }',
    'type: "BatchNorm" bottom: "data" top: "y" batch_norm_param { scale_bias: true }',
    'type: "Transpose" bottom: "data" top: "y" transpose_param { dim: [3, 2, 0, 1] }',
    'type: "Reverse" bottom: "data" top: "y" reverse_param { axis: 2 }',
    'type: "Upsample" bottom: "data" top: "y" upsample_param { height_scale: 2 width_scale: 3 }',
    'type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 pad: 1 } } '
     'layer { name: "cut" type: "Slice" bottom: "p" top: "q" top: "z" slice_param { axis: 2 slice_point: 6 } } '
     'layer { name: "reorg" type: "Reorg" bottom: "q" top: "y" reorg_param { stride: 2 } } '
     'layer { name: "back" type: "Reorg" bottom: "y" top: "w" reorg_param { stride: 2 reverse: true } } '
     'layer { name: "rest" type: "Silence" bottom: "z"',
    'type: "Dropout" bottom: "data" top: "y" dropout_param { dropout_ratio: 0.3 scale_train: false }',
    "type: 'Python' bottom: 'data' top: 'y' python_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' "
     "param_str: \"{'phase': 'TEST', 'p': '0.1'}\" }",
    'type: "ReLU6" bottom: "data" top: "y"',
    'type: "Clip" bottom: "data" top: "y" clip_param { min: -1.5 max: 2 }',
    'type: "Mish" bottom: "data" top: "y"',
    'type: "Swish" bottom: "data" top: "y"',
    'type: "Swish" bottom: "data" top: "y" swish_param { beta: 0.5 }',
    'type: "DepthwiseConvolution" bottom: "data" top: "y" convolution_param { num_output: 4 kernel_size: 3 pad: 1 }',
    'type: "BN" bottom: "data" top: "y" bn_param { eps: 0.001 }',
    'type: "BN" bottom: "data" top: "y" bn_param { bn_mode: INFERENCE }',
    'type: "ShuffleChannel" bottom: "data" top: "y" shuffle_channel_param { group: 2 }',
    'type: "Interp" bottom: "data" top: "y" interp_param { zoom_factor: 2 pad_beg: -1 pad_end: -2 }',
    'type: "Upsample" bottom: "data" top: "y" upsample_param { scale: 3 }',
    'type: "Slice" bottom: "data" top: "y" top: "z" slice_param { slice_point: 1 } } '
     'layer { name: "rest" type: "Silence" bottom: "z"',
    'type: "Pooling" bottom: "data" top: "p" pooling_param { pool: AVE global_pooling: true } } '
     'layer { name: "sum" type: "Axpy" bottom: "p" bottom: "data" bottom: "data" top: "y"',
    'type: "Pooling" bottom: "data" top: "p" top: "mask" pooling_param { kernel_size: 2 stride: 2 } } '
     'layer { name: "up" type: "Upsample" bottom: "p" bottom: "mask" top: "y" '
     'upsample_param { upsample_h: 6 upsample_w: 5 }',
]  # fmt: skip


REGIONS = """
layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 8 dim: 5 } } }
layer { name: "max" type: "ROIPooling" bottom: "data" bottom: "rois" top: "max"
  roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.125 } }
layer { name: "mean" type: "PSROIPooling" bottom: "data" bottom: "rois" top: "mean"
  psroi_pooling_param { spatial_scale: 0.125 output_dim: 2 group_size: 3 } }
"""


PROPOSAL = """
layer { name: "rpn" type: "Input" top: "scores" top: "offsets" top: "info" input_param {
  shape { dim: 1 dim: 12 dim: 6 dim: 8 } shape { dim: 1 dim: 24 dim: 6 dim: 8 } shape { dim: 1 dim: 3 } } }
layer { name: "proposal" type: "Proposal" bottom: "scores" bottom: "offsets" bottom: "info" top: "rois" %s
  proposal_param { scale: 1 scale: 2.5 ratio: 1 ratio: 0.5 ratio: 2 %s } }
layer { name: "pool" type: "ROIPooling" bottom: "data" bottom: "rois" top: "pool"
  roi_pooling_param { pooled_h: 3 pooled_w: 3 spatial_scale: 0.0625 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
"""
