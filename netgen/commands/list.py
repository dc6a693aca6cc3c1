"""`netgen list`: the models and data sets that `netgen build` knows."""

from __future__ import annotations

from typing import Annotated

import typer


def list_(
    pattern: Annotated[str, typer.Argument(help="Only names that match, such as 'scratchdet*'.")] = "*",
) -> None:
    """List the models and data sets that can be built."""
    from fnmatch import fnmatch

    from netgen.datasets import DATASETS
    from netgen.zoo import MODELS
    from prototxt.errors import UserError, nearest

    models = [(name, (MODELS[name].__doc__ or "").splitlines()[0]) for name in MODELS if fnmatch(name, pattern)]
    data_sets = [
        (name, f"{DATASETS[name].num_classes - 1} classes, {DATASETS[name].num_test_images:,} test images")
        for name in DATASETS
        if fnmatch(name, pattern)
    ]
    if not models and not data_sets:
        raise UserError(f'no model or data set matches "{pattern}"{nearest(pattern, [*MODELS, *DATASETS])}')
    width = max(len(name) for name, _ in models + data_sets)
    for title, rows in (("Models", models), ("Data sets", data_sets)):
        if rows:
            typer.echo(f"{title}:")
        for name, line in rows:
            typer.echo(f"  {name:<{width}}  {line}")
