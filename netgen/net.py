"""The net language: layers are calls, tops are values, a net gives them names.

    net = Net("lenet")
    net.data, net.label = L.Data(data_param=dict(source="mnist_lmdb", batch_size=64), ntop=2)
    net.conv1 = L.Convolution(net.data, num_output=20, kernel_size=5, weight_filler=dict(type="xavier"))
    net.relu1 = L.ReLU(net.conv1, in_place=True)
    net.loss = L.SoftmaxWithLoss(net.relu1, net.label)
    message = net.to_proto()

The contract is that of NetSpec in Caffe's pycaffe: a layer takes the name of its first top, only layers that
a named top needs are written, and unnamed tops are numbered by type in the order in which they are written.
A mistake is refused where it is made: at the call of the layer, not when the net is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from prototxt import schema
from prototxt.errors import UserError, nearest

# Messages of LayerParameter that are no layer's own: every layer, or several types, may carry them.
_SHARED_MESSAGES = {"Loss", "Recurrent", "Transformation"}
# Layer types that read another type's message.
_BORROWED = {
    "ConvolutionDepthwise": "convolution_param",
    "Deconvolution": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Im2col": "convolution_param",
    "LSTM": "recurrent_param",
    "Lstm": "lstm_param",  # a fork's; the message is called LSTMParameter all the same
    "RNN": "recurrent_param",
    "SoftmaxWithLoss": "softmax_param",
}
# Layer types that have no message of their own.
_BARE = (
    "AbsVal",
    "Axpy",
    "BatchReindex",
    "BNLL",
    "EuclideanLoss",
    "Filter",
    "LSTMUnit",
    "MultinomialLogisticLoss",
    "SigmoidCrossEntropyLoss",
    "Silence",
    "SmoothL1Loss",
    "Split",
)
# Fields that the call and the net decide, so that a parameter may not contradict them.
_DECIDED = {"type": "it in L.TYPE(…)", "bottom": "tops as the call's arguments", "top": "net.NAME = L.TYPE(…)"}


class UnknownName(UserError, AttributeError):
    """A layer type or a top that does not exist; also an AttributeError, so that `hasattr` works."""


@cache
def layer_types() -> dict[str, str | None]:
    """Every layer type of the schema, and the field of LayerParameter that holds its parameters."""
    fields = schema.LayerParameter.DESCRIPTOR.fields
    owners = {f.message_type.name.removesuffix("Parameter"): f.name for f in fields if f.name.endswith("_param")}
    own = {name: param for name, param in owners.items() if name not in _SHARED_MESSAGES}
    return dict(sorted({**own, **_BORROWED, **dict.fromkeys(_BARE)}.items()))


@dataclass(frozen=True, eq=False)
class Top:
    """Output `index` of one call of a layer."""

    function: Function
    index: int


@dataclass(eq=False)
class Function:
    """One call of a layer: its type, its bottoms and its parameters, but no names yet.

    Attributes:
        params: a LayerParameter that holds everything except type, bottoms and tops, and seldom a name.
        tops: its outputs; none for a layer called with `ntop=0`.
    """

    type: str
    bottoms: tuple[Top, ...]
    params: Any
    in_place: bool
    tops: tuple[Top, ...] = field(default=(), init=False)


class _Layers:
    """The layer types as functions: `L.Convolution(bottom, num_output=64)`.

    Keywords are fields of the type's own message; fields of LayerParameter (`param`, `include`, `loss_weight`,
    `transform_param` …) may be given, too. A dict fills a message, a list a repeated field (one value may stand
    alone), an enum is given by its name. Two keywords are the language's own: `ntop`, the number of tops, and
    `in_place=True`, which makes the tops the bottoms. `name` gives the layer another name than its first top's.

    A call returns its top; a tuple of them for `ntop` above 1; the Function itself for `ntop=0`.

    Raises:
        UserError: unknown type or field, a value that the field cannot hold, a bottom that is no top.
    """

    def __getattr__(self, type_name: str) -> Any:
        if type_name not in layer_types():
            raise UnknownName(f'Caffe has no layer type "{type_name}"{nearest(type_name, layer_types())}')
        return partial(_call, type_name)

    def __dir__(self) -> list[str]:
        return list(layer_types())


L = _Layers()


def _call(type_name: str, /, *bottoms: Top, ntop: int = 1, in_place: bool = False, **params: Any) -> Any:
    where = f"L.{type_name}"
    for index, bottom in enumerate(bottoms):
        _check_top(bottom, f"input {index} of {where}")
    if in_place and ntop != len(bottoms):
        raise UserError(f"in_place with {len(bottoms)} bottoms and {ntop} tops", where=where, expected="as many tops")
    function = Function(type_name, bottoms, _layer_params(type_name, params), in_place)
    function.tops = tuple(Top(function, index) for index in range(ntop))
    if ntop == 0:
        return function
    return function.tops[0] if ntop == 1 else function.tops


def _check_top(value: Any, what: str, *, function_too: bool = False) -> None:
    if isinstance(value, Top) or (function_too and isinstance(value, Function) and not value.tops):
        return
    kind = type(value).__name__
    fix = "give one of its tops: `a, b = L.Slice(…, ntop=2)`" if isinstance(value, tuple) else ""
    raise UserError(f"{what} is {'an' if kind[0] in 'aeiou' else 'a'} {kind}", expected="a top", fix=fix)


def _layer_params(type_name: str, params: dict[str, Any]) -> Any:
    """A LayerParameter holding `params`: fields of the type's own message first, then of the layer."""
    layer = schema.LayerParameter()
    own = layer_types()[type_name]
    own_fields = layer.DESCRIPTOR.fields_by_name[own].message_type.fields_by_name if own else {}
    for name, value in params.items():
        where = f"L.{type_name}"
        if name in _DECIDED:
            raise UserError(f'"{name}" is not a parameter', where=where, expected=_DECIDED[name])
        if name in own_fields:
            _fill(getattr(layer, own), name, value, where)
        elif name in layer.DESCRIPTOR.fields_by_name:
            _fill(layer, name, value, where)
        else:
            known = [*own_fields, *layer.DESCRIPTOR.fields_by_name]
            raise UserError(f'there is no field "{name}"{nearest(name, known)}', where=where)
    return layer


