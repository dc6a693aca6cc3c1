"""`netgen train`: train the net of a solver prototxt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prototxt.errors import UserError


def train(
    solver: Annotated[Path, typer.Option(help="Solver prototxt.")],
    weights: Annotated[str, typer.Option(help="Caffemodels to start from, with commas between them.")] = "",
    snapshot: Annotated[Path | None, typer.Option(help="Solverstate to resume from.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; default: what solver_mode asks for.")] = "",
    gpu: Annotated[str, typer.Option("--gpu", "--gpus", help="Number of the GPU to use, as in `caffe train`.")] = "",
    shuffle: Annotated[
        bool,
        typer.Option("--shuffle", help="Each round through the data in an order of its own, not in that of the keys."),
    ] = False,
) -> None:
    """Train with Caffe's solver on PyTorch. Ctrl-C snapshots and stops; --snapshot resumes.

    With --shuffle, give it again when resuming: then the data go on where they stopped.
    """
    share_cores()
    from annoset.sources.order import Order
    from solver import job

    job.train(solver, split(weights), snapshot, device_name(device, gpu), order=Order(shuffle))


def share_cores() -> None:
    """Keep PyTorch's threads from spinning for long while they wait; to be called before torch is imported.

    On a machine that has other work, spinning threads hold the cores that the others wait for: with two busy
    processes on two cores, training is three times faster this way, and no slower on an idle machine.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def split(weights: str) -> list[str]:
    """File names between commas."""
    return [name for name in weights.split(",") if name]


def device_name(device: str, gpu: str) -> str | None:
    """What --device and --gpu ask for together, None for neither. Raises UserError for more than one GPU."""
    if device and gpu:
        raise UserError("--device and --gpu are both given", fix="give one")
    if gpu and not gpu.isdigit():
        raise UserError(
            f"--gpu {gpu} asks for more than one GPU",
            expected="the number of one GPU",
            fix="training on several GPUs is not covered yet; give one, and raise iter_size to keep the batch",
        )
    return device or (f"cuda:{gpu}" if gpu else None)
