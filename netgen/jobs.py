"""The files of a training job: the nets, the solvers that train and score them, the scripts that start these."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from netgen.detector import Detector
from netgen.job_scripts import score_script, train_script
from netgen.schedule import fit_test_batch
from prototxt import schema
from prototxt.errors import UserError
from prototxt.files import atomic_write


@dataclass(frozen=True)
class JobPaths:
    """Where the files of a job lie, as paths from the folder that training starts in."""

    out: Path
    snapshot_prefix: Path

    def file(self, key: str) -> Path:
        """The path of the prototxt called `key`."""
        return self.out / f"{key}.prototxt"


def _net(key: str) -> Callable[[Detector, JobPaths], Any]:
    return lambda detector, paths: detector.net(key)


def solver_proto(detector: Detector, paths: JobPaths) -> Any:
    """The SolverParameter that runs the detector's schedule on the nets in `paths.out`."""
    schedule = detector.schedule
    solver = schema.SolverParameter(
        train_net=str(paths.file("train")),
        type=schedule.type,
        base_lr=schedule.base_lr,
        lr_policy=schedule.lr_policy,
        gamma=schedule.gamma,
        max_iter=schedule.max_iter,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        iter_size=schedule.iter_size,
        average_loss=10,
        display=schedule.display,
        debug_info=schedule.debug_info,
        snapshot=schedule.snapshot,
        snapshot_prefix=str(paths.snapshot_prefix),
        snapshot_after_train=True,
        solver_mode=schedule.solver_mode,
    )
    if schedule.stepsize is None:
        solver.stepvalue.extend(schedule.steps)
    else:
        solver.stepsize = schedule.stepsize
    if schedule.random_seed is not None:
        solver.random_seed = schedule.random_seed
    if schedule.test_interval is not None:
        _add_test(solver, detector, paths)
        solver.test_interval = schedule.test_interval
        solver.test_initialization = schedule.test_initialization
    return solver


def score_proto(detector: Detector, paths: JobPaths) -> Any:
    """The SolverParameter that only tests: SSD-Caffe scores weights by a training of no iterations."""
    schedule = detector.schedule
    solver = schema.SolverParameter(
        train_net=str(paths.file("train")),
        type="SGD",
        base_lr=schedule.base_lr,
        lr_policy="fixed",
        max_iter=0,
        snapshot_prefix=str(paths.snapshot_prefix),
        snapshot_after_train=False,
        solver_mode=schedule.solver_mode,
    )
    _add_test(solver, detector, paths)
    solver.test_interval = 1
    solver.test_initialization = True
    return solver


def _add_test(solver: Any, detector: Detector, paths: JobPaths) -> None:
    images = detector.data.num_test_images
    solver.test_net.append(str(paths.file("test")))
    solver.test_iter.append(images // fit_test_batch(detector.schedule.test_batch_size, images))
    solver.eval_type = "detection"
    solver.ap_version = "11point"


# What makes each prototxt of a job.
FILES: dict[str, Callable[[Detector, JobPaths], Any]] = {
    "train": _net("train"),
    "test": _net("test"),
    "deploy": _net("deploy"),
    "solver": solver_proto,
    "score": score_proto,
}
# The scripts, and the solver that each of them starts.
_SCRIPTS = {"train.sh": (train_script, "solver"), "score.sh": (score_script, "score")}


def job_texts(detector: Detector, paths: JobPaths, only: Collection[str] = ()) -> dict[str, str]:
    """The files of a job, name -> text.

    Args:
        only: keys of FILES; none is all of them and the scripts that train and score.
    """
    texts = {
        f"{key}.prototxt": text_format.MessageToString(make(detector, paths))
        for key, make in FILES.items()
        if not only or key in only
    }
    if not only:
        for name, (script, solver) in {
            "train.sh": (train_script, "solver"),
            "score.sh": (score_script, "score"),
        }.items():
            texts[name] = script(detector.schedule, paths.out, paths.file(solver), paths.snapshot_prefix)
    return texts


def write_files(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write `texts` (name -> text) into `folder`: all of them, or none. Scripts (*.sh) are made executable.

    Returns:
        the files written.

    Raises:
        UserError: the folder cannot be made or written; what stood there before is then untouched.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"this folder cannot be made: {error.strerror}", where=str(folder)) from error
    with ExitStack() as stack:  # renames the files when every one of them is on the disk
        for name, text in texts.items():
            file = stack.enter_context(atomic_write(folder / name, "w"))
            file.write(text)
            file.flush()
    written = [folder / name for name in texts]
    for path in written:
        if path.suffix == ".sh":
            path.chmod(path.stat().st_mode | 0o111)
    return written
