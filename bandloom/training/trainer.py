"""The training loop of every stage: steps, snapshots, markers, metrics; a stage brings its loss and its hooks."""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from bandloom.command_line.config import ANY_TIME, WHEN_RESUMED, Config
from bandloom.command_line.console import console, logger, progress_bar
from bandloom.errors import TrainingError
from bandloom.files.output import full_disk_said
from bandloom.run_state.markers import EXIT_DONE, EXIT_STOPPED
from bandloom.run_state.pulse import StopRequested, spoken
from bandloom.run_state.run_folder import RunFolder
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import Engine, EngineConfig, LateReport, StepReport
from bandloom.training.loader_state import BEGINNING, LoaderState
from bandloom.training.profiling import StepProfiler
from bandloom.training.ranks import Ranks
from bandloom.training.snapshots import Snapshot, Snapshots, require_clean
from bandloom.training.step_loss import StepLoss
from bandloom.training.throughput import Throughput


class TrainerConfig(Config):
    """How long, how much and how often."""

    steps: Annotated[int, WHEN_RESUMED] = Field(default=2000, gt=0, description="optimizer steps")
    batch_size: Annotated[int, WHEN_RESUMED] = Field(
        default=32, gt=0, description="samples a step over all ranks; a multiple of ranks x accumulate"
    )
    seed: int = Field(default=0, ge=0, description="of the weights, the order, the masks and the augmentation")
    workers: Annotated[int, ANY_TIME] = Field(default=2, ge=0, description="loader workers a rank")
    log_every: Annotated[int, ANY_TIME] = Field(default=20, gt=0, description="steps between lines of metrics.jsonl")
    snapshot_every: Annotated[int, ANY_TIME] = Field(
        default=500, gt=0, description="steps between snapshots; the last step always has one"
    )
    keep_last: Annotated[int, ANY_TIME] = Field(default=2, gt=0, description="snapshots kept")
    keep_every: Annotated[int | None, ANY_TIME] = Field(
        default=None, gt=0, description="snapshots of these multiples are kept for good"
    )
    wandb: Annotated[str | None, ANY_TIME] = Field(
        default=None, description="project at Weights & Biases to report to; null: none"
    )
    engine: EngineConfig = Field(default_factory=EngineConfig)


@dataclass(frozen=True)
class LoadedStep:
    """What one step trains on: this rank's batch, and the loader's state after it."""

    batch: DeviceBatch
    state: LoaderState


@dataclass
class Task:
    """What a stage brings to the loop.

    Args:
        loss: what a step minimises, of micro batches that are :class:`DeviceBatch`.
        open_loader: called with the loader's state, yields steps without end.
        hooks: ``(every, hook)``: ``hook(step)`` runs on all ranks after each ``every`` steps and after the last. What
            it returns, where that is a number, is the model's score, larger is better: its best snapshot is kept.
        save_beside: rank 0 calls it with each snapshot's folder and the whole model, to put the finished part there.
        flops_per_sample: FLOPs of a training step for one sample, for the MFU.
        look_first: hooks run before the first step as well: what training starts from may be the best there is.
    """

    loss: StepLoss
    open_loader: Callable[[LoaderState], Iterator[LoadedStep]]
    hooks: Sequence[tuple[int, Callable[[int], float | None]]] = field(default_factory=tuple)
    save_beside: Callable[[Path, nn.Module], None] | None = None
    flops_per_sample: float | None = None
    look_first: bool = False


