"""`netgen`: the verbs, and how a user's mistake reaches the terminal."""

from __future__ import annotations

import sys

import typer

from netgen.commands import (
    build,
    convert,
    demo,
    detect,
    draw,
    list,
    lmdb,
    plot,
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
for verb in (
    demo.demo,
    list.list_,
    build.build,
    summary.summary,
    draw.draw,
    toy.toy,
    train.train,
    test.test,
    plot.plot,
    detect.detect,
    convert.convert,
    verify.verify,
):
    app.command(verb.__name__.rstrip("_"))(verb)
app.add_typer(lmdb.app, name="lmdb")


def main() -> None:
    """Run the command line. A UserError is printed without a traceback; the exit status is then 2."""
    try:
        app()
    except UserError as error:
        print(f"netgen: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
