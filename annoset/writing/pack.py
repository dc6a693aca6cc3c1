"""From annotations to an LMDB with its label map and its lists: what the `netgen lmdb` verbs share."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from annoset.classes import Classes
from annoset.parallel import Processes, cores, in_order
from annoset.writing.outputs import Outputs, Targets
from annoset.writing.picture import Picture, Storage, keep_freed_memory, load_picture
from annoset.writing.record import Gatherer, Labelled, Labeller, Source, join_record
from prototxt.errors import UserError, UserErrors

_SHOWN_ERRORS = 20
Watch = Callable[[Sequence[Any], str], Iterable[Any]]
Made = tuple[Labelled, Picture, bytes]


@dataclass(frozen=True)
class Options:
    """How to treat what is read.

    Attributes:
        skip_bad: leave out what has a mistake, instead of giving up.
        clip_boxes: cut boxes at the image's border before they are judged.
        drop_difficult: leave out objects marked difficult, COCO's crowds among them.
        shuffle: whether the records are in an order drawn from `seed`, as convert_annoset --shuffle does.
        seed: any integer.
        storage: how images are stored.
        workers: processes that read annotations, and threads that decode and encode images, if there is enough to
            do; 0 for one a core, 1 for none.
    """

    skip_bad: bool = False
    clip_boxes: bool = False
    drop_difficult: bool = False
    shuffle: bool = False
    seed: int = 0
    storage: Storage = field(default_factory=Storage)
    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"--workers is {self.workers}", expected="1 or more, or 0 for one a core")


@dataclass
class Mistakes:
    """Mistakes of images: how many, and the first of them.

    Attributes:
        count: images with mistakes.
        first: the mistakes of the first of these, to be shown.
    """

    count: int = 0
    first: list[UserError] = field(default_factory=list)

    def add(self, error: UserError) -> None:
        self.count += 1
        if self.count <= _SHOWN_ERRORS:
            self.first.append(error)

    def all(self) -> list[UserError]:
        """The first, and one that counts the others."""
        more = self.count - len(self.first)
        counted = UserError(f"and {more} more image{' has' if more == 1 else 's have'} mistakes")
        return [*self.first, *([counted] if more else [])]


@dataclass
class Report:
    """What was written.

    Attributes:
        classes: of the label map.
        images: number of records.
        boxes: class -> number of boxes.
        difficult: boxes marked difficult, of all classes.
        without_area: boxes with xmin = xmax or ymin = ymax, of all classes.
        grey, cmyk: images of one channel, and of four.
        turned: images that are stored otherwise than the camera was held.
        spaced: images with a space in their name.
        skipped: the mistakes of what was left out.
    """

    classes: Classes
    images: int = 0
    boxes: Counter[str] = field(default_factory=Counter)
    difficult: int = 0
    without_area: int = 0
    grey: int = 0
    cmyk: int = 0
    turned: int = 0
    spaced: int = 0
    skipped: Mistakes = field(default_factory=Mistakes)

    def add(self, labelled: Labelled, picture: Picture) -> None:
        self.images += 1
        self.boxes.update(labelled.classes)
        self.difficult += labelled.difficult
        self.without_area += labelled.without_area
        self.spaced += len(labelled.annotation.name.split()) > 1
        if file := picture.file:
            self.grey += file.channels == 1
            self.cmyk += file.channels == 4 and file.format == "JPEG"
            self.turned += file.orientation != 1


def pack(
    sources: Sequence[Source],
    targets: Targets,
    options: Options,
    watch: Watch = lambda items, _: items,
    classes: Classes | None = None,
) -> Report:
    """Read every source, check it, and write the LMDB, its lists and, unless it was given, the label map.

    Everything is read in one pass; two when the classes must be gathered first. Memory does not grow with the number
    of images, but for 8 bytes each. The LMDB appears last, so where it is, the other files are.

    Args:
        watch: passes items on and shows how far they are; called with the items and what is done with them.
        classes: those of the label map; None to gather them from the annotations, and number them by the alphabet.

    Raises:
        UserErrors: everything that is wrong with annotations and images, unless `skip_bad`.
        UserError: no image is left; a target exists or cannot be written.
    """
    targets.refuse_existing()
    keep_freed_memory()
    run = _Run(sources, options, watch)
    report = Report(classes or run.gather_classes())
    with Outputs(targets, report.classes.text()) as outputs:
        for labelled, picture, record in run.records(report):
            outputs.put(labelled.annotation, record)
            report.add(labelled, picture)
        outputs.finish()
    return report


class _Run:
    """Goes through the sources."""

    def __init__(self, sources: Sequence[Source], options: Options, watch: Watch) -> None:
        self._sources, self._options, self._watch = sources, options, watch
        self._workers = options.workers or cores()

    def gather_classes(self) -> Classes:
        """Those of all annotations. Raises UserErrors as `pack` does, also of images when annotations have mistakes."""
        names, mistakes = set(), Mistakes()
        with self._processes(Gatherer(self._labeller(None))) as processes:
            for found in processes.in_order(self._items("gathering classes", range(len(self._sources)))):
                if isinstance(found, UserError):
                    mistakes.add(found)
                else:
                    names |= found
        if mistakes.count and names and not self._options.skip_bad:
            for _ in self.records(Report(Classes.of(names))):
                pass
        self._refuse(mistakes)
        if not names:
            fix = "give one with --labelmap"
            nothing = UserError("no image has an object, so no label map can be made", fix=fix)
            raise UserErrors([*mistakes.all(), nothing])
        return Classes.of(sorted(names))

    def records(self, report: Report) -> Iterator[Made]:
        """The records of all images without a mistake, in the order they are to be written in.

        After a mistake that may not be skipped, the rest is only checked. Raises UserErrors as `pack` does.
        """
        storage = self._options.storage

        def make(labelled: Labelled | UserError) -> Made | UserError:
            if isinstance(labelled, UserError):
                return labelled
            try:
                picture = load_picture(labelled.annotation, storage)
            except UserError as error:
                return error
            return labelled, picture, join_record(picture, labelled.boxes)

        with self._processes(self._labeller(report.classes.labels)) as processes:
            labelled = processes.in_order(self._items("writing records", self._order()))
            for made in in_order(make, labelled, self._workers if storage.decodes else 1):
                if isinstance(made, UserError):
                    report.skipped.add(made)
                elif self._options.skip_bad or not report.skipped.count:
                    yield made
        self._refuse(report.skipped)
        if not report.images:
            raise UserErrors([*report.skipped.all(), UserError("no image is left to write")])

    def _labeller(self, labels: Mapping[str, int] | None) -> Labeller:
        return Labeller(labels, self._options.clip_boxes, self._options.drop_difficult)

    def _processes(self, work: Callable[[Source], Any]) -> Processes:
        return Processes(work, self._workers, len(self._sources))

    def _items(self, what: str, order: Sequence[int]) -> Iterator[Source]:
        return (self._sources[position] for position in self._watch(order, what))

    def _order(self) -> Sequence[int]:
        """Positions of the sources."""
        if not self._options.shuffle:
            return range(len(self._sources))
        order = array("Q", range(len(self._sources)))
        random.Random(self._options.seed).shuffle(order)
        return order

    def _refuse(self, mistakes: Mistakes) -> None:
        if mistakes.count and not self._options.skip_bad:
            closing = UserError("nothing was written", fix="or leave such images out with --skip-bad")
            raise UserErrors([*mistakes.all(), closing])
