"""A schedule: how a net is trained, as far as the solver's prototxt and the batches say it."""

from __future__ import annotations

from dataclasses import dataclass

from prototxt.errors import UserError

_INT32_END = 2**31


@dataclass(frozen=True)
class Schedule:
    """How the weights are updated, by a learning rate that falls at each step.

    Attributes:
        base_lr, max_iter: learning rate at the start, iterations in all.
        batch_size: images of one forward pass over all devices; each device has its share, and BatchNorm sees that.
        steps: iterations at which the learning rate falls.
        stepsize: instead of `steps`, it falls each time so many iterations have passed.
        accum_batch_size: images of one update: so many passes' gradients are added up as reach it; None is one pass.
        gpus: devices of the published run, with commas between them.
        test_batch_size: the largest batch of the test net; see `fit_test_batch`.
        test_interval: iterations between two tests; None trains without a test net.
        test_initialization: also test before the first iteration.
        snapshot, display: iterations between two snapshots, between two lines of the log.
        debug_info: log the mean of every blob in every iteration.
        random_seed: of the solver; None draws one for each run.
        solver_mode: "CPU" (one device) or "GPU".
        weights: caffemodel that training starts from; None starts from scratch.
        type: of the solver, in Caffe's words.
        gamma: what the learning rate is multiplied by at each step.
        momentum: 0 for solvers that have none.
        weight_decay: of the weights whose `decay_mult` is 1.
    """

    base_lr: float
    max_iter: int
    batch_size: int
    steps: tuple[int, ...] = ()
    stepsize: int | None = None
    accum_batch_size: int | None = None
    gpus: str = "0"
    test_batch_size: int = 1
    test_interval: int | None = None
    test_initialization: bool = False
    snapshot: int = 5000
    display: int = 20
    debug_info: bool = False
    random_seed: int | None = None
    solver_mode: str = "GPU"
    weights: str | None = None
    type: str = "SGD"
    gamma: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0005

    @property
    def num_devices(self) -> int:
        return len(self.gpus.split(",")) if self.solver_mode == "GPU" else 1

    @property
    def lr_policy(self) -> str:
        """Caffe's name of how the learning rate falls."""
        if self.stepsize is not None:
            return "step"
        return "multistep" if self.steps else "fixed"

    @property
    def device_batch_size(self) -> int:
        """Images of one forward pass on one device."""
        return self.batch_size // self.num_devices

    @property
    def iter_size(self) -> int:
        """Passes of one update; rounded up, as in SSD's scripts, so an update may see a few images more."""
        return -(-(self.accum_batch_size or self.batch_size) // self.batch_size)


def check_schedule(schedule: Schedule) -> Schedule:
    """The schedule itself.

    Raises:
        UserError: a value is out of range, the steps do not rise, the devices are no list of numbers or do not
            share the batch evenly.
    """
    positive = ("base_lr", "max_iter", "batch_size", "accum_batch_size", "test_batch_size", "test_interval", "snapshot")
    for name in (*positive, "stepsize"):
        value = getattr(schedule, name)
        if value is not None and not 0 < value < _INT32_END:
            raise UserError(f"--{name.replace('_', '-')} is {value}", expected="a number above 0 and below 2^31")
    if schedule.random_seed is not None and not 0 <= schedule.random_seed < _INT32_END:
        raise UserError(f"--random-seed is {schedule.random_seed}", expected="a number from 0 to 2^31 - 1")
    steps = schedule.steps
    if list(steps) != sorted(set(steps)) or not all(0 < step < _INT32_END for step in steps):
        shown = ",".join(map(str, steps))
        raise UserError(f"--steps is {shown}", expected="rising numbers of iterations, such as 40000,75000")
    _check_devices(schedule)
    return schedule


def _check_devices(schedule: Schedule) -> None:
    gpus = schedule.gpus.split(",")
    if not all(gpu.isascii() and gpu.isdigit() for gpu in gpus) or len({int(gpu) for gpu in gpus}) < len(gpus):
        raise UserError(f"--gpus is {schedule.gpus}", expected="the numbers of different GPUs, such as 0,1,2,3")
    count, images = schedule.num_devices, schedule.batch_size
    if images % count:
        raise UserError(
            f"{images} images of a pass do not divide among {count} GPUs ({schedule.gpus})",
            expected=f"a multiple of {count}, such as {max(1, round(images / count)) * count}",
            fix="change --batch-size or --gpus",
        )


def fit_test_batch(limit: int, num_images: int) -> int:
    """The largest batch of at most `limit` that divides `num_images`, so that each is tested exactly once."""
    return next(size for size in range(min(limit, num_images), 0, -1) if num_images % size == 0)
