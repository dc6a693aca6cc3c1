"""The option of all verbs that read nets: layer types of the user's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

_OPTION = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file that registers layer types; may be repeated."),
]


def with_plugins(verb: Callable[..., Any]) -> Callable[..., Any]:
    """`verb` with --plugin, whose files are run before it."""

    @functools.wraps(verb)
    def run(*arguments: Any, plugin: list[Path] | None = None, **options: Any) -> Any:
        from prototxt.plugin import load_plugin

        for path in plugin or []:
            load_plugin(path)
        return verb(*arguments, **options)

    signature = inspect.signature(verb, eval_str=True)
    option = inspect.Parameter("plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_OPTION)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])
    run.__annotations__ = {**verb.__annotations__, "plugin": _OPTION}
    return run
