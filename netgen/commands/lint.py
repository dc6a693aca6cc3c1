"""`netgen lint`: what is wrong or odd in nets, solvers and label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Prototxts of nets, solvers and label maps.")],
    format: Annotated[
        Literal["text", "json", "github"],
        typer.Option(help="For people, for programs, or as annotations of a GitHub workflow."),
    ] = "text",
) -> None:
    """Check nets, all of their problems at once.

    Give the train, test and deploy nets of a model together, or its solver, and they are held against each other. The
    exit status is 1 when there is an error or a warning; notes do not count.
    """
    from prototxt.errors import UserError
    from prototxt.lint import NOTE, lint_files, report

    absent = [str(path) for path in files if not path.is_file()]
    if absent:
        raise UserError(f"there is no such file: {', '.join(absent)}")
    findings = lint_files(files)
    if format == "json":
        typer.echo(report.as_json(findings, len(files)))
    elif format == "github":
        for finding in findings:
            typer.echo(report.github(finding))
    else:
        for paragraph in report.text(
            findings, lambda severity: typer.style(severity, fg=_COLOURS[severity], bold=True)
        ):
            typer.echo(paragraph)
        typer.echo(report.closing(findings, len(files)))
    if any(finding.severity != NOTE for finding in findings):
        raise typer.Exit(1)
