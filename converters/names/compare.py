"""Whether a Caffe net computes what a model of a map does, and what its users should know besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from converters.names.arithmetic import KINDS, Arrays, refuse
from converters.names.table import Image, Model, Unit
from converters.names.wiring import Value, normed, readings
from prototxt import schema
from prototxt.errors import UserError
from prototxt.graph import Graph, Layer, show

_LONG = 100  # characters of an expression in a message
# What a layer's weights would mean something else without.
_SETTINGS = {"InnerProduct": {"axis": 1, "transpose": False}, "Normalize": {"across_spatial": False}}


def compare(graph: Graph, model: Model, state: Arrays | None) -> list[UserError]:
    """What keeps the net from computing what `model` does; nothing when it does.

    Args:
        state: their arrays, whose shapes must be those of our blobs; None when ours are to become theirs.
    """
    layers = {layer.name: layer for layer in graph.layers}
    present = [unit for unit in model.units if unit.ours[0] in layers]
    absent = [unit for unit in model.units if not unit.optional and unit.ours[0] not in layers]
    errors = [_absent(graph, model, absent)] if absent else []
    read, concats = readings(graph, {unit.ours[-1]: unit.theirs for unit in present})
    for unit in present:
        errors += [refuse(unit.theirs, layer, reason) for layer, reason in _differences(unit, layers, read, state)]
    if not errors:
        errors += [
            UserError(f"no Concat of the net is {_short(join)}", where=graph.net.path, expected="the order of its maps")
            for join in model.joins
            if join not in concats
        ]
        errors += list(_coding(graph)) if any(unit.head for unit in present) else []
    return errors


def _absent(graph: Graph, model: Model, units: list[Unit]) -> UserError:
    named = [f"{unit.ours[0]} (their {unit.theirs})" for unit in units[:4]]
    return UserError(
        f"the net has no layer {', '.join(named)}{f' and {len(units) - 4} more' * (len(units) > 4)} for {model.name}",
        where=graph.net.path,
        fix=model.advice or "give a net whose layers have the names of its Caffe release",
    )


def _differences(
    unit: Unit, layers: Mapping[str, Layer], read: Mapping[str, list[Value]], state: Arrays | None
) -> Iterator[tuple[Layer, str]]:
    kind = KINDS[unit.kind]
    expected = unit.reads
    for name, wanted in zip(unit.ours, kind.types):
        layer = layers.get(name)
        if layer is None or layer.type != wanted:
            yield layers[unit.ours[0]], f'there is no {wanted} layer "{name}" for it'
            return
        found = read[name]
        if [value.text for value in found] == [expected]:
            yield from ((pool, reason) for pool in found[0].pools if (reason := _rounding(unit, pool)))
        else:
            yield layer, f"it reads {', '.join(_short(v.text) for v in found)} where theirs reads {_short(expected)}"
        expected = normed(expected) if wanted == "BatchNorm" else expected
    layer = layers[unit.ours[0]]
    if kind.types == ("Convolution",):
        yield from ((layer, reason) for reason in _windows(unit, layer))
    for name, theirs in _SETTINGS.get(layer.type, {}).items():
        if getattr(layer.p, name) != theirs:
            yield layer, f"its {name} is {getattr(layer.p, name)} where theirs is {theirs}"
    if state is not None:
        yield from _shapes(unit, layers, state)


def _windows(unit: Unit, layer: Layer) -> Iterator[str]:
    p = layer.p
    for name in ("stride", "pad", "dilation"):
        ours, theirs = getattr(p, f"{name}_hw"), getattr(unit, name)
        if ours != (theirs, theirs) and not (name == "dilation" and p.kernel_hw == (1, 1)):
            yield f"its {name} is {' by '.join(map(str, dict.fromkeys(ours)))} where theirs is {theirs}"
    if p.group != 1:
        yield f"its group is {p.group} where theirs is 1"


def _shapes(unit: Unit, layers: Mapping[str, Layer], state: Arrays) -> Iterator[tuple[Layer, str]]:
    layer = layers[unit.ours[-1]]
    for name in KINDS[unit.kind].keys if layer.blob_shapes else ():
        key = f"{unit.theirs}.{name}" if name else unit.theirs
        if name == "weight":
            ours = layer.blob_shapes[0]
        else:
            ours = layer.blob_shapes[0][:1] if name else layer.bottom_shapes[0][1:2]
        if key in state and tuple(state[key].shape) != ours:
            yield layer, f"its {name or 'scale'} is {show(ours)} where theirs is {show(tuple(state[key].shape))}"
            return  # the others are wrong with it


def _rounding(unit: Unit, pool: Layer) -> str:
    """Why a pooling layer rounds the size of its map another way than theirs does; empty when it does not matter."""
    if pool.p.kernel_hw is None:
        return ""
    wanted = []
    for size, kernel, stride, pad in zip(pool.bottom_shapes[0][2:], pool.p.kernel_hw, pool.p.stride_hw, pool.p.pad_hw):
        span = size + 2 * pad - kernel
        count = (-(span // -stride) if unit.ceil else span // stride) + 1
        wanted.append(count - (unit.ceil and (count - 1) * stride >= size + pad))
    if tuple(wanted) == pool.top_shapes[0][2:]:
        return ""
    sizes = show(pool.top_shapes[0][2:]), show(tuple(wanted))
    how = "up (round_mode: CEIL)" if unit.ceil else "down (round_mode: FLOOR)"
    return f"its map has {sizes[0]} cells where theirs, which rounds {how}, has {sizes[1]}"


def _coding(graph: Graph) -> Iterator[UserError]:
    """Offsets are coded by centre and size there, always."""
    for layer in graph.layers:
        p = layer.proto.multibox_loss_param if layer.type == "MultiBoxLoss" else layer.proto.detection_output_param
        if layer.type in ("MultiBoxLoss", "DetectionOutput") and p.code_type != schema.PriorBoxParameter.CENTER_SIZE:
            code = schema.PriorBoxParameter.CodeType.Name(p.code_type)
            yield layer.error(f"code_type is {code}", expected="CENTER_SIZE, as their offsets are coded")


def codes_variances(graph: Graph) -> bool:
    """Whether the net's offsets have the variances of the prior boxes in them already."""
    return any(
        layer.proto.detection_output_param.variance_encoded_in_target
        or layer.proto.multibox_loss_param.encode_variance_in_target
        for layer in graph.layers
    )


