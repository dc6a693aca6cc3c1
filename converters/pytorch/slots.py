"""The blobs of a net's layers, and those that are one: `param { name }` shares a blob between layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn

from converters.pytorch.layers import CaffeLayer
from prototxt.graph import Layer, show
from prototxt.schema import ParamSpec


@dataclass(eq=False)
class Slot:
    """The place of one blob: attribute `attribute` of `module`, blob `index` of `layer`.

    Attributes:
        lr_mult, decay_mult: factors of the solver's learning rate and weight decay; 0 for statistics. Those of an
            owner hold for all that share its blob.
        owner: the slot whose blob this one shares; itself when it shares none or is the first to name it.
    """

    layer: Layer
    module: CaffeLayer
    index: int
    attribute: str
    lr_mult: float = field(init=False)
    decay_mult: float = field(init=False)
    owner: Slot = field(init=False)

    def __post_init__(self) -> None:
        self.owner = self
        self.lr_mult, self.decay_mult = (self.spec.lr_mult, self.spec.decay_mult) if self.learned else (0.0, 0.0)

    @property
    def tensor(self) -> Tensor:
        return getattr(self.module, self.attribute)

    @property
    def learned(self) -> bool:
        return isinstance(self.tensor, nn.Parameter)

    @property
    def filler_field(self) -> str:
        """The field of the layer's parameters with the filler of a learned blob."""
        return self.module.filler_fields[self.index]

    @property
    def spec(self) -> ParamSpec:
        """What the file says about it in `param`, or the defaults."""
        given = self.layer.proto.param
        return given[self.index] if self.index < len(given) else ParamSpec()

    def share(self) -> None:
        """Take the owner's blob for this one's."""
        if self.owner is not self:
            setattr(self.module, self.attribute, self.owner.tensor)


def slots(layers: Iterable[tuple[Layer, CaffeLayer]]) -> list[Slot]:
    """The slots of `layers` in Caffe's order, owners found and checked; no blob is shared yet.

    Raises:
        UserError: shared blobs that differ in shape or multipliers.
    """
    found = [
        Slot(layer, module, i, attribute) for layer, module in layers for i, (attribute, _) in enumerate(module.blobs())
    ]
    owners: dict[str, Slot] = {}
    explicit: dict[tuple[str, str], float] = {}
    for slot in found:
        name = slot.spec.name
        if not name:
            continue
        slot.owner = owners.setdefault(name, slot)
        _check(slot, name)
        for mult in ("lr_mult", "decay_mult"):
            if slot.learned and slot.spec.HasField(mult):
                _agree(slot, name, mult, explicit)
    return found


def _check(slot: Slot, name: str) -> None:
    theirs = slot.owner.layer
    if slot.tensor.shape != slot.owner.tensor.shape:
        raise slot.layer.error(
            f'blob {slot.index} is shared as "{name}" but has the shape {show(tuple(slot.tensor.shape))}',
            expected=f'{show(tuple(slot.owner.tensor.shape))}, that of layer "{theirs.name}" ({theirs.where})',
        )
    if slot.learned != slot.owner.learned:
        raise slot.layer.error(
            f'blob {slot.index} is shared as "{name}" with layer "{theirs.name}" ({theirs.where})',
            expected="both to be learned, or both BatchNorm's statistics",
        )


def _agree(slot: Slot, name: str, mult: str, explicit: dict[tuple[str, str], float]) -> None:
    """Hold the multiplier that `slot` gives against the one given before; the first one given is the owner's."""
    value = getattr(slot.spec, mult)
    first = explicit.setdefault((name, mult), value)
    if value != first:
        raise slot.layer.error(f'{mult} of the shared blob "{name}" is {value:g} here but {first:g} before')
    setattr(slot.owner, mult, first)
