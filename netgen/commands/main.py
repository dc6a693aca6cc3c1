"""`netgen`: the verbs, and how a user's mistake reaches the terminal."""

from __future__ import annotations

import signal
import sys

import typer

from netgen.commands import (
    augment,
    build,
    convert,
    demo,
    detect,
    diff,
    draw,
    lint,
    list,
    lmdb,
    plot,
    plugins,
    priors,
    summary,
    test,
    toy,
    train,
    verify,
)
from prototxt.errors import UserError

app = typer.Typer(
    name="netgen",
    help="Everything a Caffe-format detector needs, without Caffe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_READ_NETS = {"summary", "diff", "draw", "lint", "priors", "train", "test", "detect", "convert", "verify"}
for verb in (
    demo.demo,
    list.list_,
    build.build,
    summary.summary,
    diff.diff,
    draw.draw,
    lint.lint,
    priors.priors,
    toy.toy,
    augment.augment,
    train.train,
    test.test,
    plot.plot,
    detect.detect,
    convert.convert,
    verify.verify,
):
    name = verb.__name__.rstrip("_")
    app.command(name)(plugins.with_plugins(verb) if name in _READ_NETS else verb)
app.add_typer(lmdb.app, name="lmdb")


# Modules of the extras: who installed the base alone is told which one a verb needs.
_EXTRAS = {"torch": "train", "cv2": "train", "lmdb": "train", "matplotlib": "train", "yaml": "train"}
_EXTRAS |= {"onnx": "onnx", "onnxruntime": "onnx", "h5py": "train"}


def main() -> None:
    """Run the command line. A user's mistake is printed without a traceback; the exit status is then 2."""
    _unwind_when_stopped()
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _fail(f"this needs {error.name}, which is not installed\n  fix: pip install '.[{extra}]'")


def _unwind_when_stopped() -> None:
    """Have `kill` and a closed terminal end the process as Ctrl-C does, so that nothing half made is left."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has not all
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) == signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def _fail(message: str) -> None:
    print(f"netgen: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
