"""`netgen build`: the prototxts and the scripts of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from prototxt.errors import UserError, nearest


def build(
    model: Annotated[str, typer.Argument(help="Name of the model; see `netgen list`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the files into.")],
    dataset: Annotated[str | None, typer.Option(help="Name of a data set; see `netgen list`.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder in which that data set's paths start.")] = None,
    labelmap: Annotated[Path | None, typer.Option(help="Label map; decides on the classes.")] = None,
    train_lmdb: Annotated[Path | None, typer.Option(help="LMDB to train on.")] = None,
    test_lmdb: Annotated[Path | None, typer.Option(help="LMDB to test on.")] = None,
    name_size: Annotated[Path | None, typer.Option(help="Names and sizes of the test images.")] = None,
    num_test_images: Annotated[int | None, typer.Option(help="Test images; else the lines of --name-size.")] = None,
    results_dir: Annotated[Path | None, typer.Option(help="Where detections are saved (OUT/results).")] = None,
    snapshot_prefix: Annotated[Path | None, typer.Option(help="Begins each snapshot's path (OUT/MODEL).")] = None,
    batch_norm: Annotated[str | None, typer.Option(help="Of SSD: norms in none, backbone, head or both.")] = None,
    extras: Annotated[str | None, typer.Option(help="Of ScratchDet: extra layers, ssd or residual.")] = None,
    corrected: Annotated[bool, typer.Option("--corrected", help="As the paper says, not as released.")] = False,
    only: Annotated[str, typer.Option(help="Write only these of train, test, deploy, solver: deploy.")] = "",
    batch: Annotated[int, typer.Option(min=1, help="Images that the deploy net takes at once.")] = 1,
    input_size: Annotated[str | None, typer.Option(metavar="HxW", help="Size of the images, in pixels.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images of one pass over all GPUs.")] = None,
    gpus: Annotated[str | None, typer.Option(help="GPUs that share a pass: 0,1,2,3.")] = None,
    iter_size: Annotated[int | None, typer.Option(help="Passes of one update; else as many as make its batch.")] = None,
    test_batch_size: Annotated[int | None, typer.Option(help="Most images of one pass of the test net.")] = None,
    base_lr: Annotated[float | None, typer.Option(help="Learning rate at the start.")] = None,
    steps: Annotated[str | None, typer.Option(help="Iterations at which it falls to a tenth: 40000,75000.")] = None,
    max_iter: Annotated[int | None, typer.Option(help="Iterations in all.")] = None,
    test_interval: Annotated[int | None, typer.Option(help="Iterations between tests.")] = None,
    snapshot: Annotated[int | None, typer.Option(help="Iterations between snapshots.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Caffemodel that train.sh starts from.")] = None,
    random_seed: Annotated[int | None, typer.Option(help="Seed of the solver.")] = None,
    solver_mode: Annotated[Literal["cpu", "gpu"] | None, typer.Option(help="Where Caffe computes.")] = None,
) -> None:
    """Write a detector's prototxts and its scripts.

    These are train.prototxt, test.prototxt, deploy.prototxt, solver.prototxt and train.sh, which trains; and
    score.prototxt and score.sh, which scores a snapshot.

    The data set is a known one (--dataset), or your own: --labelmap, --train-lmdb, --test-lmdb and --num-test-images.
    Paths are written as given, so they hold from the folder in which you train; the scripts go to the present one.

    The schedule is the published one. A smaller --batch-size makes more passes for an update of the same images.
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
        "gpus": gpus,
        "test_batch_size": test_batch_size,
        "base_lr": base_lr,
        "steps": _steps(steps),
        "max_iter": max_iter,
        "test_interval": test_interval,
        "snapshot": snapshot,
        "weights": str(weights) if weights else None,
        "random_seed": random_seed,
        "solver_mode": solver_mode and solver_mode.upper(),
    }
    options = {"batch_norm": batch_norm, "extras": extras, "corrected": corrected or None}
    from netgen.datasets import NEEDED, data_set
    from netgen.jobs import JobPaths, job_texts, write_files
    from netgen.zoo import build as build_model

    files = _files(only, tuple(NEEDED))
    known = data_set(dataset, data_root, data, files or NEEDED)
    detector = build_model(model, known, **{key: value for key, value in options.items() if value is not None})
    detector = _changed(detector, schedule, iter_size, input_size, batch)
    texts = job_texts(detector, JobPaths(out, snapshot_prefix or out / model), files)
    for path in write_files(texts, out):
        typer.echo(f"wrote {path}")


def _changed(detector: Any, given: dict[str, Any], iter_size: int | None, input_size: str | None, batch: int) -> Any:
    """The detector with what the command line changes of its schedule and its images."""
    from dataclasses import replace

    from netgen.resize import resized
    from netgen.schedule import check_schedule

    changes = {key: value for key, value in given.items() if value is not None}
    if "steps" in changes:
        changes["stepsize"] = None
    schedule = detector.schedule
    schedule = replace(schedule, accum_batch_size=schedule.accum_batch_size or schedule.batch_size, **changes)
    if iter_size is not None:
        if not 0 < iter_size < 2**16:
            raise UserError(f"--iter-size is {iter_size}", expected="a number from 1 to 65535")
        schedule = replace(schedule, accum_batch_size=iter_size * schedule.batch_size)
    detector = replace(detector, schedule=check_schedule(schedule), deploy_batch=batch)
    return detector if input_size is None else resized(detector, _size(input_size))


def _files(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    files = tuple(part.strip() for part in text.split(",")) if text else ()
    for file in files:
        if file not in known:
            raise UserError(f"--only is {text}{nearest(file, known)}", expected="some of " + ",".join(known))
    return files


def _steps(text: str | None) -> tuple[int, ...] | None:
    try:
        return text if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--steps is {text}", expected="whole numbers with commas, such as 40000,75000") from error


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise UserError(f"--input-size is {text}", expected="HEIGHTxWIDTH in pixels, such as 300x300")
    return int(height), int(width)
