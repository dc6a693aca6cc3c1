"""Fields of a data layer that cannot be heeded: each is refused, with what to do, instead of having no effect."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from google.protobuf.message import Message

from prototxt.graph import Layer
from prototxt.schema import DataParameter

_MOVED = {"force_encoded_color": "force_color"}  # to transform_param, under another name
_TO_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror", *_MOVED)
_OF_BOXES = ("distort_param", "expand_param", "emit_constraint")


def check_lmdb(layer: Layer, fix: str) -> None:
    """Raises UserError for a `data_param` that names no LMDB (`fix`: what to do about a LevelDB), and too many tops."""
    spec = layer.proto.data_param
    if not spec.source or not spec.batch_size:
        raise layer.error("data_param lacks source or batch_size", expected="both")
    if spec.backend != DataParameter.LMDB:
        found = "data_param.backend is LEVELDB, which is Caffe's default"
        raise layer.error(found, expected="backend: LMDB", fix=fix)
    if len(layer.tops) not in (1, 2):
        raise layer.error(f"it has {len(layer.tops)} tops", expected="1 or 2")


def check_fields(layer: Layer, own: str) -> None:
    """Raises UserError for a field that does nothing in Caffe, two that contradict each other, infinity and NaN.

    Args:
        own: the field of the layer's own parameters ("data_param").
    """
    transform, spec = layer.proto.transform_param, getattr(layer.proto, own)
    for parent in ("transform_param", "annotated_data_param"):
        for name, value in _floats(getattr(layer.proto, parent), parent):
            if not isfinite(value):
                raise layer.error(f"{name} is {value}", expected="a number")
    for name in _OF_BOXES if layer.type != "AnnotatedData" else ():
        if transform.HasField(name):
            found = f"transform_param.{name} is of no effect in Caffe"
            raise layer.error(found, fix="remove it: only AnnotatedData heeds it")
    if own == "data_param" and spec.shuffle:
        found = "data_param.shuffle is not supported: records come in the order of their keys"
        raise layer.error(found, fix="remove it, and make the LMDB in random order (convert_imageset --shuffle)")
    for name in _TO_TRANSFORM:
        field = spec.DESCRIPTOR.fields_by_name.get(name)
        if field and spec.HasField(name) and getattr(spec, name) != field.default_value:
            fix = f"write {_MOVED.get(name, name)} in transform_param"
            raise layer.error(f"{own}.{name} is of no effect in Caffe", fix=fix)
    if transform.resize_param.HasField("prob") and transform.resize_param.prob != 1:
        fix = "remove it, or set it to 1: SSD-Caffe resizes every image whatever it says"
        raise layer.error(f"transform_param.resize_param.prob is {transform.resize_param.prob:g}", fix=fix)
    if not transform.crop_size and bool(transform.crop_h) != bool(transform.crop_w):
        found = f"transform_param has crop_h {transform.crop_h} and crop_w {transform.crop_w}"
        raise layer.error(found, expected="both")
    for one, other in (("force_color", "force_gray"), ("mean_file", "mean_value")):
        if getattr(transform, one) and getattr(transform, other):
            raise layer.error(f"transform_param has both {one} and {other}", expected="one of them")


def _floats(message: Message, name: str) -> Iterator[tuple[str, float]]:
    """The name and value of each float that is set, in the messages within, too."""
    for field, value in message.ListFields():
        for one in [value] if isinstance(value, (Message, float, int, str)) else value:
            if isinstance(one, Message):
                yield from _floats(one, f"{name}.{field.name}")
            elif isinstance(one, float):
                yield f"{name}.{field.name}", one
