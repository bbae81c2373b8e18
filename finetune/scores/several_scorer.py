"""Scores of several classes a chip: average precision, F1 at tuned thresholds, and how far each yes can be believed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, VAL
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.calibration import Reliability, best_likelihood, fit_temperature
from bandloom.finetune.scores.multilabel import MultilabelRow, tune_thresholds
from bandloom.finetune.scores.scoring import Seen, predict_role
from bandloom.run_state.pulse import alive
from bandloom.scores import MODEL_ROW
from bandloom.several_scores import HEADLINES


@dataclass(frozen=True)
class SeveralLook:
    """Targets and logits of a role's chips.

    Args:
        row: what they score at the model's temperature and thresholds.
        logits: ``(N, K)``.
        temperature: the model's.
        table: every prediction.
    """

    row: MultilabelRow
    logits: np.ndarray
    temperature: float
    table: list[dict[str, Any]]

    def calibration(self) -> dict[str, Any]:
        """Return how far the yes and the no of every class can be believed, before and after the temperature."""
        parts = {}
        for key, temperature in (("before", 1.0), ("after", self.temperature)):
            score = sigmoid(self.logits / temperature).ravel()
            right = (score >= 0.5) == self.row.truth.ravel()
            parts[key] = Reliability.of(np.maximum(score, 1 - score), right).to_dict()
        return {"temperature": self.temperature, **parts}


@dataclass(frozen=True)
class SeveralScorer:
    """Scores a model that says any number of classes a chip."""

    headlines: tuple[str, ...] = HEADLINES
    main: str = "map_macro"
    table: tuple[str, ...] = HEADLINES
    class_table: tuple[str, ...] = ("average_precision", "precision", "recall", "f1", "threshold")
    curve: Mapping[str, str] = field(  # of thresholds nothing: they are tuned at the end alone
        default_factory=lambda: {"validation_map_macro": "map_macro", "validation_map_micro": "map_micro"}
    )

    def calibrate(self, model: TaskModel, data: TaskData, batch_size: int) -> MultilabelRow:
        """Fit the temperature and the thresholds on validation chips; returns the model's row on them."""
        look = self.look(MODEL_ROW, model, data, VAL, batch_size)
        truth, logits = look.row.truth, look.logits
        model.temperature = alive(lambda: fit_temperature(*binary(logits, truth)), "calibration")
        score = sigmoid(logits / model.temperature)
        model.thresholds = tuple(alive(lambda: tune_thresholds(truth, score), "thresholds").tolist())
        return replace(look.row, score=score, thresholds=np.array(model.thresholds))

    def look(
        self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int, seen: Seen | None = None
    ) -> SeveralLook:
        """Look at every chip of a role, at the model's temperature and thresholds."""
        start = time.monotonic()
        answers = list(predict_role("chips" if name == MODEL_ROW else name, model, data, role, batch_size, seen))
        truth = np.stack([answer.sample.label for answer in answers])
        logits = np.stack([answer.logits for answer in answers])
        row = MultilabelRow(
            name=name,
            truth=truth,
            score=sigmoid(logits / model.temperature),
            block_of=np.array([int(answer.sample.blocks) for answer in answers], np.uint64),
            thresholds=np.array(model.thresholds or [0.5] * truth.shape[1]),
            seconds=time.monotonic() - start,
        )
        keys = [answer.sample.key for answer in answers]
        return SeveralLook(row, logits, model.temperature, _table(keys, row, data.label_set.names))

    def other(self, name: str, model: TaskModel, data: TaskData, batch_size: int) -> MultilabelRow:
        """Tune a network's thresholds on validation chips, and return its row on the test chips."""
        look = self.look(name, model, data, VAL, batch_size)
        model.thresholds = tuple(tune_thresholds(look.row.truth, sigmoid(look.logits)).tolist())
        return self.look(name, model, data, TEST, batch_size).row

    def shown(
        self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int, seen: Seen | None = None
    ) -> MultilabelRow:
        """Return the row of a model on a role, shown a part of each sample."""
        return self.look(name, model, data, role, batch_size, seen).row

    def kept_by(self, look: SeveralLook, first: MultilabelRow) -> float | None:
        """Return the mean log likelihood of every yes and no at the best temperature: it needs no thresholds."""
        return alive(lambda: best_likelihood(*binary(look.logits, look.row.truth)), "calibration")

    def extras(self, row: Any, data: TaskData) -> dict[str, Any]:
        """Return nothing: there is no confusion matrix of several classes."""
        return {}


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def binary(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every yes-or-no as a choice of two: logits ``(N K, 2)`` and labels ``(N K,)``."""
    flat = logits.ravel()
    return np.stack([np.zeros_like(flat), flat], 1), truth.ravel().astype(np.int64)


def _table(keys: list[str], row: MultilabelRow, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "key": key,
            **{f"true {n}": bool(t) for n, t in zip(names, truth, strict=True)},
            **{f"p {n}": float(p) for n, p in zip(names, score, strict=True)},
        }
        for key, truth, score in zip(keys, row.truth, row.score, strict=True)
    ]
