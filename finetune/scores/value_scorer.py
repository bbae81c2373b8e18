"""Scores of a model that predicts a value: in the quantity's unit, by block, with a scatter plot of a sample."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandloom.block_scores import scores_of_sums
from bandloom.errors import CheckpointError
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, VAL
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.row import Row
from bandloom.finetune.scores.scoring import Predicted, Seen, predict_role
from bandloom.finetune.scores.values import HEADLINES, ValueRow, add_sums, block_sums
from bandloom.scores import MODEL_ROW
from bandloom.target import Target

SCATTERED = 20_000  # values in the scatter plot, at most


@dataclass(frozen=True)
class ValueLook:
    """One look at a role's values: the row, what a scatter plot shows, and a table of predictions."""

    row: ValueRow
    truth: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    predicted: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    table: list[dict[str, Any]] = field(default_factory=list)

    def calibration(self) -> None:
        """Return nothing: a value has no confidence."""


@dataclass(frozen=True)
class ValueScorer:
    """Scores a model that predicts a value a pixel or a chip."""

    headlines: tuple[str, ...] = HEADLINES
    main: str = "rmse"
    table: tuple[str, ...] = HEADLINES
    class_table: tuple[str, ...] = ()
    curve: Mapping[str, str] = field(default_factory=lambda: {"validation_rmse": "rmse", "validation_r2": "r2"})

    def calibrate(self, model: TaskModel, data: TaskData, batch_size: int) -> ValueRow:
        """Return the model's row on validation ground; there is nothing to fit."""
        return self.shown(MODEL_ROW, model, data, VAL, batch_size)

    def look(self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int) -> ValueLook:
        """Look at every value of a role."""
        start, total, target = time.monotonic(), {}, _target(model)
        rng, table = np.random.default_rng(0), []
        share = min(1.0, SCATTERED / max(1, int(data.by_role[role])))
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for prediction in predict_role(name, model, data, role, batch_size):
            truth, predicted = prediction.sample.label, _values(prediction, target)
            sums = block_sums(truth, predicted, prediction.sample.blocks)
            add_sums(total, sums)
            table += _rows(prediction, predicted, sums)
            known = ~np.isnan(truth) & (rng.random(truth.shape) < share)
            pairs.append((truth[known].ravel(), predicted[known].ravel()))
        row = ValueRow(name=name, sums=total, seconds=time.monotonic() - start)
        columns = (np.concatenate(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0),) * 2
        truth, predicted = columns
        return ValueLook(row, truth, predicted, table)

    def other(self, name: str, model: TaskModel, data: TaskData, batch_size: int) -> ValueRow:
        """Return another network's row on the test ground."""
        return self.shown(name, model, data, TEST, batch_size)

    def shown(
        self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int, seen: Seen | None = None
    ) -> ValueRow:
        """Return the row of a model on a role, shown a part of each sample."""
        start, total, target = time.monotonic(), {}, _target(model)
        for prediction in predict_role(name, model, data, role, batch_size, seen):
            add_sums(total, block_sums(prediction.sample.label, _values(prediction, target), prediction.sample.blocks))
        return ValueRow(name=name, sums=total, seconds=time.monotonic() - start)

    def kept_by(self, look: ValueLook, first: Row) -> float | None:
        """Return minus the root mean square error."""
        return -float(look.row.scores(())["rmse"])

    def extras(self, row: Row, data: TaskData) -> dict[str, Any]:
        """Return the quantity that is scored."""
        return {} if data.target is None else {"target": data.target.model_dump(mode="json")}


def _target(model: TaskModel) -> Target:
    if model.target is None:
        raise CheckpointError("the model predicts no value; fine-tune it with task=regress or regress_chips.")
    return model.target


def _values(each: Predicted, target: Target) -> np.ndarray:
    """Return values in the unit, ``(H, W)`` or 0-d, of a network's outputs."""
    return np.asarray(target.to_values(each.logits[0]))


def _rows(each: Predicted, predicted: np.ndarray, sums: Mapping[int, np.ndarray]) -> list[dict[str, Any]]:
    """Return a row a chip, or a row for each block in a sample."""
    if each.sample.label.ndim == 0:
        block = f"{int(each.sample.blocks):016x}"
        return [
            {"key": each.sample.key, "block": block, "truth": float(each.sample.label), "predicted": float(predicted)}
        ]
    rows = []
    for block, own in sums.items():
        scores = {name: float(value) for name, value in scores_of_sums(own).items() if name != "r2"}
        mean = {"mean truth": float(own[4] / own[0]), "mean predicted": float((own[4] + own[1]) / own[0])}
        rows.append({"key": each.sample.key, "block": f"{block:016x}", "labels": int(own[0]), **mean, **scores})
    return rows
