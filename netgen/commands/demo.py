"""`netgen demo`: the whole path once, on a data set made on the spot.

Every step is a command line that a user could type; it is shown as such before it runs.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from prototxt.errors import UserError

# What each step is for, and its command. {o} is the output folder.
STEPS = (
    (
        "The published ScratchDet, as its authors' scripts write it",
        "build scratchdet300-root34 --dataset voc0712 -o {o}/scratchdet300-root34",
    ),
    (
        "A data set of textured shapes in VOC's layout",
        "toy {o}/VOC --train {train} --test {test} --seed {seed}",
    ),
    (
        "Its databases: to train on …",
        "lmdb voc {o}/VOC --split train --labelmap {o}/VOC/labelmap.prototxt -o {o}/train_lmdb",
    ),
    (
        "… and to test on",
        "lmdb voc {o}/VOC --split test --labelmap {o}/VOC/labelmap.prototxt -o {o}/test_lmdb",
    ),
    (
        "A small ScratchDet for these classes",
        "build scratchdet-mini --labelmap {o}/VOC/labelmap.prototxt --train-lmdb {o}/train_lmdb"
        " --test-lmdb {o}/test_lmdb --name-size {o}/test_name_size.txt --max-iter {iterations} --steps {steps}"
        " --test-interval {interval} --snapshot {iterations} --random-seed {seed} -o {o}/mini",
    ),
    ("Its score before training", "test --solver {o}/mini/solver.prototxt"),
    ("Training", "train --solver {o}/mini/solver.prototxt"),
    ("Its score after training", "test --solver {o}/mini/solver.prototxt --weights {weights}"),
    ("The weights for PyTorch", "convert {o}/mini/deploy.prototxt {weights} -o {o}/mini.pth"),
    ("The net for ONNX Runtime", "convert {o}/mini/deploy.prototxt {weights} -o {o}/mini.onnx"),
    (
        "The proof that they all compute the same",
        "verify {o}/mini/deploy.prototxt {weights} --onnx {o}/mini.onnx --image {o}/VOC/JPEGImages/test_00000.jpg",
    ),
    (
        "What it sees in pictures it was not trained on",
        "detect {o}/mini/deploy.prototxt {weights} {pictures} --labelmap {o}/VOC/labelmap.prototxt"
        " --threshold 0.4 -o {o}/detections.png",
    ),
    ("The course of its training", "plot {o}/mini/scratchdet-mini.log.csv -o {o}/loss.png"),
    ("Its layers", "draw {o}/mini/deploy.prototxt -o {o}/net.svg"),
)

FILES = {
    "detections.png": "eight test pictures with the boxes it found",
    "loss.png": "the loss and the mAP over the iterations",
    "net.svg": "a drawing of the net; open it in a browser",
    "mini.onnx": "net, weights, decoding and NMS for ONNX Runtime",
    "mini.pth": "the weights as a PyTorch state_dict",
    "mini/": "the small net's prototxts, log, snapshots (.caffemodel, .solverstate) and test results",
    "scratchdet300-root34/": "the published net's prototxts and train.sh, for SSD-Caffe or for `netgen train`",
    "VOC/": "the data set: pictures, annotations, lists, label map",
    "train_lmdb/, test_lmdb/": "the same as databases, as SSD-Caffe reads them",
}


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; must not exist.")] = Path("demo-output"),
    iterations: Annotated[int, typer.Option(min=1, help="Training iterations, of 16 pictures each.")] = 700,
    train: Annotated[int, typer.Option(min=1, help="Pictures to train on.")] = 400,
    test: Annotated[int, typer.Option(min=8, help="Pictures to test on.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the data set and of the training.")] = 1,
) -> None:
    """Do everything once, in a few minutes on a CPU.

    A small data set is drawn; a net is built for it, trained, scored, converted, verified and drawn. Each step is
    shown as the command that you could have typed.
    """
    from prototxt.files import cannot_write

    try:
        out.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError("this folder exists", where=str(out), fix="remove it, or choose another with -o") from error
    except OSError as error:
        raise cannot_write(out, error) from error
    quoted = shlex.quote(str(out))
    values = {
        "o": quoted,
        "weights": f"{quoted}/mini/scratchdet-mini_iter_{iterations}.caffemodel",
        "pictures": " ".join(f"{quoted}/VOC/JPEGImages/test_{i:05d}.jpg" for i in range(8)),
        "steps": max(1, round(iterations * 0.8)),
        "iterations": iterations,
        "interval": max(1, iterations // 7),
        "train": train,
        "test": test,
        "seed": seed,
    }
    began, scores = time.perf_counter(), []
    for number, (title, command) in enumerate(STEPS, 1):
        typer.secho(f"\n[{number}/{len(STEPS)}] {title}", bold=True)
        result = _run(context, command.format(**values))
        if command.startswith("test "):
            scores.append(result)
    _end(out, scores, time.perf_counter() - began)


def _run(context: typer.Context, command: str) -> float | None:
    """Show and run one command of `netgen`; what it returns."""
    shown = command if len(command) < 300 else command[:300] + " …"
    typer.secho(f"$ netgen {shown}", fg="cyan")
    return context.find_root().command.main(shlex.split(command), prog_name="netgen", standalone_mode=False)


def _end(out: Path, scores: list[float | None], seconds: float) -> None:
    before, after = (f"{score:.3f}" if score is not None else "none" for score in scores)
    typer.secho(f"\nmAP before training {before}, after training {after}; {seconds:.0f} s in all", bold=True)
    typer.echo(f"In {out}/:")
    width = max(map(len, FILES))
    for name, what in FILES.items():
        typer.echo(f"    {name:<{width}}  {what}")
