"""Which layers of a file belong to a phase: Caffe's `include` and `exclude` rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prototxt import schema
from prototxt.errors import UserError


@dataclass(frozen=True)
class NetState:
    """The state a net is built for; rules are held against it."""

    phase: str = "TEST"
    level: int = 0
    stages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.phase not in ("TRAIN", "TEST"):
            raise UserError(f'phase "{self.phase}" is unknown', expected="TRAIN or TEST")

    def meets(self, rule: Any) -> bool:
        """Whether every condition of `rule` (a NetStateRule) holds."""
        return (
            not (rule.HasField("phase") and schema.Phase.Name(rule.phase) != self.phase)
            and not (rule.HasField("min_level") and self.level < rule.min_level)
            and not (rule.HasField("max_level") and self.level > rule.max_level)
            and all(stage in self.stages for stage in rule.stage)
            and not any(stage in self.stages for stage in rule.not_stage)
        )

    def keeps(self, layer: Any) -> bool:
        """Whether `layer` is in the net: some include rule holds or, without any, no exclude rule does."""
        if layer.include:
            return any(self.meets(rule) for rule in layer.include)
        return not any(self.meets(rule) for rule in layer.exclude)


def kept(layers: Sequence[Any], state: NetState) -> list[int]:
    """Indices of the layers that `state` keeps. Raises UserError for a layer with both kinds of rule."""
    for layer in layers:
        if layer.include and layer.exclude:
            raise UserError(f'layer "{layer.name}" has both include and exclude rules', fix="keep one kind")
    return [i for i, layer in enumerate(layers) if state.keeps(layer)]
