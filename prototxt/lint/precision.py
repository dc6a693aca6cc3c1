"""Numbers of fewer bits than float32: some forks of Caffe compute with them, others and this toolkit do not."""

from __future__ import annotations

from collections.abc import Iterator

from prototxt import schema
from prototxt.lint.finding import NOTE, Found, check
from prototxt.lint.net import Net, Node

_TYPES = ("forward_type", "backward_type", "forward_math", "backward_math")


@check("precision", NOTE, Net)
def precision(net: Net) -> Iterator[Found]:
    """A layer asks for half precision (NVIDIA's Caffe) or fixed-point numbers (Intel's); it gets float32 elsewhere."""
    for node in net.nodes:
        if asked := _asked(node):
            reason = f"{', '.join(asked)}: it computes so in one fork of Caffe alone, and in float32 here"
            yield Found(node, reason, "nothing, unless you need the very values of that fork")


def _asked(node: Node) -> list[str]:
    fields = [name for name in _TYPES if getattr(node.proto, name) == schema.FLOAT16]
    return fields + ["quantization_param"] * node.proto.HasField("quantization_param")
