"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from prototxt.errors import UserError

_ADVICE = {
    errno.ENOSPC: "free some disk space and run the command again; nothing was left at that path",
    errno.ENOENT: "create the folder first",
    errno.EACCES: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
}


def is_file(path: str | Path) -> bool:
    """Whether there is a file at `path`; there is none of a name too long or with a NUL, which files may hold."""
    return os.path.isfile(path)  # that of pathlib lets such errors through


def cannot_write(path: str | Path, error: OSError) -> UserError:
    """The UserError for an OSError met while writing to `path`."""
    return UserError(
        f"cannot be written: {error.strerror or error}", where=str(path), fix=_ADVICE.get(error.errno or 0, "")
    )


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path` and rename it to `path` when the block ends well.

    Text is written as UTF-8 with Unix line ends. When the block fails, or the disk is full,
    the temporary file is removed and whatever stood at `path` before still stands there.

    Raises:
        UserError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(handle, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": "\n"})) as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        # An error of writing names no file or ours; one with another name is the block's own.
        if isinstance(error, OSError) and error.filename in (None, temporary):
            raise cannot_write(path, error) from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
