"""The three layer tables: a type that a net can hold must not be missing in one of them."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from prototxt import schema
from prototxt.params import parameter_field
from prototxt.shapes import BLOBS, SHAPES, SOURCES

# Types that only training or scoring uses: an ONNX file holds a deployed net.
NOT_DEPLOYED = {
    "Accuracy",
    "AnnotatedData",
    "Data",
    "DetectionEvaluate",
    "DummyData",
    "EuclideanLoss",
    "HDF5Data",
    "HingeLoss",
    "ImageData",
    "MultiBoxLoss",
    "SigmoidCrossEntropyLoss",
    "SmoothL1Loss",
    "SoftmaxWithLoss",
}


def written_types() -> set[str]:
    """Layer types in every file of every model that `netgen build` can write."""
    from netgen.datasets import DATASETS
    from netgen.zoo import MODELS, build

    types = set()
    for name in MODELS:
        for dataset in DATASETS:
            for net in build(name, DATASETS[dataset]).nets().values():
                types |= {layer.type for layer in net.layer}
    return types


def test_every_type_has_a_module():
    from converters.pytorch.layers import MODULES

    assert set(SHAPES) - set(MODULES) - set(SOURCES) == set()


def test_every_deployable_type_has_an_onnx_form():
    from converters.onnx.layers import NODES

    assert set(SHAPES) - set(NODES) - NOT_DEPLOYED == set()


def test_tables_know_only_types_with_a_shape_rule():
    from converters.onnx.layers import NODES
    from converters.pytorch.layers import MODULES

    for table in (MODULES, NODES, BLOBS):
        assert set(table) - set(SHAPES) == set()


def test_every_type_that_netgen_writes_is_in_every_table():
    from converters.onnx.layers import NODES
    from converters.pytorch.layers import MODULES

    written = written_types()
    assert {"Convolution", "MultiBoxLoss", "DetectionOutput"} <= written
    assert written - set(SHAPES) == set()
    assert written - set(MODULES) - set(SOURCES) == set()
    assert written - set(NODES) - NOT_DEPLOYED == set()


def test_families_have_the_same_names_everywhere():
    families = {}
    for package in ("prototxt.shapes", "converters.pytorch.layers", "converters.onnx.layers"):
        path = importlib.import_module(package).__path__
        families[package] = {module.name for module in pkgutil.iter_modules(path)}
    assert families["converters.pytorch.layers"] == families["prototxt.shapes"]
    assert families["converters.onnx.layers"] == families["prototxt.shapes"] - {"loss"}


@pytest.mark.parametrize("layer_type", sorted(name for name in SHAPES if "." not in name))  # less Python's classes
def test_parameters_are_found_by_type(layer_type):
    """A type's parameters are in the field named after it, for every type that has one in the schema."""
    without = {
        "AbsVal",
        "Axpy",
        "BNLL",
        "Split",
        "AnnotatedData",
        "EuclideanLoss",
        "MultiBoxLoss",
        "SigmoidCrossEntropyLoss",
    }
    without |= {"Silence", "SmoothL1Loss", "SoftmaxWithLoss"}
    field = parameter_field(layer_type)
    assert (field is None) == (layer_type in without - {"AnnotatedData", "MultiBoxLoss"})
    assert field is None or field in schema.LayerParameter.DESCRIPTOR.fields_by_name
