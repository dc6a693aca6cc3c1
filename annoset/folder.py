"""Folders that appear whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prototxt.errors import UserError
from prototxt.files import cannot_write


def refuse_existing(path: str | Path) -> None:
    """Raise UserError when anything is at `path`: what is there is never written over."""
    if Path(path).exists() or Path(path).is_symlink():
        raise UserError("this exists already", where=str(path), fix="remove it, or choose another path")


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` and rename it to `path` when the block ends well.

    When the block fails, or the disk is full, the temporary folder is removed and `path` never appears.

    Raises:
        UserError: something is at `path` already, its parent folder cannot be made, the disk is full.
    """
    path = Path(path)
    refuse_existing(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
    except OSError as error:
        # An error of writing names no file or one of ours; one with another name is the block's own.
        if error.filename is None or str(error.filename).startswith(str(temporary)):
            raise cannot_write(path, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
