"""What is fuzzed: everything that reads a stranger's file, with whole files to damage.

A reader takes the path of a file in a folder beside which it finds the folder `out` to write into.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path

from prototxt.errors import UserError
from tests.fuzz import seeds
from tests.fuzz.commands import COMMANDS
from tests.fuzz.table import Target

_SMALL = 200_000  # values of a net that is computed, or of the weights that are made for one


def _out(path: Path, name: str) -> Path:
    return path.parent.with_name("out") / name


def _net(path: Path) -> None:
    """A net in both phases: shapes, costs and, where it is small, the module and one forward."""
    from prototxt.graph import Graph
    from prototxt.io import read_net
    from prototxt.summary import summarize

    file = read_net(path)
    for phase in ("TRAIN", "TEST"):
        graph = Graph(file, phase)
        summarize(graph)
        sizes = [prod(shape) for layer in graph.layers for shape in (*layer.blob_shapes, *layer.top_shapes)]
        if phase == "TEST" and sum(sizes) < _SMALL:
            _compute(graph)


def _compute(graph) -> None:
    import torch

    from converters.pytorch import CaffeNet

    module = CaffeNet(graph, seed=0)
    inputs = {name: torch.zeros(shape) for name, shape in graph.inputs.items()}
    with torch.no_grad():
        module(inputs)


def _convert(path: Path) -> None:
    """A net into every other form, however large its blobs are; its weights are zeros."""
    import numpy as np

    from converters.caffemodel import Weights, require_all
    from converters.files import WRITERS, Trained
    from prototxt.graph import Graph

    graph = Graph.load(path)
    if sum(prod(shape) for layer in graph.layers for shape in layer.blob_shapes) > _SMALL:
        return
    layers = [layer for layer in graph.layers if layer.blob_shapes]
    blobs = Weights({layer.name: [np.zeros(shape, np.float32) for shape in layer.blob_shapes] for layer in layers})
    require_all(graph, blobs)
    trained = Trained(graph, blobs)
    refused = []
    for suffix in (".caffemodel", ".py", ".onnx"):
        try:
            WRITERS[suffix](trained, _out(path, f"net{suffix}"))
        except UserError as error:
            refused.append(error)
    if len(refused) > 1:  # the code takes fewer layers than the others
        raise refused[0]


def _lint(path: Path) -> None:
    from prototxt.lint import lint_files

    lint_files([path])


def _draw(path: Path) -> None:
    from prototxt.draw import draw
    from prototxt.graph import Graph

    draw(Graph.load(path), _out(path, "net.svg"), "full", 1.0)


def _solver(path: Path) -> None:
    from prototxt.io import read_solver
    from solver.config import SolverConfig

    SolverConfig(read_solver(path))


def _labelmap(path: Path) -> None:
    from prototxt.labelmap import class_labels, display_names

    class_labels(path)
    display_names(path)


def _weights(path: Path) -> None:
    from converters.caffemodel import read_weights

    read_weights(path)


def _snapshot(path: Path) -> None:
    from solver.snapshot import find_net, read_state

    find_net(path, read_state(path))


def _mean(path: Path) -> None:
    from annoset.augment.mean import Mean
    from prototxt.schema import TransformationParameter

    Mean(TransformationParameter(mean_file=path.name), 3, path.parent, "layer")


def _state(path: Path) -> None:
    from converters.pytorch.states import read_state

    read_state(path)


@cache
def _resnet():
    from tests.converters.foreign_models import graph_of, resnet_net

    return graph_of(resnet_net((2, 2, 2, 2), (3, 3), strided=1, width=4, side=65))


def _foreign(path: Path) -> None:
    """A table of key -> shape, as the state_dict of one of the code bases that are known."""
    import numpy as np

    from converters.names import CODE_BASES, from_state

    try:
        shapes = {key: tuple(shape) for key, shape in json.loads(path.read_bytes()).items()}
        state = {key: np.zeros(shape, np.float32) for key, shape in shapes.items() if prod(shape) < _SMALL}
    except (ValueError, TypeError, AttributeError, RecursionError, UnicodeDecodeError):
        return  # no table: nothing was damaged that a state_dict can hold
    code_base = [*CODE_BASES][len(path.read_bytes()) % len(CODE_BASES)]
    from_state(_resnet(), state, code_base, path)


def _onnx(path: Path) -> None:
    """An ONNX model as a Caffe net, written."""
    from converters.files import Trained, write_caffe
    from converters.from_onnx import read_onnx, to_caffe

    write_caffe(Trained(*to_caffe(read_onnx(path))), _out(path, "net.prototxt"))


def _record(path: Path) -> None:
    from google.protobuf.message import DecodeError

    from annoset.decode import decode_image, label_rows
    from annoset.reading.records import image_file, image_hw, image_kind
    from prototxt.schema import AnnotatedDatum

    try:
        record = AnnotatedDatum.FromString(path.read_bytes())
    except DecodeError:  # annoset.database says this of a record
        return
    label_rows(record)
    image_kind(record.datum)
    image_hw(record.datum, image_file(record.datum))
    decode_image(record.datum, False, False)


def _picture(path: Path) -> None:
    from annoset.decode import image_size
    from netgen.commands.pictures import read_picture

    image_size(path)
    read_picture(path)


def _voc(path: Path) -> None:
    from annoset.formats.voc import quick_annotation, read_annotation

    for read in (read_annotation, quick_annotation):
        read(path, path.with_suffix(".jpg"), "a")


def _coco(path: Path) -> None:
    from annoset.formats.coco import Choice, CocoFile

    for entry in CocoFile(path, Choice(path.parent, path.parent)):
        entry.annotation()


def _yolo_yaml(path: Path) -> None:
    from annoset.formats.yolo import read_data_yaml

    read_data_yaml(path)


def _yolo_text(path: Path) -> None:
    from annoset.formats.yolo import DataSet, Entry

    Entry(DataSet(path.parent, ("cat", "dog"), {}), path.with_name("x.png")).annotation()


def _box_text(path: Path) -> None:
    """A file of boxes that a list names."""
    from annoset.formats.plain import KINDS

    KINDS["txt"].read(path, path.with_name("x.png"), "a", "a", None)


def _image_list(path: Path) -> None:
    from annoset.classes import Classes
    from annoset.formats.plain import read_list

    for entry in read_list(path, path.parent, "txt", Classes.of(["cat", "dog"]))[:20]:
        entry.annotation()


def _nets() -> list[bytes]:
    return seeds.texts(seeds.NET, seeds.FORK_NET, seeds.OLD_NET, seeds.OLDEST_NET, seeds.TRAIN_NET)


def _texts(*sources: str) -> Callable[[], list[bytes]]:
    return lambda: seeds.texts(*sources)


def _every_prototxt() -> list[bytes]:
    return [*_nets(), *seeds.texts(seeds.SOLVER, seeds.LABELMAP)]


TARGETS = {
    "net": Target(".prototxt", _net, _nets, text=True),
    "convert": Target(".prototxt", _convert, _nets, text=True),
    "lint": Target(".prototxt", _lint, _every_prototxt, text=True),
    "draw": Target(".prototxt", _draw, _nets, text=True),
    "solver": Target(".prototxt", _solver, _texts(seeds.SOLVER), text=True),
    "labelmap": Target(".prototxt", _labelmap, _texts(seeds.LABELMAP), text=True),
    "caffemodel": Target(".caffemodel", _weights, seeds.caffemodels),
    "caffemodel.h5": Target(".caffemodel.h5", _weights, seeds.hdf5_caffemodels, share=0.05),
    "solverstate": Target(".solverstate", _snapshot, seeds.solverstates),
    "solverstate.h5": Target(".solverstate.h5", _snapshot, seeds.hdf5_solverstates, share=0.05),
    "mean": Target(".binaryproto", _mean, seeds.means),
    "safetensors": Target(".safetensors", _state, seeds.safetensors),
    "pth": Target(".pth", _state, seeds.states),
    "names": Target(".json", _foreign, seeds.foreign_states, text=True),
    "onnx": Target(".onnx", _onnx, seeds.onnx_models),
    "record": Target(".bin", _record, seeds.records),
    "picture": Target(".jpg", _picture, seeds.images),
    "voc": Target(".xml", _voc, _texts(seeds.VOC), text=True),
    "coco": Target(".json", _coco, _texts(seeds.COCO), text=True),
    "yolo.yaml": Target(".yaml", _yolo_yaml, _texts(seeds.YOLO_YAML), text=True),
    "yolo.txt": Target(".txt", _yolo_text, _texts(seeds.YOLO_TEXT), text=True),
    "boxes.txt": Target(".txt", _box_text, _texts(seeds.BOX_TEXT), text=True),
    "list.txt": Target(".txt", _image_list, _texts(seeds.IMAGE_LIST), text=True),
    **{f"netgen {name}": target for name, target in COMMANDS.items()},
}
