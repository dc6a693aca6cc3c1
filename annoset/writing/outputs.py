"""What making a database leaves behind: LMDBs, the list of sizes, the list of images; all of it or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from os.path import abspath, basename, splitext
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from annoset.annotation import Annotation
from annoset.database import create
from annoset.folder import refuse_existing
from prototxt.errors import UserError
from prototxt.files import atomic_write, cannot_write

_OTHER_LABELMAP = "give it with --labelmap, or write another with --labelmap-out"
_OTHER_NAME_SIZE = "remove it, or write another with --name-size"
_OTHER_LIST = "remove it, or write another with --list"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Targets:
    """Where to write.

    Attributes:
        lmdb: folder of the LMDB; must not exist.
        name_size: file with the line `name height width` for each record, in their order.
        labelmap: the label map; read when `labelmap_given`, otherwise written.
        list: file with a line `image annotation` for each record, in their order; empty to write none.
        shards: how many LMDBs the records are dealt out to, one after the other: record i goes to shard i modulo
            their number. They are called `lmdb` with `_0`, `_1` … behind it when there are several.
    """

    lmdb: Path
    name_size: Path
    labelmap: Path
    labelmap_given: bool = False
    list: Path | None = None
    shards: int = 1

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise UserError(f"--shards is {self.shards}", expected="1 or more")
        named = [*self.lmdbs, self.name_size, self.labelmap, *([self.list] if self.list else [])]
        twice = [path for path, times in Counter(map(abspath, named)).items() if times > 1]
        if twice:
            found = "two of the outputs would be written here"
            raise UserError(found, where=twice[0], fix="give each a path of its own")

    @property
    def lmdbs(self) -> list[Path]:
        if self.shards == 1:
            return [self.lmdb]
        return [self.lmdb.with_name(f"{self.lmdb.name}_{shard}") for shard in range(self.shards)]

    def refuse_existing(self) -> None:
        for path in self.lmdbs:
            refuse_existing(path)


class Outputs:
    """Takes records; a context manager. Only when its block ends well is there anything: first texts, then LMDBs.

    Args:
        labelmap: text of the label map, unless that was given.
    """

    def __init__(self, targets: Targets, labelmap: str) -> None:
        self._targets, self._labelmap, self._count = targets, labelmap, 0

    def __enter__(self) -> Outputs:
        targets = self._targets
        with ExitStack() as stack:
            self._writers = [stack.enter_context(create(path)) for path in targets.lmdbs]
            if not targets.labelmap_given:
                labelmap = stack.enter_context(new_text(targets.labelmap, _OTHER_LABELMAP))
                labelmap.write(self._labelmap)
                labelmap.refuse_other()  # before images are read for hours
            self._sizes = stack.enter_context(new_text(targets.name_size, _OTHER_NAME_SIZE))
            self._list = targets.list and stack.enter_context(new_text(targets.list, _OTHER_LIST))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def put(self, annotation: Annotation, record: bytes) -> None:
        self._writers[self._count % len(self._writers)].put(f"{self._count:08d}_{annotation.name}", record)
        called = annotation.called or splitext(basename(annotation.name))[0]
        self._sizes.write(f"{called} {annotation.height} {annotation.width}\n")
        if self._list:
            self._list.write(list_line(annotation))
        self._count += 1

    def finish(self) -> None:
        """Write what is held in memory, so that a full disk shows before anything appears."""
        if self._count < len(self._writers):
            found = f"there are {self._count} images for {len(self._writers)} shards"
            raise UserError(found, expected="an image for each shard", fix="give a smaller number to --shards")
        for writer in self._writers:
            writer.flush()


def list_line(annotation: Annotation) -> str:
    """`image annotation`, parted by a space as SSD-Caffe reads them, or by a tab where a path has a space in it."""
    words = [word for word in (annotation.name, annotation.listed) if word]
    return ("\t" if any(" " in word for word in words) else " ").join(words) + "\n"


class NewText:
    """A text in the making, which `new_text` opened. A process that is killed leaves nothing of it."""

    def __init__(self, spool: IO[bytes], path: Path, fix: str) -> None:
        self._spool, self._path, self._fix = spool, path, fix

    def write(self, text: str) -> None:
        self._spool.write(text.encode("utf-8", "surrogateescape"))

    def refuse_other(self) -> None:
        """Raise UserError if a file is there that says something else than was written up to now."""
        if self._path.exists():
            with self._path.open("rb") as file:
                same = all(ours == theirs for ours, theirs in zip_longest(self.chunks(), _chunks(file)))
            if not same:
                raise UserError("this exists already and says something else", where=str(self._path), fix=self._fix)

    def chunks(self) -> Iterator[bytes]:
        self._spool.seek(0)
        yield from _chunks(self._spool)


@contextmanager
def new_text(path: Path, fix: str) -> Iterator[NewText]:
    """Write a text, which appears whole or not at all, and never in the place of one that says something else.

    Raises:
        UserError: another text is at `path`, with `fix`; it cannot be written.
    """
    with _beside(path) as spool:
        text = NewText(spool, path, fix)
        yield text
        text.refuse_other()
        with atomic_write(path) as file:
            file.writelines(text.chunks())


def _beside(path: Path) -> IO[bytes]:
    """A file without a name on the disk that `path` will be on. Raises UserError when there can be none."""
    try:
        return TemporaryFile(dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