def images_hint(image: Image) -> str:
    """What to subtract from the images, in Caffe's order."""
    mean = image.mean[::-1] if image.order == "RGB" else image.mean
    values = ", ".join(f"{value:g}" for value in mean)
    folded = "" if set(image.std) == {1.0} else "; the standard deviation is in the first convolution's weights"
    return f"images are BGR, 0-255, less the mean_value {values}{folded}"


def prior_hints(graph: Graph, model: Model) -> list[str]:
    """Where our prior boxes are others than the model's by default."""
    layers = {layer.name: layer for layer in graph.layers}
    hints = []
    for priors in model.priors:
        layer = layers.get(priors.layer)
        if layer is None:
            continue
        p = layer.p
        # The box in the middle of a map of one cell is cut like theirs; others lose a side only.
        clips = p.clip and layer.bottom_shapes[0][2:] != (1, 1)
        ours, theirs = f"step {_step(layer):g}{', clipped' * clips}", f"step {priors.step:g}"
        if not priors.fixed:
            ours = f"{p.min_sizes[0]} to {max(p.max_sizes, default=0)} pixels, {ours}"
            theirs = f"{priors.min_size:g} to {priors.max_size:g} pixels, {theirs}"
        if ours != theirs:
            hints.append(f"prior boxes of {priors.layer}: {ours}; those of {model.name} are {theirs} by default")
    return hints


def _step(layer: Layer) -> float:
    return layer.p.step_hw[0] if layer.p.step_hw else layer.bottom_shapes[1][2] / layer.bottom_shapes[0][2]


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
