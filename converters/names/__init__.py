"""Weights of other code bases: their names and conventions into Caffe's, and back.

A map (`CODE_BASES`) lists a model of theirs layer by layer: the keys of its state_dict, the Caffe layer that is the
same, what that layer must read, and in which order its channels stand. So weights are only moved between nets that
compute the same; where the two differ the error says how.
"""

from converters.names.table import CODE_BASES

from converters.names import mmdetection, torchvision  # isort: skip  # noqa: F401
from converters.names.translate import Translated, from_state, to_state

__all__ = ["CODE_BASES", "Translated", "from_state", "to_state"]
