"""Small whole files of every kind that comes from strangers: what the damage is done to."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from prototxt import schema

SNAPSHOT = "net_iter_12.caffemodel"  # its weights

# Scores and prior boxes of two nets.
_SCORES = """\
layer { name: "conf" type: "Convolution" bottom: "conv" top: "conf" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "cperm" type: "Permute" bottom: "conf" top: "cperm" permute_param { order: [0, 2, 3, 1] } }
layer { name: "cresh" type: "Reshape" bottom: "cperm" top: "cresh" reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "soft" type: "Softmax" bottom: "cresh" top: "soft" softmax_param { axis: 2 } }
layer { name: "cflat" type: "Flatten" bottom: "soft" top: "cflat" }
layer { name: "prior" type: "PriorBox" bottom: "conv" bottom: "data" top: "prior"
  prior_box_param { min_size: 4 max_size: 8 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
"""
NET = (
    """
name: "seed" # a comment
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 10 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { name: "w" lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 group: 1 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv"
  batch_norm_param { use_global_stats: true eps: 1e-5 } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "pool" top: "up"
  convolution_param { num_output: 4 kernel_h: 2 kernel_w: 2 stride: 2 bias_term: false } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "conv" top: "crop" crop_param { axis: 2 offset: 0 } }
layer { name: "sum" type: "Eltwise" bottom: "crop" bottom: "conv" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "cat" type: "Concat" bottom: "sum" bottom: "conv" top: "cat" concat_param { axis: 1 } }
layer { name: "cut" type: "Slice" bottom: "cat" top: "cut1" top: "cut2" slice_param { slice_point: 3 } }
layer { name: "norm" type: "Normalize" bottom: "cut1" top: "norm" norm_param { across_spatial: false } }
layer { name: "lrn" type: "LRN" bottom: "norm" top: "lrn" lrn_param { local_size: 3 alpha: 0.1 } }
layer { name: "drop" type: "Dropout" bottom: "lrn" top: "lrn" include { phase: TRAIN }
  dropout_param { dropout_ratio: 0.5 } }
layer { name: "loc" type: "Convolution" bottom: "conv" top: "loc" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "perm" type: "Permute" bottom: "loc" top: "perm" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "flat" type: "Flatten" bottom: "perm" top: "flat" flatten_param { axis: 1 } }
"""
    + _SCORES
    + """layer { name: "det" type: "DetectionOutput" bottom: "flat" bottom: "cflat" bottom: "prior" top: "det"
  detection_output_param { num_classes: 3 nms_param { nms_threshold: 0.45 top_k: 40 } keep_top_k: 20
    code_type: CENTER_SIZE confidence_threshold: 0.01
    save_output_param { output_directory: 'results' output_name_prefix: "a" output_format: "VOC" } } }
layer { name: "fc" type: "InnerProduct" bottom: "cut2" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "tile" type: "Tile" bottom: "fc" top: "tile" tile_param { tiles: 2 } }
layer { name: "max" type: "ArgMax" bottom: "tile" top: "max" argmax_param { top_k: 1 } }
layer { name: "prelu" type: "PReLU" bottom: "cut1" top: "prelu" }
layer { name: "power" type: "Power" bottom: "prelu" top: "power" power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "red" type: "Reduction" bottom: "power" top: "red" reduction_param { axis: 1 operation: MEAN } }
"""
)
# What forks of Caffe added.
FORK_NET = """
input: "data" input_shape { dim: 1 dim: 4 dim: 8 dim: 6 }
layer { name: "dw" type: "DepthwiseConvolution" bottom: "data" top: "dw"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BN" bottom: "dw" top: "bn" bn_param { bn_mode: INFERENCE } }
layer { name: "relu6" type: "ReLU6" bottom: "bn" top: "bn" }
layer { name: "shuffle" type: "ShuffleChannel" bottom: "bn" top: "shuffle" shuffle_channel_param { group: 2 } }
layer { name: "up" type: "Upsample" bottom: "shuffle" top: "up" upsample_param { scale: 2 } }
layer { name: "interp" type: "Interp" bottom: "up" top: "interp" interp_param { height: 5 width: 7 } }
layer { name: "gate" type: "Pooling" bottom: "interp" top: "gate" pooling_param { pool: AVE global_pooling: true } }
layer { name: "axpy" type: "Axpy" bottom: "gate" bottom: "interp" bottom: "interp" top: "axpy" }
layer { name: "clip" type: "Clip" bottom: "axpy" top: "axpy" clip_param { min: 0 max: 6 } }
layer { name: "score" type: "Convolution" bottom: "axpy" top: "score"
  convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "delta" type: "Convolution" bottom: "axpy" top: "delta"
  convolution_param { num_output: 12 kernel_size: 1 } }
layer { name: "info" type: "Input" top: "info" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "rois" type: "Proposal" bottom: "score" bottom: "delta" bottom: "info" top: "rois"
  proposal_param { feat_stride: 16 ratio: 0.5 ratio: 1 ratio: 2 scale: 8 pre_nms_topn: 20 post_nms_topn: 5 } }
layer { name: "roi" type: "ROIPooling" bottom: "axpy" bottom: "rois" top: "roi"
  roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 } }
layer { name: "ps" type: "PSROIPooling" bottom: "axpy" bottom: "rois" top: "ps"
  psroi_pooling_param { spatial_scale: 0.0625 output_dim: 1 group_size: 2 } }
layer { name: "maps" type: "Convolution" bottom: "axpy" top: "maps"
  convolution_param { num_output: 14 kernel_size: 1 } }
layer { name: "yolo" type: "Yolov3DetectionOutput" bottom: "maps" top: "yolo" yolov3_detection_output_param {
  num_classes: 2 num_box: 2 biases: [10, 14, 23, 27] mask: [0, 1] mask_group_num: 1 anchors_scale: 16 } }
"""
OLD_NET = """
name: "v1" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  convolution_param { num_output: 2 kernel_size: 3 } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "prob" type: SOFTMAX bottom: "conv" top: "prob" }
"""
OLDEST_NET = """
name: "v0" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
layers { layer { name: "conv" type: "conv" num_output: 2 kernelsize: 3 stride: 1 biasterm: true blobs_lr: 1. }
  bottom: "pad" top: "conv" }
layers { layer { name: "pool" type: "pool" kernelsize: 2 stride: 2 pool: AVE } bottom: "conv" top: "pool" }
"""
TRAIN_NET = """
layer { name: "in" type: "Input" top: "loc" top: "conf" top: "prior" top: "label"
  input_param { shape { dim: 2 dim: 32 } shape { dim: 2 dim: 24 } shape { dim: 1 dim: 2 dim: 32 }
    shape { dim: 1 dim: 1 dim: 3 dim: 8 } } }
layer { name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior" bottom: "label" top: "loss"
  include { phase: TRAIN } propagate_down: true propagate_down: true propagate_down: false propagate_down: false
  loss_param { normalization: VALID } multibox_loss_param { loc_loss_type: SMOOTH_L1 conf_loss_type: SOFTMAX
    num_classes: 3 share_location: true mining_type: MAX_NEGATIVE neg_pos_ratio: 3 code_type: CENTER_SIZE } }
"""
DETECTOR_NAME = "detector"
DETECTOR = (
    """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 10 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "loc" type: "Convolution" bottom: "conv" top: "loc" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "perm" type: "Permute" bottom: "loc" top: "perm" permute_param { order: [0, 2, 3, 1] } }