class Trainer:
    """Runs a task to its end, or to a request to stop, and can go on from any snapshot."""

    def __init__(
        self, run: RunFolder, config: TrainerConfig, engine: Engine, task: Task, *, profile: bool = False
    ) -> None:
        self.run, self.config, self.engine, self.task = run, config, engine, task
        self.ranks: Ranks = engine.ranks
        self.markers = run.markers
        self.snapshots = Snapshots(run.path / "snapshots", self.ranks, config.keep_last, config.keep_every)
        self.step = 0
        self._loader_state = BEGINNING
        self._due: list[int] = []  # hooks of this step that a stop cut short, by number
        self._saved_step: int | None = None
        self._skipped_in_a_row = 0
        self._stop_agreed = False  # the same on all ranks
        self._unread: deque[tuple[int, StepReport | LateReport, LoadedStep]] = deque()
        self._throughput = Throughput(config.batch_size, self.ranks.world, self.ranks.device, task.flops_per_sample)
        self._profiler = StepProfiler(run.path / "profile" if profile and self.ranks.rank == 0 else None)

    def train(self) -> int:
        """Train to the end; returns the process's exit code (0 done, 75 stopped after a save).

        Raises:
            TrainingError: too many steps in a row were not finite.
        """
        with self.markers.listening():
            return self._train()

    def _train(self) -> int:
        self._claim()
        try:
            self._say_short()
            if self.config.wandb and self.ranks.rank == 0:
                self.run.report_to(self.config.wandb)
            self._loader_state = self._resume()
            if self._saved_step is None and self.task.look_first:
                self._due = list(range(len(self.task.hooks)))
            steps, first = self.task.open_loader(self._loader_state), True
            with _ProgressLine(self.config.steps, self.step, self.ranks.rank == 0) as line, self._profiler:
                self._run_hooks(self._due)
                while self.step < self.config.steps and not self._due:
                    with spoken("first step") if first else contextlib.nullcontext():
                        self._one_step(steps, line)
                    first = False
                    if self._stop_agreed:
                        self._read_reports(line)
                        return self._stop()
                    if self._snapshot_due():
                        self._snapshot()
            if self._due:
                return self._stop()
            if self._saved_step != self.step:
                self._snapshot()
        except StopRequested:
            raise
        except BaseException as cause:
            self.markers.fail(cause)
            raise
        finally:
            self.run.end_report()
        return EXIT_DONE

    def back_to_best(self) -> int:
        """Load the weights of the best snapshot, where a hook scored them; all ranks call it. Returns their step."""
        best = self.snapshots.best() if self.ranks.rank == 0 else None
        step = int(self.ranks.broadcast_text(str(best["step"] if best else self.step)))
        if step != self.step:
            self.engine.load_state(Snapshot(step, self.snapshots.path_of(step), {}).load())
        return step

    def finish(self) -> int:
        """Mark the run as done, once the stage has written its results."""
        return self._end("done", EXIT_DONE)

    def _claim(self) -> None:
        self.markers.attempt = self.ranks.broadcast_text(self.markers.attempt)
        if self.ranks.rank == 0:
            self.markers.claim()
        self.ranks.barrier()

    def _say_short(self) -> None:
        """Say where a run ends before its warm-up does."""
        warmup, steps = self.config.engine.warmup_steps, self.config.steps
        if warmup > steps and self.ranks.rank == 0:
            logger.warning(
                "the warm-up of %d steps is longer than the run of %d, whose learning rate reaches %.0f %% of its peak;"
                " lower trainer.engine.warmup_steps",
                warmup,
                steps,
                100 * steps / warmup,
            )

    def _resume(self) -> LoaderState:
        latest = self.snapshots.latest()
        if latest is None:
            require_clean(self.snapshots)
            self._forget_after(0)
            return BEGINNING
        self.engine.load_state(latest.load())
        self.step = self._saved_step = latest.step
        self._forget_after(self.step)
        self._throughput.start(self.step)
        self.markers.resumed(self.step, self.config.steps)
        self._mark_best(latest.trainer.get("score"))  # an attempt that was killed between the save and the mark
        self._due = list(latest.trainer.get("due", ()))
        logger.info("resumed from step %d of %d", self.step, self.config.steps)
        return LoaderState(**latest.trainer["loader"])

    def _forget_after(self, step: int) -> None:
        """Take out of the metrics what an attempt that died wrote about steps that are now done again."""
        if self.ranks.rank == 0:
            with full_disk_said("the metrics of steps that are done again stay"):
                self.run.forget_after(step)
        self.ranks.barrier()

    def _one_step(self, steps: Iterator[LoadedStep], line: "_ProgressLine") -> None:
        began = time.monotonic()
        loaded = next(steps)
        self._throughput.waited(time.monotonic() - began)
        # what draws from torch's generator, such as dropout: seeded by the step, it needs no state in a snapshot
        torch.manual_seed((self.config.seed * 1_000_003 + self.step) * 65_537 + self.ranks.rank)
        micro = loaded.batch.split(self.config.engine.accumulate)
        report = self.engine.train_step(micro, self.task.loss, self.step, stop=self.markers.stop_requested())
        self.step += 1
        self._loader_state = loaded.state
        self._profiler.step()
        self._unread.append((self.step, report, loaded))
        last = self.step == self.config.steps
        due = [n for n, (every, _) in enumerate(self.task.hooks) if last or self.step % every == 0]
        late = isinstance(report, LateReport) and not (last or due or self._snapshot_due())
        self._read_reports(line, leave=1 if late else 0)  # of a GPU's step only when the next one is on its way
        self._run_hooks(due)
        if self.ranks.world == 1:  # several ranks learn of it together, by the next step's report
            self._stop_agreed |= self.markers.stop_requested()

    def _snapshot_due(self) -> bool:
        return self.step % self.config.snapshot_every == 0 and self.step < self.config.steps

    def _read_reports(self, line: "_ProgressLine", leave: int = 0) -> None:
        """Check, note and show the steps whose reports were not read yet, but for the last ``leave`` of them."""
        while len(self._unread) > leave:
            step, unread, loaded = self._unread.popleft()
            report = unread.read()
            self._stop_agreed |= report.stop
            self._check_finite(step, report, loaded)
            with full_disk_said("the heartbeat and the metrics are not written"):
                self.markers.beat(step, self.ranks.rank, loss=report.loss, total=self.config.steps)
                if self.ranks.rank == 0 and (step % self.config.log_every == 0 or step == self.config.steps):
                    self._log(step, report)
            line.advance(step, report.loss)

    def _run_hooks(self, numbers: Sequence[int]) -> None:
        """Run hooks one after the other; those that a stop leaves out are due when the run goes on."""
        for place, number in enumerate(numbers):
            self._due = list(numbers[place + 1 :])
            if not self._run(self.task.hooks[number][1]):
                self._due = list(numbers[place:])
                return

    def _run(self, hook: Callable[[int], float | None]) -> bool:
        """Run one hook; returns False where rank 0 was asked to stop in the middle of it."""
        score, stopped = None, False
        with full_disk_said("what this step shows is not written"):
            try:
                score = hook(self.step)
            except StopRequested:
                stopped = True
        if self.ranks.any(stopped):
            return False
        # rank 0 decides: the others may have no score
        if self.ranks.any(self.ranks.rank == 0 and self._is_better(score)):
            if self._saved_step != self.step:
                self._snapshot(score)
            if self._saved_step == self.step:
                self._mark_best(score)
        return True

    def _is_better(self, score: float | None) -> bool:
        """Tell whether a score is above that of the best snapshot so far; one that is no number is above none."""
        if score is None or not math.isfinite(score):
            return False
        best = self.snapshots.best()
        return best is None or score > best["score"]

    def _mark_best(self, score: float | None) -> None:
        """Let rank 0 mark this step's snapshot as the best, where it is."""
        if self.ranks.rank == 0 and score is not None and self._is_better(score):
            with full_disk_said("the best snapshot is not marked"):
                self.snapshots.mark_best(self.step, score)

    def _check_finite(self, step: int, report: StepReport, loaded: LoadedStep) -> None:
        if not report.skipped:
            self._skipped_in_a_row = 0
            return
        self._skipped_in_a_row += 1
        own = "" if report.finite_here else ", ".join(loaded.batch.all_keys)
        at_fault = [keys for keys in self.ranks.gather_texts(own) if keys]
        # a gradient that overflows has a finite loss on every rank: then all samples are named
        keys = "; ".join(at_fault or self.ranks.gather_texts(", ".join(loaded.batch.all_keys)))
        if self.ranks.rank == 0:
            logger.warning("step %d was not finite and changed nothing; it held the samples %s", step, keys)
            with full_disk_said("the skipped step is not noted"):
                self.run.log(step, "event", event="skipped", keys=keys, in_a_row=self._skipped_in_a_row)
        if self._skipped_in_a_row >= self.config.engine.max_skipped:
            raise TrainingError(
                f"{self._skipped_in_a_row} steps in a row were not finite, the last with the samples {keys}; look at"
                f" these samples, or go on with a lower rate: --resume {self.run.path}"
                f" trainer.engine.lr={self.config.engine.lr / 10:g}."
            )

    def _log(self, step: int, report: StepReport) -> None:
        self.run.log(
            step,
            "train",
            loss=report.loss if math.isfinite(report.loss) else None,
            lr=report.lr,
            grad_norm=report.grad_norm if math.isfinite(report.grad_norm) else None,
            **self._throughput.report(step, self.config.steps),
        )

    def _snapshot(self, score: float | None = None) -> None:
        """Save this step; with its score, where it is the best so far."""
        began = time.monotonic()
        if self.ranks.any(not self.markers.is_owner()):
            self.markers.check_owner()
            raise TrainingError("another rank found that this run belongs to another attempt; let this process end.")
        trainer: dict[str, Any] = {
            "loader": asdict(self._loader_state),
            "config": self.config.model_dump(mode="json"),
            "due": self._due,
        }
        if score is not None:
            trainer["score"] = score
        with spoken("saving a snapshot"):
            saved = self.snapshots.save(self.step, self.engine.state(), trainer, self._beside())
        if saved:
            self._saved_step = self.step
            if self.ranks.rank == 0:
                with full_disk_said("the launcher is not told of this snapshot"):
                    self.markers.saved(self.step, time.monotonic() - began)

    def _beside(self) -> Callable[[Path], None] | None:
        save_beside = self.task.save_beside
        if save_beside is None:
            return None
        model = self.engine.whole_model()
        return lambda folder: save_beside(folder, model)

    def _stop(self) -> int:
        if self._saved_step != self.step:
            self._snapshot()
        if self._saved_step == self.step:
            return self._end("stopped", EXIT_STOPPED)
        kept = f"the snapshot of step {self._saved_step} is the newest" if self._saved_step else "there is no snapshot"
        return self._end("stopped", EXIT_STOPPED, f"step {self.step} could not be saved: {kept}")

    def _end(self, reason: str, code: int, message: str = "") -> int:
        if self.ranks.rank == 0:
            with full_disk_said("how this attempt ended is not noted"):
                self.markers.write_end(reason, self.step, code, message)
        self.ranks.barrier()
        if code == EXIT_STOPPED:
            logger.info("stopped on request after step %d; the same command goes on from here", self.step)
        if message:
            logger.warning("%s", message)
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
