"""What every resolver of parameters shares."""

from __future__ import annotations

Pair = tuple[int, int]  # height, width


class ParamError(ValueError):
    """A parameter that Caffe would abort on. The graph adds the layer's name and its line."""