layer { name: "flat" type: "Flatten" bottom: "perm" top: "flat" }
"""
    + _SCORES
    + """layer { name: "det" type: "DetectionOutput" bottom: "flat" bottom: "cflat" bottom: "prior" top: "det"
  detection_output_param { num_classes: 3 nms_param { nms_threshold: 0.45 top_k: 40 } keep_top_k: 20
    code_type: CENTER_SIZE confidence_threshold: 0.01 } }
"""
)
SOLVER = """
train_net: "train.prototxt" test_net: "test.prototxt" test_iter: 1 test_interval: 10 base_lr: 0.001 display: 10
max_iter: 100 lr_policy: "multistep" gamma: 0.1 momentum: 0.9 weight_decay: 0.0005 stepvalue: 40 stepvalue: 80
snapshot: 50 snapshot_prefix: "snap" solver_mode: CPU type: "SGD" eval_type: "detection" ap_version: "11point"
"""
LABELMAP = """
item { name: "none_of_the_above" label: 0 display_name: "background" }
item { name: "cat" label: 1 display_name: "cat" }
item { name: "dog" label: 2 }
"""
VOC = """<?xml version="1.0"?>
<annotation><filename>a.jpg</filename><size><width>20</width><height>10</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>
"""
YOLO_YAML = """
path: .
train: images/train
val: [images/val, "images/more"]
nc: 2
names: {0: cat, 1: dog}
"""
YOLO_TEXT = "0 0.5 0.5 0.2 0.4\n1 0.25 0.75 0.5 0.5\n"
BOX_TEXT = "1 3 4 10 12\n2 0.5 0 7.25 9\n"
IMAGE_LIST = "x.png boxes.txt\n\nx.png\tboxes.txt\n"
COCO = """{"images": [{"id": 1, "file_name": "x.png", "width": 20, "height": 10}],
"annotations": [{"id": 3, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4.5], "iscrowd": 0}],
"categories": [{"id": 2, "name": "cat"}]}
"""


def texts(*sources: str) -> list[bytes]:
    return [source.encode() for source in sources]


def _blob(*shape: int) -> object:
    values = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32)
    return schema.BlobProto(shape=schema.BlobShape(dim=shape), data=values)


def caffemodels() -> list[bytes]:
    """Of today, V1 with old shapes, V0 and with doubles."""
    new = schema.NetParameter(name="seed")
    new.layer.add(name="conv", type="Convolution", blobs=[_blob(4, 3, 3, 3), _blob(4)])
    new.layer.add(name="bn", type="BatchNorm", blobs=[_blob(4), _blob(4), _blob(1)])
    old = schema.NetParameter(name="v1")
    layer = old.layers.add(name="fc")
    layer.blobs.add(num=1, channels=1, height=2, width=3, data=[1, 2, 3, 4, 5, 6])
    oldest = schema.NetParameter()
    inner = oldest.layers.add().layer
    inner.name = "conv"
    inner.blobs.add(num=1, channels=1, height=1, width=2, double_data=[1, 2])
    return [net.SerializeToString() for net in (new, old, oldest)]


@cache
def _detector() -> tuple[Any, dict[str, list[np.ndarray]]]:
    """The graph of DETECTOR and weights."""
    from prototxt.graph import Graph
    from prototxt.io import net_file
    from prototxt.text import parse

    graph = Graph(net_file(parse(DETECTOR, schema.NetParameter()).message))
    draw = np.random.default_rng(0).random
    return graph, {layer.name: [draw(shape, np.float32) for shape in layer.blob_shapes] for layer in graph.layers}


def detector_weights() -> bytes:
    net = schema.NetParameter(name=DETECTOR_NAME)
    for name, blobs in _detector()[1].items():
        made = [schema.BlobProto(shape=schema.BlobShape(dim=b.shape), data=b.reshape(-1)) for b in blobs]
        net.layer.add(name=name, blobs=made)
    return net.SerializeToString()


def detector_states() -> list[bytes]:
    """The state_dict of DETECTOR."""
    import torch

    from converters.pytorch.layout import caffe_layout

    graph, weights = _detector()
    buffer = io.BytesIO()
    torch.save({key: torch.from_numpy(np.array(a)) for key, a in caffe_layout(graph).state(weights).items()}, buffer)
    return [buffer.getvalue()]


def detector_onnx() -> list[bytes]:
    """DETECTOR as it is converted."""
    from converters.onnx import to_onnx

    return [to_onnx(*_detector()).SerializeToString()]


def _hdf5(fill: Callable[[object], None]) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def hdf5_caffemodels() -> list[bytes]:
    """Plain, and behind each of the filters that every HDF5 library has: these expand."""

    def plain(file) -> None:
        for name, shape in (("conv/0", (4, 3, 3, 3)), ("conv/1", (4,)), ("a/b/0", (2, 2))):
            file[f"data/{name}"] = np.zeros(shape, np.float32)

    def packed(file) -> None:
        zeros = np.zeros((4, 25), np.float32)
        file.create_dataset("data/conv/0", data=zeros, chunks=(2, 25), compression="gzip", shuffle=True)
        file.create_dataset("data/conv/1", data=zeros, chunks=(4, 5), compression="lzf", fletcher32=True)
        file.create_dataset("data/conv/2", data=zeros.astype(np.int32), chunks=(4, 5), scaleoffset=0)
        file.create_dataset("data/conv/3", data=np.zeros((2, 3)), maxshape=(None, 3), fillvalue=0.5)

    return [_hdf5(plain), _hdf5(packed)]


def solverstates() -> list[bytes]:
    state = schema.SolverState(iter=12, learned_net=SNAPSHOT, current_step=1)
    state.history.extend([_blob(4, 3), _blob(4)])
    return [state.SerializeToString()]


def hdf5_solverstates() -> list[bytes]:
    def fill(file) -> None:
        file["iter"], file["current_step"] = np.array([12], np.int32), np.array([1], np.int32)
        file["minimum_loss"], file["iter_last_event"] = np.array([0.5], np.float32), np.array([3], np.int32)
        file["learned_net"] = np.array(SNAPSHOT.encode(), "S23")
        file["history/0"], file["history/1"] = np.zeros((4, 3), np.float32), np.zeros(4, np.float32)

    return [_hdf5(fill)]


def means() -> list[bytes]:
    return [_blob(1, 3, 2, 2).SerializeToString()]


def images() -> list[bytes]:
    import cv2

    picture = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)
    found = [cv2.imencode(kind, picture)[1].tobytes() for kind in (".jpg", ".png", ".bmp")]
    return [*found, cv2.imencode(".png", picture[:, :, 0])[1].tobytes()]


def records() -> list[bytes]:
    """AnnotatedDatum of encoded and of raw images."""
    found = []
    for data in images():
        record = schema.AnnotatedDatum(type=0, datum={"data": data, "encoded": True, "height": 10, "width": 12})
        record.datum.channels, record.datum.label = 3, -1
        box = record.annotation_group.add(group_label=1).annotation.add(instance_id=0).bbox
        box.xmin, box.ymin, box.xmax, box.ymax = 0.1, 0.2, 0.6, 0.7
        found.append(record.SerializeToString())
    raw = schema.AnnotatedDatum(datum={"data": bytes(2 * 3 * 3), "channels": 3, "height": 2, "width": 3})
    return [*found, raw.SerializeToString()]


def safetensors() -> list[bytes]:
    header = b'{"conv.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
    return [struct.pack("<Q", len(header)) + header + bytes(24)]


def states() -> list[bytes]:
    import torch

    found = []
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save({"conv.weight": torch.zeros(2, 3)}, buffer, _use_new_zipfile_serialization=zipped)
        found.append(buffer.getvalue())
    return found


def foreign_states() -> list[bytes]:
    """Tables of the shapes in a ResNet-18 of torchvision."""
    from tests.converters.foreign_models import ResNet, state_of

    model = ResNet((2, 2, 2, 2), (3, 3), 4, 1, 7)
    return [json.dumps({key: array.shape for key, array in state_of(model).items()}, indent=0).encode()]


def onnx_models(location: str = "beside.bin") -> list[bytes]:
    """Most operators with a Caffe form; tensors of each kind of storage, one of them in the file `location`."""
    from onnx import TensorProto, helper, numpy_helper

    def tensor(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    inner = TensorProto(name="scale", data_type=TensorProto.FLOAT, dims=[4], float_data=[1, 2, 3, 4])
    beside = TensorProto(name="bias", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "4"), ("length", "16")):
        beside.external_data.add(key=key, value=value)
    shape = numpy_helper.from_array(np.array([2, -1]), "shape")
    split = numpy_helper.from_array(np.array([1, 3]), "split")
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w", "bias"], ["conv"], "conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", ["conv", "scale", "scale", "scale", "scale"], ["bn"], "bn", epsilon=1e-3),
        node("Relu", ["bn"], ["relu"], "relu"),
        node("MaxPool", ["relu"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("ConvTranspose", ["pool", "up_w"], ["up"], "up", strides=[2, 2], kernel_shape=[2, 2]),
        node("Resize", ["pool", "", "twice"], ["big"], "resize", mode="nearest"),
        node("Add", ["up", "big"], ["sum"], "add"),
        node("Concat", ["sum", "relu"], ["cat"], "cat", axis=1),
        node("Transpose", ["cat"], ["turned"], "turn", perm=[0, 2, 3, 1]),
        node("Split", ["relu", "split"], ["one", "three"], "split", axis=1),
        node("ReduceMean", ["three"], ["mean"], "mean", axes=[2, 3], keepdims=0),
        node("Reshape", ["turned", "shape"], ["flat"], "reshape"),
        node("Gemm", ["flat", "fc"], ["y"], "gemm", transB=1),
        node("Softmax", ["y"], ["soft"], "soft", axis=1),
        node("PRelu", ["one", "slope"], ["prelu"], "prelu"),
    ]
    twice = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")
    tensors = [tensor("w", 4, 3, 3, 3), inner, beside, tensor("up_w", 4, 4, 2, 2), twice, shape, split]
    tensors += [tensor("fc", 5, 8 * 8 * 8), tensor("slope", 1, 1, 1)]
    ends = [helper.make_tensor_value_info(name, 1, None) for name in ("soft", "mean", "prelu")]
    inputs = [helper.make_tensor_value_info("x", 1, (2, 3, 8, 8))]
    graph = helper.make_graph(nodes, "seed", inputs, ends, tensors)
    return [helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()]


def beside() -> dict[str, bytes]:
    """What lies in the folder that files are read in, for them to name."""
    texts = {"train": TRAIN_NET, "test": TRAIN_NET, DETECTOR_NAME: DETECTOR}
    files = {f"{name}.prototxt": text.encode() for name, text in texts.items()}
    files |= {f"{DETECTOR_NAME}.caffemodel": detector_weights(), SNAPSHOT: b"", "boxes.txt": BOX_TEXT.encode()}
    return {"beside.bin": bytes(1000), "x.png": images()[1], **files}
