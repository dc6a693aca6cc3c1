"""Training as Caffe's solver does it: `Trainer` computes an iteration, `Run` all of them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from converters.caffemodel import write_weights
from prototxt.errors import UserError
from prototxt.schema import SolverParameter
from solver import snapshot
from solver.debug import BlobMeans
from solver.evaluate import TestNet, report, run_test
from solver.feed import Feed, tensors
from solver.log import RunLog, Screen
from solver.policies import POLICIES, Progress
from solver.rules import RULES
from solver.stop import StopSignal
from solver.updates import Updater


class Trainer:
    """A net, its solver's rules and where the run stands.

    Args:
        config: anything with `p` (a SolverParameter) and `seed`, such as a SolverConfig.
        net: a CaffeNet of phase TRAIN, on the device to train on.
        feed: gives batch k of the run; iteration t takes `iter_size` batches from t * iter_size on.

    Attributes:
        progress: the iteration to come, and what the learning rate policy remembers.
        loss: mean loss of the last `average_loss` iterations.
        rate: learning rate of the last iteration.
        outputs: the net's outputs in the last batch.

    Raises:
        UserError: the net has no loss, or nothing that learns.
    """

    def __init__(self, config: Any, net: Any, feed: Feed) -> None:
        self.p: SolverParameter = config.p
        self.net, self.feed, self.seed = net, feed, config.seed
        self.progress = Progress()
        self.updater = Updater(net.blobs(), self.p)
        self.rate = 0.0
        self.outputs: dict[str, torch.Tensor] = {}
        _check_learns(net)
        self._device = self.updater.history[0].device if self.updater.history else torch.device("cpu")
        self._losses: deque[float] = deque(maxlen=self.p.average_loss)

    @property
    def loss(self) -> float:
        return sum(self._losses) / len(self._losses)

    def step(self, debug: BlobMeans | None = None) -> float:
        """Compute one iteration and give its loss, the mean over `iter_size` batches before the update.

        The order is Caffe's: loss and gradients, learning rate, clipping, weight decay, update.
        """
        self.updater.clear()
        first = self.progress.iteration * self.p.iter_size
        loss = sum(self._gradients(batch, debug) for batch in range(first, first + self.p.iter_size)) / self.p.iter_size
        self._losses.append(loss)
        self.rate = POLICIES[self.p.lr_policy](self.p, self.progress, self.loss)
        if debug:
            debug.blobs(self.net)
        self.updater.step(self.rate, self.progress.iteration)
        self.progress.iteration += 1
        return loss

    def _gradients(self, batch: int, debug: BlobMeans | None) -> float:
        """Add the gradients of one batch to those in the blobs; its loss."""
        # Seeded by the batch's number, dropout in a resumed run draws what it would have drawn.
        torch.manual_seed((self.seed * 1_000_003 + batch) % 2**63)
        keep = self.net.graph.shapes if debug else self.net.loss_weights
        self.outputs = self.net(tensors(self.feed(batch), self._device), keep=keep)
        loss = self.net.loss(self.outputs)
        if debug:
            debug.watch(self.outputs)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def save(self, prefix: Path) -> tuple[Path, Path]:
        """Write a snapshot; the solverstate comes last, so it never names weights that are not there."""
        hdf5 = self.p.snapshot_format == SolverParameter.HDF5
        model, state = snapshot.paths(prefix, self.progress.iteration, hdf5)
        model.parent.mkdir(parents=True, exist_ok=True)
        write_weights(model, self.net.graph, self.net.weights())
        history = [tensor.cpu().numpy() for tensor in self.updater.history]
        snapshot.write_state(state, snapshot.State(self.progress, str(model), history))
        return model, state

    @torch.no_grad()
    def restore(self, path: str | Path, state: snapshot.State) -> None:
        """Go on from a solverstate; the net must hold its weights already.

        Raises:
            UserError: the history does not fit the net.
        """
        snapshot.check_history(path, state, self.net.blobs(), RULES[self.p.type].histories)
        for tensor, array in zip(self.updater.history, state.history):
            tensor.copy_(torch.tensor(array))
        self.progress = state.progress


def _check_learns(net: Any) -> None:
    """Raise UserError for a net without a loss, or without a blob that learns."""
    if not net.loss_weights:
        raise UserError("the train net has no loss", where=net.graph.net.path, fix="end it with a loss layer")
    if not any(blob.lr_mult for blob in net.blobs()):
        raise UserError("the net has nothing to learn: no blob with an lr_mult above 0", where=net.graph.net.path)


class Run:
    """A training run from where its trainer stands to `max_iter`: display, test, snapshot, stop.

    Args:
        trainer: it, with weights and, on a resume, history in place.
        tests: the test nets.
        prefix: of snapshots and the log.
        screen: where lines go.
    """

    def __init__(self, trainer: Trainer, tests: Sequence[TestNet], prefix: Path, screen: Screen) -> None:
        self.trainer, self.tests, self.prefix, self.screen = trainer, tests, prefix, screen
        self.p = trainer.p
        prefix.parent.mkdir(parents=True, exist_ok=True)
        self.log = RunLog(Path(f"{prefix}.log.csv"), trainer.progress.iteration)
        self._warned = False
        self._times: list[float] = []  # seconds of each iteration since the last display

    def train(self) -> bool:
        """Run to the end, or to Ctrl-C, which snapshots and stops. Whether the end was reached.

        Raises:
            UserError: a record that cannot be read, a full disk. What was learned until then is snapshotted.
        """
        at, started = self.trainer.progress, self.trainer.progress.iteration
        with self.log, self.screen.open(), StopSignal(self.screen.line) as stop:
            try:
                self._iterations(stop)
            except UserError:
                if at.iteration > started:
                    self.snapshot()
                raise
            done = at.iteration >= self.p.max_iter
            # Ctrl-C saves the work even where snapshot_after_train is false.
            if (self.p.snapshot_after_train or not done) and not self._every(self.p.snapshot, at.iteration):
                self.snapshot()
            if done and self._every(self.p.test_interval, at.iteration):
                self.test(stop)
        self.screen.line("Optimization done." if done else f"Stopped at iteration {at.iteration}.")
        return done

    def _iterations(self, stop: StopSignal) -> None:
        at = self.trainer.progress
        for iteration in self.screen.track(
            range(at.iteration, self.p.max_iter), "train", at.iteration, self.p.max_iter
        ):
            if self._every(self.p.test_interval, iteration) and (iteration or self.p.test_initialization):
                self.test(stop)
            if stop.asked:
                return
            self._iterate(iteration)
            if self._every(self.p.snapshot, at.iteration):
                self.snapshot()
            if stop.asked:
                return

    @staticmethod
    def _every(interval: int, iteration: int) -> bool:
        return bool(interval) and iteration % interval == 0

    def _iterate(self, iteration: int) -> None:
        display = self._every(self.p.display, iteration)
        debug = BlobMeans() if display and self.p.debug_info else None
        began = time.perf_counter()
        loss = self.trainer.step(debug)
        self._times.append(time.perf_counter() - began)
        if not math.isfinite(loss) and not self._warned:
            self._warned = True
            self.screen.line(
                f"Warning: the loss of iteration {iteration} is {loss}. What is learned from here on is worth nothing; "
                "a lower base_lr or clip_gradients may help."
            )
        if display:
            self._display(iteration)
        if debug:
            debug.append(Path(f"{self.prefix}.debug.csv"), iteration)

    def _display(self, iteration: int) -> None:
        trainer = self.trainer
        outputs = list(_values(trainer.net.graph.outputs, trainer.outputs))
        pace = sum(self._times) / len(self._times)
        left = timedelta(seconds=round(pace * (self.p.max_iter - iteration - 1)))
        self._times.clear()
        self.screen.line(
            f"Iteration {iteration}, loss = {trainer.loss:.6g}, lr = {trainer.rate:.6g} "
            f"({1 / pace:.3g} iterations/s, {left} left)"
        )
        for number, (name, value) in enumerate(outputs):
            self.screen.line(f"    Train net output #{number}: {name} = {value:.6g}")
        self.log.write(iteration, [("loss", trainer.loss), ("lr", trainer.rate)])
        self.log.write(iteration, [(f"train/{name}", value) for name, value in outputs])

    def test(self, stop: StopSignal) -> None:
        """Score every test net with the weights as they are now; given up when a stop is asked."""
        iteration = self.trainer.progress.iteration
        for number, test in enumerate(self.tests):
            self.screen.line(f"Iteration {iteration}, Testing net (#{number})")
            test.share(self.trainer.net)
            result = run_test(test, self.p, self.screen, stop)
            if result is None:
                self.screen.line("Test interrupted.")
                return
            report(result, self.p, self.screen)
            self.log.write(iteration, [(f"test/{name}", value) for name, value in result.outputs])

    def snapshot(self) -> None:
        for path in self.trainer.save(self.prefix):
            self.screen.line(f"Snapshotting to {path}")


def _values(names: Sequence[str], outputs: dict[str, torch.Tensor]) -> Iterator[tuple[str, float]]:
    """Every value of the outputs, named as Caffe lists them."""
    for name in names:
        for value in outputs[name].detach().flatten().tolist():
            yield name, value
