"""The shell scripts of a job: to train and to score with an SSD-Caffe build where there is one, else with netgen."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from netgen.schedule import Schedule

_HEAD = """\
#!/usr/bin/env bash
# {what}
# With SSD-Caffe in $CAFFE_ROOT that is used, otherwise netgen. Further arguments are passed on to it.
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"/{up}
solver={solver}
prefix={prefix}
shopt -s nullglob
"""

_TRAIN = (
    _HEAD
    + """\
mkdir -p "$(dirname "$prefix")"
{weights}states=("$prefix"_iter_*.solverstate "$prefix"_iter_*.solverstate.h5)
if ((${{#states[@]}})); then
  newest=$(printf '%s\\n' "${{states[@]}}" | sort -V | tail -n 1)
  echo "resuming from $newest"
  set -- --snapshot="$newest" "$@"
{start}fi
if [[ -x "${{CAFFE_ROOT:-}}/build/tools/caffe" ]]; then
  "$CAFFE_ROOT/build/tools/caffe" train --solver="$solver"{gpu} "$@" 2>&1 | tee -a "$prefix.log"
else
{note}  exec netgen train --solver="$solver" "$@"
fi
"""
)

_WEIGHTS = """\
# The published run starts from these; WEIGHTS=FILE takes others, WEIGHTS= starts from scratch.
weights=${{WEIGHTS-{weights}}}
"""

_START = """\
elif [[ -n "$weights" && ! -f "$weights" ]]; then
  echo "$weights: no such file; get the pretrained weights, or set WEIGHTS=FILE, or WEIGHTS= to start from scratch" >&2
  exit 2
elif [[ -n "$weights" ]]; then
  set -- --weights="$weights" "$@"
"""

_NOTE = """\
  echo "netgen trains on one device: batches of {device} images, not {all}; for all, build with --gpus 0" >&2
"""

_SCORE = (
    _HEAD
    + """\
if (($#)); then
  weights=$1
  shift
else
  models=("$prefix"_iter_*.caffemodel "$prefix"_iter_*.caffemodel.h5)
  if ! ((${{#models[@]}})); then
    echo "there is no snapshot ${{prefix}}_iter_*.caffemodel yet; train first, or give a caffemodel" >&2
    exit 2
  fi
  weights=$(printf '%s\\n' "${{models[@]}}" | sort -V | tail -n 1)
fi
echo "scoring $weights"
if [[ -x "${{CAFFE_ROOT:-}}/build/tools/caffe" ]]; then
  "$CAFFE_ROOT/build/tools/caffe" train --solver="$solver" --weights="$weights"{gpu} "$@" 2>&1
else
  exec netgen test --solver="$solver" --weights="$weights" "$@"
fi
"""
)


def train_script(schedule: Schedule, out: Path, solver: Path, snapshot_prefix: Path) -> str:
    """The text of a script that trains, or resumes from the newest snapshot when there is one.

    Args:
        out: folder that the script will lie in; it first goes from there to the present one, in which the paths
            inside the files start.
        solver, snapshot_prefix: paths from the present folder.
    """
    several = schedule.num_devices > 1
    quoted = shlex.quote(schedule.weights or "")
    note = _NOTE.format(device=schedule.device_batch_size, all=schedule.batch_size)
    return _TRAIN.format(
        what="Trains the net beside this script; resumes from the newest snapshot when there is one.",
        **_places(out, solver, snapshot_prefix),
        weights=_WEIGHTS.format(weights=quoted) if schedule.weights else "",
        start=_START if schedule.weights else "",
        gpu=_gpu(schedule, schedule.gpus),
        note=note if several else "",
    )


def score_script(schedule: Schedule, out: Path, solver: Path, snapshot_prefix: Path) -> str:
    """The text of a script that scores the caffemodel it is given, or the newest snapshot; see `train_script`."""
    return _SCORE.format(
        what="Scores the net beside this script on the test set: the newest snapshot, or the caffemodel given first.",
        **_places(out, solver, snapshot_prefix),
        gpu=_gpu(schedule, schedule.gpus.split(",")[0]),
    )


def _places(out: Path, solver: Path, snapshot_prefix: Path) -> dict[str, str]:
    return {
        "up": shlex.quote(os.path.relpath(os.getcwd(), out)),
        "solver": shlex.quote(str(solver)),
        "prefix": shlex.quote(str(snapshot_prefix)),
    }


def _gpu(schedule: Schedule, gpus: str) -> str:
    return f' --gpu="${{GPUS:-{gpus}}}"' if schedule.solver_mode == "GPU" else ""
