"""Weights from a state_dict of another code base into a Caffe net, and back, once both are known to be the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from converters.caffemodel import Weights, require_all
from converters.names.arithmetic import KINDS, Arrays, Blobs, Mismatch, image_factor, refuse
from converters.names.compare import codes_variances, compare, images_hint, prior_hints
from converters.names.heads import head_turn
from converters.names.table import CODE_BASES, Model, Unit
from converters.names.wiring import IMAGE
from prototxt.errors import UserError, UserErrors
from prototxt.graph import Graph, Layer, show

# Counters of PyTorch's norms; they change no prediction.
_COUNTERS = "num_batches_tracked"
_MOST = 8  # differences that a message lists


@dataclass
class Translated:
    """What came of a state_dict.

    Attributes:
        weights: of our layers that theirs has; a net of more layers needs the others from elsewhere.
        missing: names of those others.
        notes: what their code base assumes of images and prior boxes, and what was left out.
    """

    weights: Weights
    missing: list[str]
    notes: list[str] = field(default_factory=list)


def from_state(graph: Graph, state: Mapping[str, np.ndarray], code_base: str, path: str | Path = "") -> Translated:
    """The weights of `graph` that a state_dict of another code base holds.

    Args:
        state: float arrays by their keys (`converters.pytorch.states.read_state`).
        code_base: a key of CODE_BASES.
        path: the state_dict's file, for messages.

    Raises:
        UserErrors: how their model and our net differ, in all places; keys of no model of that code base.
    """
    state = _plain(state)
    model = _fitting(graph, _candidates(state, code_base, str(path) or "the state_dict"), state)
    layers = {layer.name: layer for layer in graph.layers}
    found: dict[str, list[np.ndarray]] = {}
    errors = []
    for unit in _present(model, layers, state):
        own = [layers[name] for name in unit.ours]
        try:
            found |= zip(unit.ours, _to_ours(unit, own, state, model, graph))
        except Mismatch as error:
            errors.append(refuse(unit.theirs, own[0], str(error)))
        except UserError as error:
            errors.append(error)
    if errors:
        raise _combined(errors)
    missing = [layer.name for layer in graph.layers if layer.blob_shapes and layer.name not in found]
    left = [unit.theirs for unit in model.units if unit.ours[0] not in layers]
    return Translated(Weights(found, str(path)), missing, _notes("read", graph, model, code_base, left))


def to_state(graph: Graph, weights: Mapping[str, Sequence[np.ndarray]], code_base: str) -> tuple[Arrays, list[str]]:
    """A state_dict for a model of another code base, and notes on it; the way back of `from_state`.

    Raises:
        UserErrors: how every model of that code base differs from our net; layers without their blobs.
    """
    require_all(graph, weights)
    layers = {layer.name: layer for layer in graph.layers}
    model = _fitting(graph, _ranked(layers, CODE_BASES[code_base]()), None)
    state: Arrays = {}
    errors = []
    for unit in _present(model, layers):
        own = [layers[name] for name in unit.ours]
        blobs = [
            [np.asarray(blob, np.float32).reshape(shape) for blob, shape in zip(weights[layer.name], layer.blob_shapes)]
            for layer in own
        ]
        try:
            state |= _to_theirs(unit, own, blobs, model, graph)
        except Mismatch as error:
            errors.append(refuse(unit.theirs, own[0], str(error)))
    if errors:
        raise _combined(errors)
    used = {name for unit in _present(model, layers) for name in unit.ours}
    left = [layer.name for layer in graph.layers if layer.blob_shapes and layer.name not in used]
    return state, _notes("written", graph, model, code_base, left)


def _notes(what: str, graph: Graph, model: Model, code_base: str, left: Sequence[str]) -> list[str]:
    notes = [f"{what} as {model.name} of {code_base}", images_hint(model.image), *prior_hints(graph, model)]
    return notes + ([f"left out, as the other has nothing like it: {', '.join(left)}"] if left else [])


def _plain(state: Mapping[str, np.ndarray]) -> Arrays:
    """Keys without what wrappers put before all of them, and without counters."""
    keys = [key for key in state if key.rpartition(".")[2] != _COUNTERS]
    prefix = "module." if keys and all(key.startswith("module.") for key in keys) else ""
    return {key.removeprefix(prefix): state[key] for key in keys}


def _candidates(state: Arrays, code_base: str, where: str) -> list[Model]:
    """The models that have these keys and no others.

    Raises:
        UserError: there is none; other code bases that have one are named.
    """
    misses = [(model, *_misses(model, state)) for model in CODE_BASES[code_base]()]
    if fitting := [model for model, absent, unknown in misses if not absent and not unknown]:
        return fitting
    others = [name for name in CODE_BASES if any(_misses(m, state) == ([], []) for m in CODE_BASES[name]())]
    model, absent, unknown = min(misses, key=lambda one: len(one[1]) + len(one[2]))
    parts = [f"{text} {_some(keys)}" for text, keys in (("there is no", absent), ("it has no", unknown)) if keys]
    raise UserError(
        f'no model of "{code_base}" has these keys: the nearest is {model.name}, but {", ".join(parts)}',
        where=where,
        expected="one of " + ", ".join(dict.fromkeys(model.name for model, _, _ in misses)),
        fix=f"they are keys of {' or '.join(others)}: name that code base" if others else "",
    )


def _misses(model: Model, state: Arrays) -> tuple[list[str], list[str]]:
    """The keys that a model wants and the state_dict lacks, and those that only the latter has."""
    wanted = {_key(unit, name): unit for unit in model.units for name in KINDS[unit.kind].keys}
    absent = [
        key for key, unit in wanted.items() if key not in state and not (unit.optional and not _is_in(unit, state))
    ]
    return absent, [key for key in state if key not in wanted]


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _key(unit: Unit, name: str) -> str:
    return f"{unit.theirs}.{name}" if name else unit.theirs


def _ranked(layers: Mapping[str, Layer], models: Iterable[Model]) -> list[Model]:
    """Models by how many of their layers our net has by name."""
    return sorted(models, key=lambda model: -sum(unit.ours[0] in layers for unit in model.units))


def _fitting(graph: Graph, candidates: Sequence[Model], state: Arrays | None) -> Model:
    """The first model that computes what our net does.

    Raises:
        UserErrors: what keeps the likeliest one from it.
    """
    refusals = []
    for model in candidates:
        errors = compare(graph, model, state)
        if not errors:
            return model
        refusals.append(errors)
    fewest = min(refusals, key=len)
    more = [UserError(f"{len(fewest) - _MOST} more differences of this kind")] if len(fewest) > _MOST else []
    raise _combined(fewest[:_MOST] + more)


def _combined(errors: Sequence[UserError]) -> UserError:
    return errors[0] if len(errors) == 1 else UserErrors(errors)


def _present(model: Model, layers: Mapping[str, Layer], state: Arrays | None = None) -> list[Unit]:
    """The units that our net has and, where one is given, the state_dict."""
    return [unit for unit in model.units if unit.ours[0] in layers and (state is None or _is_in(unit, state))]


def _is_in(unit: Unit, state: Arrays) -> bool:
    """Whether a state_dict has anything of a unit."""
    return any(_key(unit, name) in state for name in KINDS[unit.kind].keys)


def _to_ours(unit: Unit, layers: Sequence[Layer], state: Arrays, model: Model, graph: Graph) -> Blobs:
    kind = KINDS[unit.kind]
    arrays = {name: state[_key(unit, name)] for name in kind.keys if _key(unit, name) in state}
    found = kind.to_ours(_turned(unit, arrays, model, graph, back=False), layers, model.eps)
    return [_shaped(unit, layer, blobs) for layer, blobs in zip(layers, found)]


def _to_theirs(unit: Unit, layers: Sequence[Layer], blobs: Blobs, model: Model, graph: Graph) -> Arrays:
    arrays = KINDS[unit.kind].to_theirs(blobs, layers, model.eps)
    turned = _turned(unit, arrays, model, graph, back=True)
    return {_key(unit, name): np.ascontiguousarray(array, np.float32) for name, array in turned.items()}


def _turned(unit: Unit, arrays: Arrays, model: Model, graph: Graph, *, back: bool) -> Arrays:
    """The arrays with their outputs in the other order, and the first convolution's inputs, too."""
    if unit.reads == IMAGE:
        turn = image_factor(model.image, arrays["weight"].shape[1])
        arrays = arrays | {"weight": turn(arrays["weight"], back)}
    if unit.head is not None:
        head = head_turn(unit.head, {layer.name: layer for layer in graph.layers}, codes_variances(graph))
        arrays = {name: head(array, name, back) for name, array in arrays.items()}
    return arrays


def _shaped(unit: Unit, layer: Layer, blobs: Sequence[np.ndarray]) -> list[np.ndarray]:
    shaped = []
    for i, (blob, shape) in enumerate(zip(blobs, layer.blob_shapes)):
        if tuple(blob.shape) != shape:
            raise refuse(unit.theirs, layer, f"blob {i} is {show(shape)} here and {show(tuple(blob.shape))} there")
        shaped.append(np.ascontiguousarray(blob, np.float32))
    return shaped
