"""What a run tells: lines like Caffe's on the screen, a CSV beside the snapshots, a picture of the losses."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from prototxt.errors import UserError
from prototxt.files import atomic_write

COLUMNS = ("iteration", "quantity", "value")
Row = tuple[int, str, float]


class Screen:
    """Lines on a terminal below which a bar shows the rate and the end; plain lines where there is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )

    def line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def open(self) -> Iterator[Screen]:
        """Show bars while the block runs, if this is a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        with self._bars:
            yield self

    def track(self, steps: Iterable[int], what: str, done: int, total: int) -> Iterator[int]:
        """Pass on `steps` while a bar follows them from `done` to `total`."""
        bar = self._bars.add_task(what, total=total, completed=done, rate="")
        began = time.perf_counter()
        try:
            for count, step in enumerate(steps, 1):
                yield step
                rate = count / (time.perf_counter() - began)
                self._bars.update(bar, advance=1, rate=f"{rate:.2f}/s")
        finally:
            self._bars.remove_task(bar)


class RunLog:
    """A CSV of `iteration,quantity,value` that grows as a run goes on; quantities: loss, lr, train/…, test/….

    Args:
        path: the file; None keeps no file.
        start: the first iteration of this run. Rows of an earlier run that lie before it stay, so that the
            file of a resumed run tells the whole story; 0 begins a new file.
    """

    def __init__(self, path: Path | None, start: int = 0) -> None:
        self._file = None
        if path is None:
            return
        kept = [row for row in read_log(path) if row[0] < start] if start and path.exists() else []
        with atomic_write(path, "w") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *kept])
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, iteration: int, values: Iterable[tuple[str, float]]) -> None:
        """Add a row for each (quantity, value)."""
        if self._file is not None:
            self._writer.writerows((iteration, name, f"{value:.9g}") for name, value in values)
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_log(path: str | Path) -> list[Row]:
    """The rows of a run's CSV. Raises UserError for a file that is not one."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        if tuple(rows[0]) != COLUMNS:
            raise ValueError
        # The last line of a run that was killed may be cut short.
        return [(int(row[0]), row[1], float(row[2])) for row in rows[1:] if len(row) == 3 and row[2]]
    except FileNotFoundError as error:
        raise UserError("there is no such file", where=str(path)) from error
    except (ValueError, IndexError) as error:
        raise UserError("this is not the log of a run", where=str(path), expected=",".join(COLUMNS)) from error


def plot_losses(log: str | Path, picture: str | Path) -> None:
    """Draw the losses of a run's CSV over the iterations, and its test scores as points on an axis of their own.

    Args:
        log: the CSV.
        picture: the file to write; its ending (.png, .svg, .pdf) says what.

    Raises:
        UserError: `log` is not the CSV of a run, the ending is unknown, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series: dict[str, list[tuple[int, float]]] = {}
    for iteration, quantity, value in read_log(log):
        series.setdefault(quantity, []).append((iteration, value))
    figure = Figure(figsize=(8, 5), layout="constrained")
    kind, kinds = Path(picture).suffix[1:], FigureCanvasAgg(figure).get_supported_filetypes()
    if kind not in kinds:
        raise UserError(f'pictures ending in ".{kind}" are not known', where=str(picture), expected=", ".join(kinds))
    axes = figure.add_subplot()
    if "loss" in series:
        axes.plot(*zip(*series["loss"]), color="tab:blue", label="training loss (smoothed)")
    axes.set(xlabel="iteration", ylabel="loss", title=Path(log).name.removesuffix(".log.csv"))
    axes.grid(alpha=0.3)
    scores = {name: points for name, points in series.items() if name.startswith("test/")}
    if scores:
        right = axes.twinx()
        right.set(ylabel="test", ylim=(0, 1) if all(v <= 1 for p in scores.values() for _, v in p) else None)
        for colour, (name, points) in enumerate(scores.items(), 1):
            right.plot(*zip(*points), "o--", color=f"C{colour}", label=name.removeprefix("test/"))
    figure.legend(loc="outside lower center", ncols=4)
    with atomic_write(picture) as file:
        figure.savefig(file, format=kind, dpi=120)
