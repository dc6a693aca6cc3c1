"""A process that reads damaged files, so that whatever they do to it is seen from outside and ends with it."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from io import StringIO
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from prototxt.errors import UserError
from tests.fuzz import seeds
from tests.fuzz.mutate import mutated
from tests.fuzz.table import Target

DEADLINE_S = 10.0
MOST_MB = 400  # that one reading may take besides what the process has
_SPARE = 3 << 30  # address space for it: far more than is touched
_START_S = 120.0  # to import all that a target needs
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod"}
_OURS = {"converters.hdf5_worker", "converters.proof.mnn_worker"}  # processes that readers may start
_FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Outcome(NamedTuple):
    """What came of one file.

    Attributes:
        kind: "read", "refused" (UserError) or "finding".
        text: the error, or what was found.
    """

    kind: str
    text: str
    seconds: float = 0.0
    peak_mb: float = 0.0


def files_of(name: str, target: Target, seed: int, count: int) -> Iterator[bytes]:
    """The first damaged files of a target, its share of `count`."""
    whole = target.seeds()
    for number in range(ceil(count * target.share)):
        random = Random(f"{name} {seed} {number}")
        yield mutated(random.choice(whole), random, whole, text=target.text)


class Worker:
    """A handle on the process; a new one takes its place when it ends or has to be ended. A context manager.

    Args:
        folder: an empty one that it works in.
        targets: the module whose TARGETS it reads files with.
        deadline_s: after which it is ended.
    """

    def __init__(self, folder: Path, targets: str = "tests.fuzz.targets", deadline_s: float = DEADLINE_S) -> None:
        self._folder, self._targets, self._deadline_s = folder, targets, deadline_s
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    def read(self, name: str, files: Iterable[bytes]) -> Iterator[tuple[bytes, Outcome]]:
        """Have the target `name` read each file."""
        ready = False
        for data in files:
            if self._process is None:
                self._start()
                ready = False
            if not ready:
                outcome = self._ask(name, None, _START_S)
                if outcome.kind != "read":
                    raise RuntimeError(f"{name} does not read whole files: {outcome.text}")
                ready = True
            yield data, self._ask(name, data, self._deadline_s)

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, self._folder, self._targets), daemon=True)
        self._process.start()
        theirs.close()

    def _ask(self, name: str, data: bytes | None, deadline: float) -> Outcome:
        began = time.perf_counter()
        try:
            self._pipe.send((name, data))
            if not self._pipe.poll(deadline):
                self._end()
                return Outcome("finding", f"hang: no end after {deadline:g} s", deadline)
            outcome = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            self._end()
            return Outcome("finding", f"crash: the process ended with {code}", time.perf_counter() - began)
        if outcome.kind == "finding":
            self._end()  # what it left in the process is not the next file's
        return outcome

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(pipe: Any, folder: Path, targets: str) -> None:
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries say much of damaged files
    known = import_module(targets).TARGETS
    watch = _Watch(folder)
    watch.prepare()
    while True:
        try:
            name, data = pipe.recv()
        except EOFError:
            return
        target = known[name]
        if data is None:  # whole files have it import all that it needs
            outcomes = [attempt(target, watch.place(target, whole)) for whole in target.seeds()]
            pipe.send(next((each for each in outcomes if each.kind != "read"), outcomes[0]))
        else:
            pipe.send(watch.read(target, data))


def attempt(target: Target, path: Path) -> Outcome:
    """What comes of a file."""
    try:
        with redirect_stdout(StringIO()):
            target.read(path)
        return Outcome("read", "")
    except UserError as error:
        return Outcome("refused", str(error))
    except BaseException:
        return Outcome("finding", traceback.format_exc())


class _Watch:
    """What a reading takes, and what it touches besides its file and the folder `out`."""

    def __init__(self, folder: Path) -> None:
        self._root, self._in, self._out, self._temporary = folder, *(folder / name for name in ("in", "out", "tmp"))
        self._touched: list[str] | None = None
        sys.addaudithook(self._hear)

    def prepare(self) -> None:
        """Make the folder anew: what files may refer to, and what they must not."""
        shutil.rmtree(self._root)
        self._in.mkdir(parents=True)
        self._out.mkdir()
        self._temporary.mkdir()
        tempfile.tempdir = str(self._temporary)
        (self._root / "bait.bin").write_bytes(bytes(1000))
        (self._in / "link.bin").symlink_to(self._root / "bait.bin")
        for name, data in seeds.beside().items():
            (self._in / name).write_bytes(data)
        self._before = self._tree()
        os.chdir(self._in)

    def place(self, target: Target, data: bytes) -> Path:
        """The file for a target to read."""
        path = self._in / f"x{target.suffix}"
        path.write_bytes(data)
        return path

    def read(self, target: Target, data: bytes) -> Outcome:
        """Have a target read a file, and look at what it does."""
        path = self.place(target, data)
        size, resident, _ = _memory()
        with self._listening() as touched, _address_space(size + _SPARE), open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")  # the peak is counted from here
            peak.flush()
            began = time.perf_counter()
            found = attempt(target, path)
            seconds = time.perf_counter() - began
        taken = (_memory()[2] - resident) / 2**20
        path.unlink()
        touched += [f"made {new}" for new in self._tree() - self._before]
        if touched:
            found = Outcome("finding", "escape: " + ", ".join(touched))
        elif taken > MOST_MB and found.kind != "finding":
            found = Outcome("finding", f"memory: {taken:.0f} MB")
        return found._replace(seconds=seconds, peak_mb=taken)

    def _tree(self) -> set[str]:
        """What is there besides what may be there, which is removed."""
        for folder in (self._out, self._temporary):
            shutil.rmtree(folder)
            folder.mkdir()
        return {str(path.relative_to(self._root)) for path in self._root.rglob("*")}

    @contextmanager
    def _listening(self) -> Iterator[list[str]]:
        self._touched = touched = []
        try:
            yield touched
        finally:
            self._touched = None

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self._touched is None:
            return
        if event in _FORBIDDEN and not (event == "subprocess.Popen" and _OURS.intersection(args[1])):
            self._touched.append(f"{event} {args!r:.200}")
        elif event == "open" and isinstance(args[0], (str, bytes)):
            path, writes = os.path.abspath(os.fsdecode(args[0])), bool(args[2] & _WRITES)
            if path != "/proc/self/clear_refs" and not self._allows(path, writes):
                self._touched.append(f"{'wrote' if writes else 'read'} {path}")
        elif event in _CHANGES and args[-1] == -1:  # otherwise the path is one in a folder that is open
            paths = [os.path.abspath(os.fsdecode(each)) for each in args if isinstance(each, (str, bytes, Path))]
            self._touched += [f"{event} {path}" for path in paths if not self._allows(path, True)]

    def _allows(self, path: str, writes: bool) -> bool:
        if path.startswith((f"{self._out}/", f"{self._temporary}/")) or path == os.devnull:
            return True
        return not writes and (path.startswith(f"{self._in}/") or not path.startswith(str(self._root)))


@contextmanager
def _address_space(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _memory() -> tuple[int, int, int]:
    """Bytes of this process: its address space, its memory, the peak of that."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    size, resident, peak = (1024 * int(fields[name].split()[0]) for name in ("VmSize", "VmRSS", "VmHWM"))
    return size, resident, peak
