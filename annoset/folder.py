"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prototxt.errors import UserError
from prototxt.files import cannot_write

try:
    import fcntl
except ImportError:  # not Unix: what a killed process left must be removed by hand
    fcntl = None


def refuse_existing(path: str | Path) -> None:
    """Raise UserError when anything is at `path`: what is there is never written over."""
    if Path(path).exists() or Path(path).is_symlink():
        raise UserError("this exists already", where=str(path), fix="remove it, or choose another path")


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` and rename it to `path` when the block ends well.

    When the block fails, or the disk is full, the temporary folder is removed, as are the folders above that had to be
    made, and `path` never appears.

    Raises:
        UserError: something is at `path` already, its parent folder cannot be made, the disk is full.
    """
    path = Path(path)
    refuse_existing(path)
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    made = [each for each in temporary.parents if not each.exists()]
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    lock = _lock(temporary)
    try:
        yield temporary
        temporary.rename(path)
    except OSError as error:
        # An error of writing names no file or one of ours; one with another name is the block's own.
        if error.filename is None or str(error.filename).startswith(str(temporary)):
            raise cannot_write(path, error) from error
        raise
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # where others have put something
            for folder in made:
                folder.rmdir()


def _lock(folder: Path) -> int | None:
    """Hold a folder for as long as this process lives; what to close then. None when another process holds it."""
    if fcntl is None:
        return None
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        os.close(lock)
        return None
    return lock


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders of `path` whose process was killed before it could do so."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}")
    for folder in path.parent.glob(f".*.{'[0-9a-f]' * 8}"):
        if pattern.fullmatch(folder.name) and folder.is_dir() and (lock := _lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