def _fill(message: Any, name: str, value: Any, where: str) -> None:
    """Set field `name` of `message`; `where` names the message in errors."""
    fields = message.DESCRIPTOR.fields_by_name
    if name not in fields:
        raise UserError(f'there is no field "{name}"{nearest(name, fields)}', where=where)
    spec, target, where = fields[name], getattr(message, name), f"{where}({name})"
    repeated = hasattr(target, "extend")
    if isinstance(value, (list, tuple)) and not repeated:
        raise UserError(f"a list of {len(value)} for a field that takes one value", where=where)
    if spec.message_type is not None:
        for item in value if isinstance(value, (list, tuple)) else [value]:
            _fill_message(target.add() if repeated else target, item, where)
        return
    try:
        if repeated:
            target.extend(value if isinstance(value, (list, tuple)) else [value])
        else:
            setattr(message, name, value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{value!r} does not fit the field", where=where, expected=_expected(spec, value)) from error


def _fill_message(message: Any, value: Any, where: str) -> None:
    if not isinstance(value, dict):
        expected = f"a dict with {message.DESCRIPTOR.name}'s fields"
        raise UserError(f"{value!r} does not fit the field", where=where, expected=expected)
    message.SetInParent()  # an empty dict is a message that is there, with every default
    for name, item in value.items():
        _fill(message, name, item, where)


def _expected(spec: Any, value: Any) -> str:
    if spec.enum_type is not None:
        names = [v.name for v in spec.enum_type.values]
        return "one of " + ", ".join(names) + (nearest(value, names) if isinstance(value, str) else "")
    kinds = {spec.CPPTYPE_STRING: "text", spec.CPPTYPE_FLOAT: "a number", spec.CPPTYPE_BOOL: "True or False"}
    return kinds.get(spec.cpp_type, "a whole number in the field's range")


class Net:
    """Names for tops, in the order in which they were first given.

    `net.conv1 = top` and `net["conv1"] = top` name a top; a name that is given again keeps its place.
    """

    def __init__(self, name: str = "") -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_tops", {})

    def __setitem__(self, name: str, top: Top | Function) -> None:
        _check_top(top, f'net["{name}"]', function_too=True)
        self._tops[name] = top

    def __getitem__(self, name: str) -> Top:
        try:
            return self._tops[name]
        except KeyError:
            raise UnknownName(f'the net has no top "{name}"{nearest(name, self._tops)}') from None

    def __setattr__(self, name: str, top: Top | Function) -> None:
        if hasattr(type(self), name) or name in self.__dict__:
            raise UserError(f'"net.{name}" is part of the net itself', fix=f'write net["{name}"] to name a top so')
        self[name] = top

    def __getattr__(self, name: str) -> Top:
        if name.startswith("_"):  # `copy` and `pickle` ask for such names before the net is complete
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tops

    def __iter__(self) -> Iterator[str]:
        return iter(self._tops)

    def to_proto(self) -> Any:
        """The NetParameter of every layer that a named top needs, bottoms before tops.

        Raises:
            UserError: a name that was given is also the number of an unnamed top.
        """
        names: dict[Top | Function, str] = {top: name for name, top in self._tops.items()}
        counts: Counter[str] = Counter()
        net = schema.NetParameter(name=self.name)
        blobs: dict[Function, list[str]] = {}
        made: set[str] = set()

        def name_of(item: Top | Function, type_name: str) -> str:
            if item not in names:
                counts[type_name] += 1
                names[item] = f"{type_name}{counts[type_name]}"
            return names[item]

        for function in _in_order(self._tops.values()):
            bottoms = [blobs[top.function][top.index] for top in function.bottoms]
            tops = [name_of(top, function.type) for top in function.tops[: 1 if function.in_place else None]]
            name = function.params.name or (tops[0] if tops else name_of(function, function.type))
            self._check_new(name, made)
            blobs[function] = bottoms if function.in_place else tops
            layer = net.layer.add()
            layer.CopyFrom(function.params)
            layer.name, layer.type = name, function.type
            layer.bottom.extend(bottoms)
            layer.top.extend(blobs[function])
        return net

    @staticmethod
    def _check_new(name: str, made: set[str]) -> None:
        if name in made:
            raise UserError(
                f'two layers are called "{name}"',
                fix="layers of unnamed tops are numbered (Convolution1, Convolution2 …): keep such names free",
            )
        made.add(name)


def _in_order(roots: Iterable[Top | Function]) -> Iterator[Function]:
    """Every function that `roots` need, each after its bottoms: depth first, without recursion."""
    done: set[Function] = set()
    for root in roots:
        waiting = [root.function if isinstance(root, Top) else root]
        while waiting:
            function = waiting[-1]
            bottom = next((top.function for top in function.bottoms if top.function not in done), None)
            if function in done:
                waiting.pop()
            elif bottom is not None:
                waiting.append(bottom)
            else:
                done.add(function)
                waiting.pop()
                yield function
