"""The training loop of every stage: steps, snapshots, markers, metrics; what differs comes in as a loss and hooks."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field

from bandloom.config import Config
from bandloom.console import console, logger, progress_bar
from bandloom.device_batch import DeviceBatch
from bandloom.engine import Engine, EngineConfig, LossOf, StepReport
from bandloom.errors import TrainingError
from bandloom.markers import EXIT_DONE, EXIT_STOPPED, RunMarkers
from bandloom.ranks import Ranks
from bandloom.run_folder import RunFolder
from bandloom.snapshots import Snapshots, require_clean


class TrainerConfig(Config):
    """How long, how much and how often."""

    steps: int = Field(default=2000, gt=0, description="optimizer steps")
    batch_size: int = Field(
        default=32, gt=0, description="samples a step over all ranks; a multiple of ranks x accumulate"
    )
    seed: int = Field(default=0, ge=0, description="of the weights, the order, the masks and the augmentation")
    workers: int = Field(default=2, ge=0, description="loader workers a rank")
    log_every: int = Field(default=20, gt=0, description="steps between lines of metrics.jsonl")
    snapshot_every: int = Field(default=500, gt=0, description="steps between snapshots; the last step always has one")
    keep_last: int = Field(default=2, gt=0, description="snapshots kept")
    keep_every: int | None = Field(default=None, gt=0, description="snapshots of these multiples are kept for good")
    engine: EngineConfig = Field(default_factory=EngineConfig)


@dataclass(frozen=True)
class LoadedStep:
    """What one step trains on: this rank's batch, and the loader's state after it (three integers)."""

    batch: DeviceBatch
    state: dict[str, int]


@dataclass
class Task:
    """What a stage brings to the loop.

    Args:
        loss_of: ``(module, DeviceBatch) -> scalar``.
        open_loader: called with the loader's state (None: the beginning), yields steps without end.
        hooks: ``(every, hook)``: ``hook(step)`` runs on all ranks after each ``every`` steps and after the last.
    """

    loss_of: LossOf
    open_loader: Callable[[dict[str, int] | None], Iterator[LoadedStep]]
    hooks: Sequence[tuple[int, Callable[[int], None]]] = field(default_factory=tuple)


class Trainer:
    """Runs a task to its end, or to a request to stop, and can go on from any snapshot."""

    def __init__(self, run: RunFolder, config: TrainerConfig, engine: Engine, task: Task) -> None:
        self.run, self.config, self.engine, self.task = run, config, engine, task
        self.ranks: Ranks = engine.ranks
        self.markers = RunMarkers(run.path)
        self.snapshots = Snapshots(run.path / "snapshots", self.ranks, config.keep_last, config.keep_every)
        self.step = 0
        self._skipped_in_a_row = 0
        self._waited_s = 0.0
        self._window = (0, time.monotonic())

    def train(self) -> int:
        """Train to the end; returns the process's exit code (0 done, 75 stopped after a save).

        Raises:
            TrainingError: too many steps in a row were not finite.
        """
        self._claim()
        loader_state = self._resume()
        steps = self.task.open_loader(loader_state)
        try:
            with _ProgressLine(self.config.steps, self.step, self.ranks.rank == 0) as line:
                while self.step < self.config.steps:
                    loader_state = self._one_step(steps, line)
                    if self.ranks.any(self.markers.stop_requested()):
                        self._snapshot(loader_state)
                        return self._end("stopped", EXIT_STOPPED)
                    if self.step % self.config.snapshot_every == 0 and self.step < self.config.steps:
                        self._snapshot(loader_state)
            if loader_state is not None and not self.snapshots.holds(self.step):
                self._snapshot(loader_state)
        except BaseException as cause:
            if self.ranks.rank == 0:
                self.markers.write_end("failed", self.step, 1, f"{type(cause).__name__}: {cause}")
            raise
        return EXIT_DONE

    def finish(self) -> int:
        """Mark the run as done, once the stage has written its results."""
        return self._end("done", EXIT_DONE)

    def _claim(self) -> None:
        attempt = self.ranks.broadcast_text(self.markers.attempt)
        self.markers.attempt = attempt
        if self.ranks.rank == 0:
            self.markers.claim()
        self.ranks.barrier()
        self.markers.listen()

    def _resume(self) -> dict[str, int] | None:
        latest = self.snapshots.latest()
        if latest is None:
            require_clean(self.snapshots)
            return None
        self.engine.load_state(latest.load())
        self.step = latest.step
        self._window = (self.step, time.monotonic())
        logger.info("resumed from step %d of %d", self.step, self.config.steps)
        return latest.trainer["loader"]

    def _one_step(self, steps: Iterator[LoadedStep], line: "_ProgressLine") -> dict[str, int]:
        began = time.monotonic()
        loaded = next(steps)
        waited = time.monotonic() - began
        # stochastic depth draws from torch's generator: seeded by the step, it needs no state in a snapshot
        torch.manual_seed((self.config.seed * 1_000_003 + self.step) * 65_537 + self.ranks.rank)
        micro = loaded.batch.split(self.config.engine.accumulate)
        report = self.engine.train_step(micro, self.task.loss_of, self.step)
        self.step += 1
        self._waited_s += waited
        self._check_finite(report, loaded)
        self.markers.beat(self.step, self.ranks.rank, loss=report.loss, total=self.config.steps)
        if self.ranks.rank == 0 and (self.step % self.config.log_every == 0 or self.step == self.config.steps):
            self._log(report)
        line.advance(self.step, report.loss)
        for every, hook in self.task.hooks:
            if self.step % every == 0 or self.step == self.config.steps:
                hook(self.step)
        return loaded.state

    def _check_finite(self, report: StepReport, loaded: LoadedStep) -> None:
        if not report.skipped:
            self._skipped_in_a_row = 0
            return
        self._skipped_in_a_row += 1
        keys = ", ".join(loaded.batch.keys[:8])
        logger.warning("step %d was not finite and changed nothing; rank %d held %s", self.step, self.ranks.rank, keys)
        if self.ranks.rank == 0:
            self.run.log(self.step, "event", event="skipped", keys=list(loaded.batch.keys))
        if self._skipped_in_a_row >= self.config.engine.max_skipped:
            raise TrainingError(
                f"{self._skipped_in_a_row} steps in a row were not finite, the last with the samples {keys}; look at"
                " these samples, or lower engine.lr."
            )

    def _log(self, report: StepReport) -> None:
        step, since = self._window
        took = max(time.monotonic() - since, 1e-9)
        rate = (self.step - step) / took
        self.run.log(
            self.step,
            "train",
            loss=report.loss,
            lr=report.lr,
            grad_norm=report.grad_norm if math.isfinite(report.grad_norm) else None,
            samples_per_s=round(rate * self.config.batch_size, 2),
            data_wait=round(self._waited_s / took, 4),
        )
        self._window, self._waited_s = (self.step, time.monotonic()), 0.0

    def _snapshot(self, loader_state: dict[str, int] | None) -> None:
        began = time.monotonic()
        self.markers.check_owner()
        trainer: dict[str, Any] = {"loader": loader_state, "config": self.config.model_dump(mode="json")}
        if self.snapshots.save(self.step, self.engine.state(), trainer) and self.ranks.rank == 0:
            self.markers.saved(self.step, time.monotonic() - began)

    def _end(self, reason: str, code: int) -> int:
        if self.ranks.rank == 0:
            self.markers.write_end(reason, self.step, code)
        self.ranks.barrier()
        if code == EXIT_STOPPED:
            logger.info("stopped on request after step %d; the same command goes on from here", self.step)
        return code


class _ProgressLine:
    """The bar on a terminal; a plain line every ten seconds in a job's log."""

    def __init__(self, total: int, done: int, shown: bool) -> None:
        self.total, self.shown = total, shown
        self._bar = progress_bar() if shown and console.is_terminal else None
        self._began, self._done, self._said = time.monotonic(), done, time.monotonic()

    def __enter__(self) -> "_ProgressLine":
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("training", total=self.total, completed=self._done)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, step: int, loss: float) -> None:
        """Show that ``step`` is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=f"loss {loss:.4f}")
        elif self.shown and (time.monotonic() - self._said > 10 or step == self.total):
            self._said = time.monotonic()
            left_s = (self._said - self._began) / max(1, step - self._done) * (self.total - step)
            logger.info("step %d of %d, loss %.4f, %.0f s left", step, self.total, loss, left_s)
