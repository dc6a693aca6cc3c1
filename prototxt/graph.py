"""A net of one phase, its wiring and shapes checked: what every other part of the toolkit walks over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from prototxt.errors import UserError, UserErrors, nearest
from prototxt.io import NetFile, read_net
from prototxt.params import ParamError, resolve, type_of
from prototxt.phase import NetState, kept
from prototxt.shapes import BLOBS, SHAPES, SOURCES, Shape, ShapeError
from prototxt.unknown import unknown_type, unknown_types

MOST_AXES, MOST_VALUES = 32, 2**31 - 1  # of a blob: Caffe's Blob::Reshape aborts above
_MOST_SHOWN = 20  # bottoms, or wiring errors, in a message


@dataclass
class Layer:
    """One layer of a graph.

    Attributes:
        proto: its LayerParameter.
        type: its type; that of a Python layer is its module and class ("rpn.proposal_layer.ProposalLayer").
        where: `FILE:LINE` of its first line.
        phase: TRAIN or TEST, that of its graph.
        p: its parameters as the rules read them (see `prototxt.params`).
        bottoms, tops: blob names; a top that repeats its bottom's name is computed in place.
        bottom_shapes, top_shapes: shapes at this point of the net.
        blob_shapes: shapes of the learned blobs, in Caffe's order.
    """

    proto: Any
    where: str
    phase: str
    p: Any = None
    bottom_shapes: tuple[Shape, ...] = ()
    top_shapes: tuple[Shape, ...] = ()
    blob_shapes: tuple[Shape, ...] = ()

    @cached_property
    def name(self) -> str:
        return self.proto.name

    @cached_property
    def type(self) -> str:
        return type_of(self.proto)

    @cached_property
    def bottoms(self) -> tuple[str, ...]:
        return tuple(self.proto.bottom)

    @cached_property
    def tops(self) -> tuple[str, ...]:
        if not self.proto.top and self.type.endswith("Loss"):
            return (f"(automatic) {self.name}",)  # Caffe gives it one, "(automatic)", which counts like any other
        return tuple(self.proto.top)

    def error(self, found: str, *, expected: str = "", fix: str = "") -> UserError:
        """A UserError that names this layer, its type and its line."""
        return UserError(f'layer "{self.name}" ({self.type}): {found}', where=self.where, expected=expected, fix=fix)

    def infer(self, bottom_shapes: Sequence[Shape]) -> None:
        """Fill in parameters and shapes. Raises UserError when they do not fit."""
        self.bottom_shapes = tuple(bottom_shapes)
        if self.type not in SHAPES:
            raise unknown_type(self.proto, self.where)
        try:
            self.p = resolve(self.proto)
            tops = SHAPES[self.type](self.p, self.bottom_shapes)
            if self.type in BLOBS:
                self.blob_shapes = tuple(BLOBS[self.type](self.p, self.bottom_shapes))
        except ParamError as error:
            raise self.error(str(error)) from error
        except (ShapeError, IndexError) as error:
            # A rule reads the axes it needs; one that is not there is a bottom of too few.
            found = "a bottom has too few axes" if isinstance(error, IndexError) else str(error)
            shapes = ", ".join(f"{name} {show(s)}" for name, s in [*zip(self.bottoms, bottom_shapes)][:_MOST_SHOWN])
            raise self.error(f"{found} (bottoms: {shapes})" if shapes else found) from error
        self.top_shapes = self._tops(tops)
        self.check_sizes()

    def check_sizes(self) -> None:
        """Raise UserError where Caffe aborts: a top or a blob of its own is larger than any blob can be."""
        named = [(f'its top "{name}"', shape) for name, shape in zip(self.tops, self.top_shapes)]
        for what, shape in named + [(f"its blob {i}", shape) for i, shape in enumerate(self.blob_shapes)]:
            if len(shape) > MOST_AXES:
                raise self.error(f"{what} has {len(shape):,} axes", expected=f"at most {MOST_AXES}")
            if min(shape, default=0) < 0:
                raise self.error(f"{what} would have the shape {show(shape)}", expected="no negative sizes")
            if prod(shape) > MOST_VALUES:
                found = f"{what} would have the shape {show(shape)}, {prod(shape):,} values"
                raise self.error(found, expected=f"at most {MOST_VALUES:,}, the most a blob of Caffe holds")

    def _tops(self, tops: list[Shape]) -> tuple[Shape, ...]:
        if self.type == "Input" and len(tops) == 1:
            tops = tops * len(self.tops)
        if self.type == "Slice" and not self.p.slice_point:
            return self._even_slices()
        if len(self.tops) > len(tops) or (self.type == "Slice" and len(self.tops) != len(tops)):
            raise self.error(f"it names {len(self.tops)} tops but makes {len(tops)}")
        return tuple(tops[: len(self.tops)])

    def _even_slices(self) -> tuple[Shape, ...]:
        shape, count = self.bottom_shapes[0], len(self.tops)
        if not count:
            raise self.error("it has no top")
        axis = self.p.slice_dim if self.p.HasField("slice_dim") else self.p.axis % len(shape)
        if shape[axis] % count:
            raise self.error(f"{count} tops do not divide axis {axis} of {show(shape)}")
        return ((*shape[:axis], shape[axis] // count, *shape[axis + 1 :]),) * count


def show(shape: Shape) -> str:
    """A shape for people: `1×3×300×300`."""
    return "×".join(map(str, shape)) if shape else "scalar"


class Graph:
    """The layers of a net in one phase, in file order, with every shape known.

    Args:
        net: a net as `prototxt.io.read_net` gives it.
        phase, level, stages: the state that include/exclude rules are held against.
        input_shapes: shapes that replace those of the named inputs.

    Attributes:
        name: the net's name, or the file's stem.
        state: the state it was built for; `phase` is its phase.
        layers: the layers kept, in order.
        inputs: shape of every blob that is fed from outside.
        outputs: blobs that no layer reads, in the order they are made.
        shapes: the last shape of every blob.

    Raises:
        UserErrors: a bottom that no earlier layer makes, a blob made twice, unknown layer types: all of them at once.
        UserError: parameters that contradict, shapes that do not fit or are larger than any blob of Caffe.
    """

    def __init__(
        self,
        net: NetFile,
        phase: str = "TEST",
        level: int = 0,
        stages: Sequence[str] = (),
        input_shapes: Mapping[str, Shape] | None = None,
    ) -> None:
        self.net = net
        self.state = NetState(phase, level, tuple(stages))
        self.name = net.message.name or Path(net.path).stem
        protos = net.message.layer
        self.layers = [Layer(protos[i], net.where_layer(i), phase) for i in kept(protos, self.state)]
        self.inputs: dict[str, Shape] = {}
        self.shapes: dict[str, Shape] = {}
        self.outputs = self._wire()
        self._infer(dict(input_shapes or {}))

    @classmethod
    def load(cls, path: str | Path, phase: str = "TEST", **options: Any) -> Graph:
        """Read the prototxt at `path` and build its graph; `options` are those of the constructor."""
        return cls(read_net(path), phase, **options)

    @property
    def phase(self) -> str:
        return self.state.phase

    def _wire(self) -> list[str]:
        errors: list[UserError] = []
        made: dict[str, Layer] = {}
        unread: dict[str, None] = {}
        for layer in self.layers:
            for name in layer.bottoms:
                if name not in made:
                    errors.append(self._unknown_bottom(layer, name, made))
                unread.pop(name, None)
            for i, name in enumerate(layer.tops):
                in_place = i < len(layer.bottoms) and layer.bottoms[i] == name
                if name in made and not in_place:
                    first = made[name]
                    errors.append(
                        layer.error(
                            f'its top "{name}" is already made by layer "{first.name}" ({first.where})',
                            fix=f'rename one of the two, or read "{name}" as a bottom to work in place',
                        )
                    )
                made.setdefault(name, layer)
                unread[name] = None
            if len(errors) >= _MOST_SHOWN:  # each is explained by a look at all layers
                errors.append(UserError("there may be more such mistakes behind these", where=self.net.path))
                break
        if errors:
            raise errors[0] if len(errors) == 1 else UserErrors(errors)
        return list(unread)

    def _unknown_bottom(self, layer: Layer, name: str, made: Mapping[str, Layer]) -> UserError:
        later = [other for other in self.layers if name in other.tops]
        if later:
            hint = f'it is made later, by layer "{later[0].name}" ({later[0].where})'
            fix = "list the layer that makes a blob before those that read it"
        else:
            hint, fix = (
                self._other_phase(name),
                "give the net of this phase (to deploy: the deploy prototxt), or the other phase",
            )
            if not hint:
                hint, fix = f"no layer of phase {self.phase} makes it{nearest(name, made)}", ""
        return layer.error(f'its bottom "{name}" is unknown: {hint}', fix=fix)

    def _other_phase(self, name: str) -> str:
        """Which layer makes a blob in other phases or stages only; empty when none does."""
        for i, proto in enumerate(self.net.message.layer):
            if name in proto.top:
                return f'layer "{proto.name}" ({self.net.where_layer(i)}), which makes it, is not in phase {self.phase}'
        return ""

    def _infer(self, input_shapes: dict[str, Shape]) -> None:
        if errors := unknown_types((layer.proto, layer.where) for layer in self.layers):
            raise errors[0] if len(errors) == 1 else UserErrors(errors)
        for layer in self.layers:
            if layer.type in SOURCES and layer.tops and all(top in input_shapes for top in layer.tops):
                layer.p = resolve(layer.proto)
                layer.top_shapes = tuple(tuple(input_shapes.pop(top)) for top in layer.tops)
                layer.check_sizes()
            else:
                layer.infer([self.shapes[name] for name in layer.bottoms])
                if layer.type in SOURCES:
                    layer.top_shapes = tuple(
                        tuple(input_shapes.pop(top, shape)) for top, shape in zip(layer.tops, layer.top_shapes)
                    )
            if layer.type in SOURCES:
                self._check_input(layer)
                self._add_inputs(layer)
            self.shapes |= dict(zip(layer.tops, layer.top_shapes))
        if input_shapes:
            name = next(iter(input_shapes))
            raise UserError(
                f'"{name}" is not an input of this net{nearest(name, self.inputs)}',
                where=self.net.path,
                expected="one of " + ", ".join(self.inputs),
            )

    def _add_inputs(self, layer: Layer) -> None:
        """Note what feeds the net. Of a deployed one, a label that MemoryData has to have and nobody reads does not."""
        data = layer.tops[0] if layer.tops else ""
        is_deployed = layer.type == "MemoryData" and self.phase == "TEST" and data not in self.outputs
        for top, shape in zip(layer.tops, layer.top_shapes):
            if is_deployed and top in self.outputs and top != data:
                self.outputs.remove(top)
            else:
                self.inputs[top] = shape

    @staticmethod
    def _check_input(layer: Layer) -> None:
        for top, shape in zip(layer.tops, layer.top_shapes):
            if any(size < 1 for size in shape):
                raise layer.error(f'input "{top}" has the shape {show(shape)}', expected="sizes of at least 1")
