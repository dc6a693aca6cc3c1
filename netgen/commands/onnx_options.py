"""The options of `netgen convert` that say what an ONNX model is to be like."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from prototxt.errors import UserError

if TYPE_CHECKING:
    from converters.onnx.deploy import Deployment
    from converters.onnx.pixels import Values

_PANEL = "Of ONNX"
_ENDS = ("none", "nms", "efficient-nms")
_INPUTS = ("float", "uint8-bgr", "uint8-rgb", "uint8-grey")


def _option(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_PANEL)


@dataclass(frozen=True)
class OnnxOptions:
    """What the command line says about an ONNX model."""

    fold: Annotated[
        bool, _option("--fold/--no-fold", help="Take BatchNorm and Scale into convolutions, where exact.")
    ] = True
    postprocess: Annotated[
        str, _option(help="A detector's end: nms (standard operators), none (predictions and priors), or "
                          "efficient-nms (TensorRT's plug-in).")
    ] = "nms"  # fmt: skip
    input: Annotated[
        str, _option(help="What it takes: float, or pictures, uint8 NxHxWxC, mean and scale inside: uint8-bgr, "
                          "uint8-rgb, uint8-grey.")
    ] = "float"  # fmt: skip
    mean: Annotated[str | None, _option(help="What the net had subtracted, B,G,R or one value.")] = None
    scale: Annotated[float | None, _option(help="What the net had its values multiplied by, after the mean.")] = None
    train_net: Annotated[Path | None, _option(help="The train or test prototxt, which says mean and scale itself.")] = (
        None
    )
    labelmap: Annotated[Path | None, _option(help="Label map whose names go into the metadata.")] = None
    dynamic: Annotated[list[str] | None, _option(help="A size to leave open: batch or size; may be repeated.")] = None
    opset: Annotated[int, _option(help="Version of ONNX's operators, 15 to 21.")] = 17
    fp16: Annotated[bool, _option("--fp16", help="Compute in float16; inputs, outputs and boxes stay float32.")] = False
    winograd: Annotated[
        bool, _option("--winograd", help="3x3 convolutions in fewer multiplications, for ONNX Runtime on a CPU.")
    ] = False

    def check(self, is_onnx: bool) -> None:
        """Refuse what cannot be. Raises UserError."""
        given = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        if given and not is_onnx:
            raise UserError(f"--{given[0].replace('_', '-')} is for ONNX", fix="give -o a file called .onnx")
        for name, value, known in (("postprocess", self.postprocess, _ENDS), ("input", self.input, _INPUTS)):
            if value not in known:
                raise UserError(f"--{name} is {value}", expected=", ".join(known))
        for name in self.dynamic or ():
            if name not in ("batch", "size"):
                raise UserError(f"--dynamic is {name}", expected="batch or size")
        if self.train_net and (self.mean is not None or self.scale is not None):
            raise UserError("--train-net says mean and scale itself", fix="give it, or --mean and --scale")
        if self.input != "float" and self.mean is None and self.train_net is None:
            raise UserError(f"--input is {self.input}, but what the net had subtracted is not said",
                            fix="give --mean 104,117,123, or --train-net TRAIN.prototxt")  # fmt: skip

    def deployment(self) -> Deployment:
        """Raises UserError for files that cannot be read."""
        from converters.onnx.builder import Open
        from converters.onnx.deploy import Deployment
        from prototxt.labelmap import display_names

        return Deployment(
            fold=self.fold,
            postprocess=self.postprocess,
            input=self.input,
            values=self._values(),
            labels=display_names(self.labelmap) if self.labelmap else None,
            is_open=Open(**dict.fromkeys(self.dynamic, True)) if self.dynamic else None,
            opset=self.opset,
            half=self.fp16,
            winograd=self.winograd,
        )

    def _values(self) -> Values | None:
        from converters.onnx.pixels import Values, values_of_net
        from netgen.commands.pictures import parse_mean

        if self.train_net:
            return values_of_net(str(self.train_net))
        if self.mean is None and self.scale is None:
            return None
        mean = (0.0,) if self.mean is None else parse_mean(self.mean)
        return Values(mean, 1.0 if self.scale is None else self.scale)


def with_onnx_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of OnnxOptions; it gets them as the argument `onnx`."""
    hints = get_type_hints(OnnxOptions, include_extras=True)
    shared = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(OnnxOptions)
    ]

    @wraps(verb)
    def command(*given: Any, **values: Any) -> None:
        values |= dict(zip(own, given))
        verb(**{name: values.pop(name) for name in own if name in values}, onnx=OnnxOptions(**values))

    signature = inspect.signature(verb, eval_str=True)
    own = [name for name in signature.parameters if name != "onnx"]
    parameters = [signature.parameters[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in own]
    command.__signature__ = inspect.Signature([*parameters, *shared])
    command.__annotations__ = {one.name: one.annotation for one in command.__signature__.parameters.values()}
    return command
