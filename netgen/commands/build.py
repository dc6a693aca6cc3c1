"""`netgen build`: the prototxts and the training script of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from prototxt.errors import UserError


def build(
    model: Annotated[str, typer.Argument(help="Name of the model; see `netgen list`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the five files into.")],
    dataset: Annotated[str | None, typer.Option(help="Name of a data set; see `netgen list`.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder in which that data set's paths start.")] = None,
    labelmap: Annotated[Path | None, typer.Option(help="Label map; decides on the classes.")] = None,
    train_lmdb: Annotated[Path | None, typer.Option(help="LMDB to train on.")] = None,
    test_lmdb: Annotated[Path | None, typer.Option(help="LMDB to test on.")] = None,
    name_size: Annotated[Path | None, typer.Option(help="Names and sizes of the test images.")] = None,
    num_test_images: Annotated[int | None, typer.Option(help="Test images; else the lines of --name-size.")] = None,
    results_dir: Annotated[Path | None, typer.Option(help="Where detections are saved (OUT/results).")] = None,
    snapshot_prefix: Annotated[Path | None, typer.Option(help="Begins each snapshot's path (OUT/MODEL).")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images of one pass.")] = None,
    iter_size: Annotated[int | None, typer.Option(help="Passes of one iteration.")] = None,
    test_batch_size: Annotated[int | None, typer.Option(help="Most images of one pass of the test net.")] = None,
    base_lr: Annotated[float | None, typer.Option(help="Learning rate at the start.")] = None,
    steps: Annotated[str | None, typer.Option(help="Iterations at which it falls to a tenth: 40000,75000.")] = None,
    max_iter: Annotated[int | None, typer.Option(help="Iterations in all.")] = None,
    test_interval: Annotated[int | None, typer.Option(help="Iterations between tests.")] = None,
    snapshot: Annotated[int | None, typer.Option(help="Iterations between snapshots.")] = None,
    random_seed: Annotated[int | None, typer.Option(help="Seed of the solver.")] = None,
    solver_mode: Annotated[Literal["cpu", "gpu"] | None, typer.Option(help="Where Caffe computes.")] = None,
) -> None:
    """Write a detector's prototxts and its training script.

    These are train.prototxt, test.prototxt, deploy.prototxt, solver.prototxt and train.sh.

    The data set is a known one (--dataset), or your own: --labelmap, --train-lmdb, --test-lmdb and --name-size.
    Paths are written as given, so they hold from the folder in which you train; train.sh goes to the present one.
    """
    data = {
        "labelmap": labelmap,
        "train_lmdb": train_lmdb,
        "test_lmdb": test_lmdb,
        "name_size": name_size,
        "num_test_images": num_test_images,
        "results_dir": results_dir or out / "results",
    }
    schedule = {
        "batch_size": batch_size,
        "iter_size": iter_size,
        "test_batch_size": test_batch_size,
        "base_lr": base_lr,
        "steps": _steps(steps),
        "max_iter": max_iter,
        "test_interval": test_interval,
        "snapshot": snapshot,
        "random_seed": random_seed,
        "solver_mode": solver_mode and solver_mode.upper(),
    }
    for path in _write(model, (dataset, data_root, data), schedule, out, snapshot_prefix):
        typer.echo(f"wrote {path}")


def _write(
    model: str, data_given: tuple[Any, ...], schedule_given: dict[str, Any], out: Path, prefix: Path | None
) -> list[Path]:
    from dataclasses import replace

    from netgen.datasets import data_set
    from netgen.jobs import JobPaths, check_schedule, write_job
    from netgen.zoo import build as build_model

    detector = build_model(model, data_set(*data_given))
    given = {key: value for key, value in schedule_given.items() if value is not None}
    detector = replace(detector, schedule=check_schedule(replace(detector.schedule, **given)))
    paths = JobPaths(out, prefix or out / model)
    return write_job(detector.schedule, detector.nets(), detector.data.num_test_images, paths)


def _steps(text: str | None) -> tuple[int, ...] | None:
    try:
        return text if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--steps is {text}", expected="whole numbers with commas, such as 40000,75000") from error
