"""Layers that feed a net."""

from __future__ import annotations

from typing import Any

from prototxt.shapes.table import SHAPES, Shape, ShapeError, UnknownShape, need


@SHAPES.register("Input")
def input_(p, bottoms):
    need(bottoms, 0)
    if not p.shape:
        raise ShapeError("it gives no shape")
    return [tuple(int(d) for d in shape.dim) for shape in p.shape]


@SHAPES.register("MemoryData")
def memory_data(p, bottoms):  # -> [data (N, C, H, W), label (N)]
    need(bottoms, 0)
    _need_tops(p, 2)
    spec = p.memory_data_param
    shape = (spec.batch_size, spec.channels, spec.height, spec.width)
    if min(shape) < 1:
        raise ShapeError("memory_data_param needs batch_size, channels, height and width of at least 1")
    return [shape, shape[:1]]


@SHAPES.register("AnnotatedData")
def annotated_data(p, bottoms):  # -> [data (N, C, H, W), label (1, 1, boxes, 8)]
    need(bottoms, 0)
    transform, channels = p.transform_param, 1 if p.transform_param.force_gray else 3
    batch, size_hw = _batch(p.data_param, "data_param"), _cropped_hw(transform)
    if size_hw is None and transform.resize_param.height and transform.resize_param.width:
        size_hw = (transform.resize_param.height, transform.resize_param.width)
    if size_hw is None:
        raise ShapeError("transform_param gives neither resize_param with height and width nor crop_size")
    return [(batch, channels, *size_hw), (1, 1, 1, 8)]


@SHAPES.register("Data")
def data(p, bottoms):  # -> [data (N, C, H, W), label (N)]
    need(bottoms, 0)
    _need_tops(p, 1, 2)
    batch, transform = _batch(p.data_param, "data_param"), p.transform_param
    # Only images of as many channels can be given several mean values.
    several = len(transform.mean_value) if len(transform.mean_value) > 1 else None
    channels = 1 if transform.force_gray else 3 if transform.force_color else several
    size_hw = _sized_hw(transform)
    if channels is None or size_hw is None:
        raise UnknownShape("its records tell their size; in the net, crop_size and force_color or force_gray would")
    return [(batch, channels, *size_hw), (batch,)]


@SHAPES.register("ImageData")
def image_data(p, bottoms):  # -> [data (N, C, H, W), label (N)]
    need(bottoms, 0)
    _need_tops(p, 2)
    spec = p.image_data_param
    batch = _batch(spec, "image_data_param")
    if bool(spec.new_height) != bool(spec.new_width):
        raise ShapeError("image_data_param gives one of new_height and new_width; it takes both or none")
    size_hw = _sized_hw(p.transform_param, (spec.new_height, spec.new_width) if spec.new_height else None)
    if size_hw is None:
        raise UnknownShape("its files tell their size; in the net, new_height and new_width or crop_size would")
    return [(batch, 3 if spec.is_color else 1, *size_hw), (batch,)]


@SHAPES.register("HDF5Data")
def hdf5_data(p, bottoms):  # -> a top for each dataset (N, …)
    need(bottoms, 0)
    _need_tops(p, 1, len(p.top))
    _batch(p.hdf5_data_param, "hdf5_data_param")
    raise UnknownShape("its files tell the shapes of its tops, not the net")


@SHAPES.register("DummyData")
def dummy_data(p, bottoms):  # -> tops of the shapes it gives
    need(bottoms, 0)
    spec, tops = p.dummy_data_param, len(p.top)
    _need_tops(p, 1, tops)
    sides = {name: getattr(spec, name) for name in ("num", "channels", "height", "width")}
    if spec.shape and any(sides.values()):
        raise ShapeError("dummy_data_param gives both shape and num, channels, height, width; keep one of them")
    if len(spec.data_filler) not in (0, 1, tops):
        raise ShapeError(f"dummy_data_param gives {len(spec.data_filler)} data_fillers for {tops} tops")
    given = sides if any(sides.values()) else {"shape": spec.shape}
    for name, values in given.items():
        if len(values) not in (1, tops):
            raise ShapeError(f"dummy_data_param gives {name} {len(values)} times; it takes one, or one for each top")
    each = [[values[top if len(values) > 1 else 0] for values in given.values()] for top in range(tops)]
    return [tuple(sizes) if "num" in given else tuple(int(d) for d in sizes[0].dim) for sizes in each]


def _need_tops(p: Any, least: int, most: int | None = None) -> None:
    most = least if most is None else most
    if not least <= len(p.top) <= most:
        wanted = str(least) if least == most else f"{least} or {most}"
        raise ShapeError(f"it has {len(p.top)} tops but makes {wanted}")


def _batch(spec: Any, field: str) -> int:
    if spec.batch_size < 1:
        raise ShapeError(f"{field} needs a batch_size of at least 1")
    return spec.batch_size


def _cropped_hw(transform: Any) -> Shape | None:
    """What is cut out of every image, if the net says so."""
    if transform.crop_size:
        return (transform.crop_size, transform.crop_size)
    return (transform.crop_h, transform.crop_w) if transform.crop_h and transform.crop_w else None


def _sized_hw(transform: Any, image_hw: Shape | None = None) -> Shape | None:
    """The size that `transform_param` gives images of `image_hw`; None where that depends on the image."""
    resize = transform.resize_param
    if (cropped := _cropped_hw(transform)) or not transform.HasField("resize_param"):
        return cropped or image_hw
    return None if resize.resize_mode == resize.FIT_SMALL_SIZE else (resize.height, resize.width)
