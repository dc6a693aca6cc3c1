"""Lint: what is wrong or odd in nets, solvers and label maps, all of it at once.

A check is a small function in one of the family files, entered into `CHECKS` by `@check(ID, SEVERITY, CLASS)`; it
takes a subject of that class and yields what it finds. `lint_files` reads files and runs every check.
"""

from prototxt.lint.files import lint_files, lint_nets
from prototxt.lint.finding import CHECKS, ERROR, NOTE, SEVERITIES, WARNING, Finding

from prototxt.lint import blobs, detection, heads, norm, precision, solver, weights, wiring  # isort: skip  # noqa: F401

__all__ = ["CHECKS", "ERROR", "NOTE", "SEVERITIES", "WARNING", "Finding", "lint_files", "lint_nets"]
