"""Scores are kept in the run folder as soon as they are found: an attempt that goes on takes them as they are."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import xxhash
from torch import nn

from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.calibration import Reliability
from bandloom.finetune.scores.evaluation import Evaluation, Example
from bandloom.finetune.scores.row import Row
from bandloom.finetune.scores.scorer import Look, Scorer
from bandloom.finetune.scores.scoring import Seen
from bandloom.finetune.scores.several_scorer import SeveralLook
from bandloom.run_state.pieces import Pieces, kept, kept_in

T = TypeVar("T")
FIRST_LOOK = "first_look"


def kept_scores(name: str, made_of: Any, make: Callable[[], T]) -> T:
    """Return rows, looks and plain values that an earlier attempt found, or find and keep them."""
    rows = Row.__subclasses__()
    return kept(name, made_of, make, *rows, Evaluation, SeveralLook, Reliability, Example)


def first_look(run: Path, step: int, made_of: Any, seen: Row) -> Row:
    """Return the row of what a run started from, which stays as long as the run does.

    No change on the way (another rate, more steps, a newer version) and no end of the run makes a later step the start:
    a model that fell behind it would then be kept as one that did not.

    Args:
        run: the run's folder.
        step: of ``seen``; at step 0 the run starts.
        made_of: what decides the validation ground, as plain JSON types.
        seen: the row of this step.
    """
    if step == 0:
        shutil.rmtree(run / FIRST_LOOK, ignore_errors=True)
    with kept_in(Pieces(run / FIRST_LOOK, made_of)):
        return kept_scores("validation", [], lambda: seen)


@dataclass(frozen=True)
class KeptScorer:
    """A scorer whose looks are kept; what they depend on beside the run's config is the model and the role."""

    scorer: Scorer

    def calibrate(self, model: TaskModel, data: TaskData, batch_size: int) -> Row:
        """Fit temperature and thresholds on validation labels, into the model; returns its row on them."""

        def calibrated() -> tuple[Row, float, tuple[float, ...]]:
            row = self.scorer.calibrate(model, data, batch_size)
            return row, model.temperature, tuple(model.thresholds)

        row, model.temperature, model.thresholds = kept_scores("validation", [digest(model)], calibrated)
        return row

    def look(self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int) -> Look:
        """Look at every label of a role with a calibrated model."""
        made_of = [name, role, digest(model)]
        return kept_scores(f"look {name}", made_of, lambda: self.scorer.look(name, model, data, role, batch_size))

    def other(self, name: str, model: TaskModel, data: TaskData, batch_size: int) -> Row:
        """Return another network's row on the test labels."""
        made_of = [name, digest(model)]
        return kept_scores(f"scores {name}", made_of, lambda: self.scorer.other(name, model, data, batch_size))

    def shown(
        self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int, seen: Seen | None = None
    ) -> Row:
        """Return the row of a model on a role, shown a part of each sample that the name tells."""
        made_of = [name, role, digest(model)]
        return kept_scores(
            f"shown {name}", made_of, lambda: self.scorer.shown(name, model, data, role, batch_size, seen)
        )


def digest(model: nn.Module) -> str:
    """Return a digest of all weights and of what else decides the answers."""
    hasher = xxhash.xxh3_128()
    for key, value in model.state_dict().items():
        hasher.update(key.encode())
        hasher.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    told = [getattr(model, name, None) for name in ("temperature", "thresholds", "task", "chip_px", "head_kind")]
    return f"{hasher.hexdigest()} {told}"
