"""How a net is trained: the schedule, the solver's prototxt and the script that starts it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from prototxt import schema
from prototxt.errors import UserError
from prototxt.files import atomic_write

_INT32_END = 2**31


@dataclass(frozen=True)
class Schedule:
    """SGD with momentum and a learning rate that falls to a tenth at each step.

    Attributes:
        base_lr, steps, max_iter: learning rate, iterations at which it falls, iterations in all.
        batch_size: images of one forward pass on one device; this is what BatchNorm sees.
        iter_size: forward passes whose gradients are added up to one iteration.
        test_batch_size: the largest batch of the test net; see `fit_test_batch`.
        test_interval: iterations between two tests; None trains without a test net.
        snapshot, display: iterations between two snapshots, between two lines of the log.
        debug_info: log the mean of every blob in every iteration.
        random_seed: of the solver; None draws one for each run.
        solver_mode: "CPU" or "GPU".
        gpus: devices of the published run, each of which had a batch of its own.
    """

    base_lr: float
    steps: tuple[int, ...]
    max_iter: int
    batch_size: int
    iter_size: int = 1
    test_batch_size: int = 1
    test_interval: int | None = None
    snapshot: int = 5000
    display: int = 20
    debug_info: bool = False
    random_seed: int | None = None
    solver_mode: str = "GPU"
    gpus: str = "0"


@dataclass(frozen=True)
class JobPaths:
    """Where the files of a job lie, as paths from the folder that training starts in."""

    out: Path
    snapshot_prefix: Path

    @property
    def solver(self) -> Path:
        return self.out / "solver.prototxt"


def check_schedule(schedule: Schedule) -> Schedule:
    """The schedule itself. Raises UserError when a value is out of range or the steps do not rise."""
    for name in ("base_lr", "max_iter", "batch_size", "iter_size", "test_batch_size", "test_interval", "snapshot"):
        value = getattr(schedule, name)
        if value is not None and not 0 < value < _INT32_END:
            raise UserError(f"--{name.replace('_', '-')} is {value}", expected="a number above 0 and below 2^31")
    if schedule.random_seed is not None and not 0 <= schedule.random_seed < _INT32_END:
        raise UserError(f"--random-seed is {schedule.random_seed}", expected="a number from 0 to 2^31 - 1")
    steps = schedule.steps
    if list(steps) != sorted(set(steps)) or not all(0 < step < _INT32_END for step in steps):
        shown = ",".join(map(str, steps))
        raise UserError(f"--steps is {shown}", expected="rising numbers of iterations, such as 40000,75000")
    return schedule


def fit_test_batch(limit: int, num_images: int) -> int:
    """The largest batch of at most `limit` that divides `num_images`, so that each is tested exactly once."""
    return next(size for size in range(min(limit, num_images), 0, -1) if num_images % size == 0)


def solver_proto(schedule: Schedule, paths: JobPaths, num_test_images: int) -> Any:
    """The SolverParameter that runs `schedule` on the nets in `paths.out`."""
    solver = schema.SolverParameter(
        train_net=str(paths.out / "train.prototxt"),
        type="SGD",
        base_lr=schedule.base_lr,
        lr_policy="multistep",
        gamma=0.1,
        stepvalue=schedule.steps,
        max_iter=schedule.max_iter,
        momentum=0.9,
        weight_decay=0.0005,
        iter_size=schedule.iter_size,
        average_loss=10,
        display=schedule.display,
        debug_info=schedule.debug_info,
        snapshot=schedule.snapshot,
        snapshot_prefix=str(paths.snapshot_prefix),
        snapshot_after_train=True,
        solver_mode=schedule.solver_mode,
    )
    if schedule.random_seed is not None:
        solver.random_seed = schedule.random_seed
    if schedule.test_interval is not None:
        solver.test_net.append(str(paths.out / "test.prototxt"))
        solver.test_iter.append(num_test_images // fit_test_batch(schedule.test_batch_size, num_test_images))
        solver.test_interval = schedule.test_interval
        solver.test_initialization = False
        solver.eval_type = "detection"
        solver.ap_version = "11point"
    return solver


_SCRIPT = """\
#!/usr/bin/env bash
# Trains the net beside this script; resumes from the newest snapshot when there is one.
# With SSD-Caffe in $CAFFE_ROOT that is used, otherwise netgen. Further arguments are passed on to it.
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"/{up}
solver={solver}
prefix={prefix}
mkdir -p "$(dirname "$prefix")"

shopt -s nullglob
states=("$prefix"_iter_*.solverstate "$prefix"_iter_*.solverstate.h5)
if ((${{#states[@]}})); then
  newest=$(printf '%s\\n' "${{states[@]}}" | sort -V | tail -n 1)
  echo "resuming from $newest"
  set -- --snapshot="$newest" "$@"
fi
if [[ -x "${{CAFFE_ROOT:-}}/build/tools/caffe" ]]; then
  "$CAFFE_ROOT/build/tools/caffe" train --solver="$solver"{gpu} "$@" 2>&1 | tee -a "$prefix.log"
else
  exec netgen train --solver="$solver" "$@"
fi
"""


def write_job(schedule: Schedule, nets: Mapping[str, Any], num_test_images: int, paths: JobPaths) -> list[Path]:
    """Write the nets, `solver.prototxt` and `train.sh` into `paths.out`: all of them, or none.

    Args:
        nets: NetParameters to be written as `{key}.prototxt`; the solver reads "train" and, when it tests, "test".

    Returns:
        the files written.

    Raises:
        UserError: the folder cannot be made or written; what stood there before is then untouched.
    """
    messages = {**nets, "solver": solver_proto(schedule, paths, num_test_images)}
    texts = {f"{key}.prototxt": text_format.MessageToString(message) for key, message in messages.items()}
    texts["train.sh"] = train_script(schedule, paths)
    try:
        paths.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"this folder cannot be made: {error.strerror}", where=str(paths.out)) from error
    with ExitStack() as stack:  # renames the files when every one of them is on the disk
        for file_name, text in texts.items():
            file = stack.enter_context(atomic_write(paths.out / file_name, "w"))
            file.write(text)
            file.flush()
    script = paths.out / "train.sh"
    script.chmod(script.stat().st_mode | 0o111)
    return [paths.out / file_name for file_name in texts]


def train_script(schedule: Schedule, paths: JobPaths) -> str:
    """The text of `train.sh`, which runs from any folder: it first goes to the one that its paths start from."""
    return _SCRIPT.format(
        up=shlex.quote(os.path.relpath(os.getcwd(), paths.out)),
        solver=shlex.quote(str(paths.solver)),
        prefix=shlex.quote(str(paths.snapshot_prefix)),
        gpu=f' --gpu="${{GPUS:-{schedule.gpus}}}"' if schedule.solver_mode == "GPU" else "",
    )
